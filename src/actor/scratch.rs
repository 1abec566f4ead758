//! Buffers that belong to the thread: borrowed while a task is polled, never across an await.

use std::cell::RefCell;

use crate::connection::Transmit;

/// As much as one read takes.
pub(super) const READ_LEN: usize = 64 << 10;

thread_local! {
    static READ: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static TRANSMIT: RefCell<Transmit> = const { RefCell::new(Transmit::new()) };
}

/// Lends a buffer of [`READ_LEN`] bytes to read into.
pub(super) fn with_read_buffer<R>(read: impl FnOnce(&mut [u8]) -> R) -> R {
    READ.with_borrow_mut(|buffer| {
        buffer.resize(READ_LEN, 0);
        read(buffer)
    })
}

/// Lends an empty buffer to encode into. What is left in it is forgotten.
pub(super) fn with_transmit<R>(write: impl FnOnce(&mut Transmit) -> R) -> R {
    TRANSMIT.with_borrow_mut(|transmit| {
        // Not behind it: a panic may have left something.
        transmit.clear();
        write(transmit)
    })
}
