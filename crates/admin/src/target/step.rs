//! A layer, as it is told of.

use crate::view::StepView;
use std::borrow::Cow;

/// How often a layer is gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Per {
    /// Once for each call.
    Call,
    /// Once for each attempt.
    Attempt,
    /// In the stack of an endpoint.
    Endpoint,
}

/// One layer of a stack, by its name: that of its type, `RetryLayer` for example. What is known of the order of layers is
/// known by these names.
///
/// ```
/// use towpath_admin::Step;
/// let steps = Step::of_type("tower::builder::ServiceBuilder<tower_layer::stack::Stack<a::Inner, \
///     tower_layer::stack::Stack<b::Outer<u8>, tower_layer::identity::Identity>>>");
/// let names: Vec<_> = steps.iter().map(|step| step.name()).collect();
/// assert_eq!(names, ["Outer", "Inner"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub(super) name: Cow<'static, str>,
    pub(super) per: Option<Per>,
    pub(super) about: Cow<'static, str>,
}

impl Step {
    /// A layer of this name.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Step { name: name.into(), per: None, about: Cow::Borrowed("") }
    }

    /// The layers of a type, as `std::any::type_name` tells them, from outside to inside: a `ServiceBuilder` and a `Stack`
    /// are the layers in them.
    pub fn of_type(type_name: &str) -> Vec<Step> {
        let mut names = Vec::new();
        flatten(type_name.trim(), &mut names);
        names.into_iter().map(Step::new).collect()
    }

    /// How often it is gone through. Without this, it is told from where retry stands.
    #[must_use]
    pub fn per(mut self, per: Per) -> Self {
        self.per = Some(per);
        self
    }

    /// More of it, for people.
    #[must_use]
    pub fn about(mut self, about: impl Into<Cow<'static, str>>) -> Self {
        self.about = about.into();
        self
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A stack from outside to inside, each with how often it is gone through: below retry, once for each attempt.
pub(super) fn views(steps: &[Step]) -> Vec<StepView> {
    let mut per = Per::Call;
    let view = |step: &Step| {
        per = step.per.unwrap_or(per);
        let word = match per {
            Per::Call => "call",
            Per::Attempt => "attempt",
            Per::Endpoint => "endpoint",
        };
        if per == Per::Call && step.name == "RetryLayer" {
            per = Per::Attempt;
        }
        StepView { name: step.name.to_string(), per: word.to_owned(), about: step.about.to_string() }
    };
    steps.iter().map(view).collect()
}

fn flatten(name: &str, into: &mut Vec<String>) {
    let (path, arguments) = match name.split_once('<') {
        Some((path, rest)) => (path, split(rest.strip_suffix('>').unwrap_or(rest))),
        None => (name, Vec::new()),
    };
    let last = path.rsplit("::").next().unwrap_or(path).trim();
    match (last, &*arguments) {
        ("Identity", _) | ("", _) => {}
        // `Stack<Inner, Outer>`.
        ("Stack", [inner, outer]) => {
            flatten(outer, into);
            flatten(inner, into);
        }
        ("ServiceBuilder" | "Option", [one]) => flatten(one, into),
        _ => into.push(last.to_owned()),
    }
}

/// The arguments of a generic type.
fn split(arguments: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut parts) = (0i32, 0, Vec::new());
    for (at, c) in arguments.char_indices() {
        match c {
            '<' | '(' | '[' | '{' => depth += 1,
            // Not the arrow of a closure's type.
            '>' if arguments[..at].ends_with('-') => {}
            '>' | ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(arguments[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(arguments[begin..].trim());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::any::type_name;
    use tower_layer::{Identity, Stack};

    struct Retry<F>(F);
    struct Limit;

    #[test]
    fn types_are_read_from_outside_to_inside() {
        type Inner = Stack<Limit, Stack<Retry<fn(u8, (u16, u8)) -> u32>, Identity>>;
        type Whole = Stack<Limit, Stack<tower::ServiceBuilder<Inner>, Identity>>;
        let names: Vec<_> = Step::of_type(type_name::<Whole>()).into_iter().map(|step| step.name).collect();
        assert_eq!(names, ["Retry", "Limit", "Limit"]);
        let _ = Retry(0).0;
    }

    #[test]
    fn what_is_below_retry_is_per_attempt() {
        let steps = [
            Step::new("A"),
            Step::new("RetryLayer"),
            Step::new("B"),
            Step::new("C").per(Per::Endpoint),
            Step::new("D"),
        ];
        let per: Vec<_> = views(&steps).into_iter().map(|step| step.per).collect();
        assert_eq!(per, ["call", "call", "attempt", "endpoint", "endpoint"]);
    }
}
