//! Frames: their headers, and what is wrong with those that are refused.

/// The longest header that a client sends: two bytes, a length of eight, and the mask.
pub(super) const CLIENT_HEADER_LEN: usize = 14;
/// The longest header that we send: there is no mask.
pub(super) const SERVER_HEADER_LEN: usize = 10;
/// The longest payload of a control frame (section 5.5).
pub(super) const CONTROL_PAYLOAD_LEN: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0F;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7F;
const LENGTH_IN_TWO_BYTES: u8 = 126;
const LENGTH_IN_EIGHT_BYTES: u8 = 127;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// Why a connection is closed, as its close frame says (section 7.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// All that was to be said has been said.
    pub const NORMAL: Self = Self(1000);
    /// The other side broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// The other side sent a kind of data that is not taken: text.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// What should be UTF-8 is not.
    pub const INVALID_PAYLOAD: Self = Self(1007);

    /// Whether a close frame may say so: the other codes are reserved, or stand for what was never sent.
    pub(super) fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// A breach of the protocol by the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{detail} (WebSocket close code {})", code.0)]
pub struct Violation {
    /// The code it is closed with.
    pub code: CloseCode,
    /// What it did.
    pub detail: &'static str,
}

impl Violation {
    pub(super) const fn protocol(detail: &'static str) -> Self {
        Self { code: CloseCode::PROTOCOL_ERROR, detail }
    }
}

/// What a frame is, of those that are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn read(byte: u8) -> Result<Self, Violation> {
        match byte & OPCODE {
            CONTINUATION => Ok(Self::Continuation),
            BINARY => Ok(Self::Binary),
            CLOSE => Ok(Self::Close),
            PING => Ok(Self::Ping),
            PONG => Ok(Self::Pong),
            // [MQTT-6.0.0-1]
            TEXT => Err(Violation {
                code: CloseCode::UNSUPPORTED_DATA,
                detail: "a text frame: MQTT packets are sent in binary frames",
            }),
            _ => Err(Violation::protocol("a frame of an unknown kind")),
        }
    }

    pub(super) fn is_control(self) -> bool {
        match self {
            Self::Continuation | Self::Binary => false,
            Self::Close | Self::Ping | Self::Pong => true,
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::Continuation => CONTINUATION,
            Self::Binary => BINARY,
            Self::Close => CLOSE,
            Self::Ping => PING,
            Self::Pong => PONG,
        }
    }
}

/// The header of a frame from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClientHeader {
    pub(super) opcode: Opcode,
    /// Whether it is the last frame of its message.
    pub(super) is_final: bool,
    /// The length of the payload.
    pub(super) payload_len: u64,
    pub(super) mask: [u8; 4],
}

impl ClientHeader {
    /// Reads the header at the beginning of `bytes`, and tells how long it is; `None`: it is not all there. What is
    /// wrong is noticed with the first byte that shows it.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, Violation> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        let opcode = Opcode::read(first)?;
        let is_final = first & FIN != 0;
        if first & RESERVED != 0 {
            return Err(Violation::protocol("a reserved bit is set, and no extension was agreed upon"));
        }
        if opcode.is_control() && !is_final {
            return Err(Violation::protocol("a control frame in fragments"));
        }
        let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
        if second & MASKED == 0 {
            return Err(Violation::protocol("a frame without a mask"));
        }
        if opcode.is_control() && usize::from(second & LENGTH) > CONTROL_PAYLOAD_LEN {
            return Err(Violation::protocol("a control frame that is too long"));
        }
        let Some((payload_len, length_len)) = read_length(second & LENGTH, rest)? else { return Ok(None) };
        let Some(&mask) = rest.get(length_len..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
        Ok(Some((Self { opcode, is_final, payload_len, mask }, 2 + length_len + mask.len())))
    }
}

/// The length of a payload, and in how many bytes behind the `short` one it was said. It has to be said in as few as
/// possible (section 5.2).
fn read_length(short: u8, rest: &[u8]) -> Result<Option<(u64, usize)>, Violation> {
    const NOT_THE_SHORTEST: Violation = Violation::protocol("a length that is not in its shortest form");
    match short {
        LENGTH_IN_TWO_BYTES => {
            let Some(bytes) = rest.first_chunk() else { return Ok(None) };
            let len = u16::from_be_bytes(*bytes);
            if len < u16::from(LENGTH_IN_TWO_BYTES) {
                return Err(NOT_THE_SHORTEST);
            }
            Ok(Some((len.into(), bytes.len())))
        }
        LENGTH_IN_EIGHT_BYTES => {
            let Some(bytes) = rest.first_chunk() else { return Ok(None) };
            let len = u64::from_be_bytes(*bytes);
            if len <= u16::MAX.into() {
                return Err(NOT_THE_SHORTEST);
            }
            if len > u64::MAX / 2 {
                return Err(Violation::protocol("a length whose highest bit is set"));
            }
            Ok(Some((len, bytes.len())))
        }
        len => Ok(Some((len.into(), 0))),
    }
}

/// The header of a frame to a client, which is a message of its own, and the header's length.
pub(super) fn server_header(opcode: Opcode, payload_len: u64) -> ([u8; SERVER_HEADER_LEN], u8) {
    let mut header = [0; SERVER_HEADER_LEN];
    let [first, second, length @ ..] = &mut header;
    *first = FIN | opcode.byte();
    let header_len = match (u8::try_from(payload_len), u16::try_from(payload_len)) {
        (Ok(len), _) if len < LENGTH_IN_TWO_BYTES => {
            *second = len;
            2
        }
        (_, Ok(len)) => {
            *second = LENGTH_IN_TWO_BYTES;
            let [high, low, ..] = length;
            [*high, *low] = len.to_be_bytes();
            4
        }
        (_, Err(_)) => {
            *second = LENGTH_IN_EIGHT_BYTES;
            *length = payload_len.to_be_bytes();
            10
        }
    };
    (header, header_len)
}

/// Takes the mask off `payload`, and turns the mask to where the rest of the payload begins.
pub(super) fn unmask(payload: &mut [u8], mask: &mut [u8; 4]) {
    // The compiler makes one instruction of as many bytes at once.
    const AT_ONCE: usize = 32;
    let [a, b, c, d] = *mask;
    let pattern: [u8; AT_ONCE] = std::array::from_fn(|index| match index % 4 {
        0 => a,
        1 => b,
        2 => c,
        _ => d,
    });
    let (blocks, rest) = payload.as_chunks_mut::<AT_ONCE>();
    for block in blocks {
        for (byte, mask) in block.iter_mut().zip(pattern) {
            *byte ^= mask;
        }
    }
    let turn = rest.len() % mask.len();
    for (byte, mask) in rest.iter_mut().zip(pattern) {
        *byte ^= mask;
    }
    mask.rotate_left(turn);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(bytes: &[u8], code: CloseCode) {
        // Noticed with the last byte, and not before.
        for len in 0..bytes.len() {
            assert_eq!(ClientHeader::read(&bytes[..len]), Ok(None), "{len} bytes");
        }
        assert_eq!(ClientHeader::read(bytes).unwrap_err().code, code);
    }

    #[test]
    fn what_is_wrong_is_noticed_with_the_byte_that_shows_it() {
        for reserved in [0x40, 0x20, 0x10, 0x70] {
            check_refused(&[0x82 | reserved], CloseCode::PROTOCOL_ERROR);
        }
        for opcode in [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF] {
            check_refused(&[0x80 | opcode], CloseCode::PROTOCOL_ERROR);
        }
        for text in [0x81, 0x01] {
            check_refused(&[text], CloseCode::UNSUPPORTED_DATA);
        }
        for fragment in [0x08, 0x09, 0x0A] {
            check_refused(&[fragment], CloseCode::PROTOCOL_ERROR);
        }
        check_refused(&[0x82, 0x05], CloseCode::PROTOCOL_ERROR);
        for control in [0x88, 0x89, 0x8A] {
            check_refused(&[control, 0xFE], CloseCode::PROTOCOL_ERROR);
            check_refused(&[control, 0xFF], CloseCode::PROTOCOL_ERROR);
        }
        check_refused(&[0x82, 0xFE, 0, 125], CloseCode::PROTOCOL_ERROR);
        check_refused(&[0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], CloseCode::PROTOCOL_ERROR);
        check_refused(&[0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0], CloseCode::PROTOCOL_ERROR);
    }

    #[test]
    fn every_length_is_read_and_written() {
        for len in [0, 1, 125, 126, 127, 128, 65_535, 65_536, 1 << 32, u64::MAX / 2] {
            let (header, header_len) = server_header(Opcode::Binary, len);
            let mut masked = header[..usize::from(header_len)].to_vec();
            masked[1] |= MASKED;
            masked.extend([1, 2, 3, 4]);
            for cut in 0..masked.len() {
                assert_eq!(ClientHeader::read(&masked[..cut]), Ok(None));
            }
            let (read, read_len) = ClientHeader::read(&masked).unwrap().unwrap();
            let expected =
                ClientHeader { opcode: Opcode::Binary, is_final: true, payload_len: len, mask: [1, 2, 3, 4] };
            assert_eq!((read, read_len), (expected, masked.len()));
        }
    }

    #[test]
    fn a_mask_goes_on_where_it_was_cut() {
        let mask = [0x12, 0x34, 0x56, 0x78];
        let plain: Vec<u8> = (0..200).collect();
        let masked: Vec<u8> = plain.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        for cut in 0..masked.len() {
            let (mut bytes, mut mask) = (masked.clone(), mask);
            let (one, other) = bytes.split_at_mut(cut);
            unmask(one, &mut mask);
            unmask(other, &mut mask);
            assert_eq!(bytes, plain, "cut at {cut}");
        }
    }

    #[test]
    fn codes_that_stand_for_nothing_that_is_sent_are_not_sent() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, u16::MAX] {
            assert!(!CloseCode(code).may_be_sent(), "{code}");
        }
        for code in [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999] {
            assert!(CloseCode(code).may_be_sent(), "{code}");
        }
    }
}
