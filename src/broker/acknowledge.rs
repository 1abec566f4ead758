//! PUBACK, PUBREC, PUBREL and PUBCOMP from a client (MQTT 5.0 section 4.3).

use std::ops::ControlFlow;

use super::record::{Number, Record};
use super::session::inflight::Acknowledged;
use super::session::queue::Offer;
use super::{Broker, SessionKey};
use crate::clock::Instant;
use crate::mqtt::packet::{Acknowledgement, AcknowledgementKind};
use crate::mqtt::{PacketId, ReasonCode};

impl Broker {
    pub(super) fn acknowledgement(
        &mut self,
        key: SessionKey,
        packet: &Acknowledgement,
        now: Instant,
    ) -> ControlFlow<()> {
        let Some(session) = self.sessions.get_mut(key) else {
            return ControlFlow::Break(());
        };
        let id = packet.packet_id;
        let success = !packet.reason.is_error();
        let meaning = match packet.kind {
            AcknowledgementKind::PubAck => session.inflight.puback(id),
            AcknowledgementKind::PubRec => session.inflight.pubrec(id, success),
            AcknowledgementKind::PubComp => session.inflight.pubcomp(id),
            AcknowledgementKind::PubRel => {
                self.released(key, id);
                return ControlFlow::Continue(());
            }
        };
        match meaning {
            Acknowledged::Ended(offer, number) => {
                self.ended(key, offer.as_ref(), number);
                self.pump(key, now);
            }
            // [MQTT-4.3.3-3]
            Acknowledged::Release(offer) => {
                if let Some(offer) = offer {
                    self.waiting.remove(&offer);
                    self.complete_place(key, &offer, id);
                }
                self.acknowledge(key, AcknowledgementKind::PubRel, id, ReasonCode::Success);
            }
            Acknowledged::Unknown if packet.kind == AcknowledgementKind::PubRec && success => {
                // The client waits for an answer, if only to forget the identifier.
                let reason = self.unknown_identifier();
                self.acknowledge(key, AcknowledgementKind::PubRel, id, reason);
            }
            Acknowledged::Unknown => self.counters.acknowledgements_unknown += 1,
        }
        ControlFlow::Continue(())
    }

    /// PUBREL came.
    fn released(&mut self, key: SessionKey, id: PacketId) {
        // [MQTT-4.3.3-11]: the identifier is free again, and the client is told.
        let known = self.sessions.get_mut(key).is_some_and(|session| session.received.remove(&id));
        self.received_ids -= usize::from(known);
        let reason = if known { ReasonCode::Success } else { self.unknown_identifier() };
        if let (true, Some(session)) = (known, self.kept_id(key)) {
            self.kept_exchanges -= 1;
            self.journal.append(&Record::Released { session, packet_id: id });
        }
        self.acknowledge(key, AcknowledgementKind::PubComp, id, reason);
    }

    /// An exchange with a client has ended.
    fn ended(&mut self, key: SessionKey, offer: Option<&Offer>, number: Option<Number>) {
        if let Some(offer) = offer {
            self.waiting.remove(offer);
            self.settle_place(key, offer);
        } else if let (Some(number), Some(session)) = (number, self.kept_id(key)) {
            self.kept_exchanges -= 1;
            self.journal.settle(session, number);
        }
    }

    fn unknown_identifier(&mut self) -> ReasonCode {
        self.counters.acknowledgements_unknown += 1;
        ReasonCode::PacketIdentifierNotFound
    }
}
