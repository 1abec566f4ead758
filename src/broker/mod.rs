//! The broker: sessions, subscriptions, retained messages, wills. Pure.

pub mod input;
pub mod limits;
pub mod output;
pub mod permissions;

pub use input::{Attach, Closure, ConnectionId, Input};
pub use limits::{
    BrokerConfig, BrokerLimits, Features, OverlappingSubscriptions, QueuePolicy, SharedStrategy,
};
pub use output::{Output, ToClient};
pub use permissions::{Identity, Permissions, Policy};
