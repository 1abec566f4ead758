//! Frames from the client, taken apart in place.

use std::mem;
use std::str;

use super::frame::{CLIENT_HEADER_LEN, ClientHeader, CloseCode, Opcode, Violation, unmask};
use super::outbound::Outbound;

/// Finds the payload of binary messages in what a client sends, however it is cut. Keeps no payload but that of a
/// control frame, which is short.
#[derive(Debug, Default)]
pub struct Inbound {
    /// A header of which the rest has not come yet.
    partial: [u8; CLIENT_HEADER_LEN],
    partial_len: usize,
    /// The frame whose payload comes next.
    frame: Option<Frame>,
    /// Whether the message has further frames.
    within_message: bool,
    /// What has come of a control frame's payload.
    control: Vec<u8>,
    end: Option<End>,
}

#[derive(Debug)]
struct Frame {
    opcode: Opcode,
    payload_left: u64,
    /// Turned to where the rest of the payload begins.
    mask: [u8; 4],
}

/// Why nothing that comes is looked at any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client closed the connection, and maybe said why.
    Closed(Option<CloseCode>),
    /// The client broke the protocol.
    Violated(Violation),
}

impl Inbound {
    /// Takes what was read. Moves the payload of binary messages in it to its beginning, and returns how much that is.
    /// Pings are answered through `outbound`. What is behind the [end](Self::end) is ignored.
    pub fn receive(&mut self, bytes: &mut [u8], outbound: &mut Outbound) -> usize {
        let (mut read, mut kept) = (0, 0);
        while self.end.is_none()
            && let Some(rest) = bytes.get_mut(read..)
            && !rest.is_empty()
        {
            let Some(frame) = &mut self.frame else {
                read += self.receive_header(rest).unwrap_or_else(|violation| {
                    self.end = Some(End::Violated(violation));
                    0
                });
                self.finish_frame(outbound);
                continue;
            };
            let len = usize::try_from(frame.payload_left).unwrap_or(usize::MAX).min(rest.len());
            let payload = rest.get_mut(..len).unwrap_or_default();
            unmask(payload, &mut frame.mask);
            frame.payload_left = frame.payload_left.saturating_sub(u64::try_from(len).unwrap_or(u64::MAX));
            if frame.opcode.is_control() {
                self.control.extend_from_slice(payload);
            } else {
                bytes.copy_within(read..read + len, kept);
                kept += len;
            }
            read += len;
            self.finish_frame(outbound);
        }
        kept
    }

    /// Why nothing more is taken, once all payload before it has been.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Takes a header, or what is there of it. Returns how many bytes it took.
    fn receive_header(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        if self.partial_len == 0
            && let Some((header, len)) = ClientHeader::read(bytes)?
        {
            self.begin_frame(header)?;
            return Ok(len);
        }
        for (taken, &byte) in (1..).zip(bytes) {
            // A header that is not whole is shorter than the longest: there is a place.
            if let Some(place) = self.partial.get_mut(self.partial_len) {
                *place = byte;
                self.partial_len += 1;
            }
            if let Some((header, _)) =
                ClientHeader::read(self.partial.get(..self.partial_len).unwrap_or_default())?
            {
                self.partial_len = 0;
                self.begin_frame(header)?;
                return Ok(taken);
            }
        }
        Ok(bytes.len())
    }

    fn begin_frame(&mut self, header: ClientHeader) -> Result<(), Violation> {
        let ClientHeader { opcode, is_final, payload_len, mask } = header;
        match opcode {
            Opcode::Binary if self.within_message => {
                return Err(Violation::protocol("a message within a message"));
            }
            Opcode::Continuation if !self.within_message => {
                return Err(Violation::protocol("the continuation of no message"));
            }
            Opcode::Binary | Opcode::Continuation => self.within_message = !is_final,
            Opcode::Close | Opcode::Ping | Opcode::Pong => {}
        }
        self.frame = Some(Frame { opcode, payload_left: payload_len, mask });
        Ok(())
    }

    /// Acts upon a frame that is whole.
    fn finish_frame(&mut self, outbound: &mut Outbound) {
        let Some(Frame { opcode, .. }) = self.frame.take_if(|frame| frame.payload_left == 0) else { return };
        let control = mem::take(&mut self.control);
        match opcode {
            Opcode::Continuation | Opcode::Binary | Opcode::Pong => {}
            Opcode::Ping => outbound.pong(&control),
            Opcode::Close => self.end = Some(read_close(&control)),
        }
    }
}

/// What a close frame says (section 5.5.1).
fn read_close(payload: &[u8]) -> End {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            End::Closed(None)
        } else {
            End::Violated(Violation::protocol("a close frame with half a code"))
        };
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.may_be_sent() {
        End::Violated(Violation::protocol("a close frame with a code that is not to be sent"))
    } else if str::from_utf8(reason).is_err() {
        let detail = "a close frame whose reason is not UTF-8";
        End::Violated(Violation { code: CloseCode::INVALID_PAYLOAD, detail })
    } else {
        End::Closed(Some(code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

    /// A frame as a client sends it: the first byte, and the payload before it is masked.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match u16::try_from(payload.len()) {
            Ok(len) if len < 126 => bytes.push(0x80 | u8::try_from(len).unwrap()),
            Ok(len) => {
                bytes.push(0xFE);
                bytes.extend(len.to_be_bytes());
            }
            Err(_) => {
                bytes.push(0xFF);
                bytes.extend(u64::try_from(payload.len()).unwrap().to_be_bytes());
            }
        }
        bytes.extend(MASK);
        bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    #[derive(Debug, Default, PartialEq)]
    struct Seen {
        payload: Vec<u8>,
        answers: Vec<u8>,
        end: Option<End>,
    }

    /// What is seen of these parts.
    fn receive<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Seen {
        let (mut inbound, mut outbound, mut seen) =
            (Inbound::default(), Outbound::default(), Seen::default());
        for part in parts {
            let mut part = part.to_vec();
            let kept = inbound.receive(&mut part, &mut outbound);
            seen.payload.extend_from_slice(&part[..kept]);
            while let Some(frame) = outbound.control() {
                seen.answers.extend_from_slice(frame);
                let len = frame.len();
                outbound.advance_control(len);
            }
        }
        seen.end = inbound.end();
        seen
    }

    /// However these frames are cut, so much is seen of them.
    #[track_caller]
    fn check(frames: &[Vec<u8>], expected: &Seen) {
        let bytes = frames.concat();
        assert_eq!(&receive([&bytes[..]]), expected, "in one piece");
        assert_eq!(&receive(bytes.chunks(1)), expected, "byte by byte");
        for cut in 0..bytes.len() {
            let (one, other) = bytes.split_at(cut);
            assert_eq!(&receive([one, other]), expected, "cut at {cut}");
        }
    }

    #[track_caller]
    fn check_payload(frames: &[Vec<u8>], payload: &[u8], answers: &[u8]) {
        check(frames, &Seen { payload: payload.to_vec(), answers: answers.to_vec(), end: None });
    }

    #[track_caller]
    fn check_violation(frames: &[Vec<u8>], payload: &[u8], code: CloseCode) {
        let seen = receive([&frames.concat()[..]]);
        let Some(End::Violated(violation)) = seen.end else { panic!("{seen:?}") };
        assert_eq!(violation.code, code, "{violation}");
        check(frames, &Seen { payload: payload.to_vec(), answers: Vec::new(), end: seen.end });
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        // Section 5.7: "Hello" masked, which is text there, and a ping of the same.
        let hello = [0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58];
        assert_eq!(frame(0x82, b"Hello"), [&[0x82, 0x85], &hello[..]].concat());
        check_payload(&[[&[0x82, 0x85], &hello[..]].concat()], b"Hello", b"");
        check_payload(&[[&[0x89, 0x85], &hello[..]].concat()], b"", b"\x8A\x05Hello");
        check_violation(&[[&[0x81, 0x85], &hello[..]].concat()], b"", CloseCode::UNSUPPORTED_DATA);
    }

    #[test]
    fn payloads_of_all_lengths_follow_upon_each_other() {
        let payload: Vec<u8> = (0..=250).cycle().take(700).collect();
        let lengths = [0, 1, 2, 125, 126, 127, 0, 319];
        let mut frames = Vec::new();
        let mut rest = &payload[..];
        for len in lengths {
            let (part, others) = rest.split_at(len);
            frames.push(frame(0x82, part));
            rest = others;
        }
        assert!(rest.is_empty());
        check_payload(&frames, &payload, b"");
    }

    #[test]
    fn a_payload_beyond_two_bytes_of_length_streams_through() {
        let payload: Vec<u8> = (0..=250).cycle().take(70_000).collect();
        let bytes = frame(0x82, &payload);
        for size in [1_000, 65_536, 65_549, 65_550, bytes.len()] {
            assert_eq!(receive(bytes.chunks(size)).payload, payload, "{size} bytes at a time");
        }
    }

    #[test]
    fn an_announced_length_allocates_nothing() {
        let mut bytes = vec![0x82, 0xFF];
        bytes.extend((u64::MAX / 2).to_be_bytes());
        bytes.extend(MASK);
        bytes.push(0x37);
        check_payload(&[bytes], &[0], b"");
    }

    #[test]
    fn control_frames_go_between_the_fragments_of_a_message() {
        let frames = [
            frame(0x02, b"one "),
            frame(0x89, b"there?"),
            frame(0x00, b""),
            frame(0x8A, b"not asked for"),
            frame(0x00, b"two "),
            frame(0x89, b""),
            frame(0x80, b"three"),
            frame(0x82, b"!"),
        ];
        check_payload(&frames, b"one two three!", b"\x8A\x06there?\x8A\x00");
    }

    #[test]
    fn the_longest_ping_is_answered() {
        check_payload(&[frame(0x89, &[7; 125])], b"", &[&[0x8A, 125], &[7; 125][..]].concat());
    }

    #[test]
    fn fragments_without_order_are_refused() {
        check_violation(&[frame(0x80, b"x")], b"", CloseCode::PROTOCOL_ERROR);
        check_violation(&[frame(0x00, b"x")], b"", CloseCode::PROTOCOL_ERROR);
        check_violation(&[frame(0x02, b"one"), frame(0x82, b"two")], b"one", CloseCode::PROTOCOL_ERROR);
        check_violation(&[frame(0x02, b"one"), frame(0x81, b"two")], b"one", CloseCode::UNSUPPORTED_DATA);
        let ended = [frame(0x02, b"one"), frame(0x80, b"two"), frame(0x80, b"three")];
        check_violation(&ended, b"onetwo", CloseCode::PROTOCOL_ERROR);
    }

    #[test]
    fn nothing_behind_the_end_is_looked_at() {
        let frames = [frame(0x82, b"before"), frame(0x88, b""), frame(0x82, b"after"), vec![0xFF; 20]];
        check(
            &frames,
            &Seen { payload: b"before".to_vec(), answers: Vec::new(), end: Some(End::Closed(None)) },
        );
        let frames = [frame(0x82, b"before"), vec![0x82, 0x00], frame(0x89, b"after")];
        check_violation(&frames, b"before", CloseCode::PROTOCOL_ERROR);
    }

    #[test]
    fn close_frames_say_why_or_nothing() {
        for (payload, code) in [
            (&b""[..], None),
            (b"\x03\xE8", Some(1000)),
            (b"\x03\xE9going away", Some(1001)),
            (b"\x0F\xA0", Some(4000)),
        ] {
            let end = Some(End::Closed(code.map(CloseCode)));
            check(&[frame(0x88, payload)], &Seen { end, ..Seen::default() });
        }
        check_violation(&[frame(0x88, b"\x03")], b"", CloseCode::PROTOCOL_ERROR);
        for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
            check_violation(&[frame(0x88, &code.to_be_bytes())], b"", CloseCode::PROTOCOL_ERROR);
        }
        check_violation(&[frame(0x88, b"\x03\xE8\xC3\x28")], b"", CloseCode::INVALID_PAYLOAD);
    }
}
