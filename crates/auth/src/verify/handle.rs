//! A look at a layer from outside.

use super::{
    config::VerifyConfig,
    state::{EXEMPT, RECOGNISED, REFUSED, State, VERIFIED},
};
use std::fmt;
use towpath_core::{Live, Shared};

/// Reads and changes the state of a [`VerifyLayer`](crate::VerifyLayer) while it works; clones see the same.
#[derive(Clone)]
pub struct VerifyHandle(pub(super) Shared<State>);

/// How many calls met which end, since the layer was made. Their sum is all calls but those whose credential is
/// being verified, or that were given up meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct VerifyCounts {
    /// Their credential had been verified a short while ago, and they passed.
    pub recognised: u64,
    /// Their credential was verified, and they passed.
    pub verified: u64,
    /// They were turned away.
    pub refused: u64,
    /// Nobody asked.
    pub exempt: u64,
}

impl VerifyHandle {
    /// What is asked of calls, to read and to replace.
    pub fn config(&self) -> &Live<VerifyConfig> {
        &self.0.config
    }

    /// Has all credentials verified anew: for when one was revoked.
    pub fn forget(&self) {
        self.0.forget();
    }

    /// How many verified credentials are kept, those included that do not hold any more.
    pub fn kept(&self) -> usize {
        self.0.kept()
    }

    /// How many calls met which end.
    pub fn counts(&self) -> VerifyCounts {
        let total = |count| self.0.counts.total(count);
        VerifyCounts {
            recognised: total(RECOGNISED),
            verified: total(VERIFIED),
            refused: total(REFUSED),
            exempt: total(EXEMPT),
        }
    }
}

impl fmt::Debug for VerifyHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyHandle")
            .field("config", self.config())
            .field("counts", &self.counts())
            .field("kept", &self.kept())
            .finish()
    }
}
