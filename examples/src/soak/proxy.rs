//! A way to a server on which things go wrong.

use super::lock;
use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{Notify, watch},
    task::JoinSet,
};

/// How a connection ends that is not left alone.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    Reset,
    End,
}

/// The connections that go through now.
#[derive(Default)]
pub(crate) struct Lines {
    open: Mutex<(u64, BTreeMap<u64, Arc<Line>>)>,
    /// What the next connection meets is no server.
    garbage: AtomicBool,
}

struct Line {
    cut: Notify,
    how: Mutex<Cut>,
    stalled: watch::Sender<bool>,
}

impl Lines {
    pub(crate) fn len(&self) -> usize {
        lock(&self.open).1.len()
    }

    fn nth(&self, n: usize) -> Option<Arc<Line>> {
        lock(&self.open).1.values().nth(n).cloned()
    }

    pub(crate) fn cut(&self, n: usize, how: Cut) {
        if let Some(line) = self.nth(n) {
            *lock(&line.how) = how;
            line.cut.notify_one();
        }
    }

    /// Nothing passes until it is told otherwise; what becomes of the connection meanwhile is its own affair.
    pub(crate) fn stall(&self, n: usize) -> Option<impl FnOnce() + use<>> {
        let line = self.nth(n)?;
        line.stalled.send_replace(true);
        Some(move || {
            line.stalled.send_replace(false);
        })
    }

    pub(crate) fn answer_garbage(&self) {
        self.garbage.store(true, Relaxed);
    }
}

/// Listens on a free port, and takes what comes there to `server`. It ends when it is dropped.
pub(crate) async fn open(
    server: SocketAddr,
    lines: Arc<Lines>,
) -> io::Result<(SocketAddr, impl Future<Output = ()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    Ok((address, accept(listener, server, lines)))
}

async fn accept(listener: TcpListener, server: SocketAddr, lines: Arc<Lines>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                // What fails here is a connection that was gone before it was accepted.
                if let Ok((near, _)) = accepted {
                    connections.spawn(serve(near, server, lines.clone()));
                }
            }
        }
    }
}

async fn serve(mut near: TcpStream, server: SocketAddr, lines: Arc<Lines>) {
    if lines.garbage.swap(false, Relaxed) {
        let garbage: Vec<u8> = (0..500).map(|_| fastrand::u8(..)).collect();
        let _ = near.write_all(&garbage).await;
        return;
    }
    // Nobody there: the client's connection ends as soon as it is made.
    let Ok(mut far) = TcpStream::connect(server).await else { return };
    if near.set_nodelay(true).is_err() || far.set_nodelay(true).is_err() {
        return;
    }
    let line =
        Arc::new(Line { cut: Notify::new(), how: Mutex::new(Cut::End), stalled: watch::Sender::new(false) });
    let id = {
        let mut open = lock(&lines.open);
        open.0 += 1;
        let id = open.0;
        open.1.insert(id, line.clone());
        id
    };
    let cut = {
        let ((near_read, near_write), (far_read, far_write)) = (near.split(), far.split());
        let both = async {
            tokio::join!(
                pump(near_read, far_write, line.stalled.subscribe()),
                pump(far_read, near_write, line.stalled.subscribe()),
            );
        };
        tokio::select! {
            () = line.cut.notified() => true,
            () = both => false,
        }
    };
    if cut && matches!(*lock(&line.how), Cut::Reset) {
        // Best effort: without it, it is an orderly end.
        let _ = near.set_zero_linger();
        let _ = far.set_zero_linger();
    }
    lock(&lines.open).1.remove(&id);
}

/// One direction, until its end.
async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut stalled: watch::Receiver<bool>) {
    let mut block = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut block).await {
        // An error says that the line is gone, which the writing will tell as well.
        let _ = stalled.wait_for(|stalled| !stalled).await;
        if to.write_all(&block[..read]).await.is_err() {
            break;
        }
    }
    // Half of a connection may end before the other.
    let _ = to.shutdown().await;
}
