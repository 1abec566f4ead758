//! The data directory at the start: what is in it becomes the broker.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant as Stopwatch, SystemTime, UNIX_EPOCH};

use tracing::{error, info, warn};

use super::ServeError;
use crate::actor::Keeper;
use crate::broker::journal::recovery::Recovered;
use crate::broker::{Broker, BrokerConfig, Policy, Recovery};
use crate::clock::{Epoch, Instant, WallTime};
use crate::storage::log::{LogOptions, Recovery as LogRecovery};
use crate::storage::{DiskDirectory, Log, StorageSettings};

/// Where state is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDirectory {
    /// The directory. It is made if it is not there.
    pub path: PathBuf,
    /// Bytes that may be used of the disk; `None`: all there are.
    pub disk_max: Option<u64>,
}

/// Reads what is there. Damage is reported, and is no reason not to start.
pub(super) fn open(
    data: &DataDirectory,
    config: BrokerConfig,
    policy: Arc<Policy>,
    seed: u64,
) -> Result<(Broker, Keeper), ServeError> {
    let started = Stopwatch::now();
    let directory = DiskDirectory::take(&data.path)?;
    let options = LogOptions::new(data.disk_max, seed);
    let durability = config.durability.default;
    let mut config = config;
    // Half of what may be written at once is for what is written about a message, and beside it.
    let largest =
        options.largest_batch().map_or(usize::MAX, |bytes| usize::try_from(bytes / 2).unwrap_or(usize::MAX));
    config.limits.kept_message_bytes = largest;
    let mut recovery = Recovery::new(config, policy, seed, Epoch::started_at(wall_time()));
    let mut described = 0;
    let (log, found) = Log::open(directory, options, &mut |frame| {
        if let Err(error) = recovery.replay(frame) {
            described += 1;
            if described <= DESCRIBED {
                error!("record {}: {error}; it is passed over", frame.sequence);
            }
        }
    })?;
    let (broker, recovered) = recovery.finish(log.next_sequence(), Instant::START);
    report(data, &found, recovered, started);
    info!("sessions and messages are kept in {}, durability {durability}", data.path.display());
    // What nobody waits for is held up by a sync: where little may wait, syncs are short.
    let settings = StorageSettings::default();
    let settings = StorageSettings { unsynced_max: settings.unsynced_max.min(largest / 2), ..settings };
    let keeper = Keeper::start(log, settings).map_err(ServeError::StorageThread)?;
    keeper.storage().counters().add_recovery(&found);
    Ok((broker, keeper))
}

/// Records that make no sense, of which the log tells one by one.
const DESCRIBED: u64 = 100;

fn wall_time() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime::from_unix_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn report(data: &DataDirectory, found: &LogRecovery, recovered: Recovered, started: Stopwatch) {
    let path = data.path.display();
    if let Some(format) = found.format {
        warn!("{path}: {format}; it has been written again, from what the segments say");
    }
    if let Some(cut) = &found.cut {
        let (file, offset, bytes) = (&cut.file, cut.offset, cut.bytes);
        warn!("{path}: {file} ended in the midst of a write: cut at offset {offset}, {bytes} bytes");
    }
    for place in &found.damaged {
        let (file, offset, len, reason) = (&place.file, place.offset, place.len, &place.reason);
        let first = place.first;
        if len > 0 {
            error!(
                "{path}: {file} is damaged at offset {offset}, {len} bytes from record {first} on: {reason}; set aside \
                 in {path}/quarantine"
            );
        } else {
            error!("{path}: {file} is not as it was at offset {offset}, record {first}: {reason}");
        }
    }
    if let Some(trouble) = &found.trouble {
        error!("{path}: {trouble}");
    }
    let Recovered { sessions, subscriptions, queued, retained, incomplete, malformed } = recovered;
    if incomplete + malformed > 0 {
        error!(
            "{path}: {incomplete} sessions or queued messages of which only a part is known, and {malformed} records \
             that make no sense, are passed over"
        );
    }
    info!(
        "{path}: {sessions} sessions, {subscriptions} subscriptions, {queued} queued and {retained} retained messages \
         read from {} segments of {} bytes in {:.3} s",
        found.segments,
        found.bytes,
        started.elapsed().as_secs_f64()
    );
}
