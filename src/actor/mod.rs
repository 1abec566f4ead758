//! The tasks: where the pure parts meet tokio.
//!
//! One [`BrokerTask`] owns the broker; one [`Endpoint`] for each connection owns its stream and its protocol.
//! Endpoints hand whole batches to the broker over one bounded channel, and may wait for room in it. The broker
//! waits for nobody: what it has for a client goes into that client's mailbox, with one wake-up for each batch. What
//! a mailbox can come to hold is bounded by the broker's own outbound window, and by the endpoint not reading on
//! while too many of its batches are unanswered or too much of what it is to write is unwritten.
//!
//! An idle connection owns no buffers: bytes are read into, and packets encoded into, buffers of the thread.

pub mod broker_task;
pub mod clock;
pub mod counters;
pub mod endpoint;
pub mod handle;
pub mod keeper;
mod mailbox;
mod outbox;
pub mod outside;
mod scratch;
#[cfg(test)]
mod tests;

pub use broker_task::BrokerTask;
pub use clock::Clock;
pub use counters::ShellCounters;
pub use endpoint::{Endpoint, Newcomer, Surroundings};
pub use handle::BrokerHandle;
pub use keeper::Keeper;
pub use outside::Outside;
