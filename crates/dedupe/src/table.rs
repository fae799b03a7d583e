//! What is known of keys: which calls are being made, who waits for them, what was answered.
//!
//! A key begins with a call that leads. Others with the same key wait: they are woken when there is an answer, and
//! take it. If the one that leads comes to nothing (it is given up, it panics, its outcome is not kept), the key is
//! open: the first of those that wait who comes to look leads, and if nobody waits, nothing is known of the key any more.
//!
//! An answer that somebody has still to take is kept until it is taken, whatever its age, so that none of those who
//! have waited for it can become a second first.

use crate::config::{Limits, WhenFull};
use std::{
    collections::{HashMap, VecDeque},
    task::Waker,
    time::Duration,
};
use tokio::time::Instant;

/// What a key is known by: a digest of it and of whose it is.
pub(crate) type Key = [u8; 32];
/// What its call is known by.
pub(crate) type Print = [u8; 32];

/// What an entry takes beside its answer: both digests, the map's and the list's share, rounded up.
pub(crate) const OVERHEAD: usize = 256;

#[derive(Debug)]
pub(crate) struct Table<R> {
    entries: HashMap<Key, Entry<R>>,
    /// The keys that have an answer, in the order in which they got it. One may be gone, or have a later answer by
    /// now: that of another run.
    answered: VecDeque<(Instant, Key, u64)>,
    bytes: usize,
    /// Counts those who lead and those who wait.
    next: u64,
}

#[derive(Debug)]
struct Entry<R> {
    print: Print,
    phase: Phase<R>,
    waiting: VecDeque<(u64, Waker)>,
}

#[derive(Debug)]
enum Phase<R> {
    /// The call of this number is being made.
    Led(u64),
    /// The first of those who wait that comes to look makes it.
    Open,
    /// It was answered, by the call of this number.
    Answered { run: u64, answer: Answer<R>, bytes: usize, at: Instant },
}

/// What is left of an answer.
#[derive(Debug, Clone)]
pub(crate) enum Answer<R> {
    Kept(R),
    /// Too large to be kept: it is there for those who waited for it only.
    Passing(R),
    /// That one, when they have it.
    Gone,
}

/// What a call is told that comes with a key.
#[derive(Debug)]
pub(crate) enum Joined<R> {
    /// It leads, by this number.
    Lead(u64),
    /// It waits, by this number.
    Wait(u64),
    /// It was answered.
    Answer(Answer<R>),
    /// The key is another call's.
    Mismatch,
    /// There is no room; the oldest answer goes so much later.
    Full(Option<Duration>),
}

/// What one is told that waits.
#[derive(Debug)]
pub(crate) enum Waited<R> {
    Wait,
    Lead(u64),
    Answer(Answer<R>),
}

/// Who is to be woken, and which answers went before their time. Both are used after the lock is given back.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) wake: Vec<Waker>,
    pub(crate) evicted: Vec<Duration>,
}

impl<R: Clone> Table<R> {
    pub(crate) fn new() -> Self {
        Table { entries: HashMap::new(), answered: VecDeque::new(), bytes: 0, next: 0 }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A call comes. One that is to wait is woken when it has [looked](Self::look) once.
    pub(crate) fn join(
        &mut self,
        key: Key,
        print: Print,
        now: Instant,
        age: Duration,
        limits: Limits,
        changes: &mut Changes,
    ) -> Joined<R> {
        self.expire(now, age);
        let number = self.number();
        if self.is_stale(&key, now, age) {
            self.remove(&key);
        }
        if let Some(entry) = self.entries.get_mut(&key) {
            if entry.print != print {
                return Joined::Mismatch;
            }
            return match &entry.phase {
                Phase::Answered { answer, .. } => Joined::Answer(match answer {
                    // For those who have waited, not for those who come later.
                    Answer::Passing(_) => Answer::Gone,
                    answer => answer.clone(),
                }),
                Phase::Led(_) | Phase::Open => {
                    entry.waiting.push_back((number, Waker::noop().clone()));
                    Joined::Wait(number)
                }
            };
        }
        // Before anything is evicted: a call that is refused anyway costs nobody an answer.
        while self.entries.len() >= limits.entries || self.bytes >= limits.bytes {
            if limits.when_full == WhenFull::Refuse || !self.evict(now, changes) {
                let oldest = self.answered.front().map(|(at, ..)| *at);
                return Joined::Full(oldest.map(|at| age.saturating_sub(now.saturating_duration_since(at))));
            }
        }
        self.bytes += OVERHEAD;
        let entry = Entry { print, phase: Phase::Led(number), waiting: VecDeque::new() };
        self.entries.insert(key, entry);
        Joined::Lead(number)
    }

    /// The call that leads has an answer of so many bytes, which is to be kept. Says whether it is small enough.
    pub(crate) fn answered(
        &mut self,
        key: &Key,
        run: u64,
        (answer, bytes): (R, usize),
        now: Instant,
        limits: Limits,
        changes: &mut Changes,
    ) -> bool {
        let fits = bytes <= limits.answer;
        // Before it is there itself. Where nothing may go, or nothing is left that can, it is kept all the same: its
        // call is made, and new ones are what gives way.
        while fits
            && self.bytes + bytes > limits.bytes
            && limits.when_full == WhenFull::Evict
            && self.evict(now, changes)
        {}
        let Some(entry) = self.led(key, run) else { return true };
        let waits = !entry.waiting.is_empty();
        changes.wake.extend(entry.waiting.iter().map(|(_, waker)| waker.clone()));
        let (answer, bytes) = match (fits, waits) {
            (true, _) => (Answer::Kept(answer), bytes),
            (false, true) => (Answer::Passing(answer), 0),
            (false, false) => (Answer::Gone, 0),
        };
        entry.phase = Phase::Answered { run, answer, bytes, at: now };
        self.bytes += bytes;
        self.answered.push_back((now, *key, run));
        fits
    }

    /// The call that leads has come to nothing.
    pub(crate) fn abandoned(&mut self, key: &Key, run: u64, changes: &mut Changes) {
        let Some(entry) = self.led(key, run) else { return };
        if entry.waiting.is_empty() {
            return self.remove(key);
        }
        // All of them, though one will do: one that is not polled any more must not hold up the others.
        changes.wake.extend(entry.waiting.iter().map(|(_, waker)| waker.clone()));
        entry.phase = Phase::Open;
    }

    fn led(&mut self, key: &Key, run: u64) -> Option<&mut Entry<R>> {
        self.entries.get_mut(key).filter(|entry| matches!(entry.phase, Phase::Led(leads) if leads == run))
    }

    /// One that waits looks what has become of its call; `waker` wakes it when that may have changed.
    pub(crate) fn look(&mut self, key: &Key, number: u64, waker: &Waker) -> Waited<R> {
        let run = self.number();
        // Who waits keeps the entry from going.
        let Some(entry) = self.entries.get_mut(key) else { return Waited::Wait };
        match &entry.phase {
            Phase::Led(_) => {
                if let Some((_, own)) = entry.waiting.iter_mut().find(|(waits, _)| *waits == number) {
                    own.clone_from(waker);
                }
                Waited::Wait
            }
            Phase::Open => {
                entry.phase = Phase::Led(run);
                entry.waiting.retain(|(waits, _)| *waits != number);
                Waited::Lead(run)
            }
            Phase::Answered { answer, .. } => {
                let answer = answer.clone();
                entry.waiting.retain(|(waits, _)| *waits != number);
                self.taken(key);
                Waited::Answer(answer)
            }
        }
    }

    /// One that waits has gone. If it was the one that would have led next, another one does: all were woken.
    pub(crate) fn left(&mut self, key: &Key, number: u64) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.waiting.retain(|(waits, _)| *waits != number);
        match entry.phase {
            Phase::Open if entry.waiting.is_empty() => self.remove(key),
            Phase::Answered { .. } => self.taken(key),
            _ => {}
        }
    }

    /// Somebody has an answer: one that is too large goes with the last of those who waited for it.
    fn taken(&mut self, key: &Key) {
        if let Some(entry) = self.entries.get_mut(key)
            && entry.waiting.is_empty()
            && let Phase::Answered { answer: answer @ Answer::Passing(_), .. } = &mut entry.phase
        {
            *answer = Answer::Gone;
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= OVERHEAD;
            if let Phase::Answered { bytes, .. } = entry.phase {
                self.bytes -= bytes;
            }
        }
    }

    /// Whether the answer of this run is there, and nobody has still to take it.
    fn is_free(&self, key: &Key, of: u64) -> Option<bool> {
        let entry = self.entries.get(key)?;
        match entry.phase {
            Phase::Answered { run, .. } if run == of => Some(entry.waiting.is_empty()),
            _ => None,
        }
    }

    /// Whether a key has an answer that is old enough, and that nobody has still to take.
    fn is_stale(&self, key: &Key, now: Instant, age: Duration) -> bool {
        self.entries.get(key).is_some_and(|entry| match entry.phase {
            Phase::Answered { at, .. } => {
                entry.waiting.is_empty() && now.saturating_duration_since(at) >= age
            }
            _ => false,
        })
    }

    /// Drops what is old enough.
    fn expire(&mut self, now: Instant, age: Duration) {
        while let Some((at, key, run)) = self.answered.front().copied() {
            match self.is_free(&key, run) {
                Some(true) if now.saturating_duration_since(at) >= age => self.remove(&key),
                None => {}
                // Those behind it are younger, or wait a little longer: who asks for one finds it too old.
                _ => return,
            }
            self.answered.pop_front();
        }
    }

    /// Drops the oldest answer that nobody has still to take; says whether there was one.
    fn evict(&mut self, now: Instant, changes: &mut Changes) -> bool {
        for _ in 0..self.answered.len() {
            let Some((at, key, run)) = self.answered.pop_front() else { return false };
            match self.is_free(&key, run) {
                Some(true) => {
                    self.remove(&key);
                    changes.evicted.push(now.saturating_duration_since(at));
                    return true;
                }
                Some(false) => self.answered.push_back((at, key, run)),
                None => {}
            }
        }
        false
    }

    /// Forgets all answers that nobody has still to take.
    pub(crate) fn clear(&mut self) {
        let answered = std::mem::take(&mut self.answered);
        for (at, key, run) in answered {
            match self.is_free(&key, run) {
                Some(true) => self.remove(&key),
                Some(false) => self.answered.push_back((at, key, run)),
                None => {}
            }
        }
    }

    /// How many keys are known, and how many bytes they take.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering::SeqCst},
        },
        task::Wake,
    };

    const AGE: Duration = Duration::from_secs(10);
    const PLENTY: Limits = Limits { entries: 1_000, bytes: 1 << 30, answer: 100, when_full: WhenFull::Evict };

    fn key(n: u8) -> Key {
        [n; 32]
    }

    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, SeqCst);
        }
    }

    /// One that comes with a key, from joining to its end.
    struct Actor {
        key: u8,
        at: At,
    }

    enum At {
        Leads(u64),
        Waits(u64, Arc<Flag>),
    }

    /// The plain idea of one key.
    #[derive(Default, Clone, Copy)]
    struct Plain {
        led: bool,
        answer: Option<(u32, Instant)>,
    }

    struct World {
        table: Table<u32>,
        limits: Limits,
        now: Instant,
        actors: Vec<Actor>,
        plain: [Plain; 3],
        made: u32,
    }

    impl World {
        fn changed(changes: Changes) {
            changes.wake.into_iter().for_each(Waker::wake);
        }

        fn arrive(&mut self, key_of: u8) {
            let mut changes = Changes::default();
            let (now, limits) = (self.now, self.limits);
            let joined = self.table.join(key(key_of), key(0), now, AGE, limits, &mut changes);
            Self::changed(changes);
            let plain = &mut self.plain[usize::from(key_of)];
            match joined {
                Joined::Lead(run) => {
                    assert!(!plain.led, "two lead");
                    let young = plain.answer.is_some_and(|(_, at)| now - at < AGE);
                    assert!(!young || self.limits != PLENTY, "it had an answer");
                    *plain = Plain { led: true, answer: None };
                    self.actors.push(Actor { key: key_of, at: At::Leads(run) });
                }
                Joined::Wait(number) => {
                    let flag = Arc::new(Flag(AtomicBool::new(true)));
                    self.actors.push(Actor { key: key_of, at: At::Waits(number, flag) });
                }
                Joined::Answer(Answer::Kept(answer)) => {
                    assert_eq!(plain.answer.map(|(n, _)| n), Some(answer))
                }
                Joined::Answer(_) => assert!(plain.answer.is_some()),
                Joined::Mismatch => panic!("all have one print"),
                Joined::Full(_) => assert!(self.limits != PLENTY),
            }
        }

        /// What an actor does next: who leads ends in some way, who waits looks, if it was woken.
        fn step(&mut self, at: usize, how: u8) {
            let Actor { key: of, at: state } = &self.actors[at];
            let (id, plain) = (key(*of), &mut self.plain[usize::from(*of)]);
            let mut changes = Changes::default();
            match state {
                At::Leads(run) => {
                    if how.is_multiple_of(3) {
                        self.table.abandoned(&id, *run, &mut changes);
                        plain.led = false;
                    } else {
                        self.made += 1;
                        *plain = Plain { led: false, answer: Some((self.made, self.now)) };
                        let answer = (self.made, if how % 3 == 1 { 10 } else { 101 });
                        self.table.answered(&id, *run, answer, self.now, self.limits, &mut changes);
                    }
                    self.actors.swap_remove(at);
                }
                At::Waits(number, flag) if flag.0.swap(false, SeqCst) => {
                    match self.table.look(&id, *number, &Waker::from(flag.clone())) {
                        Waited::Wait => {}
                        Waited::Lead(run) => {
                            assert!(!plain.led, "two lead");
                            plain.led = true;
                            self.actors[at].at = At::Leads(run);
                        }
                        Waited::Answer(Answer::Kept(n) | Answer::Passing(n)) => {
                            // That of the call that it has waited for, which was the last.
                            assert_eq!(plain.answer.map(|(n, _)| n), Some(n));
                            self.actors.swap_remove(at);
                        }
                        Waited::Answer(Answer::Gone) => panic!("it has waited, and gets nothing"),
                    }
                }
                At::Waits(..) => {}
            }
            Self::changed(changes);
        }

        fn leave(&mut self, at: usize) {
            let actor = self.actors.swap_remove(at);
            let (id, mut changes) = (key(actor.key), Changes::default());
            match actor.at {
                At::Leads(run) => {
                    self.plain[usize::from(actor.key)].led = false;
                    self.table.abandoned(&id, run, &mut changes);
                }
                At::Waits(number, _) => self.table.left(&id, number),
            }
            Self::changed(changes);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

        /// Whoever comes, leaves, leads and fails in whatever order: one leads at a time, an answer is given to all who
        /// have waited for it and to all who come while it is young enough, and in the end nobody is left waiting.
        #[test]
        fn as_it_should_be(
            steps in proptest::collection::vec((0u8..6, any::<u8>(), any::<u8>()), 1..120),
            narrow in any::<bool>(),
        ) {
            let limits = if narrow {
                Limits { entries: 2, bytes: 3 * OVERHEAD, answer: 100, when_full: WhenFull::Evict }
            } else {
                PLENTY
            };
            let mut world = World {
                table: Table::new(), limits, now: Instant::now(), actors: Vec::new(), plain: Default::default(), made: 0,
            };
            for (what, a, b) in steps {
                let pick = |len: usize| usize::from(a) % len.max(1);
                match what {
                    0 | 1 => world.arrive(b % 3),
                    2 | 3 if !world.actors.is_empty() => world.step(pick(world.actors.len()), b),
                    4 if !world.actors.is_empty() => world.leave(pick(world.actors.len())),
                    5 => world.now += Duration::from_millis(u64::from(b) * 40),
                    _ => {}
                }
                prop_assert!(world.table.size().0 <= limits.entries);
            }
            // Only those who were woken go on, and each of them does.
            for _ in 0..10_000 {
                let due = world.actors.iter().position(|actor| match &actor.at {
                    At::Leads(_) => true,
                    At::Waits(_, flag) => flag.0.load(SeqCst),
                });
                let Some(due) = due else { break };
                world.step(due, 0);
            }
            prop_assert!(world.actors.is_empty(), "{} wait for ever", world.actors.len());
            world.table.clear();
            prop_assert_eq!(world.table.size(), (0, 0));
            prop_assert!(world.table.answered.is_empty());
        }
    }

    fn filled(when_full: WhenFull) -> (Table<u32>, Instant, Limits) {
        let limits = Limits { entries: 3, bytes: 1 << 20, answer: 100, when_full };
        let (mut table, start) = (Table::new(), Instant::now());
        for n in 0..3 {
            let at = start + Duration::from_secs(u64::from(n));
            let Joined::Lead(run) = table.join(key(n), key(0), at, AGE, limits, &mut Changes::default())
            else {
                panic!("it is new")
            };
            let answer = (u32::from(n), 10);
            assert!(table.answered(&key(n), run, answer, at, limits, &mut Changes::default()));
        }
        (table, start + Duration::from_secs(3), limits)
    }

    #[test]
    fn the_oldest_gives_way() {
        let (mut table, now, limits) = filled(WhenFull::Evict);
        assert_eq!(table.size(), (3, 3 * (OVERHEAD + 10)));
        let mut changes = Changes::default();
        assert!(matches!(table.join(key(9), key(0), now, AGE, limits, &mut changes), Joined::Lead(_)));
        assert_eq!(changes.evicted, [Duration::from_secs(3)]);
        assert!(matches!(table.join(key(1), key(0), now, AGE, limits, &mut changes), Joined::Answer(_)));
    }

    #[test]
    fn or_the_new_one_does() {
        let (mut table, now, limits) = filled(WhenFull::Refuse);
        let mut changes = Changes::default();
        let join = table.join(key(9), key(0), now, AGE, limits, &mut changes);
        assert!(matches!(join, Joined::Full(Some(after)) if after == Duration::from_secs(7)), "{join:?}");
        // The others are known still; and when the oldest has had its time, there is room.
        assert!(matches!(table.join(key(0), key(0), now, AGE, limits, &mut changes), Joined::Answer(_)));
        let later = now + Duration::from_secs(7);
        assert!(matches!(table.join(key(9), key(0), later, AGE, limits, &mut changes), Joined::Lead(_)));
        assert!(changes.evicted.is_empty());
    }

    #[test]
    fn bytes_are_limited_too() {
        let (mut table, now, _) = filled(WhenFull::Evict);
        let narrow = Limits { entries: 9, bytes: 4 * OVERHEAD, answer: 100, when_full: WhenFull::Evict };
        let mut changes = Changes::default();
        let Joined::Lead(run) = table.join(key(9), key(0), now, AGE, narrow, &mut changes) else {
            panic!("it is new")
        };
        assert!(table.answered(&key(9), run, (9, 100), now, narrow, &mut changes));
        assert!(table.size().1 <= narrow.bytes && !changes.evicted.is_empty(), "{:?}", table.size());
        // One that is too large for itself moves nobody.
        let before = table.size().0;
        let Joined::Lead(run) = table.join(key(8), key(0), now, AGE, narrow, &mut Changes::default()) else {
            panic!("it is new")
        };
        assert!(!table.answered(&key(8), run, (8, 101), now, narrow, &mut Changes::default()));
        assert!(table.size().0 + 1 >= before);
        let again = table.join(key(8), key(0), now, AGE, narrow, &mut Changes::default());
        assert!(matches!(again, Joined::Answer(Answer::Gone)), "{again:?}");
    }

    #[test]
    fn a_key_is_one_call_s() {
        let (mut table, now, limits) = filled(WhenFull::Evict);
        let mut other = |now| table.join(key(2), key(1), now, AGE, limits, &mut Changes::default());
        assert!(matches!(other(now), Joined::Mismatch));
        assert!(matches!(other(now + AGE), Joined::Lead(_)), "an old one is nobody's");
    }
}
