//! Time that stands still unless a test moves it.

use std::{future::Future, time::Duration};
use tokio::time::Instant;

/// Runs a future on a runtime of its own (one thread, timers, clock paused): `#[tokio::test(start_paused =
/// true)]` for where there is no macro, a property test for example.
///
/// As with every paused clock, time jumps to the next timer when nothing else is left to do.
///
/// # Panics
/// If called within a runtime, or if no runtime can be made.
#[allow(clippy::expect_used)]
pub fn paused<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime with timers only needs nothing from the system")
        .block_on(future)
}

/// Lets every task that can run do so, without letting time pass: the current task gives way often enough
/// for a chain of tasks to wake each other.
pub async fn settle() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

/// Lets time pass, to the millisecond, and then everything [settle](settle()). The clock must be paused.
///
/// Unlike `tokio::time::advance` it stops at each whole millisecond on the way when the way is short (up to
/// 100 ms), so that a timer that sets a timer finds its time.
pub async fn advance(by: Duration) {
    let step = Duration::from_millis(1);
    let mut left = by;
    while by <= Duration::from_millis(100) && left > step {
        tokio::time::advance(step).await;
        settle().await;
        left -= step;
    }
    tokio::time::advance(left).await;
    settle().await;
}

/// How long a future took, with its output.
///
/// ```
/// use std::time::Duration;
/// use towpath_testing::time;
///
/// time::paused(async {
///     let ((), took) = time::timed(tokio::time::sleep(Duration::from_secs(3600))).await;
///     assert_eq!(took.as_secs(), 3600);
/// });
/// ```
pub async fn timed<F: Future>(future: F) -> (F::Output, Duration) {
    let start = Instant::now();
    let output = future.await;
    (output, start.elapsed())
}
