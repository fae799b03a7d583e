//! `mcps://`: TLS 1.3, with ALPN `mcp/1`, and certificates on one side or on both.
//!
//! One provider (ring), one version of the protocol, no resumption: every connection is verified afresh, so that
//! a certificate that has expired meanwhile, or a CA that is not trusted any more, gets nobody in. Connections
//! live long and are shared by many calls; what resumption would save is not worth that.

mod client;
mod pem;
mod server;
mod stream;
mod watch;
mod words;

pub use client::{ClientTls, ClientTlsBuilder};
pub use pem::InvalidTls;
pub use server::{ClientAuth, ServerTls, ServerTlsBuilder};
pub(crate) use server::{Shaken, Told};
pub(crate) use stream::Stream;

/// The protocol that both sides have to agree on.
const ALPN: &[u8] = b"mcp/1";

/// What is wrong with an `mcps` address for which no certificates were given.
pub(crate) const NO_CLIENT: &str = "it is not said whose certificates are trusted: give the client a ClientTls \
                                    (on a command line: --ca)";
pub(crate) const NO_SERVER: &str =
    "TLS needs a certificate and its key: give the server a ServerTls (on a command line: --cert and --key)";
