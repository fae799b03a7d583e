//! What the layers of this crate report.

use towpath_core::{Error, Identity};

/// What happened with the credential of a call; reported through [`Observe`](towpath_core::Observe). Calls that
/// have a token at once are not reported.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AttachEvent {
    /// It waits for a token.
    Waits,
    /// It gets none, and fails with this.
    NoToken(Error),
}

/// What a server found out about a call; reported through [`Observe`](towpath_core::Observe). Calls of somebody who
/// is known already are not reported.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum VerifyEvent {
    /// A credential was verified.
    Verified(Identity),
    /// A call was turned away.
    Refused(Refusal, Error),
}

/// Why a call was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// It has no credential.
    Missing,
    /// It has one, which is no bearer token.
    Malformed,
    /// The verifier did not accept it.
    Invalid,
    /// It was good once.
    Expired,
    /// The caller is known, and may not do this.
    Forbidden,
    /// The call's deadline passed while its credential was verified.
    Late,
}
