//! Programs that are run by the tests.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// How long is waited for what must come, before the test fails: long enough for a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A program that runs, and the lines that it writes to its standard output. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    /// Starts it. What it writes to its standard error goes where the test's does.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut source = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            let mut line = String::new();
            while source.read_line(&mut line).expect("its output is UTF-8") > 0 {
                if line.ends_with('\n') {
                    line.pop();
                }
                // Nobody may be left to listen.
                let _ = sender.send(std::mem::take(&mut line));
            }
        });
        Self { child, lines }
    }

    /// Waits for a line that begins with `prefix`, and returns what follows in it; other lines are passed over.
    pub(crate) fn wait_for(&self, prefix: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(prefix) {
                        return rest.to_owned();
                    }
                }
                Err(error) => panic!("no line {prefix:?}: {error}"),
            }
        }
    }

    /// Waits until it ends by itself, with success, and returns the lines that have not been waited for.
    pub(crate) fn finish(mut self) -> Vec<String> {
        let mut rest = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => rest.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end; it said: {rest:#?}"),
            }
        }
        let status = self.child.wait().unwrap();
        assert!(status.success(), "it ended with {status}; it said: {rest:#?}");
        rest
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a program can be run: it is if it can be asked for its version or the like.
pub(crate) fn can_run(program: &str, argument: &str) -> bool {
    let asked = Command::new(program).arg(argument).stdin(Stdio::null()).output();
    // mosquitto_pub answers its --help with exit code 1.
    asked.is_ok()
}
