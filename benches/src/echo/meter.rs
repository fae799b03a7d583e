//! What is measured: calls, latency, CPU of both processes, allocations.

use crate::args::{Args, Stack};
use hdrhistogram::Histogram;
use std::{
    fs,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
};
use tokio::time::Instant;

const WARM_UP: u8 = 0;
const MEASURED: u8 = 1;
const OVER: u8 = 2;

type Latencies = Arc<Mutex<Histogram<u32>>>;

#[derive(Clone)]
pub(crate) struct Meter(Arc<Inner>);

struct Inner {
    phase: AtomicU8,
    laps: Mutex<Vec<Latencies>>,
}

/// One caller's clock. Histograms are shared by 16 callers each: one for each would push the work itself
/// out of the cache.
pub(crate) struct Lap {
    meter: Meter,
    latencies: Latencies,
    since: Instant,
}

pub(crate) struct Window {
    since: Instant,
    client_cpu: f64,
    server_cpu: f64,
    server_pid: Option<u32>,
    allocations: (u64, u64),
}

/// 100 ns to 60 s, two digits.
fn histogram() -> Histogram<u32> {
    Histogram::new_with_bounds(100, 60_000_000_000, 2).unwrap_or_else(|_| unreachable!("constant bounds"))
}

impl Meter {
    pub(crate) fn new() -> Self {
        Meter(Arc::new(Inner { phase: AtomicU8::new(WARM_UP), laps: Mutex::new(Vec::new()) }))
    }

    pub(crate) fn lap(&self) -> Lap {
        let mut laps = self.0.laps.lock().unwrap_or_else(PoisonError::into_inner);
        let latencies = match laps.last() {
            Some(last) if Arc::strong_count(last) <= 16 => last.clone(),
            _ => {
                let fresh: Latencies = Arc::new(Mutex::new(histogram()));
                laps.push(fresh.clone());
                fresh
            }
        };
        Lap { meter: self.clone(), latencies, since: Instant::now() }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.phase.load(Relaxed) == OVER
    }

    pub(crate) fn start(&self, server_pid: Option<u32>) -> Window {
        let window = Window {
            since: Instant::now(),
            client_cpu: cpu_seconds("self"),
            server_cpu: server_cpu(server_pid),
            server_pid,
            allocations: allocations(),
        };
        self.0.phase.store(MEASURED, Relaxed);
        window
    }

    pub(crate) fn finish(&self, window: Window, args: &Args) {
        self.0.phase.store(OVER, Relaxed);
        let seconds = window.since.elapsed().as_secs_f64();
        let client_cpu = cpu_seconds("self") - window.client_cpu;
        let server_cpu = server_cpu(window.server_pid) - window.server_cpu;
        let (count, bytes) = allocations();
        let mut all = histogram();
        for lap in self.0.laps.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = all.add(&*lap.lock().unwrap_or_else(PoisonError::into_inner));
        }
        let calls = all.len();
        let per_call = |value: f64| value / calls.max(1) as f64;
        let micros = |quantile: f64| all.value_at_quantile(quantile) as f64 / 1000.0;
        let variant = match (args.stack, args.workers) {
            (Stack::Bare, None) => "bare-ct".to_owned(),
            (Stack::Full, None) => "full-ct".to_owned(),
            (Stack::Bare, Some(n)) => format!("bare-mt{n}"),
            (Stack::Full, Some(n)) => format!("full-mt{n}"),
        };
        let fields = [
            ("peer", "\"towpath\"".to_owned()),
            ("variant", format!("\"{variant}\"")),
            ("conns", args.conns.to_string()),
            ("inflight", args.inflight.to_string()),
            ("payload", args.payload.to_string()),
            ("secs", format!("{seconds:.3}")),
            ("calls", calls.to_string()),
            ("cps", format!("{:.0}", calls as f64 / seconds)),
            ("p50_us", format!("{:.1}", micros(0.5))),
            ("p99_us", format!("{:.1}", micros(0.99))),
            ("p999_us", format!("{:.1}", micros(0.999))),
            ("max_us", format!("{:.1}", all.max() as f64 / 1000.0)),
            ("client_us_per_call", number(per_call(client_cpu) * 1e6)),
            ("server_us_per_call", number(per_call(server_cpu) * 1e6)),
            ("cpu_us_per_call", number(per_call(client_cpu + server_cpu) * 1e6)),
            ("client_allocs_per_call", number(per_call((count - window.allocations.0) as f64))),
            ("client_alloc_bytes_per_call", number(per_call((bytes - window.allocations.1) as f64))),
        ];
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        println!("{{{}}}", fields.join(","));
    }
}

impl Lap {
    pub(crate) fn record(&mut self) {
        let now = Instant::now();
        let lap = now - self.since;
        self.since = now;
        if self.meter.0.phase.load(Relaxed) == MEASURED {
            let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
            latencies.saturating_record(u64::try_from(lap.as_nanos()).unwrap_or(u64::MAX));
        }
    }
}

/// The server's last line: what it used in all.
pub(crate) fn print_server() {
    println!(
        "{{\"server_allocs\":{},\"server_total_cpu_s\":{}}}",
        allocations().0,
        number(cpu_seconds("self"))
    );
}

fn number(value: f64) -> String {
    if value.is_finite() { format!("{value:.4}") } else { "null".to_owned() }
}

fn server_cpu(pid: Option<u32>) -> f64 {
    pid.map_or(f64::NAN, |pid| cpu_seconds(&pid.to_string()))
}

/// CPU seconds of all threads of a process, by the scheduler's own count (ns).
fn cpu_seconds(process: &str) -> f64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return f64::NAN };
    let nanos: u64 = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    nanos as f64 * 1e-9
}

#[cfg(not(feature = "count-alloc"))]
fn allocations() -> (u64, u64) {
    (0, 0)
}

#[cfg(feature = "count-alloc")]
use counting::allocations;

/// Counts every allocation of the process, and its bytes.
#[cfg(feature = "count-alloc")]
#[allow(unsafe_code)]
mod counting {
    use std::{
        alloc::{GlobalAlloc, Layout, System},
        sync::atomic::{AtomicU64, Ordering::Relaxed},
    };

    static COUNT: AtomicU64 = AtomicU64::new(0);
    static BYTES: AtomicU64 = AtomicU64::new(0);

    struct Counting;

    fn count(bytes: usize) {
        COUNT.fetch_add(1, Relaxed);
        BYTES.fetch_add(bytes as u64, Relaxed);
    }

    // SAFETY: everything is passed on to the system's allocator as it came.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            count(layout.size());
            // SAFETY: as the caller promised.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
            // SAFETY: as the caller promised.
            unsafe { System.dealloc(at, layout) }
        }

        unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            count(size);
            // SAFETY: as the caller promised.
            unsafe { System.realloc(at, layout, size) }
        }
    }

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    pub(super) fn allocations() -> (u64, u64) {
        (COUNT.load(Relaxed), BYTES.load(Relaxed))
    }
}
