//! Bearer tokens: a layer that attaches them to calls, and a layer that verifies them and says who calls.
//!
//! | | [`AttachLayer`] | [`VerifyLayer`] |
//! | --- | --- | --- |
//! | for | a client | a server |
//! | does | puts a token under `authorization`, unless the call has a credential of its own | lets a call pass if its credential is good, and leaves an [`Identity`] in its extensions |
//! | asks | a [`TokenSource`]: a [`Token`], a closure, [`Renewing`] | a [`Verify`]: a closure, [`VerifyAsync`], [`StaticTokens`]; and a [`Permit`] |
//! | stands | below retry, so that each attempt has the token of its time | behind what sheds load, in front of session, idempotency keys, quotas, and the router |
//! | costs | a reference count, and the place of the credential in the context | a comparison with the last credential of the connection; a digest, a lock and a look into a table where that is another one |
//!
//! A credential is verified once, and taken for good for a while ([`VerifyConfig::with_cache_age`], 60 s), but not beyond
//! its own expiry: where it comes again, on the same connection or on another, nobody is asked. So a credential that
//! is revoked elsewhere serves for as long; [`VerifyHandle::forget`] ends that at once, and so does a change of the list
//! of [`StaticTokens`]. What is refused is not kept. Calls that come while their credential is verified for the first
//! time have it verified, too.
//!
//! Calls that are turned away fail with MCP-E-007 or MCP-E-008, [not processed](towpath_core::Processed::No), or are
//! answered by an [`OnReject`](towpath_core::OnReject). Nothing else of the response, and nothing of the error, is
//! changed.
//!
//! Tokens are shown nowhere: not by `Debug`, not in errors, not in events, and nothing here writes a log. They are
//! worth what the connection is worth that they travel on: use TLS (`mcps://`) where others may listen (RFC 6750,
//! section 5.2).
//!
//! Both layers work with [`Request`](towpath_core::Request); with the feature `http` also with `http::Request`, around an
//! axum router or a hyper client; and with any request that is a [`Credential`].
//!
//! ```
//! use towpath_auth::{AttachLayer, StaticTokens, Token, TokensConfig, VerifyConfig, VerifyLayer};
//! use towpath_core::{BoxError, Error, ErrorKind, Identity, Processed, Request};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let token: Token = "correct-horse-battery".parse()?;
//! let shop = Identity::new("shop").with_scopes(["orders:write"]);
//! let tokens = StaticTokens::new(TokensConfig::new().with(&token, shop)?);
//! let config = VerifyConfig::default()
//!     .with_exempt(["Health.*"].into_iter().collect())
//!     .with_required(["OrderService.*"].into_iter().collect(), "orders:write");
//! let verify = VerifyLayer::with_config(tokens, config);
//!
//! let handler = service_fn(|request: Request<()>| async move {
//!     Ok::<_, BoxError>(request.extensions().get::<Identity>().map(|caller| caller.subject().to_owned()))
//! });
//! let server = ServiceBuilder::new().layer(verify).service(handler);
//! // In life there is a connection between the two.
//! let client = ServiceBuilder::new().layer(AttachLayer::new(token)).service(server.clone());
//!
//! let who = client.oneshot(Request::new("OrderService.Place", ())).await?;
//! assert_eq!(who.as_deref(), Some("shop"));
//! assert_eq!(server.clone().oneshot(Request::new("Health.Check", ())).await?, None);
//!
//! let error = server.oneshot(Request::new("OrderService.Place", ())).await.unwrap_err();
//! let error = Error::find(&*error).expect("the layer's own error");
//! assert_eq!((error.kind(), error.processed()), (ErrorKind::Unauthenticated, Processed::No));
//! # Ok(())
//! # }
//! ```
//!
//! A handler of a router has its caller as `Extension<Identity>`; around axum so has axum's.

mod attach;
mod credential;
mod event;
mod patience;
mod renew;
mod source;
mod token;
mod tokens;
mod verifier;
mod verify;

pub use attach::{Attach, AttachLayer, ResponseFuture as AttachFuture};
pub use credential::Credential;
pub use event::{AttachEvent, Refusal, VerifyEvent};
pub use renew::{InvalidRenewal, Issued, RenewConfig, RenewEvent, Renewing};
pub use source::{Found, Never, TokenSource};
pub use token::{InvalidToken, Token};
pub use tokens::{InvalidTokens, StaticTokens, TokensConfig};
pub use towpath_core::Identity;
pub use verifier::{Permit, Verify, VerifyAsync};
pub use verify::{
    InvalidVerify, Requirement, ResponseFuture as VerifyFuture, Verified, VerifyConfig, VerifyCounts,
    VerifyHandle, VerifyLayer,
};
