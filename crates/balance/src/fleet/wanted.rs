//! Which endpoints calls go to as a rule: what the picker says, for the driver to act on.

use super::{Fleet, Snapshot, lock};
use crate::pick::{Pick, View};
use std::collections::HashSet;
use towpath_core::{Clock, EndpointId};

/// What the picker has said last.
#[derive(Default)]
pub(super) struct Wanted {
    /// `None`: all.
    those: Option<HashSet<EndpointId>>,
    /// Whether the driver is to hear of it.
    is_new: bool,
}

impl<S, P: Pick> Fleet<S, P> {
    /// Asks the picker, and has the driver come if something has changed.
    pub(super) fn ask_wanted(&self, snapshot: &Snapshot<S, P::Table>) {
        if !self.driven {
            return;
        }
        let base = self.base(snapshot, self.tick(Clock::now()));
        let wanted = self.picker.wanted(&snapshot.table, &View::new(&base));
        let id = |index: usize| snapshot.endpoints.get(index).map(|endpoint| endpoint.id());
        let those = wanted.map(|wanted| wanted.into_iter().filter_map(id).collect());
        let mut held = lock(&self.wanted);
        if held.those != those {
            *held = Wanted { those, is_new: true };
            drop(held);
            self.bell.driver().notify_one();
        }
    }

    /// Whether calls go to this one as a rule, as far as was said: to one that is new, if they go to all.
    pub(crate) fn is_wanted(&self, id: EndpointId) -> bool {
        lock(&self.wanted).those.as_ref().is_none_or(|those| those.contains(&id))
    }

    /// Whether something has changed since this was asked last.
    pub(crate) fn wants_others(&self) -> bool {
        std::mem::take(&mut lock(&self.wanted).is_new)
    }
}
