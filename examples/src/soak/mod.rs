//! Clients and servers under trouble for as long as one likes; then every call must be accounted for, on both
//! sides, and memory must be where it was.

mod args;
mod book;
mod caller;
mod memory;
mod proxy;
mod server;
mod service;
mod sheet;
mod trouble;

use args::Args;
use book::Books;
use caller::{Said, Talk};
use clap::Parser;
use fastrand::Rng;
use server::Replica;
use std::{
    ffi::OsString,
    io::{self, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    runtime::{Builder, Handle},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use towpath::{Backoff, Client, ClientConfig, Jitter};
use trouble::{Place, Seen};

/// How long calls may still take when no more are made: the longest deadline, a keep-alive for those
/// without one, and a busy machine.
const LAST_CALLS: Duration = Duration::from_secs(60);

/// Nothing of it is poisoned by a panic: each change is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a run came to.
pub(crate) struct Outcome {
    counts: book::Counts,
    said: Said,
    seen: Seen,
    elapsed: Duration,
    /// Resident bytes, at equal distances, after the warm-up.
    memory: Vec<u64>,
    /// Callers that did not come back, and tasks that were left.
    hanging: usize,
    left_tasks: usize,
}

/// The program: exit code 0 if the books balance, 1 if not, 2 if the command line cannot be used.
pub fn run(
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(refused) if refused.use_stderr() => {
            let _ = write!(err, "{refused}");
            return 2;
        }
        Err(help) => {
            let _ = write!(out, "{help}");
            return 0;
        }
    };
    hush();
    let mut builder =
        if args.current_thread { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    let result = builder.enable_all().build().and_then(|runtime| runtime.block_on(soak(&args, out)));
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) => {
            let _ = writeln!(err, "soak: {error}");
            return 1;
        }
    };
    match sheet::write(&args, &outcome, out) {
        Ok(true) => 0,
        _ => 1,
    }
}

/// Handlers panic on purpose; that is not to fill the screen.
fn hush() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<&str>() != Some(&service::ON_PURPOSE) {
            before(info);
        }
    }));
}

fn client(address: std::net::SocketAddr) -> Result<Client, towpath::Error> {
    let config = ClientConfig {
        connect_timeout: Duration::from_secs(2),
        keep_alive: Some(Duration::from_secs(1)),
        keep_alive_timeout: Duration::from_secs(1),
        ..ClientConfig::default()
    };
    let (base, max) = (Duration::from_millis(10), Duration::from_millis(300));
    let backoff = Backoff::try_new(base, max, 2.0, Jitter::Full).unwrap_or_default();
    // Calls bring deadlines of their own, or none.
    Client::builder()
        .without_defaults()
        .config(config)
        .reconnect(backoff)
        .connect_lazy(format!("mcp://{address}"))
}

async fn soak(args: &Args, out: &mut dyn Write) -> io::Result<Outcome> {
    let (books, talk, start) = (Arc::new(Books::new()), Arc::new(Talk::default()), Instant::now());
    let mut rng = Rng::with_seed(args.seed);
    let mut proxies = JoinSet::new();
    let (mut places, mut doors) = (Vec::new(), Vec::new());
    for _ in 0..args.servers {
        let replica = Replica::start(service::router(books.clone()))?;
        let (address, lines) = (replica.address, Arc::default());
        let (door, proxy) = proxy::open(address, Arc::clone(&lines)).await?;
        proxies.spawn(proxy);
        doors.push(door);
        places.push(Place { replica: replica.into(), lines, address });
    }
    let places = Arc::new(places);
    let mut callers = JoinSet::new();
    for _ in 0..args.clients {
        let clients = doors.iter().map(|door| client(*door)).collect::<Result<Vec<_>, _>>();
        let clients = clients.map_err(io::Error::other)?;
        for _ in 0..args.callers {
            let rng = Rng::with_seed(rng.u64(..));
            callers.spawn(caller::run(clients.clone(), books.clone(), talk.clone(), rng));
        }
    }
    let seen = Arc::new(Mutex::new(Seen::default()));
    let memory = tokio::select! {
        failed = trouble::make(places.clone(), Rng::with_seed(rng.u64(..)), seen.clone()) => {
            failed?;
            Vec::new()
        }
        memory = watch(args.duration(), &books, &seen, out) => memory?,
    };
    trouble::calm_down(&places).await?;
    talk.over.store(true, Relaxed);
    let all = async { while callers.join_next().await.is_some() {} };
    let _ = timeout(LAST_CALLS, all).await;
    let hanging = callers.len();
    callers.shutdown().await;
    for place in places.iter() {
        place.replica.lock().await.drain().await?;
    }
    proxies.shutdown().await;
    // The last connections take their leave.
    let metrics = Handle::current().metrics();
    for _ in 0..150 {
        if metrics.num_alive_tasks() == 0 {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    let (said, seen) = (lock(&talk.said).clone(), *lock(&seen));
    let left_tasks = metrics.num_alive_tasks();
    Ok(Outcome { counts: books.counts(), said, seen, elapsed: start.elapsed(), memory, hanging, left_tasks })
}

/// Waits until the time is up; samples memory, and says how it goes.
async fn watch(
    lasts: Duration,
    books: &Books,
    seen: &Mutex<Seen>,
    out: &mut dyn Write,
) -> io::Result<Vec<u64>> {
    // A hundred samples at least, of a long run one a second.
    let every = (lasts / 100).clamp(Duration::from_millis(50), Duration::from_secs(1));
    let (start, mut samples, mut line) = (Instant::now(), Vec::new(), Duration::ZERO);
    while start.elapsed() < lasts {
        sleep(every.min(lasts)).await;
        let Some(bytes) = memory::resident() else { continue };
        // A fifth of it is for caches to fill.
        if start.elapsed() >= lasts / 5 {
            samples.push(bytes);
        }
        if start.elapsed() >= line {
            line += (lasts / 10).max(Duration::from_secs(5));
            let (seconds, calls) = (start.elapsed().as_secs(), books.counts().issued);
            writeln!(
                out,
                "{seconds:>5} s  {calls:>9} calls  {:>5.1} MB  {}",
                bytes as f64 / 1e6,
                *lock(seen)
            )?;
        }
    }
    Ok(samples)
}
