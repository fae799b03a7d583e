//! How many calls may be refused: a pure machine.

/// One refusal, in the units in which is counted.
const ONE: u64 = 1_000;
/// How many refusals are saved up at most, in quiet times.
pub(crate) const BURST: u64 = 10;

/// Keeps refusals a bounded share of the calls.
///
/// Each call adds a share of a refusal, up to [`BURST`] whole ones; each refusal takes a whole one out. So of any
/// `n` calls in a row, at most `share * n + BURST` are refused. No clock: a jump in latency, and a standstill,
/// change nothing about it.
#[derive(Debug)]
pub(crate) struct Cap {
    /// How many calls had come when `credit` was reckoned.
    calls: u64,
    credit: u64,
}

impl Cap {
    pub(crate) fn new() -> Self {
        Cap { calls: 0, credit: BURST * ONE }
    }

    /// Whether another call may be refused, after `calls` of them in all (those refused among them). The count may
    /// be a little behind, never ahead.
    pub(crate) fn refuse(&mut self, calls: u64, share: f64) -> bool {
        // Rounded down: never more than the share.
        let each = (share * ONE as f64) as u64;
        let came = calls.saturating_sub(self.calls);
        self.calls = self.calls.max(calls);
        self.credit = self.credit.saturating_add(came.saturating_mul(each)).min(BURST * ONE);
        let may = each > 0 && self.credit >= ONE;
        if may {
            self.credit -= ONE;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whichever calls have too little left, and wherever one looks.
        #[test]
        fn of_any_calls_in_a_row_only_a_share_is_refused(
            short in proptest::collection::vec(any::<bool>(), 1..400),
            percent in 0u32..=50,
        ) {
            let share = f64::from(percent) / 100.0;
            let mut cap = Cap::new();
            let mut refused = vec![0u64];
            for (n, short) in short.iter().enumerate() {
                let now = *short && cap.refuse(n as u64 + 1, share);
                refused.push(refused[n] + u64::from(now));
            }
            for from in 0..refused.len() {
                for to in from..refused.len() {
                    let most = share * (to - from) as f64 + BURST as f64 + 1e-9;
                    prop_assert!((refused[to] - refused[from]) as f64 <= most, "{from}..{to}");
                }
            }
        }

        /// As a naive model counts it, call by call.
        #[test]
        fn it_counts_as_one_would_by_hand(short in proptest::collection::vec(any::<bool>(), 1..400)) {
            let mut cap = Cap::new();
            let mut credit = 10.0f64;
            for (n, short) in short.iter().enumerate() {
                credit = (credit + 0.25).min(10.0);
                if *short {
                    let may = credit >= 1.0;
                    credit -= f64::from(u8::from(may));
                    prop_assert_eq!(cap.refuse(n as u64 + 1, 0.25), may);
                }
            }
        }
    }

    #[test]
    fn when_all_calls_are_short_a_fifth_is_refused() {
        let mut cap = Cap::new();
        let refused = (1..=10_000).filter(|calls| cap.refuse(*calls, 0.2)).count();
        // The last of the burst is earned while it is spent.
        assert!((2_000..=2_010).contains(&refused), "{refused}");
        assert!(!Cap::new().refuse(1_000, 0.0), "none is none");
    }
}
