//! Files that an operator has named.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// As much as is read of a file: nobody writes so many rules or certificates, and no slip of the pen fills the memory.
const LARGEST: u64 = 64 << 20;

/// Opens a file and reads all of it. What is no file, such as a pipe that nobody writes to, is not waited for.
pub(crate) fn read(path: &Path) -> io::Result<(File, Vec<u8>)> {
    let kind = fs::metadata(path)?.file_type();
    if !kind.is_file() {
        let what = if kind.is_dir() { "it is a directory" } else { "it is not a regular file" };
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    (&file).take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() > usize::try_from(LARGEST).unwrap_or(usize::MAX) {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {LARGEST} bytes")));
    }
    Ok((file, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_are_read() {
        assert!(read(Path::new("Cargo.toml")).unwrap().1.starts_with(b"[package]"));
        assert_eq!(read(Path::new("src")).unwrap_err().to_string(), "it is a directory");
        assert_eq!(read(Path::new("no such file")).unwrap_err().kind(), io::ErrorKind::NotFound);
        #[cfg(unix)]
        assert_eq!(read(Path::new("/dev/zero")).unwrap_err().to_string(), "it is not a regular file");
    }
}
