//! A thread for each core, and nothing between them.

use std::{
    fmt,
    future::Future,
    io,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Acquire, Ordering::Release},
    },
    thread,
};
use tokio::{
    runtime::{Builder, Handle},
    sync::Notify,
    task::{JoinError, JoinHandle},
};

/// Runtimes of one thread each: the fast mode.
///
/// A task that is spawned on one of them stays on its thread. Where a connection, its driver and its callers are
/// together on one, a call is never handed from core to core: no other thread waits for its locks, and nothing
/// of it is in another core's cache. On tokio's multi-thread runtime an idle worker steals tasks from a busy one,
/// which is right for work that is long and uneven, and dear for work that is short.
///
/// The price: a thread that is busy is not helped by the others, and a handler that blocks or computes holds up
/// all connections of its thread (see [`spawned`](crate::router::Handler::spawned), and
/// `tokio::task::spawn_blocking`).
///
/// ```
/// use towpath::{Client, Cores, Router, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cores = Cores::new(2)?;
/// // The server accepts on the first, and its connections are spread over all.
/// let runtimes = cores.handles().to_vec();
/// let (say, hear) = std::sync::mpsc::channel();
/// cores.spawn_on(0, async move {
///     let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
///     say.send(server.address().to_string()).unwrap();
///     let router = Router::new().route("Greeter.Hello", async || "hello");
///     server.serve(router).across(runtimes).await.unwrap();
/// });
/// let address = hear.recv()?;
/// // A client for each core, its callers on the same thread.
/// let answers = cores.run(|_| {
///     let address = address.clone();
///     async move {
///         let client = Client::connect(&address).await?;
///         client.request("Greeter.Hello").raw("").send::<String>().await
///     }
/// })?;
/// for answer in answers {
///     assert_eq!(answer?, "hello");
/// }
/// # Ok(())
/// # }
/// ```
///
/// Dropping it ends the threads, each after the poll that it is in; what is still running on them is dropped
/// there.
pub struct Cores {
    handles: Vec<Handle>,
    threads: Vec<thread::JoinHandle<()>>,
    stop: Arc<Stop>,
}

#[derive(Default)]
struct Stop {
    asked: AtomicBool,
    notify: Notify,
}

impl Cores {
    /// So many threads, each with a runtime of its own.
    ///
    /// # Errors
    /// If there are to be none, or the system refuses a thread or what a runtime needs.
    pub fn new(threads: usize) -> io::Result<Self> {
        if threads == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "there has to be a thread at least"));
        }
        let mut cores = Cores { handles: Vec::new(), threads: Vec::new(), stop: Arc::default() };
        for index in 0..threads {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let stop = cores.stop.clone();
            cores.handles.push(runtime.handle().clone());
            let thread = thread::Builder::new().name(format!("towpath-{index}"));
            cores.threads.push(thread.spawn(move || runtime.block_on(stop.wait()))?);
        }
        Ok(cores)
    }

    /// One for each core that this process may use.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn all() -> io::Result<Self> {
        Self::new(thread::available_parallelism().map_or(1, NonZeroUsize::get))
    }

    /// Their runtimes.
    pub fn handles(&self) -> &[Handle] {
        &self.handles
    }

    /// Spawns on one of them, counted from 0, and round again beyond the last.
    pub fn spawn_on<F>(&self, core: usize, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.handles[core % self.handles.len()].spawn(task)
    }

    /// Spawns one task on each: `make` is given its number.
    pub fn spawn_each<F>(&self, mut make: impl FnMut(usize) -> F) -> Vec<JoinHandle<F::Output>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.handles.iter().enumerate().map(|(core, handle)| handle.spawn(make(core))).collect()
    }

    /// Runs one task on each, and waits for all of them: for `main`.
    ///
    /// # Errors
    /// If a task panics.
    ///
    /// # Panics
    /// Inside an asynchronous task, which must not be blocked.
    pub fn run<F>(&self, make: impl FnMut(usize) -> F) -> Result<Vec<F::Output>, JoinError>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let tasks = self.spawn_each(make);
        tasks.into_iter().zip(&self.handles).map(|(task, handle)| handle.block_on(task)).collect()
    }

    /// Ends the threads, and waits until they have ended. Not to be called from one of them.
    pub fn join(mut self) {
        self.stop.ask();
        for thread in self.threads.drain(..) {
            // One that has panicked has ended as well; a task's panic does not end it.
            let _ = thread.join();
        }
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        self.stop.ask();
    }
}

impl Stop {
    fn ask(&self) {
        self.asked.store(true, Release);
        self.notify.notify_waiters();
    }

    async fn wait(&self) {
        let notified = self.notify.notified();
        // Registered by its creation: what was asked before is seen here.
        if !self.asked.load(Acquire) {
            notified.await;
        }
    }
}

impl fmt::Debug for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cores").field("threads", &self.handles.len()).finish_non_exhaustive()
    }
}
