//! Where a service's endpoints are.
//!
//! A [`Directory`] is given a name, most often a URL, and gives out a [`Watch`]: a
//! [`Discover`](towpath_core::Discover), the stream of changes that a balancer follows. Where the endpoints come from is
//! a [`Source`]'s affair: a fixed list, a file, DNS, or whatever implements the trait; [`Sources`] knows which one a URL
//! means.
//!
//! ```
//! use std::{future::poll_fn, pin::Pin};
//! use towpath_core::{Change, Discover};
//! use towpath_discover::{Directory, Instance, PushSource};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let directory = Directory::new();
//! let (pusher, source) = PushSource::new();
//! let mut watch = directory.watch_source("orders", source);
//! pusher.set([Instance::new("mcp://10.0.0.7:8080").with_weight(3)]);
//!
//! let mut next = async || poll_fn(|cx| Pin::new(&mut watch).poll_change(cx)).await;
//! let Some(Change::Insert(endpoint)) = next().await else { unreachable!() };
//! assert_eq!((&**endpoint.address(), endpoint.weight()), ("mcp://10.0.0.7:8080", 3));
//! assert_eq!(next().await, Some(Change::Settled));
//!
//! pusher.set([Instance::new("mcp://10.0.0.7:8080").with_weight(1)]);
//! let Some(Change::Insert(anew)) = next().await else { unreachable!() };
//! assert_eq!((anew.id(), anew.weight()), (endpoint.id(), 1));
//! # }
//! ```
//!
//! What a directory sees to, whatever the source: see there. What it never does: connect to an endpoint, judge one, or
//! keep calls waiting; an error of a source is no change.

mod config;
mod directory;
#[cfg(feature = "dns")]
mod dns;
mod drive;
mod event;
mod file;
mod fixed;
mod handle;
mod instance;
mod push;
mod settle;
mod shared;
mod snapshot;
mod source;
mod sources;
mod table;
mod target;
mod watch;

pub use config::{DiscoverConfig, InvalidDiscover};
pub use directory::{Directory, DirectoryBuilder};
#[cfg(feature = "dns")]
pub use dns::DnsSource;
pub use event::{Changes, DiscoverEvent, What};
pub use file::{FileSource, InvalidList};
pub use fixed::FixedList;
pub use handle::{NameHandle, NameStatus};
pub use instance::{Instance, InvalidInstance};
pub use push::{PushSource, Pusher};
pub use snapshot::Snapshot;
pub use source::{BoxSource, Source, Update};
pub use sources::Sources;
pub use target::{InvalidTarget, Target};
pub use watch::Watch;
