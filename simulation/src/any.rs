//! A picker of whatever type: so the layers are compiled once.

use towpath_balance::{Pick, Renew, View};
use towpath_core::Endpoint;

/// A picker whose type is not known any more.
pub(crate) struct Any(Box<dyn Erased>);

type Table = Box<dyn std::any::Any + Send + Sync>;

trait Erased: Send + Sync {
    fn table(&self, endpoints: &[&Endpoint]) -> Table;
    fn pick(&self, table: &Table, view: &View<'_>) -> Option<usize>;
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

    fn refresh(&self, table: &Table, view: &View<'_>) {
        if let Some(table) = table.downcast_ref() {
            Pick::refresh(self, table, view);
        }
    }

    fn suits(&self, table: &Table, view: &View<'_>, index: usize) -> bool {
        table.downcast_ref().is_none_or(|table| Pick::suits(self, table, view, index))
    }

    fn wanted(&self, table: &Table, view: &View<'_>) -> Option<Vec<usize>> {
        table.downcast_ref().and_then(|table| Pick::wanted(self, table, view))
    }

    fn listen(&self, renew: &Renew) {
        Pick::listen(self, renew);
    }
}

impl Any {
    pub(crate) fn new(picker: impl Pick) -> Self {
        Any(Box::new(picker))
    }
}

// `is_heavy` is left out: no table is computed on another thread, whose time is not the simulation's.
impl Pick for Any {
    type Table = Table;

    fn table(&self, endpoints: &[&Endpoint]) -> Table {
        self.0.table(endpoints)
    }

    fn pick(&self, table: &Table, view: &View<'_>) -> Option<usize> {
        self.0.pick(table, view)
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
