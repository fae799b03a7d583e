//! A picker of whatever type.

use std::{any::Any, fmt, sync::Arc};
use towpath_balance::{Pick, View};
use towpath_core::Endpoint;

/// A picker whose type is not known any more: a call pays one indirect call for it.
#[derive(Clone)]
pub(crate) struct AnyPick(Arc<dyn Erased>);

type Table = Box<dyn Any + Send + Sync>;

trait Erased: Send + Sync {
    fn table(&self, endpoints: &[&Endpoint]) -> Table;
    fn pick(&self, table: &Table, view: &View<'_>) -> Option<usize>;
}

impl<P: Pick> Erased for P {
    fn table(&self, endpoints: &[&Endpoint]) -> Table {
        Box::new(Pick::table(self, endpoints))
    }

    fn pick(&self, table: &Table, view: &View<'_>) -> Option<usize> {
        // It made the table.
        table.downcast_ref().and_then(|table| Pick::pick(self, table, view))
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
}

impl fmt::Debug for AnyPick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyPick")
    }
}
