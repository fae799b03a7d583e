//! How a call ended, as far as it is counted.

use towpath_core::{Class, ErrorCode, Verdict};

/// How a call ended: what is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) end: End,
    pub(crate) code: Option<ErrorCode>,
}

/// The same in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Ok,
    /// A fault of the application.
    Fault,
    /// The endpoint or the stack failed.
    Failed,
    /// The caller's own mistake.
    Invalid,
    /// It never got anywhere, or was too much.
    Refused,
    /// Nobody waited for it.
    Cancelled,
    /// The service panicked.
    Panicked,
}

impl End {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            End::Ok => "ok",
            End::Fault => "fault",
            End::Failed => "failed",
            End::Invalid => "invalid",
            End::Refused => "refused",
            End::Cancelled => "cancelled",
            End::Panicked => "panicked",
        }
    }
}

impl Outcome {
    pub(crate) const OK: Outcome = Outcome { end: End::Ok, code: None };

    /// Of what an outcome means, if it is no success.
    #[inline]
    pub(crate) fn of(class: Option<&Class>) -> Self {
        class.map_or(Outcome::OK, Outcome::of_class)
    }

    #[inline(never)]
    fn of_class(class: &Class) -> Self {
        let end = match class.verdict {
            Verdict::Success => End::Ok,
            Verdict::Answer => End::Fault,
            Verdict::Failure => End::Failed,
            Verdict::Caller => End::Invalid,
            Verdict::Nothing => End::Refused,
        };
        Outcome { end, code: class.code.filter(|_| end != End::Ok) }
    }

    /// Of a call that is dropped before it has an outcome.
    pub(crate) fn dropped() -> Self {
        let end = if std::thread::panicking() { End::Panicked } else { End::Cancelled };
        Outcome { end, code: None }
    }

    /// `error.type`, as OpenTelemetry has it; empty for a success.
    pub(crate) fn error_type(&self) -> &str {
        match (&self.code, self.end) {
            (Some(code), _) => code.as_str(),
            (None, End::Ok) => "",
            (None, End::Cancelled) => "cancelled",
            (None, End::Panicked) => "panic",
            (None, _) => "_OTHER",
        }
    }
}
