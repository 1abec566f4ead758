//! A directory whose syncs take as long as a test wants.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};

use crate::storage::directory::{Access, Directory, File};
use crate::storage::faulty::{FaultyDirectory, FaultyFile};

/// Lets syncs of files through, or not.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    is_closed: bool,
    waiting: usize,
}

impl Gate {
    /// From now on, syncs wait.
    pub(super) fn close(&self) {
        self.state.lock().unwrap().is_closed = true;
    }

    /// All that wait go on.
    pub(super) fn open(&self) {
        self.state.lock().unwrap().is_closed = false;
        self.changed.notify_all();
    }

    /// Returns when a sync waits.
    pub(super) fn wait_for_sync(&self) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| state.waiting == 0).unwrap());
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.waiting += 1;
        self.changed.notify_all();
        let mut state = self.changed.wait_while(state, |state| state.is_closed).unwrap();
        state.waiting -= 1;
    }
}

/// The directory.
#[derive(Debug, Clone)]
pub(super) struct Gated {
    pub(super) directory: FaultyDirectory,
    pub(super) gate: Arc<Gate>,
}

/// A file of it.
#[derive(Debug)]
pub(super) struct GatedFile {
    file: FaultyFile,
    gate: Arc<Gate>,
}

impl Gated {
    fn gated(&self, file: io::Result<FaultyFile>) -> io::Result<GatedFile> {
        Ok(GatedFile { file: file?, gate: Arc::clone(&self.gate) })
    }
}

impl Directory for Gated {
    type File = GatedFile;

    fn path_of(&self, name: &str) -> PathBuf {
        self.directory.path_of(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.directory.list()
    }

    fn create(&self, name: &str) -> io::Result<GatedFile> {
        self.gated(self.directory.create(name))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<GatedFile> {
        self.gated(self.directory.open(name, access))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.directory.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.directory.rename(from, to)
    }

    fn sync(&self) -> io::Result<()> {
        self.directory.sync()
    }

    fn free_space(&self) -> io::Result<Option<u64>> {
        self.directory.free_space()
    }
}

impl File for GatedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass();
        self.file.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }
}
