//! What happened how often: plain numbers, counted where it happens.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How often what happened since the broker was made. Each bound of [`BrokerLimits`](super::BrokerLimits) has
        /// the counter that its being hit raises.
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Names and values, in a fixed order.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

counters! {
    /// Clients that were given their session.
    clients_attached,
    /// Clients whose connection is no longer theirs, for whatever reason.
    clients_detached,
    /// Connections that another one with the same client identifier replaced.
    sessions_taken_over,
    /// Sessions that were resumed.
    sessions_resumed,
    /// Sessions that ended.
    sessions_ended,
    /// CONNECTs refused because [`sessions`](super::BrokerLimits::sessions) are there.
    refused_sessions_limit,
    /// CONNECTs refused because the session belongs to another identity.
    refused_identity,
    /// CONNECTs refused because the wills of all clients have as many bytes as they may.
    refused_will_limit,
    /// CONNECTs refused for what they ask.
    refused_connect,
    /// Connections that the broker closed because the client broke the protocol.
    protocol_errors,
    /// PUBLISH packets that came.
    publish_received,
    /// PUBLISH packets that came again and were not routed again.
    publish_repeated,
    /// PUBLISH packets refused for want of permission.
    publish_denied,
    /// PUBLISH packets refused for their topic, or for a feature that is switched off.
    publish_refused,
    /// PUBLISH packets that nobody was subscribed to.
    publish_unmatched,
    /// Deliveries handed over to connections.
    deliveries,
    /// Deliveries withheld because the subscriber may not receive from the topic.
    deliveries_denied,
    /// Deliveries dropped because the packet is larger than the client takes.
    dropped_packet_too_large,
    /// QoS 0 deliveries dropped because the session's queue was full.
    dropped_queue_full_qos0,
    /// QoS 1 and 2 deliveries dropped because the session's queue was full.
    dropped_queue_full,
    /// Connections closed because their session's queue was full.
    disconnected_queue_full,
    /// QoS 0 deliveries that waited for a slow connection and were dropped when it ended.
    dropped_connection_lost,
    /// Messages that expired before they could be delivered.
    expired_messages,
    /// Retained messages that expired.
    expired_retained,
    /// Retained messages not stored because too many, or too many bytes, are.
    refused_retained_limit,
    /// Topics refused for their levels or length.
    refused_topic_limit,
    /// Subscriptions made or replaced.
    subscribed,
    /// Subscriptions refused for want of permission.
    subscribe_denied,
    /// Subscriptions refused for their filter, or for a feature that is switched off.
    subscribe_refused,
    /// Subscriptions refused because the client has
    /// [`subscriptions_per_client`](super::BrokerLimits::subscriptions_per_client).
    refused_subscriptions_limit,
    /// Subscriptions ended by UNSUBSCRIBE.
    unsubscribed,
    /// Connections closed because too many QoS 2 packet identifiers waited for their PUBREL.
    refused_qos2_limit,
    /// Acknowledgements of what was not under way.
    acknowledgements_unknown,
    /// Wills published.
    wills_published,
    /// Wills not published because the client may not.
    wills_denied,
    /// Times that nothing was read from a publisher for a while, as memory was scarce and much waited because of it.
    publishers_held_back,
    /// QoS 0 messages dropped, from a queue or before they got there, because memory was scarce.
    dropped_memory_qos0,
    /// QoS 1 and 2 messages dropped likewise, as the queue policy says.
    dropped_memory,
    /// Connections closed likewise, where the queue policy is to disconnect.
    disconnected_memory,
    /// CONNECTs refused because memory was scarce.
    refused_memory,
    /// Messages of a shared subscription that went to another member because theirs was gone.
    shared_redelivered,
    /// Messages that found no member of a shared subscription to take them.
    shared_unserved,
    /// What was refused because there was no room on the disk.
    refused_disk_full,
    /// Messages refused because they are larger than what the disk may hold of one.
    refused_kept_size,
    /// What was refused because the disk was failing.
    refused_disk_failing,
    /// CONNECTs refused because too much waited to be written.
    refused_disk_behind,
    /// Messages read from the journal.
    messages_read,
    /// Messages that were kept and could not be read: lost to damage of the disk.
    messages_unreadable,
    /// Clients disconnected because a new policy does not know them.
    disconnected_by_policy,
}
