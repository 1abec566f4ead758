//! The tasks: where the pure parts meet tokio.
