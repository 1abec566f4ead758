//! Unix stream sockets, on systems that have them.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;
pub use tokio::net::UnixStream;

use super::{PeerProcess, UnixAccess};
use crate::transport::BACKLOG;

/// A Unix socket that is listened on. Its file is removed with it, if it is ours and still the same file.
#[derive(Debug)]
pub struct OwnedUnixListener {
    listener: UnixListener,
    path: PathBuf,
    /// None where it belongs to whoever has passed the socket on.
    file: Option<FileIdentity>,
}

impl OwnedUnixListener {
    /// Listens at this path. A socket that is there already is replaced only if nobody listens on it.
    ///
    /// Nobody can connect before `access` holds.
    pub(in crate::transport) fn bind(path: &Path, access: UnixAccess) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        let address = SockAddr::unix(path)?;
        if let Err(error) = socket.bind(&address) {
            if error.kind() != io::ErrorKind::AddrInUse {
                return Err(error);
            }
            remove_abandoned(path, &address)?;
            socket.bind(&address)?;
        }
        access.grant(path)?;
        socket.set_nonblocking(true)?;
        socket.listen(BACKLOG)?;
        let file = Some(FileIdentity::of(path)?);
        Ok(Self { listener: UnixListener::from_std(socket.into())?, path: path.to_owned(), file })
    }

    /// Goes on with a socket that listens already.
    pub(in crate::transport) fn adopt(listener: StdUnixListener) -> io::Result<Self> {
        // One without a name in the file system is shown without one.
        let path = listener.local_addr()?.as_pathname().map(Path::to_owned).unwrap_or_default();
        Ok(Self { listener: UnixListener::from_std(listener)?, path, file: None })
    }

    /// Where it listens.
    pub(in crate::transport) fn path(&self) -> &Path {
        &self.path
    }

    pub(in crate::transport) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl UnixAccess {
    fn grant(self, path: &Path) -> io::Result<()> {
        if self.user.is_some() || self.group.is_some() {
            chown(path, self.user, self.group)?;
        }
        self.mode.map_or(Ok(()), |mode| fs::set_permissions(path, Permissions::from_mode(mode)))
    }
}

impl PeerProcess {
    /// Who connected.
    pub(in crate::transport) fn of(stream: &UnixStream) -> Option<Self> {
        let credentials = stream.peer_cred().ok()?;
        Some(Self { uid: credentials.uid(), gid: credentials.gid(), pid: credentials.pid() })
    }
}

impl Drop for OwnedUnixListener {
    fn drop(&mut self) {
        if self.file.is_some_and(|ours| FileIdentity::of(&self.path).is_ok_and(|file| file == ours)) {
            // Whoever removed it in the meantime has done what was to be done.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// Removes a socket's file if nobody listens on it any more.
fn remove_abandoned(path: &Path, address: &SockAddr) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is not a socket"));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A listener whose backlog is full would let us wait.
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Ok(()) | Err(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody listens on it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path of its own for each test, in a directory that goes with it.
    struct Directory(PathBuf);

    impl Directory {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("mqtt-broker-{}-{test}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("socket")
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn an_abandoned_socket_is_replaced_and_removed_at_the_end() {
        let directory = Directory::new("abandoned");
        let path = directory.socket();
        drop(StdUnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let listener = OwnedUnixListener::bind(&path, UnixAccess::default()).unwrap();
        let (client, served) = tokio::join!(UnixStream::connect(&path), listener.accept());
        assert!(client.is_ok() && served.is_ok());
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_is_listened_on_is_left_alone() {
        let directory = Directory::new("in-use");
        let path = directory.socket();
        let _other = StdUnixListener::bind(&path).unwrap();
        assert_eq!(
            OwnedUnixListener::bind(&path, UnixAccess::default()).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_file_that_is_not_a_socket_is_left_alone() {
        let directory = Directory::new("not-a-socket");
        let path = directory.socket();
        fs::write(&path, "precious").unwrap();
        assert_eq!(
            OwnedUnixListener::bind(&path, UnixAccess::default()).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn the_socket_of_a_successor_is_not_removed() {
        let directory = Directory::new("successor");
        let path = directory.socket();
        let listener = OwnedUnixListener::bind(&path, UnixAccess::default()).unwrap();
        fs::rename(&path, directory.0.join("moved")).unwrap();
        let _successor = StdUnixListener::bind(&path).unwrap();
        drop(listener);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn its_file_has_the_permissions_and_the_owner_that_were_asked_for() {
        let directory = Directory::new("access");
        let path = directory.socket();
        let owner = fs::metadata(&directory.0).unwrap();
        for mode in [0o600, 0o660, 0o666] {
            let access = UnixAccess { mode: Some(mode), user: Some(owner.uid()), group: Some(owner.gid()) };
            let _listener = OwnedUnixListener::bind(&path, access).unwrap();
            let file = fs::metadata(&path).unwrap();
            assert_eq!((file.mode() & 0o7777, file.uid(), file.gid()), (mode, owner.uid(), owner.gid()));
        }
    }

    #[tokio::test]
    async fn the_process_at_the_other_end_is_known() {
        let directory = Directory::new("process");
        let listener = OwnedUnixListener::bind(&directory.socket(), UnixAccess::default()).unwrap();
        let (client, served) = tokio::join!(UnixStream::connect(directory.socket()), listener.accept());
        let _client = client.unwrap();
        let process = PeerProcess::of(&served.unwrap()).unwrap();
        assert_eq!(process.uid, fs::metadata(&directory.0).unwrap().uid());
        assert!(process.to_string().starts_with(&format!("uid={},gid={}", process.uid, process.gid)));
        #[cfg(target_os = "linux")]
        assert_eq!(process.pid, i32::try_from(std::process::id()).ok());
    }
}
