//! The tables, as Markdown.

use crate::{Findings, PATIENCE, Study, Tally};
use std::fmt::Write;

/// The tables of a study.
pub fn report(study: &Study, findings: &[Findings]) -> String {
    let scenario = &study.scenario;
    let mut text = String::new();
    let mut put = |line: String| {
        // To a string it cannot fail.
        let _ = writeln!(text, "{line}");
    };
    let all: u64 = findings.first().map_or(0, |findings| findings.ledger().total().calls);
    put(format!(
        "{}: {}. {} servers, {} clients, {:.0} calls a second ({:.0} % of what the servers can do), {all} calls for each \
         line.\n",
        scenario.name,
        scenario.about,
        scenario.servers(),
        scenario.clients,
        scenario.per_second,
        100.0 * scenario.utilisation(),
    ));
    let patience = PATIENCE.as_millis() as usize;
    put("| | under 1 s, all the time | worst seed | p50 | p99 | p99.9 | attempts for a call |".into());
    put("| --- | ---: | ---: | ---: | ---: | ---: | ---: |".into());
    for findings in findings {
        let total = findings.ledger().total();
        let shares = findings.outcomes.iter().map(|outcome| outcome.ledger.total().within(patience));
        let attempts = findings.outcomes.iter().map(|outcome| outcome.attempts).sum::<f64>();
        put(format!(
            "| {} | {} | {} | {} | {} | {} | {:.3} |",
            findings.line.name(),
            percent(total.within(patience)),
            percent(shares.fold(1.0, f64::min)),
            millis(&total, 0.5),
            millis(&total, 0.99),
            millis(&total, 0.999),
            attempts / findings.outcomes.len().max(1) as f64,
        ));
    }
    for phase in &scenario.phases {
        put(format!(
            "\n**{}** ({} to {} s): {}.\n",
            phase.name, phase.seconds.start, phase.seconds.end, phase.about
        ));
        put("| | calls that succeed | p50 | p99 | p99.9 | most clients that connect to one server in 100 ms |".into());
        put("| --- | ---: | ---: | ---: | ---: | ---: |".into());
        for findings in findings {
            let tally = findings.ledger().sum(phase.seconds.clone());
            let rush = findings.outcomes.iter().filter_map(|outcome| outcome.rush.get(phase.seconds.clone()));
            put(format!(
                "| {} | {} | {} | {} | {} | {:.1} % |",
                findings.line.name(),
                percent(tally.success()),
                millis(&tally, 0.5),
                millis(&tally, 0.99),
                millis(&tally, 0.999),
                100.0 * rush.flatten().copied().fold(0.0, f64::max),
            ));
        }
    }
    text
}

/// Rounded down: nothing is 100 % that is not.
fn percent(share: f64) -> String {
    format!("{:.3} %", (share * 1e5).floor() / 1e3)
}

fn millis(tally: &Tally, share: f64) -> String {
    match tally.quantile(share) {
        millis if millis >= PATIENCE.as_millis() as u64 => "never".into(),
        millis => format!("{millis} ms"),
    }
}
