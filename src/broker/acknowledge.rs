//! PUBACK, PUBREC, PUBREL and PUBCOMP from a client (MQTT 5.0 section 4.3).

use std::ops::ControlFlow;

use super::session::inflight::Acknowledged;
use super::{Broker, SessionKey};
use crate::clock::Instant;
use crate::mqtt::ReasonCode;
use crate::mqtt::packet::{Acknowledgement, AcknowledgementKind};

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
        let bytes = session.inflight.bytes();
        let success = !packet.reason.is_error();
        let meaning = match packet.kind {
            AcknowledgementKind::PubAck => session.inflight.puback(id),
            AcknowledgementKind::PubRec => session.inflight.pubrec(id, success),
            AcknowledgementKind::PubComp => session.inflight.pubcomp(id),
            AcknowledgementKind::PubRel => {
                // [MQTT-4.3.3-11]: the identifier is free again, and the client is told.
                let known = session.received.remove(&id);
                let reason = if known { ReasonCode::Success } else { self.unknown_identifier() };
                self.acknowledge(key, AcknowledgementKind::PubComp, id, reason);
                return ControlFlow::Continue(());
            }
        };
        self.queued_bytes -= bytes - session.inflight.bytes();
        match meaning {
            Acknowledged::Ended => self.pump(key, now),
            // [MQTT-4.3.3-3]
            Acknowledged::Release => {
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

    fn unknown_identifier(&mut self) -> ReasonCode {
        self.counters.acknowledgements_unknown += 1;
        ReasonCode::PacketIdentifierNotFound
    }
}
