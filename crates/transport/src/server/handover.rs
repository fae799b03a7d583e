//! One server hands its listening socket to the next, in another process: the queue of connections that wait to
//! be accepted belongs to the socket, so none of them is refused or reset.
//!
//! The old one offers its socket on a Unix socket of its own (the offer). The new one connects there and gets it
//! (`SCM_RIGHTS`). When the new one is about to accept it says so; the old one takes its offer away, says that, and
//! drains. A new one that dies before leaves the old one as it was. An old one that is told to end before leaves
//! the socket, and what waits in its queue, to the new one.

use super::socket::{Kind, Listener};
use crate::unix::{self, SocketFile, UnixListener, UnixStream};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    time::{sleep, timeout},
};

/// What the new one says when it is about to accept, and the old one when its offer is gone.
const READY: u8 = b'R';
const GONE: u8 = b'G';

/// How long the new one has from taking the socket to accepting on it; others who want it wait meanwhile.
const START: Duration = Duration::from_secs(120);

/// How long each side waits for a word of the other that needs no work.
const WORD: Duration = Duration::from_secs(10);

/// Only this user takes a listener over.
const MODE: u32 = 0o600;

/// What a server does about its successor.
#[derive(Debug)]
pub(super) enum Handover {
    /// Nothing.
    None,
    /// It offers its socket.
    Offered(Offer),
    /// It has its socket from another one, which has to be told.
    Taken(Old),
}

/// An offer, open to be taken.
#[derive(Debug)]
pub(super) struct Offer {
    control: UnixListener,
    file: SocketFile,
    /// Somebody has the socket who is still there, and does not accept yet.
    is_out: AtomicBool,
}

/// The server that is replaced, still at work.
#[derive(Debug)]
pub(super) struct Old {
    stream: UnixStream,
    path: PathBuf,
}

/// The server that replaces this one, and waits for a word.
pub(super) struct New {
    stream: UnixStream,
    file: SocketFile,
}

fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Takes the socket that is offered at a path; `None` if nobody offers one there.
pub(super) async fn take(path: &Path) -> io::Result<Option<(Listener, Old)>> {
    let stream = match unix::connect(path).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    // The folder may be one where others make files too.
    same_user(stream.peer_cred()?.uid(), rustix::process::geteuid().as_raw())?;
    let (kind, socket) = match timeout(WORD, stream.async_io(Interest::READABLE, || receive(&stream))).await {
        Ok(received) => received?,
        Err(_) => return Err(broken("the server at work does not answer, another one may be taking over")),
    };
    let listener = match kind {
        b'T' => Listener::from_std(socket.into())?,
        b'U' => Listener::adopt_unix(socket.into())?,
        _ => return Err(broken("the server at work speaks another version")),
    };
    Ok(Some((listener, Old { stream, path: path.to_owned() })))
}

/// Nobody else's socket is taken: who listens on it gets a part of the connections.
fn same_user(theirs: u32, own: u32) -> io::Result<()> {
    if theirs == own {
        return Ok(());
    }
    let why = format!("the server that offers its socket runs as user {theirs}, this one as user {own}");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

impl Old {
    /// This server accepts now: the old one stops, and this one offers its socket to the next. It goes on whatever
    /// comes of that: the old one may have stopped already.
    pub(super) async fn replace(mut self) -> Option<Offer> {
        let word = async {
            self.stream.write_u8(READY).await?;
            self.stream.read_u8().await
        };
        match timeout(WORD, word).await {
            Ok(Ok(GONE)) => {}
            Ok(Ok(_)) => tracing::warn!("the old server speaks another version, and may go on"),
            Ok(Err(error)) => tracing::warn!(%error, "the old server ended before it was told to"),
            Err(_) => tracing::warn!("the old server does not answer, and may go on"),
        }
        match Offer::open(&self.path).await {
            Ok(offer) => Some(offer),
            Err(error) => {
                let path = self.path.display();
                tracing::warn!(%error, "no successor can take over at {path}");
                None
            }
        }
    }
}

impl Offer {
    pub(super) async fn open(path: &Path) -> io::Result<Self> {
        let (control, file) = unix::listen(path, MODE, 8).await?;
        Ok(Offer { control, file, is_out: AtomicBool::new(false) })
    }

    /// Whether a successor has the socket by now: what waits to be accepted is for it, and so is the file.
    pub(super) fn is_out(&self) -> bool {
        self.is_out.load(Relaxed)
    }

    /// Waits until a successor accepts.
    pub(super) async fn taken(&self, listener: &Listener) -> UnixStream {
        loop {
            match self.control.accept().await {
                Ok((stream, _)) => {
                    let given = timeout(START, self.give(stream, listener)).await;
                    self.is_out.store(false, Relaxed);
                    match given {
                        Ok(Ok(successor)) => return successor,
                        Ok(Err(error)) => tracing::warn!(%error, "a successor did not take over"),
                        Err(_) => {
                            tracing::warn!("a successor did not take over within {} s", START.as_secs());
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "no successor can take over for the moment");
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    async fn give(&self, mut stream: UnixStream, listener: &Listener) -> io::Result<UnixStream> {
        let (kind, socket) = match listener.kind() {
            Kind::Tcp(listener) => (b'T', listener.as_fd()),
            Kind::Unix(listener) => (b'U', listener.as_fd()),
        };
        stream.async_io(Interest::WRITABLE, || send(&stream, kind, socket)).await?;
        self.is_out.store(true, Relaxed);
        match stream.read_u8().await? {
            READY => Ok(stream),
            _ => Err(broken("the successor speaks another version")),
        }
    }

    pub(super) fn close(self, stream: UnixStream) -> New {
        New { stream, file: self.file }
    }
}

impl New {
    /// This server accepts no more, and its offer is gone.
    pub(super) async fn go_ahead(self) {
        let New { mut stream, file } = self;
        drop(file);
        if let Ok(Err(error)) = timeout(WORD, stream.write_u8(GONE)).await {
            tracing::warn!(%error, "the successor is gone");
        }
    }
}

fn send(stream: &UnixStream, kind: u8, socket: BorrowedFd<'_>) -> io::Result<()> {
    let sockets = [socket];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&sockets));
    sendmsg(stream, &[IoSlice::new(&[kind])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive(stream: &UnixStream) -> io::Result<(u8, OwnedFd)> {
    let mut kind = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut kind)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Err(broken("the server at work has ended"));
    }
    let mut sockets = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
        _ => None,
    });
    match sockets.next().and_then(|mut sockets| sockets.next()) {
        Some(socket) => Ok((kind[0], socket)),
        None => Err(broken("no socket came")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_s_socket_is_taken() {
        assert!(same_user(1000, 1000).is_ok());
        let refused = same_user(1000, 0).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(refused.to_string().contains("1000"), "{refused}");
    }
}
