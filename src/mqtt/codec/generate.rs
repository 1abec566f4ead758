//! Packets made up at random, and what must hold for all of them.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use bytes::Bytes;

use super::splitmix::SplitMix;
use crate::mqtt::packet::acknowledgement::AcknowledgementDetails;
use crate::mqtt::packet::{
    Acknowledgement, AcknowledgementKind, Auth, ConnAck, ConnAckProperties, Connect, ConnectProperties,
    Disconnect, Password, Publish, RetainHandling, SubAck, Subscribe, SubscribeEntry, SubscriptionOptions,
    UnsubAck, Unsubscribe, Will,
};
use crate::mqtt::{
    ClientId, Packet, PacketId, PayloadFormat, ProtocolVersion, PublishProperties, QoS, ReasonCode,
    SubscriptionIdentifier, TopicAlias, TopicName, UserProperties,
};

/// Makes up packets that this version can say, and that a decoder gives back as they are.
#[derive(Debug)]
pub(crate) struct Generator {
    pub(crate) random: SplitMix,
    version: ProtocolVersion,
}

impl Generator {
    pub(crate) fn new(seed: u64, version: ProtocolVersion) -> Self {
        Self { random: SplitMix::new(seed), version }
    }

    pub(crate) fn packet(&mut self) -> Packet {
        match self.random.below(if self.version.is_v5() { 12 } else { 11 }) {
            0 => Packet::Connect(Box::new(self.connect())),
            1 => Packet::ConnAck(Box::new(self.connack())),
            2 => Packet::Publish(self.publish()),
            3 => Packet::Acknowledgement(self.acknowledgement()),
            4 => Packet::Subscribe(Box::new(self.subscribe())),
            5 => Packet::SubAck(Box::new(self.suback())),
            6 => Packet::Unsubscribe(Box::new(self.unsubscribe())),
            7 => Packet::UnsubAck(Box::new(self.unsuback())),
            8 => Packet::PingReq,
            9 => Packet::PingResp,
            10 => Packet::Disconnect(Box::new(self.disconnect())),
            _ => Packet::Auth(Box::new(self.auth())),
        }
    }

    fn connect(&mut self) -> Connect {
        let clean_start = self.random.flag();
        let properties = if self.version.is_v5() {
            self.connect_properties()
        } else {
            let session_expiry_interval = if clean_start { 0 } else { u32::MAX };
            ConnectProperties { session_expiry_interval, ..ConnectProperties::default() }
        };
        let username = self.maybe(Self::text);
        let password = if username.is_some() || self.version.is_v5() { self.maybe(Self::data) } else { None };
        Connect {
            version: self.version,
            clean_start,
            keep_alive: self.u16(),
            client_id: ClientId::new(self.text()),
            will: self.maybe(|g| Box::new(g.will())),
            username,
            password: password.map(Password),
            properties,
        }
    }

    fn connect_properties(&mut self) -> ConnectProperties {
        let authentication_method = self.maybe(Self::text);
        let authentication_data = if authentication_method.is_some() { self.maybe(Self::data) } else { None };
        ConnectProperties {
            session_expiry_interval: self.maybe(Self::u32).unwrap_or(0),
            receive_maximum: self.maybe(Self::nonzero_u16).unwrap_or(NonZeroU16::MAX),
            maximum_packet_size: self.maybe(Self::nonzero_u32),
            topic_alias_maximum: self.maybe(Self::u16).unwrap_or(0),
            request_response_information: self.random.flag(),
            request_problem_information: self.random.flag(),
            user_properties: self.user_properties(),
            authentication_method,
            authentication_data,
        }
    }

    fn will(&mut self) -> Will {
        let mut properties = PublishProperties::default();
        let mut delay_interval = 0;
        if self.version.is_v5() {
            properties =
                PublishProperties { subscription_identifiers: Vec::new(), ..self.publish_properties() };
            delay_interval = self.maybe(Self::u32).unwrap_or(0);
        }
        Will {
            topic: self.topic(),
            payload: self.data(),
            qos: self.qos(),
            retain: self.random.flag(),
            delay_interval,
            properties,
        }
    }

    fn connack(&mut self) -> ConnAck {
        let reason = self.reason(&[
            ReasonCode::Success,
            ReasonCode::UnsupportedProtocolVersion,
            ReasonCode::ServerUnavailable,
            ReasonCode::NotAuthorized,
        ]);
        let session_present =
            reason == ReasonCode::Success && self.version != ProtocolVersion::V3_1 && self.random.flag();
        let properties =
            if self.version.is_v5() { self.connack_properties() } else { ConnAckProperties::default() };
        ConnAck { session_present, reason, properties }
    }

    fn connack_properties(&mut self) -> ConnAckProperties {
        ConnAckProperties {
            session_expiry_interval: self.maybe(Self::u32),
            receive_maximum: self.maybe(Self::nonzero_u16),
            maximum_qos: self.qos(),
            retain_available: self.random.flag(),
            maximum_packet_size: self.maybe(Self::nonzero_u32),
            assigned_client_id: self.maybe(Self::text).map(ClientId::new),
            topic_alias_maximum: self.maybe(Self::u16).unwrap_or(0),
            reason_string: self.maybe(Self::text),
            user_properties: self.user_properties(),
            wildcard_subscription_available: self.random.flag(),
            subscription_identifier_available: self.random.flag(),
            shared_subscription_available: self.random.flag(),
            server_keep_alive: self.maybe(Self::u16),
            response_information: self.maybe(Self::text),
            server_reference: self.maybe(Self::text),
            authentication_method: self.maybe(Self::text),
            authentication_data: self.maybe(Self::data),
        }
    }

    fn publish(&mut self) -> Publish {
        let qos = self.qos();
        let mut publish = Publish {
            dup: qos > QoS::AtMostOnce && self.random.flag(),
            qos,
            retain: self.random.flag(),
            topic: Some(self.topic()),
            topic_alias: None,
            packet_id: (qos > QoS::AtMostOnce).then(|| self.packet_id()),
            payload: self.data(),
            properties: None,
        };
        if self.version.is_v5() {
            publish.topic_alias = self.maybe(|g| TopicAlias::new(g.nonzero_u16().get()).unwrap());
            if publish.topic_alias.is_some() && self.random.flag() {
                publish.topic = None;
            }
            publish.properties =
                Some(Box::new(self.publish_properties())).filter(|properties| !properties.is_empty());
        }
        publish
    }

    fn publish_properties(&mut self) -> PublishProperties {
        let identifiers = self.random.below(3);
        PublishProperties {
            payload_format: self
                .maybe(|g| if g.random.flag() { PayloadFormat::Utf8 } else { PayloadFormat::Bytes }),
            message_expiry_interval: self.maybe(Self::u32),
            response_topic: self.maybe(Self::topic),
            correlation_data: self.maybe(Self::data),
            content_type: self.maybe(Self::text),
            user_properties: self.user_properties(),
            subscription_identifiers: (0..identifiers).map(|_| self.subscription_identifier()).collect(),
        }
    }

    fn acknowledgement(&mut self) -> Acknowledgement {
        let kind = match self.random.below(4) {
            0 => AcknowledgementKind::PubAck,
            1 => AcknowledgementKind::PubRec,
            2 => AcknowledgementKind::PubRel,
            _ => AcknowledgementKind::PubComp,
        };
        let mut acknowledgement =
            Acknowledgement { kind, packet_id: self.packet_id(), reason: ReasonCode::Success, details: None };
        if self.version.is_v5() {
            acknowledgement.reason = match kind {
                AcknowledgementKind::PubAck | AcknowledgementKind::PubRec => self.reason(&[
                    ReasonCode::Success,
                    ReasonCode::NoMatchingSubscribers,
                    ReasonCode::QuotaExceeded,
                ]),
                AcknowledgementKind::PubRel | AcknowledgementKind::PubComp => {
                    self.reason(&[ReasonCode::Success, ReasonCode::PacketIdentifierNotFound])
                }
            };
            let (reason_string, user_properties) = (self.maybe(Self::text), self.user_properties());
            if reason_string.is_some() || !user_properties.is_empty() {
                acknowledgement.details =
                    Some(Box::new(AcknowledgementDetails { reason_string, user_properties }));
            }
        }
        acknowledgement
    }

    fn subscribe(&mut self) -> Subscribe {
        let v5 = self.version.is_v5();
        let entries = 1 + self.random.below(4);
        Subscribe {
            packet_id: self.packet_id(),
            identifier: if v5 { self.maybe(Self::subscription_identifier) } else { None },
            user_properties: if v5 { self.user_properties() } else { UserProperties::new() },
            entries: (0..entries).map(|_| self.subscribe_entry()).collect(),
        }
    }

    fn subscribe_entry(&mut self) -> SubscribeEntry {
        let filter = self.text();
        let qos = self.qos();
        let mut options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        if self.version.is_v5() {
            options.no_local = self.random.flag();
            options.retain_as_published = self.random.flag();
            options.retain_handling = match self.random.below(3) {
                0 => RetainHandling::Always,
                1 => RetainHandling::IfNew,
                _ => RetainHandling::Never,
            };
        }
        SubscribeEntry { filter, options }
    }

    fn suback(&mut self) -> SubAck {
        let v5 = self.version.is_v5();
        let count = 1 + self.random.below(4);
        let reasons = [
            ReasonCode::Success,
            ReasonCode::GrantedQoS1,
            ReasonCode::GrantedQoS2,
            ReasonCode::UnspecifiedError,
        ];
        SubAck {
            packet_id: self.packet_id(),
            reasons: (0..count).map(|_| self.reason(&reasons)).collect(),
            reason_string: if v5 { self.maybe(Self::text) } else { None },
            user_properties: if v5 { self.user_properties() } else { UserProperties::new() },
        }
    }

    fn unsubscribe(&mut self) -> Unsubscribe {
        let count = 1 + self.random.below(4);
        Unsubscribe {
            packet_id: self.packet_id(),
            user_properties: if self.version.is_v5() {
                self.user_properties()
            } else {
                UserProperties::new()
            },
            filters: (0..count).map(|_| self.text()).collect(),
        }
    }

    fn unsuback(&mut self) -> UnsubAck {
        let mut unsuback = UnsubAck {
            packet_id: self.packet_id(),
            reasons: Vec::new(),
            reason_string: None,
            user_properties: UserProperties::new(),
        };
        if self.version.is_v5() {
            let count = 1 + self.random.below(4);
            let reasons = [ReasonCode::Success, ReasonCode::NoSubscriptionExisted, ReasonCode::NotAuthorized];
            unsuback.reasons = (0..count).map(|_| self.reason(&reasons)).collect();
            unsuback.reason_string = self.maybe(Self::text);
            unsuback.user_properties = self.user_properties();
        }
        unsuback
    }

    fn disconnect(&mut self) -> Disconnect {
        if !self.version.is_v5() {
            return Disconnect::because(ReasonCode::Success);
        }
        Disconnect {
            reason: self.reason(&[
                ReasonCode::Success,
                ReasonCode::DisconnectWithWill,
                ReasonCode::SessionTakenOver,
            ]),
            session_expiry_interval: self.maybe(Self::u32),
            reason_string: self.maybe(Self::text),
            user_properties: self.user_properties(),
            server_reference: self.maybe(Self::text),
        }
    }

    fn auth(&mut self) -> Auth {
        let reasons = [ReasonCode::Success, ReasonCode::ContinueAuthentication, ReasonCode::ReAuthenticate];
        Auth {
            reason: self.reason(&reasons),
            method: Some(self.text()),
            data: self.maybe(Self::data),
            reason_string: self.maybe(Self::text),
            user_properties: self.user_properties(),
        }
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.random.flag() { Some(make(self)) } else { None }
    }

    fn reason(&mut self, choices: &[ReasonCode]) -> ReasonCode {
        choices[self.random.below(choices.len())]
    }

    fn qos(&mut self) -> QoS {
        [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][self.random.below(3)]
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.random.byte(), self.random.byte()])
    }

    fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    fn nonzero_u16(&mut self) -> NonZeroU16 {
        NonZeroU16::new(self.u16()).unwrap_or(NonZeroU16::MIN)
    }

    fn nonzero_u32(&mut self) -> NonZeroU32 {
        NonZeroU32::new(self.u32()).unwrap_or(NonZeroU32::MIN)
    }

    fn packet_id(&mut self) -> PacketId {
        PacketId::new(self.nonzero_u16().get()).unwrap()
    }

    /// One of any number of bytes.
    fn subscription_identifier(&mut self) -> SubscriptionIdentifier {
        let value = self.nonzero_u32().get() & SubscriptionIdentifier::MAX;
        let shift = [0, 7, 14, 21][self.random.below(4)];
        SubscriptionIdentifier::new((value >> shift).max(1)).unwrap()
    }

    fn data(&mut self) -> Bytes {
        let len = self.len();
        (0..len).map(|_| self.random.byte()).collect()
    }

    fn text(&mut self) -> Arc<str> {
        let len = self.len();
        let characters = ['a', 'Z', '/', '+', '#', '$', '\u{7F}', 'é', '\u{FEFF}', '√', '\u{2A6D4}'];
        (0..len).map(|_| characters[self.random.below(characters.len())]).collect::<String>().into()
    }

    fn topic(&mut self) -> TopicName {
        let text = self.text().replace(['+', '#'], "x");
        TopicName::parse(if text.is_empty() { "t" } else { &text }).unwrap()
    }

    fn user_properties(&mut self) -> UserProperties {
        let count = [0, 0, 1, 3][self.random.below(4)];
        (0..count).map(|_| (self.text(), self.text())).collect()
    }

    /// Mostly short, at times so long that lengths take two or three bytes.
    fn len(&mut self) -> usize {
        let bound = [4, 16, 16, 300][self.random.below(4)];
        self.random.below(bound)
    }
}

mod tests {
    use super::super::frame::variable_len;
    use super::super::testing::{LIMITS, VERSIONS, encoded};
    use super::super::{Body, FrameHeader, decode, encode, frame_header};
    use super::*;

    /// Both kinds of bodies must be read alike.
    fn decode_both(bytes: &[u8], version: Option<ProtocolVersion>) -> Option<Packet> {
        let header = frame_header(bytes).ok()??;
        let body = bytes.get(header.header_len..header.header_len + header.body_len)?;
        let borrowed = decode(header, Body::Borrowed(body), version, LIMITS);
        let shared = decode(header, Body::Shared(&Bytes::copy_from_slice(body)), version, LIMITS);
        assert_eq!(borrowed, shared, "{bytes:02X?}");
        borrowed.ok()
    }

    #[test]
    fn what_is_written_is_read() {
        for version in VERSIONS {
            let mut generator = Generator::new(1, version);
            for _ in 0..5_000 {
                let packet = generator.packet();
                let bytes = encoded(&packet, version);
                assert_eq!(decode_both(&bytes, Some(version)).as_ref(), Some(&packet), "{bytes:02X?}");
            }
        }
    }

    #[test]
    fn what_is_read_can_be_written_and_is_then_read_again() {
        for version in VERSIONS {
            let mut generator = Generator::new(2, version);
            let mut read = 0;
            for _ in 0..10_000 {
                let mut bytes = encoded(&generator.packet(), version);
                for _ in 0..=generator.random.below(3) {
                    let at = generator.random.below(bytes.len());
                    bytes[at] = generator.random.byte();
                }
                let Some(packet) = decode_both(&bytes, Some(version)) else {
                    continue;
                };
                read += 1;
                // A CONNECT may name another version.
                let again = encoded(&packet, version);
                assert_eq!(decode_both(&again, Some(version)).as_ref(), Some(&packet), "{bytes:02X?}");
            }
            assert!(read > 1_000, "only {read} damaged packets could still be read");
        }
    }

    #[test]
    fn a_packet_cut_short_is_another_one_or_none() {
        for version in VERSIONS {
            let mut generator = Generator::new(3, version);
            for _ in 0..300 {
                let packet = generator.packet();
                let bytes = encoded(&packet, version);
                let header = frame_header(&bytes).unwrap().unwrap();
                let body = &bytes[header.header_len..];
                for cut in 0..body.len() {
                    let header = FrameHeader { header_len: 1 + variable_len(cut), body_len: cut, ..header };
                    let decoded = decode(header, Body::Borrowed(&body[..cut]), Some(version), LIMITS);
                    assert_ne!(decoded.as_ref(), Ok(&packet), "{bytes:02X?}");
                }
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut random = SplitMix::new(4);
        for _ in 0..50_000 {
            let len = random.below(48);
            let mut bytes: Vec<u8> = (0..len).map(|_| random.byte()).collect();
            if let [_, length, body @ ..] = &mut bytes[..] {
                *length = u8::try_from(body.len()).unwrap();
            }
            decode_both(&bytes, None);
            for version in VERSIONS {
                decode_both(&bytes, Some(version));
            }
        }
    }

    #[test]
    fn before_connect_nothing_else_is_read() {
        let mut generator = Generator::new(5, ProtocolVersion::V5);
        for _ in 0..500 {
            let packet = generator.packet();
            let bytes = encoded(&packet, ProtocolVersion::V5);
            let is_connect = matches!(packet, Packet::Connect(_));
            assert_eq!(decode_both(&bytes, None).is_some(), is_connect);
        }
    }

    #[test]
    fn packets_are_appended() {
        let mut generator = Generator::new(6, ProtocolVersion::V5);
        let packets: Vec<Packet> = (0..100).map(|_| generator.packet()).collect();
        let mut out = Vec::new();
        let mut expected = Vec::new();
        for packet in &packets {
            encode(packet, ProtocolVersion::V5, &mut out).unwrap();
            expected.extend(encoded(packet, ProtocolVersion::V5));
        }
        assert_eq!(out, expected);
    }
}
