//! A writer that never waits: who logs hands a line over, and a thread of its own writes it.
//!
//! Where the output does not take what is written, lines are lost, and counted, rather than the broker stopped.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// The most bytes that wait to be written. As many again may be with the thread.
const MOST_BYTES: usize = 1 << 20;

/// How long the end of the process waits for the output.
const PATIENCE: Duration = Duration::from_secs(1);

/// A handle to the queue. The thread goes on as long as the process.
#[derive(Debug, Clone)]
pub(super) struct QueuedWriter {
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    /// Something has been queued.
    queued: Condvar,
    /// Everything has been written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Whether the thread has bytes that it has not yet written.
    writing: bool,
    /// Lines lost since this was last said.
    lost: u64,
}

impl QueuedWriter {
    /// A writer to `output`.
    pub(super) fn start(output: impl Write + Send + 'static) -> Self {
        let queue = Arc::new(Queue::default());
        let its_queue = Arc::clone(&queue);
        let thread = thread::Builder::new().name("mqtt-broker log".to_owned());
        // Without the thread the queue fills up, and the process is without a log: no reason not to serve.
        drop(thread.spawn(move || its_queue.drain(output)));
        Self { queue }
    }

    /// Waits until all that was logged is written, but not for ever.
    pub(super) fn finish(&self) {
        let state = self.queue.lock();
        let waits = |state: &mut State| state.writing || !state.waiting.is_empty() || state.lost > 0;
        drop(self.queue.written.wait_timeout_while(state, PATIENCE, waits));
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.waiting.len().saturating_add(line.len()) > MOST_BYTES {
            state.lost += 1;
        } else {
            state.waiting.extend_from_slice(line);
        }
        drop(state);
        self.queued.notify_one();
    }

    fn drain(&self, mut output: impl Write) {
        let mut bytes = Vec::new();
        loop {
            let mut state = self.lock();
            state.writing = false;
            while state.waiting.is_empty() && state.lost == 0 {
                self.written.notify_all();
                state = self.queued.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.writing = true;
            mem::swap(&mut state.waiting, &mut bytes);
            let lost = mem::take(&mut state.lost);
            drop(state);

            if lost > 0 {
                // In this order: they were lost because these bytes had to wait.
                bytes.extend_from_slice(
                    format!("... {lost} log lines lost: the output is too slow\n").as_bytes(),
                );
            }
            // There is nowhere to tell that the log cannot be written.
            let _ = output.write_all(&bytes).and_then(|()| output.flush());
            bytes.clear();
        }
    }
}

impl<'w> MakeWriter<'w> for QueuedWriter {
    type Writer = Line<'w>;

    fn make_writer(&'w self) -> Line<'w> {
        Line { queue: &self.queue }
    }
}

/// Takes one line, which is handed over whole.
#[derive(Debug)]
pub(super) struct Line<'w> {
    queue: &'w Queue,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// An output that takes one write for each word of permission, and shows what it took.
    struct Valve {
        permissions: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Valve {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.permissions.recv().map_err(io::Error::other)?;
            self.written.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn valve() -> (QueuedWriter, Sender<()>, Receiver<Vec<u8>>) {
        let ((permit, permissions), (written, shown)) = (channel(), channel());
        (QueuedWriter::start(Valve { permissions, written }), permit, shown)
    }

    #[test]
    fn lines_are_written_in_order_and_finishing_waits_for_them() {
        let (writer, permit, shown) = valve();
        for _ in 0..10 {
            permit.send(()).unwrap();
        }
        for line in ["one\n", "two\n", "three\n"] {
            writer.make_writer().write_all(line.as_bytes()).unwrap();
        }
        writer.finish();
        let written: Vec<u8> = shown.try_iter().flatten().collect();
        assert_eq!(written, b"one\ntwo\nthree\n");
    }

    #[test]
    fn a_stalled_output_stalls_nobody_and_what_is_lost_is_counted() {
        let (writer, permit, shown) = valve();
        let line = vec![b'x'; MOST_BYTES / 4];
        // With nobody taking anything the thread can have taken at most one queue full, and another one waits.
        for _ in 0..20 {
            writer.make_writer().write_all(&line).unwrap();
        }
        assert!(writer.queue.lock().waiting.len() <= MOST_BYTES);

        let (mut lines, mut lost) = (0, 0);
        while lines + lost < 20 {
            permit.send(()).unwrap();
            let written = String::from_utf8(shown.recv().unwrap()).unwrap();
            lines += written.matches('x').count() / line.len();
            lost += written.split_once("... ").map_or(0, |(_, said)| {
                said.strip_suffix(" log lines lost: the output is too slow\n")
                    .unwrap()
                    .parse::<usize>()
                    .unwrap()
            });
        }
        assert_eq!(lines + lost, 20);
        assert!(lost >= 12, "{lost}");
    }
}
