//! What is wrong with the order of a stack.

use super::step::Step;

/// What has to stand outside of what, and why.
const OUTSIDE: &[(&[&str], &[&str], &str)] = &[
    (
        &["BreakerLayer"],
        &["RetryLayer"],
        "each attempt asks it and counts in it, and a call that it turns away is tried again: put the breaker of a \
         method outside retry",
    ),
    (
        &["AdmissionLayer"],
        &["RetryLayer"],
        "each attempt asks again whether it is let in, so that retries come back when there is too much to do: put \
         admission outside retry",
    ),
    (
        &["RetryLayer"],
        &["ConcurrencyLimitLayer"],
        "a call holds a permit while it waits for its next attempt: put the limit inside retry",
    ),
    (
        &["FallbackLayer"],
        &["RetryLayer", "BreakerLayer", "TimeoutLayer", "AdmissionLayer"],
        "what the layers outside of it refuse gets no fallback: put fallback outside all of them",
    ),
    (
        &["AuthLayer", "AuthenticateLayer"],
        &["DedupeLayer"],
        "a repetition is answered before anybody asks who calls: put auth outside dedupe",
    ),
];

/// Layers that give a call its total time.
const TIME: &[&str] = &["DeadlineLayer", "TimeoutLayer"];

fn position(steps: &[Step], names: &[&str]) -> Option<usize> {
    steps.iter().position(|step| names.contains(&&*step.name))
}

/// The warnings for a client's stack, or a server's, from outside to inside.
pub(super) fn warnings(steps: &[Step], client: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    let (time, retry) = (position(steps, TIME), position(steps, &["RetryLayer"]));
    match (time, retry) {
        (None, Some(_)) => warnings.push(
            "RetryLayer has no total timeout around it: a call takes as long as all attempts and pauses together. \
             Put a deadline outside retry"
                .to_owned(),
        ),
        (Some(time), Some(retry)) if time > retry => warnings.push(format!(
            "RetryLayer stands outside {}: that bounds an attempt, and nothing bounds the call. Put a deadline \
             outside retry",
            steps[time].name
        )),
        (None, None) if client && !steps.is_empty() => warnings
            .push("there is no deadline: a call that brings none of its own may wait for ever".to_owned()),
        _ => {}
    }
    if steps.iter().filter(|step| step.name == "RetryLayer").count() > 1 {
        warnings.push("RetryLayer stands here more than once: attempts multiply".to_owned());
    }
    for (outer, inner, why) in OUTSIDE {
        let of_call = |step: &&Step| step.per != Some(super::Per::Endpoint);
        let steps: Vec<Step> = steps.iter().filter(of_call).cloned().collect();
        if let (Some(outer), Some(inner)) = (position(&steps, outer), position(&steps, inner))
            && inner < outer
        {
            let (inside, outside) = (&steps[outer].name, &steps[inner].name);
            warnings.push(format!("{inside} stands inside {outside}: {why}"));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Per;

    fn of(names: &[&'static str]) -> Vec<String> {
        warnings(&names.iter().map(|name| Step::new(*name)).collect::<Vec<_>>(), true)
    }

    #[test]
    fn the_usual_order_is_right() {
        let usual = [
            "DeadlineLayer",
            "FallbackLayer",
            "AdmissionLayer",
            "BreakerLayer",
            "RetryLayer",
            "ConcurrencyLimitLayer",
            "RateLimitLayer",
        ];
        assert!(of(&usual).is_empty(), "{:?}", of(&usual));
        assert!(of(&["DeadlineLayer"]).is_empty());
        assert!(of(&[]).is_empty(), "nothing is known");
        let endpoint = [
            Step::new("DeadlineLayer"),
            Step::new("RetryLayer"),
            Step::new("BreakerLayer").per(Per::Endpoint),
        ];
        assert!(warnings(&endpoint, true).is_empty(), "the breaker of an endpoint stands below");
    }

    #[test]
    fn each_bad_order_is_told() {
        for (names, says) in [
            (&["RetryLayer"][..], "no total timeout"),
            (&["RetryLayer", "TimeoutLayer"], "stands outside TimeoutLayer"),
            (&["ConcurrencyLimitLayer"], "no deadline"),
            (&["DeadlineLayer", "RetryLayer", "RetryLayer"], "multiply"),
            (&["DeadlineLayer", "RetryLayer", "BreakerLayer"], "breaker of a method outside retry"),
            (&["DeadlineLayer", "RetryLayer", "AdmissionLayer"], "admission outside retry"),
            (&["DeadlineLayer", "ConcurrencyLimitLayer", "RetryLayer"], "limit inside retry"),
            (&["DeadlineLayer", "BreakerLayer", "FallbackLayer"], "fallback outside all"),
            (&["DeadlineLayer", "DedupeLayer", "AuthLayer"], "auth outside dedupe"),
        ] {
            let warnings = of(names);
            assert_eq!(warnings.len(), 1, "{names:?}: {warnings:?}");
            assert!(warnings[0].contains(says), "{warnings:?}");
        }
    }
}
