//! Options that take one of a few words.

use std::str::FromStr;

use clap::ValueEnum;

use crate::broker::{Durability, OverlappingSubscriptions, QueuePolicy, SharedStrategy};
use crate::connection::RateLimitPolicy;
use crate::mqtt::TopicFilter;
use crate::transport::Transport;
use crate::transport::quic::QuicDelivery;
use crate::transport::tls::{ClientCertificate, IdentitySource};

macro_rules! choices {
    ($(#[$doc:meta])* $name:ident for $target:ty { $($(#[$variant_doc:meta])* $variant:ident => $value:expr,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
        pub(super) enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl From<$name> for $target {
            fn from(choice: $name) -> Self {
                match choice {
                    $($name::$variant => $value,)*
                }
            }
        }
    };
}

choices! {
    /// How much is logged.
    Level for tracing::Level {
        /// what an operator must act upon
        Error => tracing::Level::ERROR,
        /// also what was lost or works less well
        Warn => tracing::Level::WARN,
        /// also start, stop, reload
        Info => tracing::Level::INFO,
        /// also each connection's beginning and end
        Debug => tracing::Level::DEBUG,
        /// also each packet
        Trace => tracing::Level::TRACE,
    }
}

choices! {
    /// What has to be true of a message before it is acknowledged.
    Durable for Durability {
        /// it is on the disk: it survives the loss of power
        Fsync => Self::Fsync,
        /// the operating system has it: it survives the end of the broker
        Os => Self::Os,
        /// nothing: it is written soon after
        Memory => Self::Memory,
    }
}

choices! {
    /// What a client with several matching subscriptions gets.
    Overlapping for OverlappingSubscriptions {
        /// one copy, at the highest QoS granted, with all subscription identifiers
        Once => Self::Once,
        /// one copy for each matching subscription
        Each => Self::Each,
    }
}

choices! {
    /// Which member of a shared subscription gets a message.
    Strategy for SharedStrategy {
        /// one member after the other
        RoundRobin => Self::RoundRobin,
        /// the member with the fewest messages under way and waiting
        LeastInflight => Self::LeastInflight,
        /// the same member as long as it can take messages
        Sticky => Self::Sticky,
        /// the same member for the same topic
        HashTopic => Self::HashTopic,
        /// the same member for the same publisher
        HashClient => Self::HashClient,
        /// any member
        Random => Self::Random,
    }
}

choices! {
    /// What gives way where a queue is full.
    Policy for QueuePolicy {
        /// the message that has waited longest
        DropOldest => Self::DropOldest,
        /// the message that has just come
        DropNewest => Self::DropNewest,
        /// the message that has just come, and the client's connection
        Disconnect => Self::Disconnect,
    }
}

choices! {
    /// On which streams of QUIC messages go to clients.
    Delivery for QuicDelivery {
        /// all on the client's first stream
        ControlOnly => Self::ControlOnly,
        /// each topic on a stream of its own, where the client lets the broker open streams
        PerTopic => Self::PerTopic,
        /// each message on a stream of its own, where the client lets the broker open streams
        PerPublish => Self::PerPublish,
    }
}

choices! {
    /// Listeners to which proxies pass connections on.
    Proxied for Transport {
        /// those for TCP, of --tcp-port, --listener or systemd
        Tcp => Self::Tcp,
        /// those for TLS
        Tls => Self::Tls,
        /// those for WebSocket
        Ws => Self::WebSocket,
        /// those for WebSocket over TLS
        Wss => Self::WebSocketTls,
    }
}

choices! {
    /// What is done about a client that sends more than it may.
    RateLimit for RateLimitPolicy {
        /// let it wait: its connection is not read until the second has passed
        Delay => Self::Delay,
        /// disconnect it; MQTT 5.0 clients are told why
        Disconnect => Self::Disconnect,
    }
}

choices! {
    /// Whether clients show a certificate.
    ClientCert for ClientCertificate {
        /// they are not asked for one
        Off => Self::Off,
        /// they may; one that does not hold is refused
        Optional => Self::Optional,
        /// they must
        Required => Self::Required,
    }
}

choices! {
    /// Which part of a client's certificate is its user's name.
    CertIdentity for IdentitySource {
        /// the common name of the subject, if it has one only
        Cn => Self::CommonName,
        /// the first DNS name of the alternative names
        SanDns => Self::DnsName,
        /// the first URI of the alternative names
        SanUri => Self::Uri,
        /// the whole subject, as in CN=device1,O=Example
        Subject => Self::Subject,
    }
}

/// Messages with a durability of their own: `telemetry/#=memory`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DurableTopics {
    pub(super) filter: TopicFilter,
    pub(super) durability: Durable,
}

impl FromStr for DurableTopics {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (filter, level) =
            text.rsplit_once('=').ok_or("expected a topic filter and a level, such as telemetry/#=memory")?;
        let filter =
            TopicFilter::parse(filter).map_err(|error| format!("{filter:?} is no topic filter: {error}"))?;
        let durability = Durable::from_str(level, false)
            .map_err(|_| format!("{level:?} is no level: expected fsync, os or memory"))?;
        Ok(Self { filter, durability })
    }
}
