//! Who is compared, each in the best configuration that we know for it.

mod ours;
mod reference;

#[cfg(feature = "peers")]
mod http1;
#[cfg(feature = "peers")]
mod tarpc;
#[cfg(feature = "peers")]
mod tonic;

pub use ours::{Armoured, Bare, Facade};
pub use reference::Reference;

#[cfg(feature = "peers")]
pub use {http1::Axum, tarpc::Tarpc, tonic::Tonic};

use crate::Failure;
use bytes::Bytes;
use std::{future::Future, net::SocketAddr};
use tokio::net::TcpListener;

/// An echo, both sides.
pub trait Contender {
    /// One of those who call, one call at a time.
    type Caller: Caller;

    /// Answers with what was sent, on every connection of the listener.
    fn serve(listener: TcpListener) -> impl Future<Output = Result<(), Failure>> + Send + 'static;

    /// So many callers. They share one connection, where the protocol can do that.
    fn connect(
        address: SocketAddr,
        callers: usize,
    ) -> impl Future<Output = Result<Vec<Self::Caller>, Failure>> + Send;
}

/// See [`Contender::Caller`].
pub trait Caller: Send + 'static {
    /// Calls; the outcome is the length of the answer.
    fn call(&mut self, body: Bytes) -> impl Future<Output = Result<usize, Failure>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echoes<C: Contender>() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(C::serve(listener));
        let callers = C::connect(address, 3).await.unwrap();
        assert_eq!(callers.len(), 3);
        for mut caller in callers {
            for size in [0, 64, 64 << 10] {
                assert_eq!(caller.call(Bytes::from(vec![7; size])).await.unwrap(), size);
            }
        }
        server.abort();
    }

    #[tokio::test]
    async fn all_echo() {
        echoes::<Reference>().await;
        echoes::<Bare>().await;
        echoes::<Facade>().await;
        echoes::<Armoured>().await;
        #[cfg(feature = "peers")]
        {
            echoes::<Tonic>().await;
            echoes::<Tarpc>().await;
            echoes::<Axum>().await;
        }
    }
}
