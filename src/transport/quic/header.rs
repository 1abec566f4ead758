//! Flow headers: what may stand at the beginning of a data stream, before its first packet.
//!
//! They come from MQTT-next, the proposal for MQTT on several QUIC streams. A stream without a header is taken as
//! well: no packet begins as a header does. Integers are those of QUIC (RFC 9000 section 16).

use quinn::VarInt;

/// A flow header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowHeader {
    /// What flows.
    pub kind: FlowKind,
    /// What is asked for.
    pub flags: FlowFlags,
}

/// What flows on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowKind {
    /// CONNECT and what belongs to the connection as a whole: `0x11`.
    Control,
    /// Packets of a flow that the client has opened: `0x12`.
    ClientData {
        /// The flow's number; even.
        flow: u64,
        /// For how many seconds the flow is remembered after its stream has broken.
        expires: u64,
    },
}

/// What a flow header asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowFlags(u8);

impl FlowFlags {
    /// What is remembered of the flow is to be forgotten.
    pub const fn is_clean(self) -> bool {
        self.0 & 0x01 != 0
    }

    /// The flow is to be refused where nothing is remembered of it.
    pub const fn aborts_without_state(self) -> bool {
        self.0 & 0x02 != 0
    }

    const fn has_optional_headers(self) -> bool {
        self.0 & 0x80 != 0
    }
}

/// Why a data stream is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    /// There is nothing to go on with, but the client insists upon it.
    #[error("nothing is remembered of the flow")]
    NoState,
    /// Another stream has the flow.
    #[error("another stream has the flow")]
    NotOwner,
    /// A control header on a data stream, or a data header on the control stream.
    #[error("the flow header is of another kind of stream")]
    WrongKind,
    /// The number is one of the server's.
    #[error("a client's flow has an even number and a client's header")]
    WrongNumber,
    /// We know no optional headers.
    #[error("optional headers are not supported")]
    OptionalHeader,
    /// The stream ended, or stood still, within a packet or a header.
    #[error("the stream does not go on within a packet")]
    Incomplete,
    /// There are too many, or the header is one that only others understand.
    #[error("there are too many flows, or its header is not known here")]
    Refused,
    /// Flags that exclude each other.
    #[error("a flow cannot be both clean and resumed")]
    Contradiction,
}

impl FlowError {
    /// With which code the stream is reset.
    pub const fn code(self) -> VarInt {
        VarInt::from_u32(match self {
            Self::NoState => 0xB3,
            Self::NotOwner => 0xB4,
            Self::WrongKind => 0xB5,
            Self::WrongNumber => 0xB6,
            Self::OptionalHeader => 0xB9,
            Self::Incomplete => 0xBA,
            Self::Refused => 0xBE,
            Self::Contradiction => 0xBF,
        })
    }
}

/// Reads what a stream begins with: the header and its length, or that there is none. `None`: more is needed to tell.
///
/// What can be read takes at most 18 bytes.
pub fn read(bytes: &[u8]) -> Result<Option<(Option<FlowHeader>, usize)>, FlowError> {
    let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
    let mut rest = Reader(rest);
    let kind = match first {
        0x11 => rest
            .integer()
            .map(|flow| if flow == 0 { Ok(FlowKind::Control) } else { Err(FlowError::WrongNumber) }),
        0x12 => match (rest.integer(), rest.integer()) {
            (Some(flow), _) if flow % 2 != 0 => Some(Err(FlowError::WrongNumber)),
            (Some(flow), Some(expires)) => Some(Ok(FlowKind::ClientData { flow, expires })),
            (_, None) | (None, _) => None,
        },
        0x13 => Some(Err(FlowError::WrongNumber)),
        0x14 => Some(Err(FlowError::Refused)),
        _ => return Ok(Some((None, 0))),
    };
    let Some((kind, flags)) = kind.transpose()?.zip(rest.byte()) else { return Ok(None) };
    let flags = FlowFlags(flags);
    if flags.has_optional_headers() {
        return Err(FlowError::OptionalHeader);
    }
    if flags.is_clean() && flags.aborts_without_state() {
        return Err(FlowError::Contradiction);
    }
    Ok(Some((Some(FlowHeader { kind, flags }), bytes.len() - rest.0.len())))
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// An integer of one, two, four or eight bytes: the highest two bits say of how many.
    fn integer(&mut self) -> Option<u64> {
        let first = *self.0.first()?;
        let (bytes, rest) = self.0.split_at_checked(1 << (first >> 6))?;
        self.0 = rest;
        let value = bytes.iter().fold(0, |value: u64, byte| value << 8 | u64::from(*byte));
        Some(value & (u64::MAX >> 2 >> (64 - 8 * bytes.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(flow: u64, expires: u64, flags: u8) -> FlowHeader {
        FlowHeader { kind: FlowKind::ClientData { flow, expires }, flags: FlowFlags(flags) }
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<Option<(Option<FlowHeader>, usize)>, FlowError>) {
        assert_eq!(read(bytes), expected, "{bytes:02x?}");
    }

    #[test]
    fn packets_need_no_header() {
        for first in (0x00..=0xFF).filter(|first| !(0x11..=0x14).contains(first)) {
            check(&[first], Ok(Some((None, 0))));
        }
    }

    #[test]
    fn integers_are_of_one_to_eight_bytes() {
        // The examples of RFC 9000, appendix A.1.
        for (bytes, value) in [
            (&[0xC2, 0x19, 0x7C, 0x5E, 0xFF, 0x14, 0xE8, 0x8C][..], 151_288_809_941_952_652),
            (&[0x9D, 0x7F, 0x3E, 0x7D], 494_878_333),
            (&[0x7B, 0xBD], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ] {
            assert_eq!(Reader(bytes).integer(), Some(value));
            assert_eq!(Reader(&bytes[1..]).integer().filter(|_| bytes.len() == 1), None);
        }
    }

    #[test]
    fn a_header_is_read_when_all_of_it_is_there() {
        let header = [0x12, 0x44, 0x00, 0x81, 0x00, 0x00, 0x00, 0x71, 0x30];
        for len in 0..8 {
            check(&header[..len], Ok(None));
        }
        check(&header, Ok(Some((Some(data(0x400, 0x0100_0000, 0x71)), 8))));
        check(
            &[0x11, 0x00, 0x00],
            Ok(Some((Some(FlowHeader { kind: FlowKind::Control, flags: FlowFlags(0) }), 3))),
        );
    }

    #[test]
    fn what_is_wrong_has_its_code() {
        for (bytes, code) in [
            (&[0x12, 0x03][..], 0xB6),
            (&[0x13], 0xB6),
            (&[0x11, 0x02, 0x00], 0xB6),
            (&[0x14], 0xBE),
            (&[0x12, 0x02, 0x00, 0x80], 0xB9),
            (&[0x12, 0x02, 0x00, 0x03], 0xBF),
        ] {
            assert_eq!(read(bytes).unwrap_err().code(), VarInt::from_u32(code), "{bytes:02x?}");
        }
    }

    #[test]
    fn more_than_a_header_is_never_waited_for() {
        let longest = [[0x12].as_slice(), &[0xC0; 8], &[0xC0; 8], &[0]].concat();
        assert_eq!(longest.len(), 18);
        assert!(read(&longest).unwrap().is_some());
        for first in 0x11..=0x14 {
            for second in 0..=0xFF {
                let bytes = [[first].as_slice(), &[second; 31]].concat();
                assert_ne!(read(&bytes), Ok(None), "{bytes:02x?}");
            }
        }
    }
}
