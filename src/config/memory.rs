//! How much memory the broker may use, and what follows from it where an option does not say.

use std::fs;
use std::path::{Path, PathBuf};

use super::arguments::Arguments;
use super::units::ByteSize;
use crate::broker::BrokerLimits;
use crate::connection::ConnectionLimits;

/// The part of what the host has that is used where the command line does not say, in hundredths.
const PART: usize = 75;

/// What the process takes before it has a client: code, threads, tables.
const PROCESS: usize = 16 << 20;

/// Messages that the data directory holds are in memory, too, up to so many bytes, however much memory there is.
const MOST_CACHED: usize = 256 << 20;

/// The bounds in bytes on what all clients together make grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemoryBounds {
    /// What may be accounted for.
    pub(super) memory: usize,
    pub(super) queued: usize,
    pub(super) retained: usize,
    pub(super) wills: usize,
    pub(super) unfinished: usize,
    pub(super) outbound: usize,
    pub(super) cached: usize,
}

impl MemoryBounds {
    /// What the command line says, on a host that lets the broker have so many bytes, if that is known. Adds to `notes`
    /// what the operator may want to know.
    pub(super) fn read(
        arguments: &Arguments,
        host: Option<usize>,
        notes: &mut Vec<String>,
    ) -> Result<Self, String> {
        let said = arguments.memory.memory_max.map(|ByteSize(bytes)| bytes);
        let most = said.or_else(|| host.map(|bytes| bytes / 100 * PART));
        let mut bounds = most.map_or_else(Self::without_bound, Self::within);
        let given = Given::of(arguments);
        for (name, bytes, bound) in given.each(&mut bounds) {
            let Some(bytes) = bytes else { continue };
            *bound = bytes;
            if let Some(most) = most.filter(|most| bytes > *most) {
                let sentence =
                    format!("{name} of {} is more than all memory, which is bounded to", ByteSize(bytes));
                if said.is_some() {
                    return Err(format!("{sentence} {} by --memory-max: expected less", ByteSize(most)));
                }
                notes.push(format!("{sentence} {most} bytes; --memory-max would say otherwise"));
            }
        }
        if let (None, Some(most)) = (said, most) {
            notes.push(format!("memory is bounded to {} MiB; --memory-max sets another bound", most >> 20));
        }
        Ok(bounds)
    }

    fn without_bound() -> Self {
        let broker = BrokerLimits::default();
        Self {
            memory: broker.memory,
            queued: broker.queued_bytes_total,
            retained: broker.retained_bytes,
            wills: broker.will_bytes_total,
            unfinished: ConnectionLimits::default().unfinished_bytes_total,
            outbound: broker.outbound_total,
            cached: broker.cached_bytes,
        }
    }

    /// So that the process stays below `most` bytes.
    fn within(most: usize) -> Self {
        // An eighth is for what the allocator cannot give out again at once.
        let memory = (most - most / 8).saturating_sub(PROCESS).max(most / 4);
        Self {
            memory,
            // Queues give way as memory becomes scarce.
            queued: usize::MAX,
            retained: memory / 4,
            wills: memory / 8,
            unfinished: memory / 4,
            outbound: memory / 16,
            cached: (memory / 8).min(MOST_CACHED),
        }
    }
}

/// What options say.
struct Given([Option<usize>; 6]);

impl Given {
    fn of(arguments: &Arguments) -> Self {
        let Arguments { sessions, connections, memory, .. } = arguments;
        let bytes = |size: Option<ByteSize>| size.map(|ByteSize(bytes)| bytes);
        Self([
            bytes(sessions.max_queued_bytes_total),
            bytes(sessions.max_retained_bytes),
            bytes(sessions.max_will_bytes_total),
            bytes(connections.max_unfinished_bytes_total),
            bytes(memory.max_outbound_bytes_total),
            bytes(memory.max_cached_bytes),
        ])
    }

    fn each(self, bounds: &mut MemoryBounds) -> [(&'static str, Option<usize>, &mut usize); 6] {
        let Self([queued, retained, wills, unfinished, outbound, cached]) = self;
        [
            ("--max-queued-bytes-total", queued, &mut bounds.queued),
            ("--max-retained-bytes", retained, &mut bounds.retained),
            ("--max-will-bytes-total", wills, &mut bounds.wills),
            ("--max-unfinished-bytes-total", unfinished, &mut bounds.unfinished),
            ("--max-outbound-bytes-total", outbound, &mut bounds.outbound),
            ("--max-cached-bytes", cached, &mut bounds.cached),
        ]
    }
}

/// The bytes of memory that this process may have at most: what its cgroup or the machine has, whichever is less.
/// `None` where the system does not tell.
pub(super) fn of_host() -> Option<usize> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&cgroups).into_iter().filter_map(|file| {
        // Without a limit it says `max`, or a number that no machine reaches.
        fs::read_to_string(file).ok()?.trim().parse().ok()
    });
    limits.chain(machine).min()
}

/// The total in `/proc/meminfo`.
fn total(text: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<usize>().ok()?.checked_mul(1_024)
}

/// Where the limits on memory of these cgroups and those above them are, of version 1 and 2. Where a container hides
/// what is above it, the cgroup is at the top.
fn limit_files(cgroups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in cgroups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (top, name) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        let path = Path::new(path.trim_start_matches('/'));
        files.extend(path.ancestors().map(|path| Path::new(top).join(path).join(name)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_all_cgroups_above_are_looked_for() {
        let v2 = limit_files("0::/system.slice/mqtt.service\n");
        assert_eq!(
            v2,
            [
                "/sys/fs/cgroup/system.slice/mqtt.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
            .map(PathBuf::from)
        );
        let v1 = limit_files("12:cpu,cpuacct:/x\n4:memory:/docker/1\n1:name=systemd:/y\n");
        assert_eq!(v1.len(), 3);
        assert_eq!(v1[0], Path::new("/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes"));
        assert_eq!(limit_files("0::/").len(), 1);
        assert!(limit_files("nonsense").is_empty());
    }

    #[test]
    fn the_total_is_read() {
        assert_eq!(total("MemTotal:       16284376 kB\nMemFree: 1 kB\n"), Some(16_284_376 * 1_024));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        #[cfg(target_os = "linux")]
        assert!(of_host().is_some_and(|bytes| bytes > 1 << 24));
    }

    #[test]
    fn all_that_is_bounded_leaves_room_for_the_rest() {
        for most in [32 << 20, 64 << 20, 256 << 20, 64 << 30] {
            let bounds = MemoryBounds::within(most);
            assert!(bounds.memory < most);
            let fixed =
                bounds.retained + bounds.wills + bounds.unfinished + 2 * bounds.outbound + bounds.cached;
            assert!(fixed < bounds.memory, "{most}");
        }
    }
}
