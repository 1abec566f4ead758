//! What is damaged is set aside for whoever wants to look at it: the segment that holds it is removed one day.

use std::fmt::Write;
use std::io;

use super::scan::Damage;
use crate::storage::directory::{Directory, File};

/// Bytes of one damaged place that are kept.
const KEPT: usize = 64 << 20;

/// Copies the bytes of a damaged place to `quarantine/SEGMENT-OFFSET.bin`, and a line of JSON about them beside it, if
/// that has not been done before. If it cannot be done, the place is still reported, and the segment still there.
pub(super) fn set_aside(directory: &impl Directory, segment: &str, bytes: &[u8], damage: &Damage) {
    let rest = bytes.get(damage.at..).unwrap_or_default();
    let damaged = rest.get(..damage.len.min(KEPT)).unwrap_or(rest);
    let name = format!("quarantine/{}-{:010}", segment.trim_end_matches(".log"), damage.at);
    // Under one of these names it has been set aside before.
    let _ = write_new(directory, &format!("{name}.json"), line(segment, damage).as_bytes())
        .and_then(|()| write_new(directory, &format!("{name}.bin"), damaged));
}

fn write_new(directory: &impl Directory, name: &str, bytes: &[u8]) -> io::Result<()> {
    let file = directory.create(name)?;
    file.write_all_at(bytes, 0)?;
    file.sync_data()
}

/// What is known about a damaged place, as a line of JSON.
fn line(segment: &str, damage: &Damage) -> String {
    let Damage { at, len, first, next, kind, reason } = damage;
    let mut line =
        format!(r#"{{"file":"{segment}","offset":{at},"length":{len},"sequence":{first},"next":{next}"#);
    if let Some(kind) = kind {
        let _ = write!(line, r#","kind":{kind}"#);
    }
    let _ = writeln!(line, r#","reason":"{reason}"}}"#);
    line
}
