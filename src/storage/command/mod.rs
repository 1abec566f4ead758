//! What can be done with a data directory without serving anybody: `mqtt-broker store …`.
//!
//! A directory on which a broker runs is not looked into; and no broker starts on one while a command looks into it. Not
//! a byte of it changes.

mod dump;
mod repair;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::log::inspect::{Seen, inspect};
use super::log::{Cut, Damaged};
use super::{DiskDirectory, StorageError};
use crate::broker::record::{Record, Sequence};

/// Something to do with a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreCommand {
    /// Say what is damaged.
    Check(PathBuf),
    /// Print all records.
    Dump(PathBuf),
    /// Say how much there is.
    Stats(PathBuf),
    /// Copy what can be read.
    Repair {
        /// The directory that may be damaged.
        directory: PathBuf,
        /// A new one.
        output: PathBuf,
    },
}

/// What a command has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Nothing is damaged.
    Sound,
    /// Something is.
    Damaged,
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data directory cannot be looked into.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The directory for the copy cannot be used for it.
    #[error("{0}: {1}")]
    Output(PathBuf, String),
    /// What there is to say could not be written.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl StoreCommand {
    /// Does it. What it has to say goes to `out`.
    pub fn run(self, out: &mut dyn Write) -> Result<Condition, StoreError> {
        match self {
            Self::Check(directory) => check(&directory, out),
            Self::Dump(directory) => dump(&directory, out),
            Self::Stats(directory) => stats(&directory, out),
            Self::Repair { directory, output } => repair::repair(&directory, &output, out),
        }
    }
}

fn check(path: &Path, out: &mut dyn Write) -> Result<Condition, StoreError> {
    let directory = DiskDirectory::look_into(path)?;
    let mut summary = Summary::default();
    inspect(&directory, &mut |seen| {
        summary.add(&seen);
        report(&seen, out)
    })?;
    let condition = summary.condition();
    let word = match condition {
        Condition::Sound => "sound",
        Condition::Damaged => "damaged",
    };
    writeln!(out, "{}: {word} ({summary})", path.display())?;
    Ok(condition)
}

/// Says what is not as it should be.
fn report(seen: &Seen<'_>, out: &mut dyn Write) -> Result<(), StoreError> {
    match seen {
        Seen::Damaged(damaged) => writeln!(out, "{damaged}")?,
        Seen::Torn(cut) => writeln!(out, "{cut}")?,
        Seen::Format(trouble) => writeln!(out, "{trouble}")?,
        Seen::Superseded { file, offset, bytes, by } => {
            writeln!(
                out,
                "{file}:{offset}: {bytes} bytes do not count: {by} begins with the record that is next"
            )?;
        }
        Seen::Segment { .. } | Seen::Record { .. } => {}
    }
    Ok(())
}

fn dump(path: &Path, out: &mut dyn Write) -> Result<Condition, StoreError> {
    let directory = DiskDirectory::look_into(path)?;
    let mut summary = Summary::default();
    inspect(&directory, &mut |seen| {
        summary.add(&seen);
        match seen {
            Seen::Record { file, offset, frame } => {
                writeln!(out, "{}", dump::line(file, offset, frame)).map_err(StoreError::from)
            }
            Seen::Format(_)
            | Seen::Damaged(_)
            | Seen::Torn(_)
            | Seen::Segment { .. }
            | Seen::Superseded { .. } => Ok(()),
        }
    })?;
    Ok(summary.condition())
}

fn stats(path: &Path, out: &mut dyn Write) -> Result<Condition, StoreError> {
    let directory = DiskDirectory::look_into(path)?;
    let mut summary = Summary::default();
    let next = inspect(&directory, &mut |seen| {
        summary.add(&seen);
        Ok::<(), StoreError>(())
    })?;
    writeln!(out, "segments          {}", summary.segments)?;
    writeln!(out, "bytes             {}", summary.bytes)?;
    writeln!(out, "records           {}", summary.records())?;
    for (kind, (count, bytes)) in &summary.kinds {
        writeln!(out, "  {:<16}{count} with {bytes} bytes", Record::kind_name(*kind))?;
    }
    let first = summary.first.map_or_else(|| "none".to_owned(), |first| first.to_string());
    writeln!(out, "first record      {first}")?;
    writeln!(out, "next record       {next}")?;
    writeln!(out, "gaps              {}", summary.gaps)?;
    writeln!(out, "superseded bytes  {}", summary.superseded)?;
    writeln!(out, "torn bytes        {}", summary.torn)?;
    writeln!(out, "damaged places    {}", summary.damaged)?;
    writeln!(out, "lost records      {}", summary.lost)?;
    Ok(summary.condition())
}

/// How much has been seen of what.
#[derive(Debug, Default)]
struct Summary {
    segments: u64,
    bytes: u64,
    /// By kind: how many records, and their bytes.
    kinds: BTreeMap<u8, (u64, u64)>,
    superseded: u64,
    torn: u64,
    damaged: u64,
    lost: u64,
    format: Option<&'static str>,
    /// The first record that there is, and the last.
    first: Option<Sequence>,
    last: Option<Sequence>,
    /// How often records are not there between two that are, whether that was known to the broker or not.
    gaps: u64,
}

impl Summary {
    fn add(&mut self, seen: &Seen<'_>) {
        match seen {
            Seen::Segment { bytes } => {
                self.segments += 1;
                self.bytes += bytes;
            }
            Seen::Record { frame, .. } => {
                let (count, bytes) = self.kinds.entry(frame.kind).or_default();
                *count += 1;
                *bytes += super::directory::length(frame.body.len());
                self.gaps += u64::from(self.last.is_some_and(|last| last.next() != frame.sequence));
                self.first.get_or_insert(frame.sequence);
                self.last = Some(frame.sequence);
            }
            Seen::Damaged(damaged) => {
                self.damaged += 1;
                self.lost += damaged.next.since(damaged.first);
            }
            Seen::Torn(cut) => self.torn += cut.bytes,
            Seen::Format(trouble) => self.format = Some(trouble),
            Seen::Superseded { bytes, .. } => self.superseded += bytes,
        }
    }

    fn records(&self) -> u64 {
        self.kinds.values().map(|(count, _)| count).sum()
    }

    fn condition(&self) -> Condition {
        if self.damaged == 0 && self.format.is_none() { Condition::Sound } else { Condition::Damaged }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (segments, records, bytes) = (self.segments, self.records(), self.bytes);
        write!(f, "segments: {segments}, records: {records}")?;
        if let Some((first, last)) = self.first.zip(self.last) {
            write!(f, " from {first} to {last}")?;
        }
        write!(f, ", bytes: {bytes}")?;
        if self.gaps > 0 {
            write!(f, ", gaps: {}", self.gaps)?;
        }
        if self.superseded > 0 {
            write!(f, ", bytes that do not count: {}", self.superseded)?;
        }
        if self.damaged > 0 {
            write!(f, ", damaged places: {}, records lost: {}", self.damaged, self.lost)?;
        }
        Ok(())
    }
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, len, first, next, kind, reason } = self;
        write!(f, "{file}:{offset}: {reason}")?;
        if *len > 0 {
            write!(f, "; {len} bytes are damaged")?;
        }
        match next.since(*first) {
            0 => {}
            1 => write!(f, "; record {first} is lost")?,
            count => write!(f, "; {count} records from {first} on are lost")?,
        }
        kind.map_or(Ok(()), |kind| write!(f, "; the first told of: {}", Record::kind_name(kind)))
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, bytes } = self;
        write!(f, "{file}:{offset}: a crash has left {bytes} bytes half written")
    }
}
