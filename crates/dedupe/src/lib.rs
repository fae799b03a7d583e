//! A server layer that makes calls of one idempotency key once, and answers repetitions with the first answer.
//!
//! A caller whose answer was lost cannot know whether its call was made. If it gives the call a key of its own (a UUID,
//! say) it may repeat it without harm: [`DedupeLayer`] makes it once, for as long as it knows the key. The key travels as
//! `idempotency-key`; with the feature `http` it is the header of that name (IETF draft-ietf-httpapi-idempotency-key-header).
//!
//! # What happens with a call
//!
//! | its key | what happens |
//! | --- | --- |
//! | it has none | it is passed on: nothing is kept of it, and it costs next to nothing |
//! | is new | it is made, and its answer is kept |
//! | has an answer | it gets that one, marked by the metadata entry (the header) [`idempotent-replayed: true`](REPLAYED) |
//! | is that of a call that is being made | it waits for that one's answer, until its own deadline |
//! | is that of another call | it is refused: MCP-E-001, not processed (over HTTP the draft would have 422) |
//!
//! Two calls are the same if method, codec and body are. A key is its [owner's](Owner): the same key of another caller
//! is another key, so that nobody reads another's answers. The owner is whoever was verified (the
//! [`Identity`](towpath_core::Identity) in the request's extensions), else whoever has this credential, else this session;
//! calls that have none of them share their keys, which should be hard to guess then. Without a verifier in front, a new
//! token makes a new owner: a repetition with it is made again.
//!
//! Kept are final answers: results, and faults of the application, unless they ask for another try. An outcome that is
//! not final (not processed, overloaded, transient, any error) is for its own caller only. Then the next call of that key
//! is made; of those that wait for it one makes it, and the others wait on.
//!
//! What is kept is [bounded](DedupeConfig) in number, bytes and age. Everything is in the memory of this process:
//! repetitions have to come to the same one (`affinity-key`), and a restart forgets. A store that several processes
//! share would need leases for calls whose process died; it would be another layer.
//!
//! # A caller that gives up
//!
//! If a caller gives up while its call is made, the call is dropped at whatever point it is, as it would be without this
//! layer. Whether it has had its effect is not known then; the next call of that key, or one of those that wait, is made from
//! the beginning. So a handler has to have its effect and its answer in one step (a transaction at its end), or the layer has
//! to be [`detached`](DedupeLayer::detached): then a call with a key is a task of its own, and is finished whoever gives up,
//! and whoever repeats it finds its answer. It outlives its caller's deadline: put a timeout below if it may hang. A server
//! that drains does not wait for it once its caller has gone.
//!
//! A call that panics has come to nothing: its caller has the panic, and the next one is made.
//!
//! # Where it stands
//!
//! Behind authentication, which says whose a key is, and behind what limits and sheds: a call that waits here holds no
//! permit below. In front of the router.
//!
//! It changes nothing of answers but for the mark; of the error it is what [`OnReject`](towpath_core::OnReject) makes of it.
//!
//! ```
//! use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
//! use bytes::Bytes;
//! use towpath_core::{BoxError, Request, Response, context::Field};
//! use towpath_dedupe::{DedupeConfig, DedupeLayer, REPLAYED};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! static PLACED: AtomicU32 = AtomicU32::new(0);
//! let orders = service_fn(|_: Request| async {
//!     let number = PLACED.fetch_add(1, SeqCst) + 1;
//!     Ok::<_, BoxError>(Response::new(Bytes::from(format!("order {number}"))))
//! });
//! let service = ServiceBuilder::new().layer(DedupeLayer::new(DedupeConfig::default())).service(orders);
//!
//! let mut place = Request::new("OrderService.Place", Bytes::from_static(b"two apples"));
//! place.context_mut().set_field(Field::IdempotencyKey, Some("7f9c2ba4".into()));
//! let first = service.clone().oneshot(place.clone()).await?;
//! let again = service.oneshot(place).await?;
//! assert_eq!((&first.body()[..], first.metadata().get(REPLAYED)), (&b"order 1"[..], None));
//! assert_eq!((&again.body()[..], again.metadata().get_str(REPLAYED)), (&b"order 1"[..], Some("true")));
//! assert_eq!(PLACED.load(SeqCst), 1);
//! # Ok(())
//! # }
//! ```

mod config;
mod drive;
mod event;
mod future;
mod handle;
mod layer;
mod lead;
mod patience;
mod request;
mod response;
mod service;
mod table;

pub use config::{DedupeConfig, InvalidDedupe, WhenFull};
pub use drive::{Detached, Drive, Inline, Joined};
pub use event::DedupeEvent;
pub use future::ResponseFuture as DedupeFuture;
pub use handle::{DedupeCounts, DedupeHandle};
pub use layer::DedupeLayer;
pub use lead::Leading;
pub use request::{Fingerprint, Keyed, Owner, OwnerOf};
pub use response::{REPLAYED, Replay, Worth};
pub use service::Dedupe;
