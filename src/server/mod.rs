//! Start, listeners, signals, reload, shutdown.
