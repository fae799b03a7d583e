//! Small courses of the simulation: that they can be run, that a seed has one course only, and that what its page says
//! holds.

#![allow(clippy::unwrap_used)] // helpers of tests are not #[test] themselves

use std::sync::LazyLock;
use towpath_simulation::{Findings, Line, Picker, Scenario, Study, picture, report, run};

fn alone(picker: Picker) -> Line {
    Line { picker, breaker: false, retry: false }
}

/// Everything happens, to few.
fn small() -> Study {
    let mut study = Study::fleet(10, 10);
    study.scenario.per_second = 50.0;
    study.lines.retain(|line| line.picker == Picker::Ours && line.retry);
    study
}

static FIRST: LazyLock<Vec<Findings>> = LazyLock::new(|| small().run(1).unwrap());

#[test]
fn a_seed_has_one_course() {
    let study = small();
    let again = study.run(1).unwrap();
    assert_eq!(*FIRST, again);
    assert_eq!(report(&study, &FIRST), report(&study, &again));
    assert_ne!(*FIRST, study.run(2).unwrap());
}

#[test]
fn with_retries_little_is_lost_whatever_happens() {
    let study = small();
    for phase in study.scenario.phases.iter().filter(|phase| phase.name != "zone lost") {
        let tally = FIRST[0].ledger().sum(phase.seconds.clone());
        assert!(tally.calls > 300 && tally.success() > 0.98, "{}: {}", phase.name, tally.success());
    }
}

#[test]
fn one_slow_server_of_eleven_costs_next_to_nothing() {
    let mut scenario = Scenario::eleven();
    scenario.per_second = 300.0;
    let under_a_second = |picker| run(&scenario, alone(picker), 1).unwrap().ledger.total().within(1_000);
    assert!(under_a_second(Picker::Ours) >= 0.9995);
    assert!(under_a_second(Picker::RoundRobin) < 0.98);
}

/// Whoever picks: calls are answered, those who honour weights give the large servers more, and a seed has one course.
#[test]
fn servers_of_three_sizes() {
    let mut study = Study::sizes(2);
    study.scenario.seconds = 5;
    let findings = study.run(1).unwrap();
    let success = |picker| {
        let of = findings.iter().find(|findings| findings.line.picker == picker);
        of.map(|findings| findings.ledger().total().success()).unwrap()
    };
    for picker in study.lines.iter().map(|line| line.picker) {
        let least = if picker == Picker::RoundRobin { 0.5 } else { 0.98 };
        assert!(success(picker) > least, "{picker:?}: {}", success(picker));
    }
    assert!(success(Picker::WeightedTurns) > success(Picker::RoundRobin));
    study.scenario.per_second = 300.0;
    assert_eq!(study.run(1).unwrap(), study.run(1).unwrap());
}

#[test]
fn what_is_drawn_is_well_formed() {
    let study = small();
    let none = || Findings { line: alone(Picker::Ours), outcomes: Vec::new() };
    for findings in [FIRST.clone(), vec![none(), none()], Vec::new()] {
        let picture = picture(&study, &findings);
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
        assert_eq!(picture.matches("<polyline").count(), 2 * findings.len());
        assert_eq!(picture.matches("<text").count(), picture.matches("</text>").count());
        assert!(!picture.contains("NaN"));
        assert_eq!(report(&study, &findings).matches("\n| --- |").count(), 7);
    }
}
