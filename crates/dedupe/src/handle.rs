//! A look at a layer from outside.

use crate::{
    config::DedupeConfig,
    lead::{EVICTED, FIRST, JOINED, REFUSED, REPLAYED, State},
};
use std::{fmt, sync::Arc};
use towpath_core::Live;

/// Reads and changes the state of a [`DedupeLayer`](crate::DedupeLayer) while it works; clones see the same.
pub struct DedupeHandle<Res>(pub(crate) Arc<State<Res>>);

/// How many calls with a key met which end, since the layer was made; and how many answers were dropped early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DedupeCounts {
    /// They were made.
    pub made: u64,
    /// They got an answer that had been given before.
    pub replayed: u64,
    /// They waited for another call of their key; what came of that is counted beside.
    pub joined: u64,
    /// They were turned away: another call had their key, or there was no room.
    pub refused: u64,
    /// Answers that were dropped before their time, to make room.
    pub evicted: u64,
}

impl<Res: Clone> DedupeHandle<Res> {
    /// How much is kept, to read and to replace.
    pub fn config(&self) -> &Live<DedupeConfig> {
        &self.0.config
    }

    /// How many keys are known, those of calls that are being made included.
    pub fn keys(&self) -> usize {
        self.0.table().size().0
    }

    /// How many bytes they take, with their answers.
    pub fn bytes(&self) -> usize {
        self.0.table().size().1
    }

    /// Forgets all answers. Calls that are being made, and those who wait for them, go on.
    pub fn clear(&self) {
        self.0.table().clear();
    }

    /// How many calls met which end.
    pub fn counts(&self) -> DedupeCounts {
        let total = |count| self.0.counts.total(count);
        DedupeCounts {
            made: total(FIRST),
            replayed: total(REPLAYED),
            joined: total(JOINED),
            refused: total(REFUSED),
            evicted: total(EVICTED),
        }
    }
}

impl<Res> Clone for DedupeHandle<Res> {
    fn clone(&self) -> Self {
        DedupeHandle(self.0.clone())
    }
}

impl<Res: Clone> fmt::Debug for DedupeHandle<Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedupeHandle")
            .field("config", self.config())
            .field("counts", &self.counts())
            .field("keys", &self.keys())
            .finish()
    }
}
