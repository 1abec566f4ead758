//! The network between a client and the broker: two queues of bytes that deliver what they hold when they are told
//! to, in pieces of any size, or never.

use std::collections::VecDeque;

/// One connection, as the network sees it.
#[derive(Debug)]
pub(crate) struct Link {
    up: Pipe,
    down: Pipe,
}

/// One direction of a [`Link`]: bytes that have been written at one end and not yet read at the other.
#[derive(Debug)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// What a writer can write before the reader reads.
    capacity: usize,
    /// Nothing follows what is in here.
    ended: bool,
}

/// What is read from a [`Link`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Bytes(Vec<u8>),
    Nothing,
    End,
}

impl Link {
    /// A link whose direction to the client holds `down_capacity` bytes: what a client that does not read can make
    /// the broker wait for.
    pub(crate) fn new(down_capacity: usize) -> Self {
        Self { up: Pipe::new(usize::MAX), down: Pipe::new(down_capacity) }
    }

    /// The client writes.
    pub(crate) fn write_up(&mut self, bytes: &[u8]) {
        self.up.write(bytes);
    }

    /// The broker's side writes: how much of it was taken.
    pub(crate) fn write_down(&mut self, bytes: &[u8]) -> usize {
        self.down.write(bytes)
    }

    /// The broker's side reads at most so many bytes.
    pub(crate) fn read_up(&mut self, most: usize) -> Read {
        self.up.read(most)
    }

    /// The client reads at most so many bytes.
    pub(crate) fn read_down(&mut self, most: usize) -> Read {
        self.down.read(most)
    }

    /// The client closes; what it wrote still arrives.
    pub(crate) const fn end_up(&mut self) {
        self.up.ended = true;
    }

    /// The broker's side closes; what it wrote can still be read.
    pub(crate) const fn end_down(&mut self) {
        self.down.ended = true;
    }

    /// The link breaks: what is under way is lost, and both ends get to know.
    pub(crate) fn cut(&mut self) {
        for pipe in [&mut self.up, &mut self.down] {
            pipe.bytes.clear();
            pipe.ended = true;
        }
    }

    /// Whether there is something for the broker's side to read, be it the end.
    pub(crate) fn is_readable_up(&self) -> bool {
        !self.up.bytes.is_empty() || self.up.ended
    }

    /// Whether there is something for the client to read, be it the end.
    pub(crate) fn is_readable_down(&self) -> bool {
        !self.down.bytes.is_empty() || self.down.ended
    }
}

impl Pipe {
    const fn new(capacity: usize) -> Self {
        Self { bytes: VecDeque::new(), capacity, ended: false }
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        if self.ended {
            return bytes.len(); // Into the void: the writer has not noticed yet.
        }
        let taken = bytes.len().min(self.capacity - self.bytes.len());
        self.bytes.extend(&bytes[..taken]);
        taken
    }

    fn read(&mut self, most: usize) -> Read {
        let count = most.min(self.bytes.len());
        if count > 0 {
            Read::Bytes(self.bytes.drain(..count).collect())
        } else if self.ended && self.bytes.is_empty() {
            Read::End
        } else {
            Read::Nothing
        }
    }
}
