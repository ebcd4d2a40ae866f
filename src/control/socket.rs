//! The socket itself: made so that nobody else can connect, made anew when
//! somebody takes it away, and removed afterwards.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::serve::Listener;
use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream as Connection, unix};
use tokio::time::{sleep, timeout};

use super::Error;

/// Owner and group may connect (connecting needs write permission, unix(7)).
const MODE: u32 = 0o660;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;
/// How often the socket's name is looked for.
const ROUND: Duration = Duration::from_secs(1);
/// How long to wait after an error that is likely to persist, such as running
/// out of file descriptors.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// A bound control socket; dropped, it is gone from the file system.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    name: SocketName,
    /// It was told already that the name cannot be taken again.
    was_told: bool,
}

impl ControlSocket {
    /// Makes the socket at `path`, and its folder (mode 0755) if need be. A
    /// socket that a dead daemon left is replaced.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When another daemon answers there, when something else is in the way,
    /// or when the system refuses.
    pub fn bind(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Bind { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(failed)?;
        }
        remove_stale(path)?;
        let socket = bound(path).map_err(failed)?;
        let name = SocketName::of(path).map_err(failed)?;
        // The umask may have taken bits away, never added any.
        fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(failed)?;
        socket.listen(BACKLOG).map_err(failed)?;
        let listener = UnixListener::from_std(socket.into()).map_err(failed)?;
        Ok(Self { listener, name, was_told: false })
    }
}

impl ControlSocket {
    /// Takes the name in the file system again if somebody took it away:
    /// nobody can connect to a socket without one.
    fn look_after(&mut self) {
        if self.name.is_there() {
            return;
        }
        let path = self.name.path.clone();
        match Self::bind(&path) {
            Ok(anew) => {
                tracing::warn!("somebody removed the control socket {}; it is there again", path.display());
                *self = anew;
            }
            Err(error) if !self.was_told => {
                tracing::error!("somebody removed the control socket, and it cannot be put back: {error}");
                self.was_told = true;
            }
            Err(_) => {}
        }
    }
}

impl Listener for ControlSocket {
    type Io = Connection;
    type Addr = unix::SocketAddr;

    async fn accept(&mut self) -> (Connection, unix::SocketAddr) {
        loop {
            match timeout(ROUND, self.listener.accept()).await {
                Ok(Ok(accepted)) => return accepted,
                Ok(Err(_)) => sleep(ERROR_PAUSE).await,
                Err(_) => self.look_after(),
            }
        }
    }

    fn local_addr(&self) -> io::Result<unix::SocketAddr> {
        self.listener.local_addr()
    }
}

fn bound(path: &Path) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // The kernel makes the file with the socket's own mode (unix_bind), so
    // there is no instant in which others may connect.
    fchmod(&socket, Mode::from_bits_truncate(MODE))?;
    socket.bind(&SockAddr::unix(path)?)?;
    Ok(socket)
}

fn remove_stale(path: &Path) -> Result<(), Error> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(Error::InTheWay(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|source| Error::Bind { path: path.to_owned(), source })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(_) => Err(Error::InUse(path.to_owned())),
        Err(source) => Err(Error::Bind { path: path.to_owned(), source }),
    }
}

/// The socket's name in the file system; dropped, it removes it, unless
/// another socket has taken the name meanwhile.
#[derive(Debug)]
struct SocketName {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketName {
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: found.dev(), inode: found.ino() })
    }

    /// Whether it still names our socket.
    fn is_there(&self) -> bool {
        let ours = |found: fs::Metadata| found.dev() == self.device && found.ino() == self.inode;
        fs::symlink_metadata(&self.path).is_ok_and(ours)
    }
}

impl Drop for SocketName {
    fn drop(&mut self) {
        if self.is_there()
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}
