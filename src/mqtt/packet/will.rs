//! The will of a CONNECT (MQTT 5.0 sections 3.1.2.5 and 3.1.3.2 to 3.1.3.4); its tests are those of CONNECT.

use bytes::Bytes;

use crate::mqtt::codec::EncodeError;
use crate::mqtt::codec::property::{EncodeProperties, PropertyId, PropertySink};
use crate::mqtt::codec::reader::{Reader, topic_name};
use crate::mqtt::codec::writer::Sink;
use crate::mqtt::{DecodeError, ProtocolVersion, PublishProperties, QoS, TopicName};

/// The will of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Where it is published.
    pub topic: TopicName,
    /// What is published.
    pub payload: Bytes,
    /// With which QoS.
    pub qos: QoS,
    /// Whether it is retained.
    pub retain: bool,
    /// Seconds between the end of the connection and the publication.
    pub delay_interval: u32,
    /// The properties of the publication.
    pub properties: PublishProperties,
}

impl Will {
    /// Reads the will out of the payload of a CONNECT, whose flags tell its QoS and retain flag.
    pub(super) fn decode(
        qos: QoS,
        retain: bool,
        version: ProtocolVersion,
        reader: &mut Reader<'_>,
    ) -> Result<Self, DecodeError> {
        let mut delay_interval = 0;
        let mut properties = PublishProperties::default();
        if version.is_v5() {
            let mut reader = reader.properties()?;
            while let Some(id) = reader.next_id()? {
                match id {
                    PropertyId::WILL_DELAY_INTERVAL => delay_interval = reader.u32()?,
                    _ => properties.read_property(id, &mut reader)?,
                }
            }
        }
        let topic = topic_name(reader.text()?)?;
        // A copy in any case: the will stays long after the rest of the packet has been looked at.
        let payload = Bytes::copy_from_slice(reader.data()?);
        Ok(Self { topic, payload, qos, retain, delay_interval, properties })
    }
}

impl EncodeProperties for Will {
    fn encode_properties<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError> {
        let delay_interval = Some(self.delay_interval).filter(|&seconds| seconds > 0);
        out.u32_property(PropertyId::WILL_DELAY_INTERVAL, delay_interval);
        out.u32_property(PropertyId::MESSAGE_EXPIRY_INTERVAL, self.properties.message_expiry_interval);
        self.properties.encode_common(out)
    }
}
