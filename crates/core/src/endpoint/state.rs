//! What is known of an endpoint at this moment.

use crate::{Clock, listeners::Listeners};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{
            AtomicU8, AtomicU32, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};
use tokio::time::Instant;

/// What is known of an endpoint at this moment: status, calls in flight, load, next try.
///
/// It is one value for all, made of atomics; nothing locks. Each part has **one writer**, so that none of
/// them undoes what another found out: the pool says whether it is connected, the breaker asks for it to be
/// ejected, the balancer grants that (or does not, if too many are out already) and says which are spares, health says that its
/// checks fail, the peer or the registry that it drains, and discovery alone says that it is gone: an error never does. The
/// picker only reads [`status`](Self::status), in which all this is one word.
pub struct EndpointState {
    /// The times below are counted from here.
    base: Instant,
    flags: AtomicU8,
    in_flight: AtomicU32,
    /// Nanoseconds from `base`, plus one; 0: no time.
    next_try: AtomicU64,
    /// The same.
    ejected_until: AtomicU64,
    /// The bits of an `f64`.
    load: AtomicU64,
    listeners: Listeners,
}

/// What a picker sees: the first of these that holds, from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointStatus {
    /// Takes calls.
    Ready,
    /// Has no connection: never had one, or lost it.
    Connecting {
        /// When the next try is made; `None`: one is under way, or the first call makes it.
        next_try: Option<Instant>,
    },
    /// Its health checks fail.
    Unhealthy,
    /// Connected or not, it fails too often and gets no calls for a while.
    Ejected {
        /// Until when; `None`: until somebody says so.
        until: Option<Instant>,
    },
    /// Finishes what it has and takes nothing new.
    Draining,
    /// Is no more. This is final.
    Gone,
}

const READY: u8 = 1;
const ASKED: u8 = 2;
const GRANTED: u8 = 4;
const EJECTED: u8 = ASKED | GRANTED;
const DRAINING: u8 = 8;
const GONE: u8 = 16;
const PANIC: u8 = 32;
const UNHEALTHY: u8 = 64;
const SPARE: u8 = 128;

impl EndpointState {
    /// Not connected, and nothing is known.
    pub fn new() -> Self {
        EndpointState {
            base: Clock::now(),
            flags: AtomicU8::new(0),
            in_flight: AtomicU32::new(0),
            next_try: AtomicU64::new(0),
            ejected_until: AtomicU64::new(0),
            load: AtomicU64::new(0),
            listeners: Listeners::default(),
        }
    }

    /// All that the writers said, in one word.
    pub fn status(&self) -> EndpointStatus {
        // A time is written before the flag that makes it count.
        let flags = self.flags.load(Acquire);
        if flags & GONE != 0 {
            EndpointStatus::Gone
        } else if flags & DRAINING != 0 {
            EndpointStatus::Draining
        } else if flags & EJECTED == EJECTED {
            EndpointStatus::Ejected { until: self.time(&self.ejected_until) }
        } else if flags & UNHEALTHY != 0 {
            EndpointStatus::Unhealthy
        } else if flags & READY == 0 {
            EndpointStatus::Connecting { next_try: self.time(&self.next_try) }
        } else {
            EndpointStatus::Ready
        }
    }

    /// Whether it takes calls: [`status`](Self::status) is `Ready`, in one load.
    #[inline]
    pub fn is_ready(&self) -> bool {
        let flags = self.flags.load(Acquire);
        flags & (READY | UNHEALTHY | DRAINING | GONE) == READY && flags & EJECTED != EJECTED
    }

    /// Whether there is a connection, whatever else is known.
    #[inline]
    pub fn is_connected(&self) -> bool {
        self.flags.load(Acquire) & READY != 0
    }

    /// The pool: there is a connection.
    pub fn set_ready(&self) {
        self.set(READY, true);
    }

    /// The pool: there is no connection; the next try is made then, or is under way.
    pub fn set_connecting(&self, next_try: Option<Instant>) {
        let had_failed = self.time(&self.next_try).is_some();
        self.set_time(&self.next_try, next_try);
        let was_ready = self.set(READY, false);
        if !was_ready && !had_failed && next_try.is_some() {
            // A connect has failed.
            self.listeners.tell();
        }
    }

    /// The breaker: it should get no calls for a while. It does not until this is
    /// [granted](Self::grant_ejection). Says whether this is new; asked again, only the time changes.
    pub fn ask_ejection(&self, until: Option<Instant>) -> bool {
        let moved = self.set_time(&self.ejected_until, until);
        let asked = self.set(ASKED, true);
        if asked && moved {
            self.listeners.tell();
        }
        !asked
    }

    /// The breaker: it may get calls again. The grant ends with it. Says whether there was anything to end.
    pub fn end_ejection(&self) -> bool {
        let asked = self.flags.fetch_and(!EJECTED, Release) & ASKED != 0;
        if asked {
            self.listeners.tell();
        }
        asked
    }

    /// Whether the breaker asks for it to be ejected, granted or not.
    pub fn asks_ejection(&self) -> bool {
        self.flags.load(Acquire) & ASKED != 0
    }

    /// The balancer: grants that it is ejected, or takes that back. Says whether it is ejected now: not
    /// without having [asked](Self::ask_ejection).
    pub fn grant_ejection(&self, granted: bool) -> bool {
        let grant = |flags| match granted {
            true if flags & ASKED == 0 => None,
            true => Some(flags | GRANTED),
            false => Some(flags & !GRANTED),
        };
        let before = self.flags.fetch_update(Release, Acquire, grant);
        if before.is_ok_and(|before| (before & GRANTED != 0) != granted) {
            self.listeners.tell();
        }
        granted && before.is_ok()
    }

    /// The balancer: so many are out that those which ask to be ejected get calls all the same. A breaker
    /// whose gate is shut lets them in.
    pub fn set_panic(&self, panic: bool) {
        self.set(PANIC, panic);
    }

    /// Whether a shut gate lets calls in.
    #[inline]
    pub fn in_panic(&self) -> bool {
        self.flags.load(Acquire) & PANIC != 0
    }

    /// The balancer: calls do not go there as a rule, or do again. A pool keeps no connection then that nobody uses; a call
    /// that goes there all the same has one made.
    pub fn set_spare(&self, spare: bool) {
        self.set(SPARE, spare);
    }

    /// Whether calls do not go there as a rule.
    pub fn is_spare(&self) -> bool {
        self.flags.load(Acquire) & SPARE != 0
    }

    /// Health: its checks fail, or do not any more.
    pub fn set_unhealthy(&self, unhealthy: bool) {
        self.set(UNHEALTHY, unhealthy);
    }

    /// Whether its health checks fail, whatever else is known.
    pub fn is_unhealthy(&self) -> bool {
        self.flags.load(Acquire) & UNHEALTHY != 0
    }

    /// The peer or the registry: it takes nothing new, or does again.
    pub fn set_draining(&self, draining: bool) {
        self.set(DRAINING, draining);
    }

    /// Discovery: it is no more. This is final; the others may go on writing.
    pub fn set_gone(&self) {
        self.set(GONE, true);
    }

    /// The calls that are under way.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Counts a call, until [`leave`](Self::leave): for who keeps this state in another way than by an `Arc`.
    /// Everybody else takes an [`InFlight`].
    #[inline]
    pub fn enter(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// Ends a call that was [counted](Self::enter): once for each.
    #[inline]
    pub fn leave(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Has `listener` called after each change of what [`status`](Self::status), [`is_spare`](Self::is_spare) and
    /// [`asks_ejection`](Self::asks_ejection) say, by whoever made it, until it answers `false`. Of times that change
    /// alone only that of an ejection counts, and that of the next try where there was none: a connect has failed. It must not block; what it reads may be newer than the change.
    ///
    /// It is kept for as long as the state is: hold what it tells weakly.
    pub fn listen(&self, listener: impl Fn() -> bool + Send + Sync + 'static) {
        self.listeners.add(listener);
    }

    /// The load as it was last set: in whatever measure the balancer has; 0 at first.
    #[inline]
    pub fn load(&self) -> f64 {
        f64::from_bits(self.load.load(Relaxed))
    }

    /// Sets the load.
    pub fn set_load(&self, load: f64) {
        self.load.store(load.to_bits(), Relaxed);
    }

    /// Sets the load from the one before; `f` is called again if another thread was faster. Answers with
    /// what it is now.
    pub fn update_load(&self, f: impl Fn(f64) -> f64) -> f64 {
        let mut before = self.load.load(Relaxed);
        loop {
            let after = f(f64::from_bits(before));
            match self.load.compare_exchange_weak(before, after.to_bits(), Relaxed, Relaxed) {
                Ok(_) => return after,
                Err(current) => before = current,
            }
        }
    }

    /// Sets or clears a flag; says whether it was set.
    fn set(&self, flag: u8, on: bool) -> bool {
        let before = match on {
            true => self.flags.fetch_or(flag, Release),
            false => self.flags.fetch_and(!flag, Release),
        };
        let was = before & flag != 0;
        if was != on {
            self.listeners.tell();
        }
        was
    }

    fn time(&self, cell: &AtomicU64) -> Option<Instant> {
        let ns = cell.load(Relaxed).checked_sub(1)?;
        Some(self.base + Duration::from_nanos(ns))
    }

    /// Sets a time; says whether it was another one.
    fn set_time(&self, cell: &AtomicU64, time: Option<Instant>) -> bool {
        let ns = time.map_or(0, |time| {
            let ns = time.saturating_duration_since(self.base).as_nanos();
            u64::try_from(ns).unwrap_or(u64::MAX).saturating_add(1)
        });
        cell.swap(ns, Relaxed) != ns
    }
}

impl Default for EndpointState {
    fn default() -> Self {
        EndpointState::new()
    }
}

impl fmt::Debug for EndpointState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointState")
            .field("status", &self.status())
            .field("in_flight", &self.in_flight())
            .field("load", &self.load())
            .finish_non_exhaustive()
    }
}

/// One call to an endpoint: counted until it is dropped.
#[derive(Debug)]
#[must_use = "the call is counted until this is dropped"]
pub struct InFlight(Arc<EndpointState>);

impl InFlight {
    /// Counts a call.
    pub fn begin(state: Arc<EndpointState>) -> Self {
        state.enter();
        InFlight(state)
    }

    /// The state of the endpoint that the call goes to.
    pub fn state(&self) -> &EndpointState {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EndpointStatus::{Connecting, Draining, Ejected, Gone, Ready, Unhealthy};
    use proptest::prelude::*;
    use std::thread;

    #[test]
    fn nobody_undoes_what_another_found_out() {
        let state = EndpointState::new();
        let until = Some(Clock::now() + Duration::from_secs(5));
        assert_eq!(state.status(), Connecting { next_try: None });
        assert!(!state.grant_ejection(true), "nobody asked");
        assert!(state.ask_ejection(None) && !state.ask_ejection(until));
        state.set_ready();
        assert_eq!(state.status(), Ready);
        assert!(state.grant_ejection(true));
        assert_eq!(state.status(), Ejected { until });
        state.set_connecting(None);
        state.set_ready();
        assert_eq!(state.status(), Ejected { until }, "a new connection is no pardon");
        state.set_draining(true);
        assert_eq!(state.status(), Draining);
        state.set_draining(false);
        assert!(state.end_ejection() && !state.end_ejection());
        assert_eq!(state.status(), Ready);
        assert!(state.ask_ejection(until) && state.asks_ejection());
        assert_eq!(state.status(), Ready, "a grant ends with its ejection");
        state.set_gone();
        state.set_ready();
        assert_eq!(state.status(), Gone);
    }

    #[test]
    fn times_are_kept_to_the_nanosecond() {
        let state = EndpointState::new();
        for time in
            [state.base, state.base + Duration::from_nanos(1), state.base + Duration::from_secs(1 << 20)]
        {
            state.set_connecting(Some(time));
            assert_eq!(state.status(), Connecting { next_try: Some(time) });
        }
    }

    #[test]
    fn a_connect_that_fails_is_told_once() {
        let (state, told) = (EndpointState::new(), Arc::new(AtomicU32::new(0)));
        state.listen({
            let told = told.clone();
            move || {
                told.fetch_add(1, Relaxed);
                true
            }
        });
        let soon = |seconds| Some(state.base + Duration::from_secs(seconds));
        let counts: Vec<_> = [None, soon(1), soon(2), None, soon(3)]
            .into_iter()
            .map(|next_try| {
                state.set_connecting(next_try);
                told.load(Relaxed)
            })
            .collect();
        assert_eq!(counts, [0, 1, 1, 1, 2]);
    }

    #[test]
    fn calls_and_load_are_counted_across_threads() {
        let state = Arc::new(EndpointState::new());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let state = state.clone();
                thread::spawn(move || {
                    let calls: Vec<_> = (0..1_000).map(|_| InFlight::begin(state.clone())).collect();
                    (0..1_000).for_each(|_| {
                        state.update_load(|load| load + 0.5);
                    });
                    calls
                })
            })
            .collect();
        let calls: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!((state.in_flight(), state.load()), (4_000, 2_000.0));
        drop(calls);
        assert_eq!(state.in_flight(), 0);
        state.set_load(1.25);
        assert_eq!(state.load(), 1.25);
    }

    proptest! {
        #[test]
        fn one_word_for_all(steps in proptest::collection::vec(0u8..15, 0..30)) {
            let state = EndpointState::new();
            let told = Arc::new(AtomicU32::new(0));
            state.listen({ let told = told.clone(); move || { told.fetch_add(1, Relaxed); true } });
            let (mut ready, mut asked, mut granted, mut draining, mut gone) = (false, false, false, false, false);
            let (mut unhealthy, mut spare) = (false, false);
            for step in steps {
                let (before, asked_before) = (state.status(), (state.asks_ejection(), state.is_spare()));
                let told_before = told.load(Relaxed);
                match step {
                    0 => { state.set_ready(); ready = true }
                    1 => { state.set_connecting(None); ready = false }
                    2 => { state.ask_ejection(None); asked = true }
                    3 => { state.end_ejection(); (asked, granted) = (false, false) }
                    4 => granted = state.grant_ejection(true),
                    5 => granted = state.grant_ejection(false),
                    6 => { state.set_draining(true); draining = true }
                    7 => { state.set_draining(false); draining = false }
                    8 => { state.set_panic(true); prop_assert!(state.in_panic()) }
                    9 => { state.set_panic(false); prop_assert!(!state.in_panic()) }
                    10 => { state.set_unhealthy(true); unhealthy = true }
                    11 => { state.set_unhealthy(false); unhealthy = false }
                    12 => { state.set_spare(true); spare = true }
                    13 => { state.set_spare(false); spare = false }
                    _ => { state.set_gone(); gone = true }
                }
                let expected = match (gone, draining, asked && granted, unhealthy, ready) {
                    (true, ..) => Gone,
                    (_, true, ..) => Draining,
                    (_, _, true, ..) => Ejected { until: None },
                    (.., true, _) => Unhealthy,
                    (.., true) => Ready,
                    (.., false) => Connecting { next_try: None },
                };
                prop_assert_eq!((state.is_unhealthy(), state.is_spare()), (unhealthy, spare));
                if (before, asked_before) != (expected, (asked, spare)) {
                    prop_assert_eq!(told.load(Relaxed), told_before + 1, "told once of each change");
                }
                prop_assert_eq!(state.status(), expected);
                prop_assert_eq!(state.is_ready(), expected == Ready);
            }
        }
    }
}
