//! The table.

use super::{By, run::Cost};
use std::fmt::Write;

/// All rows, each beside the baseline and beside our row of the same layer.
pub(super) fn table(costs: &[Cost]) -> String {
    let mut text = String::from(
        "| layer | by | ns | over the baseline | ours is faster | on two threads | ours is faster | allocations \
         | bytes | instructions | over the baseline |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    let baseline = costs.iter().find(|cost| cost.policy.by == By::Baseline);
    for cost in costs {
        let same = |other: &&Cost| other.policy.by == By::Ours && other.policy.layer == cost.policy.layer;
        let peer = matches!(cost.policy.by, By::Peer(_));
        let ours = if peer { costs.iter().find(same) } else { None };
        let over = |of: fn(&Cost) -> Option<f64>| match cost.policy.by {
            By::Baseline => None,
            _ => Some(of(cost)? - of(baseline?)?),
        };
        let contended = |ours: &Cost| Some(ours.contended.as_ref()?.faster_than(cost.contended.as_ref()?));
        let by = match cost.policy.by {
            By::Baseline => "",
            By::Ours => "**towpath**",
            By::Peer(name) => name,
        };
        let note = cost.policy.note;
        let _ = writeln!(
            text,
            "| {} | {by}{}{note} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            cost.policy.layer,
            if note.is_empty() || by.is_empty() { "" } else { ", " },
            number(Some(cost.alone.ns()), 1, ""),
            number(over(|cost| Some(cost.alone.ns())), 1, ""),
            number(ours.map(|ours| ours.alone.faster_than(&cost.alone)), 1, "x"),
            number(cost.contended.as_ref().map(|times| times.ns()), 1, ""),
            number(ours.and_then(contended), 1, "x"),
            number(Some(cost.alone.allocations), 2, ""),
            number(Some(cost.alone.bytes), 0, ""),
            number(cost.instructions, 0, ""),
            number(over(|cost| cost.instructions), 0, ""),
        );
    }
    text
}

/// Nothing for what was not measured.
fn number(value: Option<f64>, digits: usize, unit: &str) -> String {
    value.filter(|value| value.is_finite()).map_or(String::new(), |value| format!("{value:.digits$}{unit}"))
}
