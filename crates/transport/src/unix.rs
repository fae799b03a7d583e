//! Unix sockets: files that have to be made, and to be taken away.

use std::{
    fs::{self, File, Permissions, TryLockError},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{net::UnixSocket, time::sleep};

pub(crate) use tokio::net::{UnixListener, UnixStream};

/// How often, and after how long, a folder that another server has locked is tried again. The lock is held
/// for microseconds; whoever holds it longer is no server of ours, and is not waited for.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// Connects to the socket of a path.
pub(crate) async fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

/// Why that failed, in words.
pub(crate) fn reason(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file: the server does not run".to_owned(),
        io::ErrorKind::ConnectionRefused
            if fs::metadata(path).is_ok_and(|file| !file.file_type().is_socket()) =>
        {
            "the file is no socket: check the path".to_owned()
        }
        io::ErrorKind::ConnectionRefused => {
            "connection refused: nobody listens there, the file is left from a server that has died"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "permission denied: this user may not write to the socket's file, or not enter its folder"
                .to_owned()
        }
        io::ErrorKind::WouldBlock => {
            "too many wait to be accepted already: the server is too busy, or stands still".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Listens on the socket of a path, with these permissions. A file that a dead server has left is replaced; a
/// socket on which somebody listens, and a file that is no socket, are not touched.
pub(crate) async fn listen(path: &Path, mode: u32, backlog: u32) -> io::Result<(UnixListener, SocketFile)> {
    // Two servers that start at a time must not both find, and both replace, what a third has left.
    let lock = lock_folder(path).await;
    let socket = UnixSocket::new_stream()?;
    match socket.bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path).await?;
            socket.bind(path)?;
        }
        other => other?,
    }
    let file = SocketFile::of(path)?;
    // Before it listens: nobody gets in by the permissions that it was made with.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    let listener = socket.listen(backlog)?;
    drop(lock);
    Ok((listener, file))
}

async fn lock_folder(path: &Path) -> Option<File> {
    // A path without a folder is in the one that this process is in.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(".".as_ref());
    let folder = File::open(folder).ok()?;
    for _ in 0..TRIES {
        match folder.try_lock() {
            Ok(()) => return Some(folder),
            Err(TryLockError::WouldBlock) => sleep(PAUSE).await,
            // Not on every file system.
            Err(TryLockError::Error(_)) => return None,
        }
    }
    None
}

async fn remove_stale(path: &Path) -> io::Result<()> {
    let in_use = |why: &str| Err(io::Error::new(io::ErrorKind::AddrInUse, why));
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return in_use("there is a file of that name, and it is no socket");
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => in_use("another server listens there"),
    }
}

/// The file of a socket, removed when this is dropped, unless it is another one by then.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and number; none when it is not ours any more.
    id: Option<(u64, u64)>,
}

impl SocketFile {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Ok(SocketFile { path: path.to_owned(), id: Some(id(path)?) })
    }

    /// Leaves the file where it is: it belongs to another process from now on.
    pub(crate) fn leave(mut self) {
        self.id = None;
    }
}

fn id(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.id.is_some()
            && id(&self.path).ok() == self.id
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the file of a socket cannot be removed");
        }
    }
}
