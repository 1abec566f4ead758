//! How many messages a client may have under way to the server.

use std::collections::BTreeSet;

use super::error::ProtocolError;
use crate::mqtt::{PacketId, QoS, ReasonCode};

/// The server's Receive Maximum, kept (MQTT 5.0 section 4.9): the mirror image of the client's own send quota.
///
/// Counts the PUBLISH packets of this connection that have not been answered to the end.
#[derive(Debug)]
pub(super) struct ReceiveQuota {
    maximum: u16,
    under_way: u16,
    /// The QoS 2 messages among them: a repeated PUBLISH does not count twice.
    exactly_once: BTreeSet<PacketId>,
}

impl ReceiveQuota {
    /// A quota of `maximum` messages.
    pub(super) const fn new(maximum: u16) -> Self {
        Self { maximum, under_way: 0, exactly_once: BTreeSet::new() }
    }

    /// A PUBLISH with QoS 1 or 2 has come.
    pub(super) fn take(&mut self, packet_id: PacketId, qos: QoS) -> Result<(), ProtocolError> {
        if qos == QoS::ExactlyOnce && !self.exactly_once.insert(packet_id) {
            return Ok(());
        }
        // [MQTT-3.3.4-9] [MQTT-4.9.0-3]
        if self.under_way >= self.maximum {
            return Err(ProtocolError::because(
                ReasonCode::ReceiveMaximumExceeded,
                "more messages are under way than Receive Maximum allows",
            ));
        }
        self.under_way += 1;
        Ok(())
    }

    /// A PUBACK, a PUBCOMP, or a PUBREC that says no, is being sent.
    ///
    /// A PUBCOMP for a message of an earlier connection frees a place too, as it does on the client's side
    /// \[MQTT-4.9.0-2\].
    pub(super) fn release(&mut self, packet_id: PacketId, qos: QoS) {
        if qos == QoS::ExactlyOnce {
            self.exactly_once.remove(&packet_id);
        }
        self.under_way = self.under_way.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(value: u16) -> PacketId {
        PacketId::new(value).unwrap()
    }

    #[test]
    fn a_message_beyond_the_maximum_is_refused_until_one_is_answered() {
        let mut quota = ReceiveQuota::new(2);
        quota.take(id(1), QoS::AtLeastOnce).unwrap();
        quota.take(id(2), QoS::ExactlyOnce).unwrap();
        quota.release(id(1), QoS::AtLeastOnce);
        quota.take(id(3), QoS::AtLeastOnce).unwrap();
        assert_eq!(
            quota.take(id(4), QoS::AtLeastOnce).unwrap_err().reason,
            ReasonCode::ReceiveMaximumExceeded
        );
    }

    #[test]
    fn a_repeated_qos_2_message_counts_once() {
        let mut quota = ReceiveQuota::new(1);
        quota.take(id(1), QoS::ExactlyOnce).unwrap();
        quota.take(id(1), QoS::ExactlyOnce).unwrap();
        quota.release(id(1), QoS::ExactlyOnce);
        quota.take(id(1), QoS::ExactlyOnce).unwrap();
        assert!(quota.take(id(2), QoS::ExactlyOnce).is_err());
    }

    #[test]
    fn the_quota_never_exceeds_its_maximum() {
        let mut quota = ReceiveQuota::new(1);
        quota.release(id(9), QoS::ExactlyOnce);
        quota.take(id(1), QoS::AtLeastOnce).unwrap();
        assert!(quota.take(id(2), QoS::AtLeastOnce).is_err());
    }
}
