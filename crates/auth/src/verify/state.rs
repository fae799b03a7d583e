//! What the services of a layer share, and what each remembers of its own connection.

use super::{
    config::VerifyConfig,
    verdicts::{Key, Verdict, Verdicts},
};
use crate::{
    Credential, Token,
    event::Refusal,
    verifier::{Permit, Verify},
};
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Acquire, Ordering::Release},
};
use subtle::ConstantTimeEq;
use tokio::time::Instant;
use towpath_core::{Error, ErrorKind, Extensions, Identity, Live, Processed, Tally};

/// What is counted.
pub(super) const RECOGNISED: usize = 0;
pub(super) const VERIFIED: usize = 1;
pub(super) const REFUSED: usize = 2;
pub(super) const EXEMPT: usize = 3;

#[derive(Debug)]
pub(super) struct State {
    pub(super) config: Live<VerifyConfig>,
    pub(super) counts: Tally<4>,
    verdicts: Mutex<Verdicts>,
    /// How often all was to be forgotten.
    forgotten: AtomicU64,
}

/// What is remembered of the last call that one service let pass. A server has a service for each connection, and
/// most connections have one caller.
#[derive(Debug)]
pub(super) struct Slot {
    credential: Box<[u8]>,
    binding: u64,
    epoch: (u64, u64),
    verdict: Verdict,
    /// What a request had in its extensions, and what it had with the identity.
    before: Extensions,
    after: Extensions,
}

/// A credential that is about to be verified.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) token: Token,
    pub(super) key: Key,
    pub(super) epoch: (u64, u64),
}

/// What is known of a call at once.
pub(super) enum Found {
    Known(Identity),
    Unknown(Asked),
    Refused(Refusal, Error),
}

impl State {
    pub(super) fn new(config: Live<VerifyConfig>) -> Self {
        State { config, counts: Tally::new(), verdicts: Mutex::default(), forgotten: AtomicU64::new(0) }
    }

    fn epoch<V: Verify<Req>, Req>(&self, verifier: &V) -> (u64, u64) {
        (verifier.epoch(), self.forgotten.load(Acquire))
    }

    fn verdicts(&self) -> MutexGuard<'_, Verdicts> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who calls, as far as that is known.
    #[inline]
    pub(super) fn find<V, Req>(
        &self,
        verifier: &V,
        config: &VerifyConfig,
        request: &mut Req,
        slot: &mut Option<Box<Slot>>,
    ) -> Found
    where
        V: Verify<Req>,
        Req: Credential,
    {
        let now = request.start();
        let Some(credential) = request.authorization() else {
            return Found::Refused(Refusal::Missing, unauthenticated("the call has no credential"));
        };
        let (epoch, binding) = (self.epoch(verifier), verifier.binding(request));
        if let Some(slot) = slot
            && slot.epoch == epoch
            && slot.binding == binding
            && slot.verdict.holds(now, config.cache_age())
            // Who shares a connection shall not learn a neighbour's token, byte by byte.
            && bool::from(slot.credential.ct_eq(credential))
        {
            let identity = slot.verdict.identity.clone();
            slot.identify(request);
            return Found::Known(identity);
        }
        let token = match Token::from_authorization(credential) {
            Ok(token) => token,
            Err(why) => return Found::Refused(Refusal::Malformed, unauthenticated(why.to_string())),
        };
        let key = (token.digest(), binding);
        let (age, room) = (config.cache_age(), config.cache_entries());
        // In a statement of its own: the lock is given back at once.
        let verdict = self.verdicts().get(&key, epoch, now, age, room);
        match verdict {
            Some(verdict) => {
                let identity = verdict.identity.clone();
                *slot = Slot::fill(request, binding, epoch, verdict);
                Found::Known(identity)
            }
            None => Found::Unknown(Asked { token, key, epoch }),
        }
    }

    /// The verifier has answered.
    pub(super) fn verified<Req: Credential>(
        &self,
        asked: &Asked,
        answer: Result<Identity, Error>,
        request: &mut Req,
    ) -> Result<Identity, (Refusal, Error)> {
        let identity = answer.map_err(|error| (Refusal::Invalid, error.with_processed(Processed::No)))?;
        let (now, config) = (Instant::now(), self.config.get());
        if identity.expires().is_some_and(|at| at <= now) {
            return Err((Refusal::Expired, unauthenticated("the credential has expired")));
        }
        if !config.cache_age().is_zero() {
            let verdict = Verdict { identity: identity.clone(), since: now };
            self.verdicts().insert(asked.key, asked.epoch, verdict, config.cache_entries());
        }
        request.set_identity(&identity);
        Ok(identity)
    }

    pub(super) fn forget(&self) {
        self.forgotten.fetch_add(1, Release);
        // What it was good for is over now, not at the next call.
        *self.verdicts() = Verdicts::default();
    }

    pub(super) fn kept(&self) -> usize {
        self.verdicts().len()
    }
}

impl Slot {
    fn fill<Req: Credential>(
        request: &mut Req,
        binding: u64,
        epoch: (u64, u64),
        verdict: Verdict,
    ) -> Option<Box<Slot>> {
        let before = request.extensions_mut().map(|now| now.clone()).unwrap_or_default();
        request.set_identity(&verdict.identity);
        let after = request.extensions_mut().map(|now| now.clone()).unwrap_or_default();
        let credential = request.authorization()?.into();
        Some(Box::new(Slot { credential, binding, epoch, verdict, before, after }))
    }

    /// Leaves the identity with a request: the extensions of the call before, if it had had the same.
    fn identify<Req: Credential>(&mut self, request: &mut Req) {
        if let Some(extensions) = request.extensions_mut() {
            if extensions.is_same(&self.before) {
                *extensions = self.after.clone();
                return;
            }
            self.before = extensions.clone();
        }
        request.set_identity(&self.verdict.identity);
        if let Some(extensions) = request.extensions_mut() {
            self.after = extensions.clone();
        }
    }
}

/// Whether somebody who is known may make this call.
#[inline]
pub(super) fn permitted<P: Permit, Req: Credential>(
    permit: &P,
    config: &VerifyConfig,
    identity: &Identity,
    request: &Req,
) -> Result<(), (Refusal, Error)> {
    let denied = |why: String| {
        let error = Error::new(ErrorKind::PermissionDenied).with_processed(Processed::No);
        (Refusal::Forbidden, error.because(why))
    };
    let method = request.method();
    if let Some(scope) = config.lacking(identity, method) {
        return Err(denied(format!("{identity} lacks the scope {scope:?} for {method}")));
    }
    if !permit.permits(identity, method) {
        return Err(denied(format!("{identity} may not call {method}")));
    }
    Ok(())
}

fn unauthenticated(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Unauthenticated).with_processed(Processed::No).because(why)
}
