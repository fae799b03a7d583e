//! The rules by name, and what is said when one is broken.

use std::fmt;

/// A rule of the contract; `docs/contract.md` says why each is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// The clone of the inner service that was polled ready is the one that is called.
    ReadyThenCalled,
    /// A clone that is not called holds nothing once it is dropped, and passes no readiness to its clones.
    UncalledHoldsNothing,
    /// Whatever is readied, called, cloned and dropped in whatever order: in the end every permit is back.
    PermitsComeBack,
    /// A limit is one for all clones. Checked only when asked for:
    /// [`Contract::limits_to`](super::Contract::limits_to).
    LimitIsShared,
    /// A call may be dropped at every point at which it waits.
    DropAnywhere,
    /// Who can go on is woken.
    NoLostWakeUp,
    /// Who cannot go on is not woken, neither by itself nor by a timer.
    NoBusyWait,
    /// A panic of the inner service ends one call; the other clones serve on.
    PanicStaysInOneCall,
    /// A call is over by its deadline, whatever the inner service does. Checked only when asked for:
    /// [`Contract::gives_up_after`](super::Contract::gives_up_after).
    DeadlineKept,
}

impl Rule {
    /// All of them, in the order in which they are checked.
    pub const ALL: [Rule; 9] = [
        Rule::ReadyThenCalled,
        Rule::UncalledHoldsNothing,
        Rule::PermitsComeBack,
        Rule::LimitIsShared,
        Rule::DropAnywhere,
        Rule::NoLostWakeUp,
        Rule::NoBusyWait,
        Rule::PanicStaysInOneCall,
        Rule::DeadlineKept,
    ];
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::ReadyThenCalled => "the readied clone is the one that is called",
            Rule::UncalledHoldsNothing => "a clone that is not called holds nothing",
            Rule::PermitsComeBack => "every permit comes back",
            Rule::LimitIsShared => "a limit is one for all clones",
            Rule::DropAnywhere => "a call may be dropped anywhere",
            Rule::NoLostWakeUp => "no wake-up is lost",
            Rule::NoBusyWait => "nobody is woken for nothing",
            Rule::PanicStaysInOneCall => "a panic stays in one call",
            Rule::DeadlineKept => "a call is over by its deadline",
        })
    }
}

/// A rule that was broken.
#[derive(Clone, Debug)]
pub struct Violation {
    rule: Rule,
    seen: String,
}

impl Violation {
    pub(super) fn new(rule: Rule, seen: impl Into<String>) -> Self {
        Violation { rule, seen: seen.into() }
    }

    /// Which rule.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// What was done, and what was seen.
    pub fn seen(&self) -> &str {
        &self.seen
    }
}

/// The rules that a layer breaks: at least one.
#[derive(Clone, Debug)]
pub struct Report(pub(super) Vec<Violation>);

impl Report {
    /// What was seen, in the order of the rules.
    pub fn violations(&self) -> &[Violation] {
        &self.0
    }

    /// Whether this rule is among those that are broken.
    pub fn breaks(&self, rule: Rule) -> bool {
        self.0.iter().any(|violation| violation.rule == rule)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = if self.0.len() == 1 { "rule" } else { "rules" };
        write!(f, "the layer breaks {} {rules} of the contract:", self.0.len())?;
        for Violation { rule, seen } in &self.0 {
            write!(f, "\n  {rule} ({rule:?})\n    {seen}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}
