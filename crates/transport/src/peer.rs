//! Who is at the other end of a server's connection.

use bytes::Bytes;
use std::{fmt, net::SocketAddr, sync::Arc};

/// Who called, in the [extensions](towpath_core::Request::extensions) of a request: always over TLS, and elsewhere
/// where the server was [asked for it](crate::Server::with_peers).
///
/// A handler of a router has it as `Extension<Peer>`.
#[derive(Clone)]
pub struct Peer(Arc<Inner>);

struct Inner {
    address: Option<SocketAddr>,
    user: Option<u32>,
    certificates: Certificates,
}

/// What a client has shown, and what was verified.
#[derive(Default)]
pub(crate) struct Certificates {
    pub(crate) chain: Vec<Bytes>,
    pub(crate) dns_names: Vec<String>,
    pub(crate) uris: Vec<String>,
}

impl Peer {
    pub(crate) fn tcp(address: SocketAddr, certificates: Certificates) -> Self {
        Peer(Arc::new(Inner { address: Some(address), user: None, certificates }))
    }

    pub(crate) fn unix(user: Option<u32>) -> Self {
        Peer(Arc::new(Inner { address: None, user, certificates: Certificates::default() }))
    }

    /// Its address; none over a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.address
    }

    /// The id of its user, over a Unix socket.
    pub fn user(&self) -> Option<u32> {
        self.0.user
    }

    /// Whether it has shown a certificate, signed by a client CA of this server.
    pub fn is_verified(&self) -> bool {
        !self.0.certificates.chain.is_empty()
    }

    /// The certificates that it has shown, in DER; its own is the first. Empty where it has shown none.
    pub fn certificates(&self) -> &[Bytes] {
        &self.0.certificates.chain
    }

    /// The DNS names that its certificate is for (subject alternative names).
    pub fn dns_names(&self) -> &[String] {
        &self.0.certificates.dns_names
    }

    /// The URIs that its certificate is for (subject alternative names): a SPIFFE id is one.
    pub fn uris(&self) -> &[String] {
        &self.0.certificates.uris
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("address", &self.0.address)
            .field("user", &self.0.user)
            .field("dns_names", &self.0.certificates.dns_names)
            .field("uris", &self.0.certificates.uris)
            .finish_non_exhaustive()
    }
}
