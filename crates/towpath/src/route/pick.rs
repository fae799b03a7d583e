//! A picker of whatever type.

use std::{any::Any, fmt, sync::Arc};
use towpath_balance::{Pick, Renew, View};
use towpath_core::Endpoint;

/// A picker whose type is not known any more: a call pays one indirect call for it.
#[derive(Clone)]
pub(crate) struct AnyPick(Arc<dyn Erased>);

type Table = Box<dyn Any + Send + Sync>;

trait Erased: Send + Sync {
    fn table(&self, endpoints: &[&Endpoint]) -> Table;
    fn pick(&self, table: &Table, view: &View<'_>) -> Option<usize>;
    fn is_heavy(&self) -> bool;
    fn refresh(&self, table: &Table, view: &View<'_>);
    fn suits(&self, table: &Table, view: &View<'_>, index: usize) -> bool;
    fn wanted(&self, table: &Table, view: &View<'_>) -> Option<Vec<usize>>;
    fn listen(&self, renew: &Renew);
}

impl<P: Pick> Erased for P {
    fn table(&self, endpoints: &[&Endpoint]) -> Table {
        Box::new(Pick::table(self, endpoints))
    }

    fn pick(&self, table: &Table, view: &View<'_>) -> Option<usize> {
        // It made the table.
        table.downcast_ref().and_then(|table| Pick::pick(self, table, view))
    }

    fn is_heavy(&self) -> bool {
        Pick::is_heavy(self)
    }

    fn refresh(&self, table: &Table, view: &View<'_>) {
        if let Some(table) = table.downcast_ref() {
            Pick::refresh(self, table, view);
        }
    }

    fn suits(&self, table: &Table, view: &View<'_>, index: usize) -> bool {
        table.downcast_ref().is_some_and(|table| Pick::suits(self, table, view, index))
    }

    fn wanted(&self, table: &Table, view: &View<'_>) -> Option<Vec<usize>> {
        table.downcast_ref().and_then(|table| Pick::wanted(self, table, view))
    }

    fn listen(&self, renew: &Renew) {
        Pick::listen(self, renew);
    }
}

impl AnyPick {
    pub(crate) fn new(picker: impl Pick) -> Self {
        AnyPick(Arc::new(picker))
    }
}

impl Pick for AnyPick {
    type Table = Table;

    fn table(&self, endpoints: &[&Endpoint]) -> Table {
        self.0.table(endpoints)
    }

    #[inline]
    fn pick(&self, table: &Table, view: &View<'_>) -> Option<usize> {
        self.0.pick(table, view)
    }

    fn is_heavy(&self) -> bool {
        self.0.is_heavy()
    }

    fn refresh(&self, table: &Table, view: &View<'_>) {
        self.0.refresh(table, view);
    }

    fn suits(&self, table: &Table, view: &View<'_>, index: usize) -> bool {
        self.0.suits(table, view, index)
    }

    fn wanted(&self, table: &Table, view: &View<'_>) -> Option<Vec<usize>> {
        self.0.wanted(table, view)
    }

    fn listen(&self, renew: &Renew) {
        self.0.listen(renew);
    }
}

impl fmt::Debug for AnyPick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyPick")
    }
}
