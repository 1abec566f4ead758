//! What the shell counts.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! shell_counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How often what happened around the connections, since the start.
        #[derive(Debug, Default)]
        pub struct ShellCounters {
            $($(#[$doc])* pub $name: Counter,)*
        }

        impl ShellCounters {
            /// All counters, by name.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.value()),)*].into_iter()
            }
        }
    };
}

shell_counters! {
    /// Connections that were taken on.
    connections_accepted,
    /// Connections that have ended, of those taken on.
    connections_ended,
    /// Connections that were closed because there were too many in all.
    connections_refused_total,
    /// Connections that were closed because there were too many from their address.
    connections_refused_address,
    /// Connections that were closed because too many in all were not let in yet.
    connections_refused_unfinished_total,
    /// Connections that were closed because too many from their address were not let in yet.
    connections_refused_unfinished_address,
    /// Connections whose handshake, of TLS or another layer below MQTT, failed.
    handshakes_failed,
    /// Connections that were closed because too many came in a second.
    connections_refused_rate_total,
    /// Connections that were closed because too many came from their address in a second.
    connections_refused_rate_address,
    /// Clients over QUIC that were asked to show first that they are where they say, as many others were not let in yet.
    addresses_asked_for,
    /// Listeners that could not take a connection.
    accept_errors,
    /// Connections that did not get through handshakes, CONNECT and authentication in time.
    connect_timeouts,
    /// Clients that authentication refused.
    authentications_refused,
    /// Connections that ended because the client broke the protocol, as far as that can be told without the broker.
    protocol_errors,
    /// Of these, those whose packet had too many user properties or topic filters.
    refused_packet_parts,
    /// Of these, those that sent more of a packet when all connections together had too many bytes of unfinished ones.
    refused_unfinished,
    /// Of these, those whose packet was too large: before CONNECT was accepted, or for our Maximum Packet Size.
    refused_packet_size,
    /// Of these, those with more messages under way than our Receive Maximum.
    refused_receive_maximum,
    /// Times that a client had to wait because it sent more than it may in a second.
    rate_limit_delays,
    /// Connections that were closed because the client sent more than it may in a second.
    rate_limit_disconnects,
    /// Connections on which nothing came for one and a half times the keep-alive.
    keep_alive_timeouts,
    /// Connections that took nothing of what was written to them for too long.
    write_stalls,
    /// Connections whose mailbox held more than the broker should ever put there.
    mailboxes_overflowed,
    /// Packets that were not sent as the client does not take any so large.
    packets_too_large,
    /// Connections that a fault of ours ended.
    panics,
    /// Bytes that were read.
    bytes_received,
    /// Bytes that were written.
    bytes_sent,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more. Returns how many that makes.
    pub fn increment(&self) -> u64 {
        // Nothing is ordered by it.
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// So many more.
    pub fn add(&self, count: usize) {
        self.0.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many by now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_told_by_name() {
        let counters = ShellCounters::default();
        counters.write_stalls.increment();
        counters.bytes_sent.add(7);
        let told: Vec<_> = counters.iter().filter(|(_, value)| *value > 0).collect();
        assert_eq!(told, [("write_stalls", 1), ("bytes_sent", 7)]);
    }
}
