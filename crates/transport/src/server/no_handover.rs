//! In place of the handover, where the system has no Unix sockets: the same names, and nothing that can exist.

use super::socket::Listener;
use std::{convert::Infallible, io, path::Path};

#[derive(Debug)]
pub(super) enum Handover {
    None,
    Offered(Offer),
    Taken(Old),
}

#[derive(Debug)]
pub(super) struct Offer(Infallible);

#[derive(Debug)]
pub(super) struct Old(Infallible);

pub(super) async fn take(_: &Path) -> io::Result<Option<(Listener, Old)>> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no Unix sockets to hand a listener over"))
}

impl Old {
    pub(super) async fn replace(self) -> Option<Offer> {
        match self.0 {}
    }
}

impl Offer {
    pub(super) async fn open(_: &Path) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no Unix sockets"))
    }

    pub(super) fn is_out(&self) -> bool {
        match self.0 {}
    }

    pub(super) async fn taken(&self, _: &Listener) -> Infallible {
        match self.0 {}
    }

    pub(super) fn close(self, _: Infallible) -> Self {
        self
    }

    pub(super) async fn go_ahead(self) {}
}
