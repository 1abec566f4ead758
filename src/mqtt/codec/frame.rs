//! The fixed header: what a packet is, and how long (MQTT 5.0 section 2.1).

use super::FrameHeader;
use crate::mqtt::{DecodeError, ProtocolVersion};

/// The largest number that a Variable Byte Integer can hold, and so the largest remaining length.
pub(crate) const MAX_VARIABLE: usize = 268_435_455;

/// Reads the fixed header at the beginning of `bytes`; `None` while more bytes are needed to tell.
pub fn frame_header(bytes: &[u8]) -> Result<Option<FrameHeader>, DecodeError> {
    let Some((&first, lengths)) = bytes.split_first() else {
        return Ok(None);
    };
    if first >> 4 == 0 {
        return Err(DecodeError::malformed("packet type 0 is reserved"));
    }
    let mut body_len = 0;
    for ((&byte, header_len), shift) in lengths.iter().zip(2..=5).zip([0, 7, 14, 21]) {
        body_len |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Ok(Some(FrameHeader { first, header_len, body_len }));
        }
    }
    if lengths.len() < 4 {
        Ok(None)
    } else {
        Err(DecodeError::malformed("the remaining length is longer than four bytes"))
    }
}

impl FrameHeader {
    /// The packet's type, if the four bits name one.
    pub(crate) fn packet_type(self) -> Option<PacketType> {
        PacketType::from_bits(self.first >> 4)
    }

    /// The four bits beside the packet's type.
    pub(crate) fn flags(self) -> u8 {
        self.first & 0x0F
    }

    /// Refuses a remaining length in more bytes than it needs, which MQTT 5.0 forbids \[MQTT-1.5.5-1\] and the
    /// older versions do not.
    pub(crate) fn check_length_encoding(self, version: ProtocolVersion) -> Result<(), DecodeError> {
        if version.is_v5() && self.header_len != 1 + variable_len(self.body_len) {
            return Err(DecodeError::malformed("the remaining length is not encoded in the fewest bytes"));
        }
        Ok(())
    }
}

/// How many bytes this number takes as a Variable Byte Integer.
pub(crate) const fn variable_len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// The types of packets (MQTT 5.0 section 2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PacketType {
    Connect,
    ConnAck,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    SubAck,
    Unsubscribe,
    UnsubAck,
    PingReq,
    PingResp,
    Disconnect,
    Auth,
}

impl PacketType {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The first byte of a packet of this type, with the flags that the standard fixes; those of PUBLISH are 0.
    pub(crate) const fn first_byte(self) -> u8 {
        match self {
            Self::Connect => 0x10,
            Self::ConnAck => 0x20,
            Self::Publish => 0x30,
            Self::PubAck => 0x40,
            Self::PubRec => 0x50,
            Self::PubRel => 0x62,
            Self::PubComp => 0x70,
            Self::Subscribe => 0x82,
            Self::SubAck => 0x90,
            Self::Unsubscribe => 0xA2,
            Self::UnsubAck => 0xB0,
            Self::PingReq => 0xC0,
            Self::PingResp => 0xD0,
            Self::Disconnect => 0xE0,
            Self::Auth => 0xF0,
        }
    }

    /// Refuses flags other than those that the standard fixes \[MQTT-2.1.3-1\] \[MQTT3-2.2.2-2\]. Those of PUBLISH
    /// mean something; its decoder reads them.
    pub(crate) fn check_flags(self, flags: u8, version: ProtocolVersion) -> Result<(), DecodeError> {
        const DUP: u8 = 0b1000;
        // MQTT 3.1 lets these three be sent again with the DUP flag set.
        let may_be_dup = version == ProtocolVersion::V3_1
            && matches!(self, Self::PubRel | Self::Subscribe | Self::Unsubscribe);
        let fixed = if may_be_dup { flags & !DUP } else { flags };
        if self == Self::Publish || fixed == self.first_byte() & 0x0F {
            Ok(())
        } else {
            Err(DecodeError::malformed("the fixed header has flags that this packet cannot have"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::ReasonCode;

    #[test]
    fn reads_the_lengths_at_the_borders_of_table_2_4() {
        for (bytes, header_len, body_len) in [
            (&[0xC0, 0x00][..], 2, 0),
            (&[0xC0, 0x7F], 2, 127),
            (&[0x30, 0x80, 0x01], 3, 128),
            (&[0x30, 0xFF, 0x7F], 3, 16_383),
            (&[0x30, 0x80, 0x80, 0x01], 4, 16_384),
            (&[0x30, 0xFF, 0xFF, 0x7F], 4, 2_097_151),
            (&[0x30, 0x80, 0x80, 0x80, 0x01], 5, 2_097_152),
            (&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], 5, MAX_VARIABLE),
        ] {
            let header = FrameHeader { first: bytes[0], header_len, body_len };
            assert_eq!(frame_header(bytes), Ok(Some(header)), "{bytes:02X?}");
            assert_eq!(header_len, 1 + variable_len(body_len));
            let mut longer = bytes.to_vec();
            longer.extend([0xFF; 8]);
            assert_eq!(frame_header(&longer), Ok(Some(header)), "{longer:02X?}");
            for cut in 0..bytes.len() {
                assert_eq!(frame_header(&bytes[..cut]), Ok(None), "{:02X?}", &bytes[..cut]);
            }
        }
    }

    #[test]
    fn refuses_a_length_of_five_bytes_and_packet_type_0() {
        for bytes in [&[0x30, 0x80, 0x80, 0x80, 0x80][..], &[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x00], &[0x0F]] {
            let error = frame_header(bytes).unwrap_err();
            assert_eq!(error.reason, ReasonCode::MalformedPacket, "{bytes:02X?}");
        }
    }

    #[test]
    fn a_length_in_too_many_bytes_is_refused_in_mqtt_5_only() {
        let header = frame_header(&[0xC0, 0x80, 0x00]).unwrap().unwrap();
        assert_eq!(header.body_len, 0);
        assert_eq!(header.check_length_encoding(ProtocolVersion::V3_1), Ok(()));
        assert_eq!(header.check_length_encoding(ProtocolVersion::V3_1_1), Ok(()));
        let error = header.check_length_encoding(ProtocolVersion::V5).unwrap_err();
        assert_eq!(error.reason, ReasonCode::MalformedPacket);
    }

    #[test]
    fn each_type_has_the_flags_of_table_2_2_and_no_others() {
        for bits in 1..=15_u8 {
            let packet_type = PacketType::from_bits(bits).unwrap();
            assert_eq!(packet_type.first_byte() >> 4, bits);
            let fixed = if matches!(bits, 6 | 8 | 10) { 0b0010 } else { 0 };
            for flags in 0..16 {
                let v5 = packet_type.check_flags(flags, ProtocolVersion::V5).is_ok();
                assert_eq!(v5, bits == 3 || flags == fixed, "type {bits}, flags {flags:04b}");
                let v3_1 = packet_type.check_flags(flags, ProtocolVersion::V3_1).is_ok();
                assert_eq!(v3_1, v5 || (fixed == 2 && flags == 0b1010), "type {bits}, flags {flags:04b}");
            }
        }
        assert_eq!(PacketType::from_bits(0), None);
    }
}
