//! What an outcome is to its call: the answer, the end, or the reason for another attempt.

use crate::{Decision, Failed, GaveUp, RetryConfig, attempt::Outcome, hooks::Fit, plan::Judged};
use std::time::Duration;
use towpath_core::{Class, ErrorKind, Processed, Verdict};

/// What is kept of a call for further attempts.
pub(crate) struct Kept<Req> {
    /// The request as it came. Nothing: there is to be no further attempt.
    pub(crate) copy: Option<Req>,
    /// Why not, if so.
    pub(crate) why_not: GaveUp,
}

/// What an outcome is to its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// What was asked for, or an application's fault, which is an answer too.
    Answer,
    /// As it is: [`Judged::Final`].
    Final(GaveUp),
    /// [`Judged::Never`].
    Never(GaveUp),
    /// Another attempt makes sense, not before `least` has passed; after the backoff, unless the policy said when.
    Again { least: Duration, backs_off: bool },
}

impl Judgement {
    /// What the plan wants to know. `before`: how many retries there were.
    pub(crate) fn with_backoff(self, class: &Class, config: &RetryConfig, before: u16) -> Judged {
        match self {
            Judgement::Answer => Judged::Final(GaveUp::NotUseful),
            Judgement::Final(why) => Judged::Final(why),
            Judgement::Never(why) => Judged::Never(why),
            Judgement::Again { least, backs_off } => {
                let at_once = before < config.at_once() && !class.soft && least.is_zero();
                let more = match backs_off && !at_once {
                    true => {
                        let before = u32::from(before.saturating_sub(config.at_once()));
                        config.backoff().delay(before, &mut fastrand::Rng::new())
                    }
                    false => Duration::ZERO,
                };
                Judged::Again { least, more }
            }
        }
    }
}

/// What an outcome means. An attempt that was given up may have been processed, if it was called.
#[inline]
pub(crate) fn class_of<Req, Res, Err, H>(hooks: &H, outcome: &Outcome<Res, Err>) -> Class
where
    H: Fit<Req, Res, Err>,
{
    match outcome {
        Outcome::Ok(response) => hooks.classify(Ok(response)),
        Outcome::Err(error) => hooks.classify(Err(error)),
        Outcome::TimedOut { called, .. } => {
            let processed = if *called { Processed::Unknown } else { Processed::No };
            Class { processed, ..Class::of_kind(ErrorKind::DeadlineExceeded, false) }
        }
    }
}

/// What an outcome is to its call. `attempt` counts from 0.
pub(crate) fn judge<Req, Res, Err, H>(
    hooks: &H,
    kept: &Kept<Req>,
    class: &Class,
    outcome: &Outcome<Res, Err>,
    attempt: u16,
) -> Judgement
where
    H: Fit<Req, Res, Err>,
{
    if class.is_success() {
        return Judgement::Answer;
    }
    let answers = class.verdict == Verdict::Answer;
    let idempotent = match &kept.copy {
        Some(request) => hooks.may_repeat(request).0,
        None if answers => return Judgement::Answer,
        None if class.useful => return Judgement::Final(kept.why_not),
        None => return Judgement::Final(GaveUp::NotUseful),
    };
    let outcome = match outcome {
        Outcome::Ok(response) => Some(Ok(response)),
        Outcome::Err(error) => Some(Err(error)),
        Outcome::TimedOut { .. } => None,
    };
    let failed = Failed { outcome, class: *class, attempt, idempotent };
    let least = class.retry_after.unwrap_or(Duration::ZERO);
    let why = match hooks.decide(&failed) {
        Decision::Retry => return Judgement::Again { least, backs_off: true },
        Decision::RetryAfter(after) => {
            return Judgement::Again { least: least.max(after), backs_off: false };
        }
        Decision::Stop if class.is_retryable(idempotent) => GaveUp::Policy,
        Decision::Stop if class.useful => GaveUp::Unsafe,
        Decision::Stop => GaveUp::NotUseful,
    };
    match class.verdict {
        Verdict::Success | Verdict::Answer => Judgement::Answer,
        // The callee would say the same to another attempt.
        Verdict::Caller => Judgement::Final(why),
        Verdict::Failure | Verdict::Nothing => Judgement::Never(why),
    }
}
