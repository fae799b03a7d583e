//! Credentials that were verified a short while ago.

use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;
use towpath_core::Identity;

/// What a credential is known by: its digest, and what else the verdict depends on.
pub(super) type Key = ([u8; 32], u64);

/// A credential was good.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) identity: Identity,
    pub(super) since: Instant,
}

impl Verdict {
    /// Whether it holds still.
    pub(super) fn holds(&self, now: Instant, age: Duration) -> bool {
        now.saturating_duration_since(self.since) < age && self.identity.expires().is_none_or(|at| now < at)
    }
}

/// At most so many, in two generations: when the young one has half of all, it becomes the old one, and what
/// nobody has asked for since is gone. To look one up costs no more than a list of use would, and no list is kept.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    /// What is held against the verifier's and the handle's: verdicts from before a change count no more.
    epoch: (u64, u64),
    young: HashMap<Key, Verdict>,
    old: HashMap<Key, Verdict>,
}

impl Verdicts {
    /// The verdict on a credential, if it holds.
    pub(super) fn get(
        &mut self,
        key: &Key,
        epoch: (u64, u64),
        now: Instant,
        age: Duration,
        room: usize,
    ) -> Option<Verdict> {
        self.enter(epoch);
        if let Some(verdict) = self.young.get(key) {
            if verdict.holds(now, age) {
                return Some(verdict.clone());
            }
            self.young.remove(key);
            return None;
        }
        let verdict = self.old.remove(key).filter(|verdict| verdict.holds(now, age))?;
        self.insert(*key, epoch, verdict.clone(), room);
        Some(verdict)
    }

    /// Keeps a verdict, if nothing has changed since it was asked for.
    pub(super) fn insert(&mut self, key: Key, epoch: (u64, u64), verdict: Verdict, room: usize) {
        if epoch != self.epoch {
            return;
        }
        if self.young.len() >= room / 2 && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, verdict);
    }

    /// Forgets what was known before a change.
    pub(super) fn enter(&mut self, epoch: (u64, u64)) {
        if epoch != self.epoch {
            *self = Verdicts { epoch, ..Verdicts::default() };
        }
    }

    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AGE: Duration = Duration::from_secs(10);

    fn key(n: u8) -> Key {
        ([n; 32], 0)
    }

    proptest! {
        /// Against the plain idea of it: what it says was said, holds, and is of this epoch; what was used among the
        /// last half of its room is still there.
        #[test]
        fn nothing_is_made_up(steps in proptest::collection::vec((0u8..4, 0u8..12), 1..200), room in 2usize..9) {
            let start = Instant::now();
            let (mut verdicts, mut now, mut epoch) = (Verdicts::default(), start, (0, 0));
            let mut said: HashMap<u8, Instant> = HashMap::new();
            let mut used: Vec<u8> = Vec::new();
            for (what, n) in steps {
                match what {
                    0 => {
                        verdicts.insert(key(n), epoch, Verdict { identity: Identity::new(n.to_string()), since: now }, room);
                        said.insert(n, now);
                        used.push(n);
                    }
                    1 | 2 => {
                        let got = verdicts.get(&key(n), epoch, now, AGE, room);
                        let holds = said.get(&n).is_some_and(|since| now - *since < AGE);
                        if let Some(got) = &got {
                            prop_assert!(holds);
                            prop_assert_eq!((got.identity.subject(), got.since), (&*n.to_string(), said[&n]));
                            used.push(n);
                        }
                        let mut recent: Vec<u8> = Vec::new();
                        for n in used.iter().rev().filter(|n| said.contains_key(n)) {
                            if !recent.contains(n) { recent.push(*n) }
                        }
                        recent.truncate(room / 2);
                        if holds && recent.contains(&n) && got.is_none() {
                            prop_assert!(false, "{n} was used lately, and is gone");
                        }
                    }
                    _ if n == 0 => {
                        epoch.0 += 1;
                        verdicts.enter(epoch);
                        said.clear();
                        used.clear();
                    }
                    _ => now += Duration::from_secs(u64::from(n) / 3),
                }
                prop_assert!(verdicts.len() <= room, "{} in a room of {room}", verdicts.len());
            }
        }
    }

    #[test]
    fn one_that_was_asked_for_before_a_change_is_not_kept() {
        let now = Instant::now();
        let mut verdicts = Verdicts::default();
        verdicts.enter((0, 1));
        verdicts.insert(key(1), (0, 0), Verdict { identity: Identity::new("x"), since: now }, 9);
        assert!(verdicts.get(&key(1), (0, 1), now, AGE, 9).is_none());
    }

    #[test]
    fn it_holds_no_longer_than_the_token() {
        let now = Instant::now();
        let identity = Identity::new("x").with_expiry(now + Duration::from_secs(3));
        let verdict = Verdict { identity, since: now };
        assert!(verdict.holds(now + Duration::from_millis(2_999), AGE));
        assert!(!verdict.holds(now + Duration::from_secs(3), AGE));
    }
}
