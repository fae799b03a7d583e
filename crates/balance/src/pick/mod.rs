//! Who says where a call goes: a picker, given a view of the endpoints.

mod least;
mod p2c;
#[cfg(test)]
pub(crate) mod rig;
mod robin;
mod view;

pub use least::LeastRequest;
pub use p2c::PowerOfTwo;
pub use robin::RoundRobin;
pub use view::View;
pub(crate) use view::{Base, Ramp, Tuning};

use std::sync::Arc;
use towpath_core::Endpoint;

/// Says where a call goes.
///
/// It is asked once for each call, on the call's path: a few loads, no lock, no allocation. It sees the endpoints as a
/// [`View`], by index. Whatever it computes once for a set of endpoints it keeps in a [table](Self::Table).
///
/// Closures are pickers without a table:
///
/// ```
/// use towpath_balance::View;
/// let first_that_is_ready = |view: &View<'_>| (0..view.len()).find(|index| view.is_ready(*index));
/// # fn is_picker(_: impl towpath_balance::Pick) {}
/// # is_picker(first_that_is_ready);
/// ```
pub trait Pick: Send + Sync + 'static {
    /// What it computes once for a set of endpoints: a hash ring, a list of those with a label. `()` for nothing.
    type Table: Send + Sync + 'static;

    /// Whether that may take milliseconds. A balancer that has a task has it computed on a thread for such work then, and
    /// picks by the table before until it is there.
    fn is_heavy(&self) -> bool {
        false
    }

    /// Computes the table for the endpoints that a view will have, in the same order. Called whenever there is
    /// another set, or one of them is described anew; not on the path of a call.
    fn table(&self, endpoints: &[&Endpoint]) -> Self::Table;

    /// Where the call goes: the index in the view of one that [is ready](View::is_ready). `None`: none of them is.
    fn pick(&self, table: &Self::Table, view: &View<'_>) -> Option<usize>;

    /// Takes down in its table what follows from the state of the endpoints, such as how many of a group are
    /// [well](View::is_well). Called after the table was computed, and after states have changed.
    fn refresh(&self, _table: &Self::Table, _view: &View<'_>) {}

    /// Whether the call may go to this endpoint at all, ready or not. Asked before it is sent somewhere for another reason
    /// than a pick: to find out whether an endpoint has recovered.
    fn suits(&self, _table: &Self::Table, _view: &View<'_>, _index: usize) -> bool {
        true
    }

    /// Those that calls go to as a rule, as things stand: their indices in the view. A balancer with a task readies the
    /// stacks of these and, by [`EndpointState::set_spare`](towpath_core::EndpointState::set_spare), has pools keep no
    /// connection to the others. Those may be picked all the same, once they are ready. `None`, the default: all.
    ///
    /// Asked after each [`refresh`](Self::refresh).
    fn wanted(&self, _table: &Self::Table, _view: &View<'_>) -> Option<Vec<usize>> {
        None
    }

    /// Calls `renew` whenever tables are to be computed anew though the endpoints are the same, as when its config was
    /// replaced, until that answers `false`.
    fn listen(&self, _renew: &Renew) {}
}

/// What a picker calls so that its tables are computed anew. It answers `false` when nobody needs that any more, as
/// [`Live::listen`](towpath_core::Live::listen) expects it.
pub type Renew = Arc<dyn Fn() -> bool + Send + Sync>;

impl<F> Pick for F
where
    F: Fn(&View<'_>) -> Option<usize> + Send + Sync + 'static,
{
    type Table = ();

    fn table(&self, _endpoints: &[&Endpoint]) {}

    #[inline]
    fn pick(&self, _table: &(), view: &View<'_>) -> Option<usize> {
        self(view)
    }
}
