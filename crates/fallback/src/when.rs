//! Which failures are answered.

use towpath_core::{Class, ErrorKind, Verdict};

/// Says which outcomes are answered with something else. It is asked about each that is no success.
///
/// [`WhenFailed`] is the default; a closure `Fn(&Class, Result<&Response, &Error>) -> bool` is one, too.
pub trait When<Res, Err> {
    /// Whether this outcome is.
    fn applies(&self, class: &Class, outcome: Result<&Res, &Err>) -> bool;
}

/// What the service or the stack has failed with, and what would have been worth another try; not what the caller
/// did wrong, not an answer of the application, and nothing that was cancelled.
#[derive(Clone, Copy, Debug, Default)]
pub struct WhenFailed;

impl<Res, Err> When<Res, Err> for WhenFailed {
    fn applies(&self, class: &Class, _: Result<&Res, &Err>) -> bool {
        use ErrorKind as K;
        match class.verdict {
            Verdict::Failure => true,
            // Turned away before it got anywhere; HTTP's 408, 425 and 429.
            Verdict::Nothing => {
                let refused = [K::RateLimited, K::CircuitOpen, K::NoEndpoint];
                class.useful || refused.iter().any(|kind| class.code == Some(kind.error_code()))
            }
            Verdict::Success | Verdict::Answer | Verdict::Caller => false,
        }
    }
}

impl<Res, Err, F> When<Res, Err> for F
where
    F: Fn(&Class, Result<&Res, &Err>) -> bool,
{
    fn applies(&self, class: &Class, outcome: Result<&Res, &Err>) -> bool {
        self(class, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_answered_by_default() {
        use ErrorKind as K;
        for kind in ErrorKind::ALL {
            let class = Class::of_kind(*kind, false);
            let own = matches!(
                kind,
                K::Malformed
                    | K::Version
                    | K::TooLarge
                    | K::UnknownMethod
                    | K::UnsupportedCodec
                    | K::Undecodable
                    | K::Unauthenticated
                    | K::PermissionDenied
                    | K::Cancelled
            );
            assert_eq!(WhenFailed.applies(&class, Err::<&(), _>(&())), !own, "{kind:?}");
        }
        let fault = Class { verdict: Verdict::Answer, useful: true, ..Class::SUCCESS };
        assert!(!WhenFailed.applies(&fault, Ok::<_, &()>(&())));
    }
}
