//! What is measured of callers: calls, latency, CPU of both processes, allocations.

use crate::{alloc, alloc::Allocated, process::cpu_seconds, side::Side};
use hdrhistogram::Histogram;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep};

const WARM_UP: u8 = 0;
const MEASURED: u8 = 1;
const OVER: u8 = 2;

type Latencies = Arc<Mutex<Histogram<u32>>>;

/// Shared by all callers of a process.
#[derive(Clone, Debug)]
pub struct Meter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    phase: AtomicU8,
    laps: Mutex<Vec<Latencies>>,
}

/// One caller's clock. Histograms are shared by 16 callers each: one for each would push the work itself
/// out of the cache.
#[derive(Debug)]
pub struct Lap {
    meter: Meter,
    latencies: Latencies,
    since: Instant,
}

/// What came out. Of a process that is not known, CPU times are NaN.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// Calls that were answered in this time.
    pub calls: u64,
    /// Half of the calls took at most so long, in microseconds.
    pub p50_us: f64,
    /// 99 of 100 did.
    pub p99_us: f64,
    /// 999 of 1000 did.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
    /// CPU time of the client for each call, in microseconds.
    pub client_us: f64,
    /// CPU time of the server for each call, in microseconds.
    pub server_us: f64,
    /// What the client allocated, if it counted.
    pub allocated: Allocated,
}

impl Measured {
    /// Calls per second.
    pub fn per_second(&self) -> f64 {
        self.calls as f64 / self.seconds
    }

    /// A share of each call.
    pub fn per_call(&self, value: u64) -> f64 {
        value as f64 / self.calls.max(1) as f64
    }
}

/// 100 ns to 60 s, two digits.
fn histogram() -> Histogram<u32> {
    Histogram::new_with_bounds(100, 60_000_000_000, 2).unwrap_or_else(|_| unreachable!("constant bounds"))
}

impl Default for Meter {
    fn default() -> Self {
        Meter(Arc::new(Inner { phase: AtomicU8::new(WARM_UP), laps: Mutex::new(Vec::new()) }))
    }
}

impl Meter {
    /// A clock for one more caller.
    pub fn lap(&self) -> Lap {
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

    /// Whether callers should stop.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.0.phase.load(Relaxed) == OVER
    }

    /// Lets the callers warm up, measures them, and stops them; times in seconds.
    pub async fn measure(&self, warm_up: f64, seconds: f64, server: Option<u32>) -> Measured {
        let cpu = || {
            let server = server.map_or(f64::NAN, |pid| cpu_seconds(&pid.to_string()));
            (cpu_seconds("self"), server)
        };
        sleep(Duration::from_secs_f64(warm_up)).await;
        let (since, before, allocated) = (Instant::now(), cpu(), alloc::allocated(Side::Client));
        self.0.phase.store(MEASURED, Relaxed);
        sleep(Duration::from_secs_f64(seconds)).await;
        self.0.phase.store(OVER, Relaxed);
        let seconds = since.elapsed().as_secs_f64();
        let (after, allocated) = (cpu(), alloc::allocated(Side::Client).since(allocated));
        let mut all = histogram();
        for lap in self.0.laps.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = all.add(&*lap.lock().unwrap_or_else(PoisonError::into_inner));
        }
        let micros = |quantile: f64| all.value_at_quantile(quantile) as f64 / 1000.0;
        let per_call = |seconds: f64| seconds * 1e6 / all.len().max(1) as f64;
        Measured {
            seconds,
            calls: all.len(),
            p50_us: micros(0.5),
            p99_us: micros(0.99),
            p999_us: micros(0.999),
            max_us: all.max() as f64 / 1000.0,
            client_us: per_call(after.0 - before.0),
            server_us: per_call(after.1 - before.1),
            allocated,
        }
    }
}

impl Lap {
    /// A call was answered, and the next one begins.
    #[inline]
    pub fn record(&mut self) {
        let now = Instant::now();
        let lap = now - self.since;
        self.since = now;
        if self.meter.0.phase.load(Relaxed) == MEASURED {
            let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
            latencies.saturating_record(u64::try_from(lap.as_nanos()).unwrap_or(u64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_is_in_the_window_counts() {
        let meter = Meter::default();
        let mut lap = meter.lap();
        let caller = meter.clone();
        let calls = tokio::spawn(async move {
            lap.record();
            while !caller.is_over() {
                lap.record();
                tokio::task::yield_now().await;
            }
            lap.record();
        });
        let measured = meter.measure(0.02, 0.05, None).await;
        calls.await.unwrap();
        assert!(measured.calls > 0 && measured.seconds >= 0.05, "{measured:?}");
        assert!(measured.p50_us <= measured.p99_us && measured.p99_us <= measured.max_us, "{measured:?}");
        assert!(measured.server_us.is_nan() && !measured.client_us.is_nan(), "{measured:?}");
    }
}
