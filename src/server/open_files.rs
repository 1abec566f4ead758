//! How many files the process may have open, and how many of them connections may be.

use std::io;
use std::sync::Arc;

#[cfg(unix)]
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::info;

/// Files that connections leave for all else: what is kept on disk, and what is read at a reload.
const RESERVE: usize = 64;

/// Raises the limit as far as the system lets this process do it: shells and service managers set 1,024 for the sake of
/// programs that cannot deal with more, and so many connections are opened by a single host that says nothing on them.
///
/// Says so in the log where it is that limit, and not that of `connections`, that will be reached.
pub(super) fn raise_limit(connections: usize) {
    if let Some(files) = raised().filter(|files| *files < connections) {
        info!(
            "at most {files} files can be open (ulimit -Hn): fewer than --max-connections allows connections"
        );
    }
}

/// The files that may be connections. One who opens connections and says nothing must not keep the broker from opening
/// a file of its own.
#[derive(Debug, Clone)]
pub(super) struct OpenFiles(Arc<Semaphore>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct OpenFile(#[expect(dead_code, reason = "it is only held")] OwnedSemaphorePermit);

impl OpenFiles {
    /// Those of this process, which has so many listeners.
    pub(super) fn beside(listeners: usize) -> Self {
        Self::of(limit(), listeners)
    }

    fn of(limit: Option<usize>, listeners: usize) -> Self {
        let left = limit.map(|files| files.saturating_sub(listeners + RESERVE.min(files / 4)).max(1));
        let most = left.unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(most)))
    }

    /// One, if there is one left.
    pub(super) fn try_take(&self) -> io::Result<OpenFile> {
        let permit = Arc::clone(&self.0).try_acquire_owned();
        permit.map(OpenFile).map_err(|_| io::Error::other("connections have all files that they may have"))
    }

    /// One, as soon as it is there; `None` never comes, as nobody closes the semaphore.
    pub(super) async fn take(&self) -> Option<OpenFile> {
        Arc::clone(&self.0).acquire_owned().await.ok().map(OpenFile)
    }
}

/// The limit; `None` where it is not known.
#[cfg(unix)]
fn limit() -> Option<usize> {
    let (now, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    usize::try_from(now).ok()
}

/// The limit, after it was raised; `None` where it is not known.
#[cfg(unix)]
fn raised() -> Option<usize> {
    let (now, most) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    if now < most {
        // Where that fails the limit is what it was.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
    limit()
}

#[cfg(not(unix))]
fn limit() -> Option<usize> {
    None
}

#[cfg(not(unix))]
fn raised() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_files_are_left_for_all_else() {
        let available = |limit, listeners| OpenFiles::of(limit, listeners).0.available_permits();
        assert_eq!(available(Some(1_024), 2), 1_024 - 64 - 2);
        assert_eq!(available(Some(60), 5), 60 - 15 - 5);
        assert_eq!(available(Some(4), 5), 1);
        assert_eq!(available(None, 5), Semaphore::MAX_PERMITS);
        assert_eq!(available(Some(usize::MAX), 5), Semaphore::MAX_PERMITS);
    }

    #[tokio::test]
    async fn a_file_is_there_again_when_it_is_dropped() {
        let files = OpenFiles::of(Some(1), 0);
        let first = files.try_take().unwrap();
        assert!(files.try_take().is_err());
        drop(first);
        let _second = files.take().await.unwrap();
        assert!(files.try_take().is_err());
    }
}
