//! The router on a listener of its own.

use crate::Admin;
use std::{
    fmt,
    future::{Future, IntoFuture},
    io,
    net::SocketAddr,
    pin::pin,
};
use tokio::net::TcpListener;

/// An admin interface that listens, and is going to serve.
#[must_use = "it does not serve unless it is run"]
pub struct Serving {
    admin: Admin,
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Listens on an address of this machine's loopback: `127.0.0.1:9900`, `[::1]:0`.
    ///
    /// # Errors
    /// If the system refuses the address, or if it is not one of loopback and there is no [token](Self::token): what this
    /// shows is not for everybody. (An app that is told to serve the [router](Self::router) elsewhere does so.)
    pub async fn serve(self, address: SocketAddr) -> io::Result<Serving> {
        if !address.ip().is_loopback() && self.has_token().is_none() {
            let why =
                format!("{address} can be reached from elsewhere: give the admin interface a token first");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Serving { admin: self, listener, address })
    }
}

impl Serving {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `end` resolves, and until all answers are complete then; streams end at once. Until then it
    /// [looks](Admin::watch) at what happens.
    ///
    /// # Errors
    /// None at this time.
    pub async fn until(self, end: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let Serving { admin, listener, .. } = self;
        let router = admin.router();
        let closes = admin.clone();
        let end = async move {
            end.await;
            closes.close();
        };
        let mut serving = pin!(axum::serve(listener, router).with_graceful_shutdown(end).into_future());
        tokio::select! {
            served = &mut serving => return served,
            // It ends when this is closed.
            () = admin.watch() => {}
        }
        serving.await
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("address", &self.address).finish_non_exhaustive()
    }
}
