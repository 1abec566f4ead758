//! The broker daemon.

fn main() {}
