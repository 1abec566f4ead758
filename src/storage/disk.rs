//! The file system that there is.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::StorageError;
use super::directory::{Access, Directory, File};

/// Locked for as long as somebody uses the directory.
const LOCK: &str = "lock";

/// A directory of the file system, locked.
#[derive(Debug)]
pub struct DiskDirectory {
    path: PathBuf,
    _lock: Option<Lock>,
}

impl DiskDirectory {
    /// Takes a directory for a broker, and makes it if it is not there. Nobody else can take it or look into it until
    /// this is dropped.
    pub fn take(path: &Path) -> Result<Self, StorageError> {
        let wrong = |source| StorageError::Directory { path: path.to_owned(), source };
        must_be_directory(path)?;
        make(path).and_then(|()| must_be_writable(path)).map_err(wrong)?;
        let lock = path.join(LOCK);
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(lock);
        let lock = Lock::exclusive(file.map_err(wrong)?).map_err(|error| refused(path, error))?;
        Ok(Self { path: path.to_owned(), _lock: Some(lock) })
    }

    /// Opens a directory to look into it. Any number can do that, but not while a broker has it. Not a byte of it
    /// changes; not even a file to lock is made where there is none, as in a copy.
    pub fn look_into(path: &Path) -> Result<Self, StorageError> {
        let wrong = |source| StorageError::Directory { path: path.to_owned(), source };
        must_be_directory(path)?;
        fs::read_dir(path).map_err(wrong)?;
        let lock = match fs::File::open(path.join(LOCK)) {
            Ok(file) => Some(Lock::shared(file).map_err(|error| refused(path, error))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(wrong(error)),
        };
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What there is by this name, if anything is, has to be a directory.
fn must_be_directory(path: &Path) -> Result<(), StorageError> {
    if fs::metadata(path).is_ok_and(|found| !found.is_dir()) {
        return Err(StorageError::NoDirectory { path: path.to_owned() });
    }
    Ok(())
}

fn refused(path: &Path, error: io::Error) -> StorageError {
    let path = path.to_owned();
    if error.kind() == io::ErrorKind::WouldBlock {
        StorageError::Locked { path }
    } else {
        StorageError::Directory { path, source: error }
    }
}

/// Whether files can be made in it: the first one may have to be only when the broker has run for long.
#[cfg(unix)]
fn must_be_writable(path: &Path) -> io::Result<()> {
    use nix::fcntl::{AT_FDCWD, AtFlags};
    use nix::unistd::{AccessFlags, faccessat};
    Ok(faccessat(AT_FDCWD, path, AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS)?)
}

// Elsewhere it is seen when one has to be made.
#[cfg(not(unix))]
fn must_be_writable(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Makes the directory and those above it. What clients have entrusted to the broker is nobody else's business.
fn make(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

impl Directory for DiskDirectory {
    type File = fs::File;

    fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // A name that is not UTF-8 is not one of ours.
            if let (false, Ok(name)) = (entry.file_type()?.is_dir(), entry.file_name().into_string()) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<fs::File> {
        let path = self.path.join(name);
        if let Some(parent) = path.parent().filter(|parent| *parent != self.path) {
            make(parent)?;
        }
        let mut options = OpenOptions::new();
        options.create_new(true).read(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path)
    }

    fn open(&self, name: &str, access: Access) -> io::Result<fs::File> {
        OpenOptions::new().read(true).write(access == Access::Write).open(self.path.join(name))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    #[cfg(unix)]
    fn sync(&self) -> io::Result<()> {
        fs::File::open(&self.path)?.sync_all()
    }

    // Elsewhere a directory cannot be opened as a file.
    #[cfg(not(unix))]
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    #[cfg(unix)]
    fn free_space(&self) -> io::Result<Option<u64>> {
        let space = nix::sys::statvfs::statvfs(&self.path)?;
        // On some systems one of the two has 32 bits.
        #[allow(clippy::useless_conversion, reason = "not on all systems")]
        let (blocks, size): (u64, u64) = (space.blocks_available().into(), space.fragment_size().into());
        Ok(Some(blocks.saturating_mul(size)))
    }

    #[cfg(not(unix))]
    fn free_space(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

impl File for fs::File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    #[cfg(unix)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(self, buffer, offset)
    }

    #[cfg(unix)]
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::write_at(self, bytes, offset)
    }

    #[cfg(windows)]
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_write(self, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        Self::sync_data(self)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    #[cfg(target_os = "linux")]
    fn allocate(&self, len: u64) -> io::Result<()> {
        use nix::errno::Errno;
        use nix::fcntl::{FallocateFlags, fallocate};
        let len = len.try_into().map_err(io::Error::other)?;
        match fallocate(self, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, len) {
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
            done => Ok(done?),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn allocate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Held as long as it lives; the system gives it back if the process ends.
#[cfg(unix)]
#[derive(Debug)]
struct Lock(#[expect(dead_code, reason = "it is held, not used")] nix::fcntl::Flock<fs::File>);

#[cfg(unix)]
impl Lock {
    fn exclusive(file: fs::File) -> io::Result<Self> {
        Self::take(file, nix::fcntl::FlockArg::LockExclusiveNonblock)
    }

    fn shared(file: fs::File) -> io::Result<Self> {
        Self::take(file, nix::fcntl::FlockArg::LockSharedNonblock)
    }

    fn take(file: fs::File, how: nix::fcntl::FlockArg) -> io::Result<Self> {
        nix::fcntl::Flock::lock(file, how).map(Self).map_err(|(_, error)| error.into())
    }
}

/// Elsewhere nobody is kept out.
#[cfg(not(unix))]
#[derive(Debug)]
struct Lock;

#[cfg(not(unix))]
impl Lock {
    fn exclusive(_: fs::File) -> io::Result<Self> {
        Ok(Self)
    }

    fn shared(_: fs::File) -> io::Result<Self> {
        Ok(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::TemporaryDirectory;

    #[test]
    fn one_broker_has_a_directory_and_any_number_look_into_it() {
        let directory = TemporaryDirectory::new();
        let locked =
            |result: Result<DiskDirectory, StorageError>| matches!(result, Err(StorageError::Locked { .. }));
        let broker = DiskDirectory::take(directory.path()).unwrap();
        assert!(locked(DiskDirectory::take(directory.path())));
        assert!(locked(DiskDirectory::look_into(directory.path())));
        drop(broker);

        let one = DiskDirectory::look_into(directory.path()).unwrap();
        let other = DiskDirectory::look_into(directory.path()).unwrap();
        assert!(locked(DiskDirectory::take(directory.path())));
        drop((one, other));
        DiskDirectory::take(directory.path()).unwrap();
    }

    #[test]
    fn looking_into_a_copy_makes_no_file() {
        let directory = TemporaryDirectory::new();
        DiskDirectory::look_into(directory.path()).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn files_keep_what_is_written() {
        let directory = TemporaryDirectory::new();
        let directory = DiskDirectory::take(&directory.path().join("new")).unwrap();
        let file = directory.create("below/a").unwrap();
        file.allocate(1 << 16).unwrap();
        assert_eq!(File::len(&file).unwrap(), 0, "what is reserved is not there yet");
        file.write_all_at(b"hello", 3).unwrap();
        File::sync_data(&file).unwrap();
        directory.sync().unwrap();
        file.truncate(7).unwrap();
        let mut buffer = [1; 10];
        let file = directory.open("below/a", Access::Read).unwrap();
        assert_eq!(file.read_fully(&mut buffer, 0).unwrap(), 7);
        assert_eq!(&buffer[..7], b"\0\0\0hell");
        assert_eq!(directory.list().unwrap(), ["lock"], "files in directories below are not listed");
        assert_eq!(directory.create("below/a").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        directory.remove("below/a").unwrap();
        assert!(directory.open("below/a", Access::Read).is_err());
    }
}
