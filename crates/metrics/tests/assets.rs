//! Rules, dashboard and docs say nothing that there is not, and leave out nothing.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests are not #[test] themselves

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};
use towpath_metrics::{ALL, Kind};

fn here(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(here(path)).unwrap()
}

/// All words that look like metrics of ours, without what a histogram adds to its name.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    let ours = words.filter(|word| !word.contains(':'));
    let ours = ours.filter(|word| {
        ["towpath_", "rpc_client_", "rpc_server_"].iter().any(|start| word.starts_with(start))
    });
    let base = |word: &str| {
        let histogram =
            |name: &str| ALL.iter().any(|metric| metric.name == name && metric.kind == Kind::Histogram);
        let cut = ["_bucket", "_count", "_sum"].iter().find_map(|end| word.strip_suffix(end));
        cut.filter(|name| histogram(name)).unwrap_or(word).to_string()
    };
    ours.map(base).collect()
}

#[test]
fn rules_and_dashboard_name_what_there_is() {
    let known: BTreeSet<_> = ALL.iter().map(|metric| metric.name.to_string()).collect();
    assert_eq!(known.len(), ALL.len(), "a name is there twice");
    for path in ["assets/rules/towpath.rules.yml", "assets/rules/towpath.tests.yml", "assets/dashboard.json"]
    {
        let named = named(&read(path));
        let strange: Vec<_> = named.difference(&known).collect();
        assert!(named.len() > 5 && strange.is_empty(), "{path}: {strange:?}");
    }
    let dashboard: serde_json::Value = serde_json::from_str(&read("assets/dashboard.json")).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 10);
}

#[test]
fn names_say_their_units() {
    for metric in ALL {
        let name = metric.name;
        let unit = ["_seconds", "_bytes"].iter().any(|unit| name.ends_with(unit));
        match metric.kind {
            Kind::Counter => assert!(name.ends_with("_total"), "{name}"),
            Kind::Histogram => assert!(name.ends_with("_seconds"), "{name}"),
            Kind::Gauge => assert!(!name.ends_with("_total"), "{name} {unit}"),
        }
        assert!(metric.help.ends_with('.') && metric.labels.first() == Some(&"target"), "{name}");
    }
}

/// What docs/metrics.md is to say between its marks.
fn table() -> String {
    let mut table = String::from("| metric | kind | labels | |\n| --- | --- | --- | --- |\n");
    for metric in ALL {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind) = (metric.name, metric.kind.as_str());
        table += &format!("| `{name}` | {kind} | {} | {} |\n", labels.join(", "), metric.help);
    }
    table
}

#[test]
fn docs_have_the_table() {
    let docs = read("../../docs/metrics.md");
    let (_, rest) = docs.split_once("<!-- all metrics -->\n").unwrap();
    let (there, _) = rest.split_once("<!-- end -->").unwrap();
    assert_eq!(there, table(), "docs/metrics.md is to have this table:\n{}", table());
}

#[test]
fn promtool_accepts_the_rules() {
    for (what, file) in [("check", "towpath.rules.yml"), ("test", "towpath.tests.yml")] {
        let command =
            Command::new("promtool").args([what, "rules", file]).current_dir(here("assets/rules")).output();
        let Ok(output) = command else {
            println!("promtool is not installed (Debian: prometheus): the rules are not checked");
            return;
        };
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(output.status.success(), "promtool {what} rules {file}: {}", said.concat());
    }
}
