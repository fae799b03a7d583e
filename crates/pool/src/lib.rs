//! Connections to one place, kept: shared by many calls at a time, or lent to one at a time.
//!
//! | | [`SharedPool`] | [`ExclusivePool`] |
//! | --- | --- | --- |
//! | a connection has | many calls under way ([`Multiplexed`]) | one ([`Exclusive`]) |
//! | a call takes | the first connection that has not its share of calls | the one that was used last, or waits in line |
//! | one more is made | when all have their share | when calls wait |
//! | the price of a call | no lock, no locked instruction, no allocation | two short locks |
//!
//! Both keep a minimum of connections from the first use on, have a maximum, close what nobody used for long, replace what
//! is old, and ask silent ones for a sign of life: [`PoolConfig`]. A task, which begins with the first use and ends with the
//! last handle, connects, watches and connects again, whether there are calls or not. A lost connection is replaced at once,
//! the first time; from then on, and when the peer has said that it goes away, after a wait that is drawn by lot. A connect
//! that fails means nothing but that: the pool goes on trying for as long as somebody has it, or until discovery says that
//! the [endpoint](PoolBuilder::endpoint) is gone.
//!
//! A pool stands at the bottom of a stack, one for each endpoint, with the endpoint's breaker and the balancer above it. It
//! makes calls and nothing more: it does not retry, but for a call whose connection ended before the peer had begun with
//! it ([`Call::unprocessed`]), once. It does not limit how many calls are under way on a connection that takes many, but
//! spreads them.
//!
//! What a connection is, and how one is made, it does not know: see [`Connection`] and [`Connect`].
//!
//! ```
//! use std::{future::{Ready, pending, ready}, pin::Pin};
//! use tower::ServiceExt;
//! use towpath_core::{BoxError, Error};
//! use towpath_pool::{Call, Connection, Ended, Multiplexed, PoolBuilder};
//!
//! /// Answers by itself, and never ends.
//! struct Greeter;
//!
//! impl Connection for Greeter {
//!     type Closed = Pin<Box<dyn Future<Output = Ended> + Send>>;
//!     fn is_closing(&self) -> bool { false }
//!     fn closed(&self) -> Self::Closed { Box::pin(pending()) }
//!     fn close(&self) {}
//! }
//!
//! impl Call<&'static str> for Greeter {
//!     type Response = String;
//!     type Error = BoxError;
//!     type Future = Ready<Result<String, BoxError>>;
//! }
//!
//! impl Multiplexed<&'static str> for Greeter {
//!     fn call(&self, name: &'static str) -> Self::Future { ready(Ok(format!("hello {name}"))) }
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let pool = PoolBuilder::new(|| async { Ok::<_, Error>(Greeter) }).name("the greeter").shared();
//! let handle = pool.handle();
//! assert_eq!(handle.stats().open, 0, "nothing is done before the first use");
//! assert_eq!(pool.oneshot("world").await?, "hello world");
//! assert_eq!(handle.stats().connects, 1);
//! # Ok(())
//! # }
//! ```

mod builder;
mod config;
mod connection;
mod event;
mod exclusive;
mod handle;
mod keeper;
mod plan;
mod queue;
mod shared;
mod state;
mod store;
mod sync;
mod wait;

pub use builder::PoolBuilder;
pub use config::{InvalidPool, PoolConfig, PoolOptions};
pub use connection::{Call, Connect, Connection, Ended, Ending, Exclusive, Multiplexed, Ping};
pub use event::{PoolEvent, Refusal, Retirement};
pub use exclusive::{ExclusivePool, ResponseFuture as ExclusiveFuture};
pub use handle::{PoolHandle, PoolState, PoolStats};
pub use shared::{ResponseFuture as SharedFuture, SharedPool};
