//! The file that tells others where the server listens.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::transport::BoundAddress;

/// Writes one line for each listener, in the order in which they were configured: `tcp 127.0.0.1:40123`,
/// `tcp [::]:1883`, `unix /run/mqtt.sock`.
///
/// The file appears whole or not at all: who waits for it can read it as soon as it is there.
pub(super) fn write(path: &Path, addresses: &[BoundAddress]) -> io::Result<()> {
    let mut lines = String::new();
    for address in addresses {
        writeln!(lines, "{address}").map_err(io::Error::other)?;
    }
    let temporary = temporary(path);
    fs::write(&temporary, lines)?;
    fs::rename(&temporary, path).inspect_err(|_| {
        // It is of no use to anybody; the error that counts is the other.
        let _ = fs::remove_file(&temporary);
    })
}

/// A name beside the file, so that both are in the same file system.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, ToOwned::to_owned);
    name.push(format!(".{}", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_listener_has_a_line_and_nothing_else_is_left() {
        let directory = std::env::temp_dir().join(format!("mqtt-broker-ports-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("ports");
        let addresses = [
            BoundAddress::Tcp("127.0.0.1:40123".parse().unwrap()),
            BoundAddress::Tcp("[::]:1883".parse().unwrap()),
            BoundAddress::Unix(PathBuf::from("/run/mqtt.sock")),
        ];
        write(&path, &addresses[..1]).unwrap();
        write(&path, &addresses).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "tcp 127.0.0.1:40123\ntcp [::]:1883\nunix /run/mqtt.sock\n");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }
}
