//! Buffers that belong to the thread: borrowed while a task is polled, never across an await.

use std::cell::RefCell;

use crate::connection::Transmit;

thread_local! {
    static READ: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static TRANSMIT: RefCell<Transmit> = const { RefCell::new(Transmit::new()) };
}

/// Lends a buffer of `len` bytes, at least one, to read into.
pub(super) fn with_read_buffer<R>(len: usize, read: impl FnOnce(&mut [u8]) -> R) -> R {
    READ.with_borrow_mut(|buffer| {
        let len = len.max(1);
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        read(buffer.get_mut(..len).unwrap_or_default())
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
