//! Copying what can be read.

use std::fs;
use std::io::Write;
use std::path::Path;

use super::{Condition, StoreError, Summary, report};
use crate::broker::record::{Batch, Frame};
use crate::storage::log::LogOptions;
use crate::storage::log::inspect::{Seen, inspect};
use crate::storage::{DiskDirectory, Fault, Log};

/// Bytes that are copied at a time.
const PORTION: usize = 1 << 20;

/// Copies all records of `from` that can be read into the new directory `to`, under the numbers that they have.
pub(super) fn repair(from: &Path, to: &Path, out: &mut dyn Write) -> Result<Condition, StoreError> {
    let directory = DiskDirectory::look_into(from)?;
    let unusable = |why: String| StoreError::Output(to.to_owned(), why);
    // If it cannot be made or read, that is said when it is taken.
    if fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(unusable("it is not empty".to_owned()));
    }
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| unusable(error.to_string()))?;
    let options = LogOptions::new(None, u64::from_le_bytes(seed));
    let (mut log, _) = Log::open(DiskDirectory::take(to)?, options, &mut |_| ())?;

    let failed = |fault: Fault| unusable(fault.to_string());
    let mut summary = Summary::default();
    let mut batch = Batch::new(log.next_sequence());
    inspect(&directory, &mut |seen| {
        summary.add(&seen);
        if let Seen::Record { frame, .. } = &seen {
            if batch.len() >= PORTION || batch.next() != frame.sequence {
                log.push(std::mem::replace(&mut batch, Batch::new(frame.sequence)));
                log.write_out().map_err(failed)?;
            }
            copy(*frame, &mut batch);
        }
        report(&seen, out)
    })?;
    log.push(batch);
    log.rest().map_err(failed)?;
    writeln!(out, "{}: copied to {} ({summary})", from.display(), to.display())?;
    Ok(summary.condition())
}

fn copy(frame: Frame<'_>, batch: &mut Batch) {
    batch.append(frame.kind, |body| body.extend_from_slice(frame.body));
}
