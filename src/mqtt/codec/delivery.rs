//! PUBLISH packets made from deliveries, without a copy of the payload.

use super::EncodeError;
use super::frame::{MAX_VARIABLE, variable_len};
use super::writer::EncodePacket;
use crate::mqtt::packet::publish::PublishHead;
use crate::mqtt::{Delivery, Message, PacketId, ProtocolVersion, QoS, SubscriptionIdentifier, TopicAlias};

/// How a delivery names its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryTopic {
    /// By its name.
    Name,
    /// By its name, for which the alias stands from now on; MQTT 5.0 only.
    NameAndAlias(TopicAlias),
    /// By the alias alone, which the client knows already; MQTT 5.0 only.
    Alias(TopicAlias),
}

/// Appends the PUBLISH packet of a delivery to `out`, all but the payload: that follows from the message itself.
///
/// Where `remaining_expiry` is given, it is written as the message expiry interval, in seconds, instead of the
/// publisher's \[MQTT-3.3.2-6\]. After an error `out` is as it was.
pub fn encode_delivery_head(
    delivery: &Delivery,
    topic: DeliveryTopic,
    remaining_expiry: Option<u32>,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let message = &*delivery.message;
    let (topic, topic_alias) = match topic {
        DeliveryTopic::Name => (message.topic.as_str(), None),
        DeliveryTopic::NameAndAlias(alias) => (message.topic.as_str(), Some(alias)),
        DeliveryTopic::Alias(alias) => ("", Some(alias)),
    };
    let properties = message.properties.as_deref();
    PublishHead {
        dup: delivery.dup,
        qos: delivery.qos,
        retain: delivery.retain,
        topic,
        packet_id: delivery.packet_id,
        topic_alias,
        properties,
        expiry_interval: remaining_expiry.or_else(|| properties.and_then(|p| p.message_expiry_interval)),
        identifiers: delivery.identifiers.as_deref().unwrap_or_default(),
    }
    .append_before(message.payload.len(), version, out)
}

/// The size on the wire of the whole PUBLISH packet of a message that is delivered so, its topic named without alias.
///
/// This is what is compared with the client's Maximum Packet Size \[MQTT-3.1.2-24\]. `usize::MAX` where no packet
/// can hold it.
pub fn delivery_len(
    message: &Message,
    qos: QoS,
    identifiers: &[SubscriptionIdentifier],
    version: ProtocolVersion,
) -> usize {
    let properties = message.properties.as_deref();
    let expires =
        message.expires_at.is_some() || properties.is_some_and(|p| p.message_expiry_interval.is_some());
    let head = PublishHead {
        dup: false,
        qos,
        retain: false,
        topic: message.topic.as_str(),
        packet_id: (qos > QoS::AtMostOnce).then_some(PacketId::MIN),
        topic_alias: None,
        properties,
        // Its size does not depend on its value.
        expiry_interval: expires.then_some(0),
        identifiers,
    };
    match head.body_len(message.payload.len(), version) {
        Ok(length) if length.0 <= MAX_VARIABLE => 1 + variable_len(length.0) + length.0,
        _ => usize::MAX,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::super::testing::{VERSIONS, decode_one};
    use super::*;
    use crate::mqtt::{Packet, Places, PublishProperties, TopicName};

    fn delivery(qos: QoS) -> Delivery {
        let properties = PublishProperties {
            message_expiry_interval: Some(60),
            content_type: Some(Arc::from("t")),
            ..PublishProperties::default()
        };
        Delivery {
            message: Arc::new(Message {
                topic: TopicName::parse("a/b").unwrap(),
                payload: Bytes::from_static(b"hello"),
                qos,
                retain: false,
                expires_at: None,
                properties: Some(Box::new(properties)),
                places: Places::default(),
            }),
            packet_id: (qos > QoS::AtMostOnce).then_some(PacketId::MIN),
            qos,
            dup: false,
            retain: true,
            identifiers: SubscriptionIdentifier::new(300).map(|id| Box::from([id])),
        }
    }

    #[test]
    fn writes_all_but_the_payload() {
        let mut out = Vec::new();
        encode_delivery_head(
            &delivery(QoS::AtLeastOnce),
            DeliveryTopic::Name,
            Some(7),
            ProtocolVersion::V5,
            &mut out,
        )
        .unwrap();
        let expected = [
            &[0x33, 25, 0, 3, b'a', b'/', b'b', 0, 1, 12][..],
            &[0x02, 0, 0, 0, 7, 0x03, 0, 1, b't'],
            &[0x0B, 0xAC, 0x02],
        ]
        .concat();
        assert_eq!(out, expected);

        out.clear();
        encode_delivery_head(
            &delivery(QoS::AtMostOnce),
            DeliveryTopic::Name,
            None,
            ProtocolVersion::V3_1_1,
            &mut out,
        )
        .unwrap();
        assert_eq!(out, [0x31, 10, 0, 3, b'a', b'/', b'b']);
    }

    #[test]
    fn an_alias_stands_beside_the_name_or_for_it() {
        let alias = TopicAlias::new(9).unwrap();
        for (topic, name) in
            [(DeliveryTopic::NameAndAlias(alias), Some("a/b")), (DeliveryTopic::Alias(alias), None)]
        {
            let delivery = delivery(QoS::ExactlyOnce);
            let mut out = Vec::new();
            encode_delivery_head(&delivery, topic, None, ProtocolVersion::V5, &mut out).unwrap();
            out.extend_from_slice(&delivery.message.payload);
            let Packet::Publish(publish) = decode_one(&out, ProtocolVersion::V5).unwrap() else {
                panic!("not a PUBLISH");
            };
            assert_eq!(publish.topic.as_ref().map(TopicName::as_str), name);
            assert_eq!(publish.topic_alias, Some(alias));
            assert_eq!(publish.payload, delivery.message.payload);
            assert_eq!(publish.properties.unwrap().message_expiry_interval, Some(60));
        }
    }

    #[test]
    fn the_size_is_that_of_what_is_written() {
        for version in VERSIONS {
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                for payload in [0, 1, 100, 127, 128, 20_000] {
                    let mut delivery = delivery(qos);
                    Arc::make_mut(&mut delivery.message).payload = Bytes::from(vec![7; payload]);
                    let mut out = Vec::new();
                    encode_delivery_head(&delivery, DeliveryTopic::Name, Some(3), version, &mut out).unwrap();
                    let identifiers = delivery.identifiers.as_deref().unwrap();
                    let len = delivery_len(&delivery.message, qos, identifiers, version);
                    assert_eq!(len, out.len() + payload, "{version} {qos:?} {payload}");
                }
            }
        }
    }

    #[test]
    fn what_no_packet_can_hold_has_no_size_and_is_not_written() {
        let mut delivery = delivery(QoS::AtMostOnce);
        let message = Arc::make_mut(&mut delivery.message);
        message.properties.as_mut().unwrap().content_type = Some(Arc::from("x".repeat(65_536)));
        assert_eq!(delivery_len(message, QoS::AtMostOnce, &[], ProtocolVersion::V5), usize::MAX);
        let mut out = vec![1, 2, 3];
        let error = encode_delivery_head(&delivery, DeliveryTopic::Name, None, ProtocolVersion::V5, &mut out)
            .unwrap_err();
        assert_eq!(error, EncodeError { what: "the content type" });
        assert_eq!(out, [1, 2, 3]);
    }
}
