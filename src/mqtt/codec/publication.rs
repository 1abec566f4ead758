//! What was published, apart from how it travels: as it is kept on disk.

use bytes::Bytes;

use super::reader::Reader;
use super::writer::EncodePacket;
use super::{Body, DecodeLimits, EncodeError};
use crate::mqtt::packet::publish::{Publish, PublishHead};
use crate::mqtt::{DecodeError, ProtocolVersion, PublishProperties, QoS, TopicName};

/// Topic, payload and properties of a message, written as the variable header and payload of a PUBLISH of MQTT 5.0
/// with QoS 0 (section 3.3): a form that will be readable for as long as MQTT 5.0 is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Where it was published.
    pub topic: TopicName,
    /// What was published.
    pub payload: Bytes,
    /// What else was said about it.
    pub properties: Option<Box<PublishProperties>>,
}

impl Publication {
    /// Appends a publication to `out`. After an error `out` is as it was; what has come in a packet causes none.
    pub fn append(
        topic: &TopicName,
        payload: &[u8],
        properties: Option<&PublishProperties>,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let head = PublishHead {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: topic.as_str(),
            packet_id: None,
            topic_alias: None,
            properties,
            expiry_interval: properties.and_then(|properties| properties.message_expiry_interval),
            identifiers: &[],
        };
        let start = out.len();
        if let Err(error) = head.encode_body(ProtocolVersion::V5, out) {
            out.truncate(start);
            return Err(error);
        }
        out.extend_from_slice(payload);
        Ok(())
    }

    /// Reads what [`append`](Self::append) wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let limits = DecodeLimits { user_properties: usize::MAX, filters: 0 };
        let publish =
            Publish::decode(0, ProtocolVersion::V5, &mut Reader::new(Body::Borrowed(bytes), limits))?;
        let topic = publish.topic.ok_or(DecodeError::malformed("a publication has no topic"))?;
        Ok(Self { topic, payload: publish.payload, properties: publish.properties })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let properties = PublishProperties {
            message_expiry_interval: Some(7),
            correlation_data: Some(Bytes::from_static(b"c")),
            ..PublishProperties::default()
        };
        for properties in [None, Some(Box::new(properties))] {
            let topic = TopicName::parse("a/b").unwrap();
            let mut out = Vec::new();
            Publication::append(&topic, b"payload", properties.as_deref(), &mut out).unwrap();
            let expected = Publication { topic, payload: Bytes::from_static(b"payload"), properties };
            assert_eq!(Publication::decode(&out), Ok(expected));
        }
        assert!(Publication::decode(&[0, 0, 0]).is_err());
    }
}
