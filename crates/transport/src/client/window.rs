//! How much of large bodies a connection has under way at a time.
//!
//! Large bodies that travel together only drive each other out of the processor's caches: with a few of them
//! under way a connection moves more of them per second than with many. How many are right depends on the
//! line and on how long the callee thinks, so the window looks for its size: while calls wait for it, it
//! measures how many bytes are answered per second, tries twice the size, and keeps that if it is worth it;
//! from time to time it tries half of it. Where nothing is answered for a moment, it is the callee that takes
//! its time: then the window only stands in the way, and doubles at once.
//!
//! The idea is that of TCP's windows, with hill climbing instead of losses; it is local, nothing of it is on
//! the wire.

use std::time::Duration;
use tokio::time::Instant;

/// Bodies from this size on count.
pub(crate) const LARGE: usize = 16 * 1024;

const START: usize = 256 * 1024;
const LEAST: usize = 256 * 1024;
const MOST: usize = 256 << 20;

/// Calls wait, and nothing is answered for so long: the callee is slow, not the line.
const PATIENCE: Duration = Duration::from_millis(5);

/// A measurement takes at least so long.
const SHORTEST: Duration = Duration::from_millis(2);

/// After so many measurements of the same size another one is tried.
const STEADY: u32 = 32;

#[derive(Debug)]
pub(crate) struct Window {
    limit: usize,
    under_way: usize,
    /// Calls wait for it since then, or since the last answer: it is the window that limits.
    limited: Option<Instant>,
    measure: Measure,
    trial: Trial,
}

/// Bytes answered since then; those of calls that were under way when the size changed tell nothing.
#[derive(Debug, Default)]
struct Measure {
    since: Option<Instant>,
    skip: usize,
    answered: usize,
}

/// `Base` → `Up` → `Up` or `Steady` → `Down` or `Up` …
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trial {
    /// The rate of the size as it is, to compare with.
    Base,
    /// Twice the size is tried; `rate` is that of the size before, in bytes per second.
    Up { rate: f64 },
    /// Half the size is tried.
    Down { rate: f64 },
    /// So many measurements until another try.
    Steady { left: u32, up_next: bool },
}

impl Default for Window {
    fn default() -> Self {
        Window { limit: START, under_way: 0, limited: None, measure: Measure::default(), trial: Trial::Base }
    }
}

impl Window {
    /// Whether a body of this size may go: one may, however large it is.
    #[inline]
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        bytes < LARGE || self.under_way == 0 || self.under_way + bytes <= self.limit
    }

    /// A call is under way.
    #[inline]
    pub(crate) fn enter(&mut self, bytes: usize) {
        if bytes >= LARGE {
            self.under_way += bytes;
        }
    }

    /// A call is not under way any more; `answered` if that is because it has its answer.
    #[inline]
    pub(crate) fn leave(&mut self, bytes: usize, answered: bool) {
        if bytes >= LARGE {
            self.under_way -= bytes;
            self.measure.answered += if answered { bytes } else { 0 };
        }
    }

    /// Says whether calls wait for it, at the end of a batch of answers. `true`: its size has changed.
    pub(crate) fn judge(&mut self, now: Instant, waiting: bool) -> bool {
        let answered = std::mem::take(&mut self.measure.answered);
        if !waiting {
            // What is measured while callers are few says nothing about the window.
            self.limited = None;
            self.measure.since = None;
            return false;
        }
        if answered > 0 || self.limited.is_none() {
            self.limited = Some(now);
        }
        let Some(since) = self.measure.since else {
            self.measure = Measure { since: Some(now), skip: self.limit, answered: 0 };
            return false;
        };
        if self.measure.skip > 0 {
            self.measure.skip = self.measure.skip.saturating_sub(answered);
            self.measure.since = Some(now);
            return false;
        }
        let took = now.duration_since(since);
        if answered < 4 * self.limit && took < SHORTEST {
            self.measure.answered = answered;
            return false;
        }
        self.measure.since = Some(now);
        self.learn(answered as f64 / took.as_secs_f64().max(1e-6))
    }

    fn learn(&mut self, rate: f64) -> bool {
        let before = self.limit;
        (self.limit, self.trial) = match self.trial {
            Trial::Base => (self.twice(), Trial::Up { rate }),
            Trial::Up { rate: was } if rate > was * 1.1 && self.limit < MOST => {
                (self.twice(), Trial::Up { rate })
            }
            Trial::Up { .. } => (self.half(), Trial::Steady { left: STEADY, up_next: false }),
            Trial::Down { rate: was } if rate > was * 0.97 => {
                (self.limit, Trial::Steady { left: STEADY, up_next: false })
            }
            Trial::Down { .. } => (self.twice(), Trial::Steady { left: STEADY, up_next: true }),
            Trial::Steady { left: 0, up_next: false } if self.limit > LEAST => {
                (self.half(), Trial::Down { rate })
            }
            Trial::Steady { left: 0, .. } => (self.twice(), Trial::Up { rate }),
            Trial::Steady { left, up_next } => (self.limit, Trial::Steady { left: left - 1, up_next }),
        };
        if self.limit != before {
            self.measure.skip = self.limit;
        }
        self.limit > before
    }

    /// When to [look](Self::look) whether anything is answered; `None` while nobody waits.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.limited.map(|since| since + PATIENCE)
    }

    /// Nothing was answered for a while, though calls wait: it opens. `true` if so.
    pub(crate) fn look(&mut self, now: Instant) -> bool {
        if self.due().is_none_or(|due| now < due) {
            return false;
        }
        self.limited = Some(now);
        self.measure = Measure::default();
        self.trial = Trial::Base;
        let before = self.limit;
        self.limit = self.twice();
        self.limit > before
    }

    fn twice(&self) -> usize {
        (self.limit * 2).min(MOST)
    }

    fn half(&self) -> usize {
        (self.limit / 2).max(LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BODY: usize = 64 * 1024;

    /// Callers without end, and a callee that answers each after `think`, `line` bytes per second at most. Plays
    /// for so long, and returns the calls answered in the second half.
    fn play(window: &mut Window, think: Duration, line: f64, callers: usize, run: Duration) -> usize {
        let start = Instant::now();
        let mut now = start;
        let mut free_at = start;
        let mut done: std::collections::VecDeque<Instant> = Default::default();
        let (mut answered, mut flying) = (0, 0);
        while now < start + run {
            while flying < callers && window.has_room(BODY) {
                window.enter(BODY);
                flying += 1;
                // Bodies go one behind another; a callee thinks about all of them at a time.
                free_at = free_at.max(now) + Duration::from_secs_f64(BODY as f64 / line);
                done.push_back(free_at + think);
            }
            let waiting = flying < callers;
            window.judge(now, waiting);
            let next = done.front().copied().unwrap_or(now);
            match window.due() {
                Some(due) if due < next => {
                    now = due.max(now);
                    window.look(now);
                }
                _ => {
                    now = next;
                    done.pop_front();
                    flying -= 1;
                    window.leave(BODY, true);
                    answered += usize::from(now > start + run / 2);
                }
            }
        }
        answered
    }

    #[test]
    fn a_line_that_is_full_needs_no_more() {
        let mut window = Window::default();
        let second = Duration::from_secs(1);
        // 1 GB/s and 50 us: no more than two bodies fit on the way.
        let answered = play(&mut window, Duration::from_micros(50), 1e9, 256, second);
        assert!(window.limit <= 1 << 20, "{}", window.limit);
        assert!(answered > 7000, "{answered}");
    }

    #[test]
    fn a_callee_that_thinks_is_given_more() {
        for think in [1, 3, 20, 500] {
            let mut window = Window::default();
            let run = Duration::from_millis(think * 40 + 500);
            let answered = play(&mut window, Duration::from_millis(think), 1e10, 64, run);
            let most = 64 * run.as_millis() as usize / 2 / think as usize;
            assert!(answered * 10 > most * 7, "{think} ms: {answered} of {most}");
        }
    }

    #[test]
    fn a_long_line_is_filled() {
        let mut window = Window::default();
        // 1 GB/s over 10 ms: 10 MB under way.
        let answered = play(&mut window, Duration::from_millis(10), 1e9, 1000, Duration::from_secs(2));
        assert!(answered > 12_000, "{answered}");
    }

    proptest! {
        /// However it is used: it never closes for good, and what entered can leave.
        #[test]
        fn one_call_may_always_go(steps in proptest::collection::vec((0u8..5, 1usize..1 << 20), 1..200)) {
            let mut window = Window::default();
            let mut now = Instant::now();
            let mut flying = Vec::new();
            for (step, n) in steps {
                match step {
                    0 | 1 => if window.has_room(n) {
                        window.enter(n);
                        flying.push(n);
                    },
                    2 => if let Some(n) = flying.pop() { window.leave(n, true) },
                    3 => { window.judge(now, n % 2 == 0); },
                    _ => { window.look(now); },
                }
                now += Duration::from_micros(n as u64);
                prop_assert!((LEAST..=MOST).contains(&window.limit));
                prop_assert_eq!(window.under_way, flying.iter().filter(|n| **n >= LARGE).sum::<usize>());
            }
            flying.drain(..).for_each(|n| window.leave(n, false));
            prop_assert!(window.has_room(usize::MAX));
        }
    }
}
