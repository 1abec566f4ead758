//! Frames on their way to the client.

use std::collections::VecDeque;

use super::frame::{CloseCode, Opcode, SERVER_HEADER_LEN, server_header};

/// What is to be written: the header of the binary frame under way, and control frames, which go between two frames.
///
/// The payload stays with whoever writes it. A frame's length has to be announced before its payload is written, so
/// that what [`begin`](Self::begin) was told of must be written, in as many parts as it takes, before anything else.
#[derive(Debug, Default)]
pub struct Outbound {
    header: [u8; SERVER_HEADER_LEN],
    header_len: u8,
    header_written: u8,
    payload_left: u64,
    /// Whole frames, but for what has been written of the first.
    control: VecDeque<Vec<u8>>,
    control_written: usize,
    is_closing: bool,
}

impl Outbound {
    /// Pings that wait to be answered. Of more, only the latest is answered, which section 5.5.3 allows: a client that
    /// sends them and does not read does not make us keep them.
    const PONGS: usize = 8;

    /// Whether no frame is half-written, so that another may begin.
    pub fn is_between_frames(&self) -> bool {
        self.payload_left == 0 && self.header().is_empty()
    }

    /// Begins a binary frame with a payload of so many bytes.
    pub fn begin(&mut self, payload_len: u64) {
        debug_assert!(self.is_between_frames(), "a frame begins where the one before it ends");
        (self.header, self.header_len) = server_header(Opcode::Binary, payload_len);
        self.header_written = 0;
        self.payload_left = payload_len;
    }

    /// What is left to be written of the header.
    pub fn header(&self) -> &[u8] {
        self.header.get(self.header_written.into()..self.header_len.into()).unwrap_or_default()
    }

    /// What is left to be written of the payload, behind the header.
    pub fn payload_left(&self) -> u64 {
        self.payload_left
    }

    /// `count` bytes of header and payload have been written. Returns how many of them were of the payload.
    pub fn advance(&mut self, count: usize) -> usize {
        let of_header = count.min(self.header().len());
        self.header_written = self.header_written.saturating_add(u8::try_from(of_header).unwrap_or(u8::MAX));
        let of_payload = count - of_header;
        self.payload_left = self.payload_left.saturating_sub(u64::try_from(of_payload).unwrap_or(u64::MAX));
        of_payload
    }

    /// Answers a ping that had this payload.
    pub fn pong(&mut self, payload: &[u8]) {
        if self.is_closing {
            return;
        }
        if self.control.len() >= Self::PONGS {
            self.control.pop_back();
        }
        self.push(Opcode::Pong, payload);
    }

    /// Says why we close the connection, or that we noticed that the client does, as the last of all frames. Only the
    /// first call counts.
    pub fn close(&mut self, code: Option<CloseCode>) {
        if self.is_closing {
            return;
        }
        self.is_closing = true;
        match code {
            Some(CloseCode(code)) => self.push(Opcode::Close, &code.to_be_bytes()),
            None => self.push(Opcode::Close, &[]),
        }
    }

    /// Whether the last frame has been determined.
    pub fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// What is left to be written of the first control frame that waits. It may be written only
    /// [between frames](Self::is_between_frames).
    pub fn control(&self) -> Option<&[u8]> {
        self.control.front().and_then(|frame| frame.get(self.control_written..))
    }

    /// `count` bytes of that control frame have been written.
    pub fn advance_control(&mut self, count: usize) {
        self.control_written += count;
        if self.control().is_some_and(<[u8]>::is_empty) {
            self.control.pop_front();
            self.control_written = 0;
            if self.control.is_empty() {
                self.control = VecDeque::new();
            }
        }
    }

    fn push(&mut self, opcode: Opcode, payload: &[u8]) {
        let (header, header_len) = server_header(opcode, u64::try_from(payload.len()).unwrap_or(u64::MAX));
        let header = header.get(..header_len.into()).unwrap_or_default();
        self.control.push_back([header, payload].concat());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outbound: &mut Outbound) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(frame) = outbound.control() {
            bytes.push(frame[0]);
            outbound.advance_control(1);
        }
        bytes
    }

    #[test]
    fn of_many_pings_the_latest_is_answered() {
        let mut outbound = Outbound::default();
        outbound.pong(b"first");
        outbound.advance_control(1);
        for number in 0..100 {
            outbound.pong(&[number]);
        }
        let bytes = drain(&mut outbound);
        assert_eq!(bytes[..6], [&[5], &b"first"[..]].concat());
        assert_eq!(bytes[6..9], [0x8A, 1, 0]);
        assert_eq!(bytes[bytes.len() - 3..], [0x8A, 1, 99]);
        assert_eq!(bytes.len(), 6 + 3 * (Outbound::PONGS - 1));
    }

    #[test]
    fn nothing_goes_behind_the_close_frame() {
        let mut outbound = Outbound::default();
        outbound.pong(b"");
        outbound.close(Some(CloseCode::UNSUPPORTED_DATA));
        outbound.close(None);
        outbound.pong(b"late");
        assert_eq!(drain(&mut outbound), [0x8A, 0, 0x88, 2, 0x03, 0xEB]);
    }

    #[test]
    fn header_and_payload_may_be_written_in_any_parts() {
        for part in 1..20 {
            let mut outbound = Outbound::default();
            outbound.begin(300);
            assert_eq!(outbound.header(), [0x82, 126, 1, 44]);
            let (mut written, mut of_payload) = (0, 0);
            while !outbound.is_between_frames() {
                let count = part.min(304 - written);
                of_payload += outbound.advance(count);
                written += count;
            }
            assert_eq!((written, of_payload), (304, 300));
        }
    }
}
