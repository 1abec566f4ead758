//! How many files, and with them connections, the process may have open.

#[cfg(unix)]
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::info;

/// Raises the limit as far as the system lets this process do it: shells and service managers set 1,024 for the sake of
/// programs that cannot deal with more, and so many connections are opened by a single host that says nothing on them.
///
/// Says so in the log where it is that limit, and not that of `connections`, that will be reached.
pub(super) fn raise_limit(connections: usize) {
    let Some(files) = raised() else { return };
    if usize::try_from(files).is_ok_and(|files| files < connections) {
        info!(
            "at most {files} files can be open (ulimit -Hn): fewer than --max-connections allows connections"
        );
    }
}

/// The limit, after it was raised; `None` where it is not known.
#[cfg(unix)]
fn raised() -> Option<u64> {
    let (now, most) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    if now == most {
        return Some(now);
    }
    Some(setrlimit(Resource::RLIMIT_NOFILE, most, most).map_or(now, |()| most))
}

#[cfg(not(unix))]
fn raised() -> Option<u64> {
    None
}
