//! What the system says about a process.

use std::fs;

/// CPU seconds of all threads of a process (an id, or `self`), by the scheduler's own count of nanoseconds; NaN
/// where there is none. Threads that have ended are not in it.
pub fn cpu_seconds(process: &str) -> f64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return f64::NAN };
    let nanos: u64 = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    nanos as f64 * 1e-9
}

/// Memory of a process that is resident, in bytes.
pub fn resident(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_says_what_this_process_uses() {
        let mut sum = 0u64;
        let before = cpu_seconds("self");
        for i in 0..50_000_000u64 {
            sum = std::hint::black_box(sum ^ i);
        }
        assert!(cpu_seconds("self") >= before);
        assert!(cpu_seconds("self") > 0.0);
        assert!(resident("self").unwrap() > 100_000);
        assert_eq!(resident("no such process"), None);
    }
}
