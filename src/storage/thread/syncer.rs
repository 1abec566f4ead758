//! The thread that waits for the disk, so that nobody else has to.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread::{Builder, JoinHandle};

use super::Command;
use crate::storage::directory::File;
use crate::storage::log::Syncing;

/// The way to the thread, which ends with this, when all syncs are over.
#[derive(Debug)]
pub(super) struct Syncer<F> {
    syncs: Option<Sender<Syncing<F>>>,
    thread: Option<JoinHandle<()>>,
}

impl<F: File + Send + Sync + 'static> Syncer<F> {
    /// Starts the thread. Of each sync it says there how it ended.
    pub(super) fn start(commands: Sender<Command>) -> io::Result<Self> {
        let (syncs, begun) = mpsc::channel::<Syncing<F>>();
        let thread = Builder::new().name("storage-sync".to_owned()).spawn(move || {
            for syncing in begun {
                // If nobody is there who has begun it, nobody acknowledges what it covers.
                let _ = commands.send(Command::Synced(syncing.run()));
            }
        })?;
        Ok(Self { syncs: Some(syncs), thread: Some(thread) })
    }

    /// Has this sync run, and a [`Command::Synced`] sent.
    pub(super) fn run(&self, syncing: Syncing<F>) {
        if let Some(syncs) = &self.syncs {
            // It ends only with us.
            let _ = syncs.send(syncing);
        }
    }
}

impl<F> Drop for Syncer<F> {
    fn drop(&mut self) {
        drop(self.syncs.take());
        if let Some(thread) = self.thread.take() {
            // What it has panicked of has been printed.
            let _ = thread.join();
        }
    }
}
