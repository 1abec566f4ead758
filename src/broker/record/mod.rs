//! What must survive a restart, as bytes.

pub mod frame;

pub use frame::{Batch, Frame, Sequence};
