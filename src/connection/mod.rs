//! One connection's protocol: bytes in, packets out, and the other way round. Pure.

pub mod limits;

pub use limits::ConnectionLimits;
