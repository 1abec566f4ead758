//! Reading bytes that a peer sent: one cursor, and no way past the end.

use std::sync::Arc;

use bytes::Bytes;

use super::property::PropertyReader;
use super::{Body, DecodeLimits};
use crate::mqtt::topic::TopicError;
use crate::mqtt::{DecodeError, PacketId, ReasonCode, TopicName};

/// A cursor over the body of a packet. Each method takes what it names from the front.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// The buffer that `rest` lies in, where it may be kept.
    shared: Option<&'a Bytes>,
    /// How many user properties this packet may still have.
    user_properties_left: usize,
    /// Topic filters that may still come: the memory for one is many times its bytes on the wire.
    filters_left: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(body: Body<'a>, limits: DecodeLimits) -> Self {
        let (rest, shared) = match body {
            Body::Borrowed(bytes) => (bytes, None),
            Body::Shared(buffer) => (&**buffer, Some(buffer)),
        };
        Self { rest, shared, user_properties_left: limits.user_properties, filters_left: limits.filters }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Says that the packet ends here.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::malformed("the packet is longer than what it holds"))
        }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        let (&value, rest) = self.rest.split_first().ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(value)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A Variable Byte Integer (MQTT 5.0 section 1.5.5).
    pub(crate) fn variable(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                // [MQTT-1.5.5-1]: in as few bytes as can be, so the last of several is not 0.
                return if byte == 0 && shift > 0 {
                    Err(DecodeError::malformed("a variable byte integer is not encoded in the fewest bytes"))
                } else {
                    Ok(value)
                };
            }
        }
        Err(DecodeError::malformed("a variable byte integer is longer than four bytes"))
    }

    /// A UTF-8 Encoded String (MQTT 5.0 section 1.5.4).
    pub(crate) fn text(&mut self) -> Result<&'a str, DecodeError> {
        // [MQTT-1.5.4-1]: well-formed, which excludes surrogates. [MQTT-1.5.4-3]: a U+FEFF is kept.
        let text = std::str::from_utf8(self.data()?)
            .map_err(|_| DecodeError::malformed("a string is not well-formed UTF-8"))?;
        // [MQTT-1.5.4-2]
        if text.as_bytes().contains(&0) {
            return Err(DecodeError::malformed("a string holds the null character U+0000"));
        }
        Ok(text)
    }

    /// A topic filter, not yet checked; more of them than the limits allow are refused.
    pub(crate) fn filter(&mut self) -> Result<Arc<str>, DecodeError> {
        self.filters_left = self
            .filters_left
            .checked_sub(1)
            .ok_or(DecodeError::because(ReasonCode::QuotaExceeded, "a packet has too many topic filters"))?;
        self.owned_text()
    }

    /// A UTF-8 Encoded String, to keep.
    pub(crate) fn owned_text(&mut self) -> Result<Arc<str>, DecodeError> {
        self.text().map(Arc::from)
    }

    /// Binary Data (MQTT 5.0 section 1.5.6).
    pub(crate) fn data(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// Binary Data, to keep: a slice of the packet's buffer where that is shared, or else a copy.
    pub(crate) fn owned_data(&mut self) -> Result<Bytes, DecodeError> {
        let data = self.data()?;
        Ok(self.keep(data))
    }

    /// All that is left, to keep: a slice of the packet's buffer where that is shared, or else a copy.
    pub(crate) fn owned_rest(&mut self) -> Bytes {
        let rest = std::mem::take(&mut self.rest);
        self.keep(rest)
    }

    /// The identifier of a packet \[MQTT-2.2.1-3\] \[MQTT3-2.3.1-1\].
    pub(crate) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        PacketId::new(self.u16()?).ok_or(DecodeError::protocol("the packet identifier is 0"))
    }

    /// A reason code, out of those that the packet may have.
    pub(crate) fn reason(
        &mut self,
        allowed: impl FnOnce(ReasonCode) -> bool,
    ) -> Result<ReasonCode, DecodeError> {
        ReasonCode::from_u8(self.u8()?)
            .filter(|&reason| allowed(reason))
            .ok_or(DecodeError::protocol("the reason code is none that this packet can have"))
    }

    /// The properties of a packet, or of its will (MQTT 5.0 section 2.2.2).
    pub(crate) fn properties(&mut self) -> Result<PropertyReader<'_, 'a>, DecodeError> {
        let len = usize::try_from(self.variable()?).map_err(|_| TRUNCATED)?;
        let section = self.take(len)?;
        let section = Self { rest: section, shared: self.shared, user_properties_left: 0, filters_left: 0 };
        Ok(PropertyReader::new(section, &mut self.user_properties_left))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(*array)
    }

    fn keep(&self, bytes: &'a [u8]) -> Bytes {
        match self.shared {
            Some(buffer) => buffer.slice_ref(bytes),
            None => Bytes::copy_from_slice(bytes),
        }
    }
}

const TRUNCATED: DecodeError = DecodeError::malformed("the packet ends too early");

/// A text as a topic name: one that is not is refused with 0x90.
pub(crate) fn topic_name(text: &str) -> Result<TopicName, DecodeError> {
    TopicName::parse(text).map_err(|error| {
        let detail = match error {
            // [MQTT-3.3.2-2]
            TopicError::WildcardInName => "a topic name holds a wildcard",
            // [MQTT-4.7.3-1]
            TopicError::Empty => "a topic name is empty",
            TopicError::TooLong
            | TopicError::NullCharacter
            | TopicError::MisplacedMultiLevelWildcard
            | TopicError::MisplacedSingleLevelWildcard
            | TopicError::BadShare => "a topic name is not one",
        };
        DecodeError::because(ReasonCode::TopicNameInvalid, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &[u8]) -> Reader<'_> {
        Reader::new(Body::Borrowed(bytes), DecodeLimits { user_properties: 0, filters: 0 })
    }

    #[test]
    fn reads_big_endian_numbers_and_stops_at_the_end() {
        let mut numbers = reader(&[1, 0x12, 0x34, 0xDE, 0xAD, 0xBE, 0xEF]);
        assert_eq!(numbers.u8(), Ok(1));
        assert_eq!(numbers.u16(), Ok(0x1234));
        assert_eq!(numbers.u32(), Ok(0xDEAD_BEEF));
        assert_eq!(numbers.u8(), Err(TRUNCATED));
        assert!(numbers.is_empty());
        assert_eq!(reader(&[1]).u16(), Err(TRUNCATED));
        assert_eq!(reader(&[1, 2, 3]).u32(), Err(TRUNCATED));
        assert!(reader(&[1]).finish().is_err());
    }

    #[test]
    fn reads_variable_byte_integers_in_their_shortest_form_only() {
        for (bytes, value) in [
            (&[0x00][..], 0),
            (&[0x7F], 127),
            (&[0x80, 0x01], 128),
            (&[0xFF, 0x7F], 16_383),
            (&[0x80, 0x80, 0x80, 0x01], 2_097_152),
            (&[0xFF, 0xFF, 0xFF, 0x7F], 268_435_455),
        ] {
            assert_eq!(reader(bytes).variable(), Ok(value), "{bytes:02X?}");
        }
        for bytes in
            [&[0x80, 0x00][..], &[0xFF, 0x80, 0x00], &[0x80; 4], &[0x80, 0x80, 0x80, 0x80, 0x01], &[0x80]]
        {
            let error = reader(bytes).variable().unwrap_err();
            assert_eq!(error.reason, ReasonCode::MalformedPacket, "{bytes:02X?}");
        }
    }

    #[test]
    fn text_is_utf8_without_null_and_surrogates() {
        // The example of section 1.5.4.1: "A" and U+2A6D4.
        assert_eq!(reader(&[0, 5, 0x41, 0xF0, 0xAA, 0x9B, 0x94]).text(), Ok("A\u{2A6D4}"));
        assert_eq!(reader(&[0, 3, 0xEF, 0xBB, 0xBF]).text(), Ok("\u{FEFF}"));
        assert_eq!(reader(&[0, 0]).text(), Ok(""));
        for bytes in [
            &[0, 1, 0][..],
            &[0, 3, 0xED, 0xA0, 0x80],
            &[0, 2, 0xC0, 0x80],
            &[0, 1, 0xFF],
            &[0, 2, b'a'],
            &[0],
        ] {
            let error = reader(bytes).text().unwrap_err();
            assert_eq!(error.reason, ReasonCode::MalformedPacket, "{bytes:02X?}");
        }
    }

    #[test]
    fn keeps_slices_of_a_shared_buffer_and_copies_of_a_borrowed_one() {
        let buffer = Bytes::from_static(&[0, 2, 7, 8, 9]);
        let mut shared = Reader::new(Body::Shared(&buffer), DecodeLimits { user_properties: 0, filters: 0 });
        assert_eq!(shared.owned_data().unwrap().as_ptr(), buffer[2..].as_ptr());
        let rest = shared.owned_rest();
        assert_eq!(rest.as_ptr(), buffer[4..].as_ptr());
        assert_eq!(&rest[..], &[9]);

        let mut borrowed = reader(&buffer);
        let data = borrowed.owned_data().unwrap();
        assert_eq!(&data[..], &[7, 8]);
        assert_ne!(data.as_ptr(), buffer[2..].as_ptr());
    }
}
