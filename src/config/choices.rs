//! Options that take one of a few words.

use clap::ValueEnum;

use crate::broker::{OverlappingSubscriptions, QueuePolicy, SharedStrategy};

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
