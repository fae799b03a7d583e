//! What clients and servers do at this moment: one page, the same as JSON, and what was decided about a call.
//!
//! [`Admin`] is told of clients and servers by the handles of their layers ([`Target`]) and makes an axum router, to nest
//! into any app, or to [serve](Admin::serve) on its own, on loopback. A [`Recorder`] is two layers of a stack, which
//! count its calls and keep what was decided about those that failed. What it never does: change anything, unless it is
//! [told](Admin::writable) that it may open and close breakers; show a body, metadata, or a credential.
//!
//! | path | what is there |
//! | --- | --- |
//! | `/` | the console: one page, live, with no asset from elsewhere |
//! | `/stack.json` | the layers in their order, and what is wrong with it |
//! | `/endpoints.json` | where calls go: status, weight, in flight, how long answers take |
//! | `/methods.json` | calls per second, success and times by method |
//! | `/timeline.json` | what has happened: breakers opened, endpoints ejected, limits that refused |
//! | `/snapshot.json` | all that the console shows: [`view::Snapshot`] |
//! | `/events` | the same once a second, as server-sent events |
//! | `/explain/{trace_id}` | what was decided about one call: [`view::Explanation`] |
//! | `/health/live`, `/health/ready` | whether the process answers; whether its servers [take calls](Target::server_state), and what else was [asked](Admin::health) |
//! | `/metrics` | as it was [given](Admin::metrics) |
//! | `POST /breakers` | opens and closes, if it is told that it may |
//!
//! ```
//! use bytes::Bytes;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use towpath_admin::{Admin, Recorder, Step, Target};
//! use towpath_core::{BoxError, Error, ErrorKind, Request, Response};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let recorder = Recorder::default();
//! let billing = Target::client().stack([Step::new("DeadlineLayer")]).recorder(recorder.clone());
//! let admin = Admin::new().target("billing", billing);
//! let app: axum::Router = axum::Router::new().nest("/admin", admin.router());
//!
//! let mut stack = ServiceBuilder::new()
//!     .layer(recorder.calls())
//!     .layer(recorder.attempts())
//!     .service(service_fn(async |_: Request| Err::<Response, Error>(ErrorKind::Overloaded.into())));
//! let failed = stack.ready().await?.call(Request::new("Billing.Charge", Bytes::new())).await;
//! assert!(failed.is_err());
//! let fault = &admin.snapshot().targets[0].faults[0];
//! assert_eq!((&*fault.method, &*fault.code), ("Billing.Charge", "MCP-W-103"));
//! println!("see /admin/explain/{}", fault.trace_id);
//! # drop(app);
//! # Ok(())
//! # }
//! ```
//!
//! With the facade, `Client::builder().admin(recorder)` puts both layers where they belong, and
//! `Admin::new().target("billing", &client)` finds all handles; so do `Server::builder().admin(recorder)` and `&server`.

mod admin;
mod http;
mod record;
mod serve;
mod target;
mod text;
mod timeline;
pub mod view;

pub use admin::Admin;
pub use record::{
    AttemptFuture, Attempts, AttemptsLayer, CallFuture, Calls, CallsLayer, InvalidRecord, RecordConfig,
    Recorder,
};
pub use serve::Serving;
pub use target::{EndpointHandles, Force, Per, ServerState, Step, Target};
