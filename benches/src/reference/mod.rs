//! A multiplexer that does nothing but multiplex: what others are measured against.
//!
//! Frames with an id, one connection, any number of calls in flight, answers by id. No method, no deadline, no
//! metadata, no limit, no fault, no keep-alive, no drain: each of these is something that a real one pays for. What is
//! there is done as well as we know: one driver for a connection, which reads first and writes then, so that one
//! read's answers become one write's calls; waiters in a slab; all answers of a read under one lock; small bodies
//! copied together on their way out, large ones sent and received by reference; the server answers in its read loop.

mod client;
mod incoming;
mod outgoing;
mod server;

pub use client::{Call, Connection};
pub use server::serve;

/// In front of every body: four bytes that are always the same, the length of the body, the id.
const HEAD: usize = 16;
const MAGIC: [u8; 4] = *b"REF1";

/// Bodies from this size on are not copied.
const LARGE: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tokio::{net::TcpListener, task::JoinSet};

    #[tokio::test]
    async fn answers_find_their_callers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener));
        let connection = Connection::connect(address).await.unwrap();
        let mut callers = JoinSet::new();
        for caller in 0..40u8 {
            let connection = connection.clone();
            callers.spawn(async move {
                for size in [0, 1, 64, LARGE - 1, LARGE, 70_000, 300_000] {
                    let body = Bytes::from(vec![caller; size]);
                    assert_eq!(connection.call(body.clone()).await.unwrap(), body);
                    // Given up before it is answered; its slot is used again.
                    let call = connection.call(body);
                    let mut call = Box::pin(call);
                    let first =
                        std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx))).await;
                    assert!(first.is_pending());
                }
            });
        }
        callers.join_all().await;
        server.abort();
        let _ = server.await;
        assert!(connection.call(Bytes::new()).await.is_err());
    }
}
