//! One replica of a service: a listener on loopback and its connections, which can die and come back, freeze and thaw,
//! and which can be reset one by one.
//!
//! It uses towpath's server one connection at a time ([`ServerConnection`]) and accepts by itself, because a
//! well-behaved listener has no way to do what is done here.

use super::faults::Conditioned;
use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinHandle},
};
use tower::{Layer, util::Either};
use towpath::{
    ServerConfig,
    admin::CallsLayer,
    metrics::MetricsLayer,
    policies::Guarded,
    transport::{Drain, ServerConnection},
};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// What it serves: a router under conditions, behind a server's policies; counted and recorded, where somebody looks.
pub(crate) type Served = Perhaps<CallsLayer, Perhaps<MetricsLayer, Guarded<Conditioned>>>;

/// A service with a layer around it or without.
type Perhaps<L, S> = Either<<L as Layer<S>>::Service, S>;

/// A replica of a service.
pub(crate) struct Replica {
    address: SocketAddr,
    service: Served,
    open: Arc<OpenConnections>,
    listening: Mutex<Option<JoinHandle<()>>>,
    /// While it is dead: the port, held but not listened on, so that connecting is refused and nobody else
    /// gets it.
    held: Mutex<Option<TcpSocket>>,
    frozen: watch::Sender<bool>,
    up: Arc<AtomicBool>,
}

impl Replica {
    /// Serves on a free port.
    pub(crate) async fn start(service: Served) -> io::Result<Self> {
        let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?.listen(BACKLOG)?;
        let replica = Replica {
            address: listener.local_addr()?,
            service,
            open: Arc::default(),
            listening: Mutex::default(),
            held: Mutex::default(),
            frozen: watch::Sender::new(false),
            up: Arc::default(),
        };
        replica.listen(listener);
        Ok(replica)
    }

    /// Where it serves, dead or alive.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it is alive, as long as it exists.
    pub(crate) fn is_up(&self) -> Arc<AtomicBool> {
        self.up.clone()
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        self.open.lock().by_number.values().flatten().count()
    }

    /// Resets the n-th of the open connections: the peer gets an RST.
    pub(crate) fn reset(&self, n: usize) {
        if let Some(connection) = self.open.lock().by_number.values().flatten().nth(n) {
            connection.reset();
        }
    }

    /// Closes the listener and resets all connections. What its handlers were doing stops where it is.
    pub(crate) async fn die(&self) -> io::Result<()> {
        let Some(listening) = lock(&self.listening).take() else { return Ok(()) };
        listening.abort();
        self.up.store(false, Relaxed);
        // Only then is the port free to be held. The error says that it was aborted.
        let _ = listening.await;
        for connection in self.open.lock().by_number.values().flatten() {
            connection.reset();
        }
        *lock(&self.held) = Some(bind(self.address)?);
        Ok(())
    }

    /// Serves again, on the same port.
    pub(crate) fn revive(&self) -> io::Result<()> {
        if let Some(held) = lock(&self.held).take() {
            self.listen(held.listen(BACKLOG)?);
        }
        Ok(())
    }

    /// Freezes it, as SIGSTOP does a process, or thaws it: while it is frozen the system still takes connections and
    /// bytes for it, and nobody reads, answers or hangs up. (A handler that had begun to wait goes on; its answer
    /// stays here.)
    pub(crate) fn set_frozen(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    fn listen(&self, listener: TcpListener) {
        let frozen = self.frozen.subscribe();
        let accepting = accept(listener, self.service.clone(), self.open.clone(), frozen.clone());
        *lock(&self.listening) = Some(tokio::spawn(unless_frozen(frozen, accepting)));
        self.up.store(true, Relaxed);
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Connections of the past linger on the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Does the work, but not a step of it while it is frozen.
async fn unless_frozen<F: Future>(mut frozen: watch::Receiver<bool>, work: F) -> F::Output {
    let mut work = pin!(work);
    loop {
        // Who has frozen it is gone: it stays as it is.
        let Ok(_) = frozen.wait_for(|frozen| !frozen).await else { return std::future::pending().await };
        tokio::select! {
            biased;
            Ok(_) = frozen.wait_for(|frozen| *frozen) => {}
            output = &mut work => return output,
        }
    }
}

async fn accept(
    listener: TcpListener,
    service: Served,
    open: Arc<OpenConnections>,
    frozen: watch::Receiver<bool>,
) {
    let config = ServerConfig::default();
    loop {
        // What fails here is a connection that was gone before it was accepted.
        let Ok((stream, _)) = listener.accept().await else { continue };
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let resets = Arc::new(AtomicBool::new(false));
        let stream = Resettable { stream, resets: resets.clone() };
        let connection = ServerConnection::new(stream, service.clone(), &config, Drain::new().watch());
        open.add(resets, unless_frozen(frozen.clone(), connection));
    }
}

#[derive(Default)]
struct OpenConnections(Mutex<Numbered>);

#[derive(Default)]
struct Numbered {
    next: u64,
    /// `None`: its task is being spawned.
    by_number: BTreeMap<u64, Option<OpenConnection>>,
}

struct OpenConnection {
    resets: Arc<AtomicBool>,
    task: AbortHandle,
}

impl OpenConnection {
    fn reset(&self) {
        self.resets.store(true, Relaxed);
        self.task.abort();
    }
}

impl OpenConnections {
    fn lock(&self) -> MutexGuard<'_, Numbered> {
        lock(&self.0)
    }

    fn add<F: Future<Output: Send> + Send + 'static>(
        self: &Arc<Self>,
        resets: Arc<AtomicBool>,
        connection: F,
    ) {
        let number = {
            let mut numbered = self.lock();
            let number = numbered.next;
            numbered.next += 1;
            numbered.by_number.insert(number, None);
            number
        };
        let entry = Entry { open: self.clone(), number };
        // Not while the list is locked: a runtime that shuts down drops the task here and now, and the entry with it.
        let task = tokio::spawn(async move {
            let _entry = entry;
            connection.await
        });
        // Unless it has ended by now.
        if let Some(place) = self.lock().by_number.get_mut(&number) {
            *place = Some(OpenConnection { resets, task: task.abort_handle() });
        }
    }
}

/// Takes a connection out of the list when its task ends, however it ends.
struct Entry {
    open: Arc<OpenConnections>,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.open.lock().by_number.remove(&self.number);
    }
}

fn lock<T>(inside: &Mutex<T>) -> MutexGuard<'_, T> {
    inside.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stream whose end is an RST, if that is asked for.
struct Resettable {
    stream: TcpStream,
    resets: Arc<AtomicBool>,
}

impl Drop for Resettable {
    fn drop(&mut self) {
        if self.resets.load(Relaxed) {
            // If the socket is gone there is nothing to reset.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Resettable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Resettable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storefront::{faults::Conditions, services::UserFault};
    use std::time::Duration;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::sleep,
    };
    use towpath::{Router, ServerPolicies};

    async fn replica() -> Replica {
        let conditions = Arc::new(Conditions::new(1.0, 0.0, || UserFault::Busy.into(), 1));
        let service = Conditioned { router: Router::new(), conditions };
        let guarded = ServerPolicies::none().stack().layer(service);
        Replica::start(Either::Right(Either::Right(guarded))).await.unwrap()
    }

    /// Connects, and waits until the replica knows of it.
    async fn connect(replica: &Replica) -> TcpStream {
        let before = replica.open();
        let stream = TcpStream::connect(replica.address()).await.unwrap();
        while replica.open() == before {
            sleep(Duration::from_millis(1)).await;
        }
        stream
    }

    async fn ends_with_a_reset(mut stream: TcpStream) -> bool {
        let mut buf = [0; 64];
        loop {
            match stream.read(&mut buf).await {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
            }
        }
    }

    #[tokio::test]
    async fn one_connection_is_reset_and_the_others_live() {
        let replica = replica().await;
        let (first, second) = (connect(&replica).await, connect(&replica).await);
        replica.reset(1);
        assert!(ends_with_a_reset(second).await);
        assert_eq!(replica.open(), 1);
        replica.reset(7);
        replica.reset(0);
        assert!(ends_with_a_reset(first).await);
    }

    #[tokio::test]
    async fn a_dead_replica_refuses_and_comes_back_on_its_port() {
        let replica = replica().await;
        for _ in 0..20 {
            let stream = connect(&replica).await;
            replica.die().await.unwrap();
            replica.die().await.unwrap();
            assert!(ends_with_a_reset(stream).await);
            let refused = TcpStream::connect(replica.address()).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            assert_eq!(replica.open(), 0);
            replica.revive().unwrap();
            replica.revive().unwrap();
        }
        connect(&replica).await;
    }

    #[tokio::test]
    async fn a_frozen_replica_takes_what_is_sent_and_says_nothing() {
        const PING: &[u8] = b"MC\x01\x05\0\0\0\x08\0\0\0\0\0\0\0\x07";
        let replica = replica().await;
        let mut stream = connect(&replica).await;
        replica.set_frozen(true);
        stream.write_all(PING).await.unwrap();
        let mut late = TcpStream::connect(replica.address()).await.unwrap();
        late.write_all(PING).await.unwrap();
        sleep(Duration::from_millis(30)).await;
        assert_eq!(replica.open(), 1, "nobody accepts");
        replica.set_frozen(false);
        for stream in [&mut stream, &mut late] {
            let mut pong = [0; 8];
            stream.read_exact(&mut pong).await.unwrap();
            assert_eq!(&pong[..3], b"MC\x01");
        }
    }

    /// A task that is spawned while its runtime shuts down is dropped by who spawns it.
    #[test]
    fn a_connection_that_comes_while_the_runtime_ends_is_none() {
        let open = Arc::<OpenConnections>::default();
        struct Late(Arc<OpenConnections>);
        impl Drop for Late {
            fn drop(&mut self) {
                self.0.add(Arc::default(), async {});
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let late = Late(open.clone());
        runtime.spawn(async move {
            let _late = late;
            std::future::pending::<()>().await;
        });
        runtime.block_on(tokio::task::yield_now());
        drop(runtime);
        assert!(open.lock().by_number.is_empty());
    }

    #[tokio::test]
    async fn a_peer_that_closes_is_forgotten() {
        let replica = replica().await;
        drop(connect(&replica).await);
        while replica.open() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
}
