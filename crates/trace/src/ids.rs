//! New ids.

use std::{
    hash::{BuildHasher, RandomState},
    sync::OnceLock,
};
use towpath_core::context::{SpanId, TraceId};

/// Makes ids: a generator for each service, as to look for one of the thread's own costs more than to use it.
///
/// The generator walks one long cycle, the same one in all processes. So that two that come to the same place
/// of it make different traces, a random number of each process goes into every trace id.
#[derive(Debug)]
pub(crate) struct Ids {
    random: fastrand::Rng,
    process: u64,
}

impl Ids {
    pub(crate) fn new() -> Self {
        static PROCESS: OnceLock<u64> = OnceLock::new();
        // Seeded by the system.
        let process = *PROCESS.get_or_init(|| RandomState::new().hash_one("towpath"));
        Ids { random: fastrand::Rng::new(), process }
    }

    #[inline]
    pub(crate) fn trace_id(&mut self) -> TraceId {
        let high = self.random.u64(..) ^ self.process;
        // The low half decides about sampling: all of it is random. An id is not zero.
        let low = self.random.u64(..).max(1);
        TraceId(u128::from(high) << 64 | u128::from(low))
    }

    #[inline]
    pub(crate) fn span_id(&mut self) -> SpanId {
        SpanId(self.random.u64(..).max(1))
    }
}

/// A clone makes other ids.
impl Clone for Ids {
    fn clone(&self) -> Self {
        Ids::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_are_the_same() {
        let first = Ids::new();
        let mut all = [first.clone(), first.clone(), first];
        let traces: HashSet<_> =
            all.iter_mut().flat_map(|ids| (0..1_000).map(|_| ids.trace_id()).collect::<Vec<_>>()).collect();
        let spans: HashSet<_> =
            all.iter_mut().flat_map(|ids| (0..1_000).map(|_| ids.span_id()).collect::<Vec<_>>()).collect();
        assert_eq!((traces.len(), spans.len()), (3_000, 3_000));
    }
}
