//! The policies of a call, put together: which there are, in which order, and what can be seen and changed of
//! them while they run.
//!
//! Each is a crate and a layer of its own, and can be put into a stack by hand
//! ([`ClientBuilder::layer`](crate::ClientBuilder::layer)); this is the stack that most services want. From outside to inside, a
//! client's call goes through
//!
//! | | once per call | why here |
//! | --- | --- | --- |
//! | deadline | [`ClientBuilder::timeout`](crate::ClientBuilder::timeout) | whatever waits below is within it |
//! | [admission](crate::limit::AdmissionLayer) | sheds by priority when calls pile up | what is refused costs nothing below |
//! | [breaker](crate::breaker::BreakerLayer) | one for each method, fails fast | above retry: a method that is broken is not tried three times |
//! | [retry](crate::retry::RetryLayer) | plans all attempts | |
//! | | **once per attempt** | |
//! | [concurrency](crate::limit::ConcurrencyLimitLayer), [rate](crate::limit::RateLimitLayer) | limits of what goes out | a call that waits for its next attempt holds none of it |
//!
//! and a server's through [admission](crate::limit::AdmissionLayer), [rate](crate::limit::RateLimitLayer),
//! [enough time](crate::timeout::EnoughTimeLayer) and [dedupe](crate::dedupe::DedupeLayer). Who may call, and what to
//! answer when all fails, is for you to say: [`auth`](crate::auth) stands in front of dedupe, [`fallback`](crate::fallback)
//! around the whole.
//!
//! Both are plain values, from code or from a file:
//!
//! ```
//! use towpath::{Client, policies::ClientPolicies};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let policies: ClientPolicies = serde_json::from_str(
//!     r#"{"retry": {"max_attempts": 4}, "breaker": {"open_ms": 500}, "concurrency": {"limit": 256}}"#,
//! )?;
//! let policies = policies.stack();
//! let handles = policies.handles();
//! let client = Client::builder().policies(policies).connect_lazy("mcp://127.0.0.1:8080")?;
//!
//! // Hours later.
//! let retry = handles.retry.expect("it is there");
//! println!("{} retries, budget left: {}", retry.counts().retries, retry.balance());
//! # drop(client);
//! # Ok(())
//! # }
//! ```

mod boxed;
mod client;
mod ears;
mod maybe;
mod server;

pub use boxed::{Boxed, BoxedFuture};
pub(crate) use client::EndpointBreaker;
pub use client::{ClientHandles, ClientPolicies, ClientStack, Policed};
pub use ears::{ClientEars, Ears, ServerEars};
pub(crate) use maybe::Optional;
pub use maybe::{Maybe, MaybeFuture};
pub use server::{Guarded, ServerHandles, ServerPolicies, ServerStack};
