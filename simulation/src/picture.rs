//! What is drawn of a study.

use crate::{
    Findings, Scenario, Study,
    chart::{Axis, COLOURS, Chart, Curve, svg},
};

/// The picture of a study: an SVG.
pub fn picture(study: &Study, findings: &[Findings]) -> String {
    let mut colours: Vec<_> = Vec::new();
    let mut keys = Vec::new();
    for Findings { line, .. } in findings {
        if !colours.contains(&line.picker) {
            colours.push(line.picker);
        }
        let colour = colours.iter().position(|picker| *picker == line.picker).unwrap_or(0);
        keys.push((line.name().replace('`', ""), COLOURS[colour % COLOURS.len()], line.retry));
    }
    let curves = |points: &dyn Fn(&Findings) -> Vec<(f64, f64)>| {
        let draw = |(findings, (_, colour, dashed)): (&Findings, &(String, &'static str, bool))| Curve {
            colour,
            dashed: *dashed,
            points: points(findings),
        };
        findings.iter().zip(&keys).map(draw).collect::<Vec<_>>()
    };
    let charts = match study.scenario.name {
        "eleven" => vec![Chart {
            x: Axis {
                title: "such a share of all calls, %, is faster",
                place: from_90,
                ticks: shares(&NINES[1..]),
            },
            y: milliseconds("latency, ms"),
            curves: curves(&quantiles),
            bands: Vec::new(),
        }],
        _ => {
            let time = || Axis {
                title: "second",
                place: match study.scenario.name {
                    "sizes" => |second| second / Scenario::SIZES_SECONDS as f64,
                    _ => |second| second / Scenario::FLEET_SECONDS as f64,
                },
                ticks: (0..=study.scenario.seconds)
                    .step_by(10)
                    .map(|at| (at as f64, at.to_string()))
                    .collect(),
            };
            let bands = || {
                let band =
                    |phase: &crate::Phase| (phase.seconds.start as f64, phase.seconds.end as f64, phase.name);
                study.scenario.phases.iter().map(band).collect::<Vec<_>>()
            };
            vec![
                Chart {
                    x: time(),
                    y: Axis { title: "calls that succeed, %", place: nines, ticks: shares(&NINES) },
                    curves: curves(&by_second(|tally| tally.success())),
                    bands: bands(),
                },
                Chart {
                    x: time(),
                    y: milliseconds("99th percentile, ms"),
                    curves: curves(&by_second(|tally| tally.quantile(0.99) as f64)),
                    bands: bands(),
                },
            ]
        }
    };
    svg(&charts, &keys)
}

const NINES: [f64; 6] = [0.0, 0.9, 0.99, 0.999, 0.9999, 0.99999];

/// Each nine is as wide as the others.
fn nines(share: f64) -> f64 {
    -(1.0 - share).max(1e-5).log10() / 5.0
}

/// From 90 % on.
fn from_90(share: f64) -> f64 {
    (nines(share) * 5.0 - 1.0) / 4.0
}

fn shares(of: &[f64]) -> Vec<(f64, String)> {
    of.iter().map(|share| (*share, format!("{}", (share * 1e6).round() / 1e4))).collect()
}

fn milliseconds(title: &'static str) -> Axis {
    let ticks = [10.0, 30.0, 100.0, 300.0, 1_000.0];
    Axis {
        title,
        place: |millis| (millis / 10.0).max(1.0).log10() / 2.0,
        ticks: ticks.iter().map(|tick| (*tick, tick.to_string())).collect(),
    }
}

fn quantiles(findings: &Findings) -> Vec<(f64, f64)> {
    let total = findings.ledger().total();
    let share = |step: u32| 1.0 - 10f64.powf(-1.0 - f64::from(step) / 25.0);
    (0..=100).map(share).map(|share| (share, total.quantile(share) as f64)).collect()
}

fn by_second(value: impl Fn(&crate::Tally) -> f64) -> impl Fn(&Findings) -> Vec<(f64, f64)> {
    move |findings| {
        let ledger = findings.ledger();
        ledger.seconds.iter().enumerate().map(|(second, tally)| (second as f64 + 0.5, value(tally))).collect()
    }
}
