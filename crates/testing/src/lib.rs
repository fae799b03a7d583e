//! For tests of layers and of connections: what every layer promises, as a kit that takes any
//! [`tower::Layer`](tower_layer::Layer); connections in memory that can be cut; faults on purpose; time
//! that stands still.
//!
//! | for | use |
//! | --- | --- |
//! | the contract of a layer | [`Contract`] |
//! | a connection without a socket, to be stalled, ended, cut | [`MemoryIo`], [`Link`] |
//! | a bad connection: slow, chopped, truncated, reset, stuck | [`FaultyIo`], [`Script`] |
//! | answers in another order than the calls | [`ReorderLayer`] |
//! | time in tests | [`time`] |
//! | `Send`, `Sync`, `Unpin` | [`assert_send`], [`assert_sync`], [`assert_unpin`], [`assert_send_value`] |
//!
//! It belongs among the `dev-dependencies`: it switches tokio's `test-util` on.
//!
//! # One test that a layer passes
//!
//! ```
//! use towpath_testing::Contract;
//! use tower::limit::ConcurrencyLimitLayer;
//!
//! // A function of a plain #[test]: the kit brings its own runtime, with the clock paused.
//! fn it_keeps_the_contract() {
//!     Contract::new(|| ConcurrencyLimitLayer::new(3)).verify();
//! }
//! # it_keeps_the_contract();
//! ```

mod auto;
pub mod contract;
mod io;
pub mod net;
mod reorder;
pub mod time;

pub use auto::{assert_send, assert_send_value, assert_sync, assert_unpin};
pub use contract::Contract;
pub use io::{FaultyIo, Link, MemoryIo, Script};
pub use reorder::{Reorder, ReorderFuture, ReorderLayer};
