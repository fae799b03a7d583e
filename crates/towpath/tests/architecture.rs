//! The arrows between the crates of this workspace, as `docs/architecture.md` draws them: down, never
//! sideways, never up.

use serde_json::Value;
use std::{env, error::Error, process::Command};

/// Where a crate stands. A new crate takes its place here before it can have an arrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Floor(u8),
    /// Beside the house: for tests only.
    Aside,
}

const PLAN: &[(Place, &str, &[&str])] = &[
    (Place::Floor(1), "crates", &["core"]),
    (Place::Floor(2), "crates", &["timeout", "retry", "breaker", "fallback", "limit", "auth"]),
    (Place::Floor(2), "crates", &["dedupe", "session", "trace"]),
    (Place::Floor(2), "crates", &["codec", "transport", "pool", "discover", "balance", "build"]),
    (Place::Floor(3), "crates", &["metrics", "admin", "health", "registry"]),
    (Place::Floor(4), "crates", &["towpath"]),
    (Place::Floor(5), "crates", &["cli"]),
    (Place::Floor(5), ".", &["examples", "benches", "simulation"]),
    (Place::Aside, "crates", &["testing"]),
];

/// The one pair of neighbours that may know each other: a connection is made of frames.
const SIDEWAYS: (&str, &str) = ("transport", "codec");

/// A package of the workspace, without the prefix of its name.
#[derive(Clone, Debug)]
struct Package {
    name: String,
    folder: String,
    version: String,
    /// Name, and whether it is for tests only.
    depends_on: Vec<(String, bool)>,
}

fn place(name: &str) -> Option<Place> {
    PLAN.iter().find(|(_, _, names)| names.contains(&name)).map(|(place, ..)| *place)
}

/// Why `from` may not know `to`, if it may not.
fn refuse(from: &str, to: &str, for_tests: bool) -> Option<String> {
    let kind = if for_tests { "dev-dependency" } else { "dependency" };
    let (Some(above), Some(below)) = (place(from), place(to)) else {
        return Some(format!("{from} -> {to}: one of them has no floor; give it one in PLAN"));
    };
    match (above, below) {
        (_, Place::Aside) if !for_tests => {
            Some(format!("{from} -> {to}: {to} is for tests, make it a dev-dependency"))
        }
        (_, Place::Aside) => None,
        (Place::Aside, Place::Floor(1)) => None,
        (Place::Aside, Place::Floor(_)) => Some(format!(
            "{from} -> {to} ({kind}): {from} serves the tests of every floor, so it knows the ground only"
        )),
        (Place::Floor(high), Place::Floor(low)) if low < high => None,
        (Place::Floor(high), Place::Floor(low)) if low == high && (from, to) == SIDEWAYS => None,
        (Place::Floor(high), Place::Floor(low)) => {
            let way = if high == low { "sideways" } else { "up" };
            Some(format!("{from} (floor {high}) -> {to} (floor {low}), a {kind}: the arrow points {way}"))
        }
    }
}

/// Everything about the graph that is against the plan.
fn violations(packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    for package in packages {
        let name = &*package.name;
        match PLAN.iter().find(|(_, _, names)| names.contains(&name)) {
            None => found.push(format!("{name} has no floor; give it one in PLAN")),
            Some((_, parent, _)) => {
                let wanted = if *parent == "." { name.to_owned() } else { format!("{parent}/{name}") };
                if package.folder != wanted {
                    found.push(format!("{name} is in {}, not in {wanted}", package.folder));
                }
            }
        }
        if package.version != packages[0].version {
            found.push(format!("{name} has version {}, the workspace has one for all", package.version));
        }
        found.extend(package.depends_on.iter().filter_map(|(to, for_tests)| refuse(name, to, *for_tests)));
    }
    found
}

fn bare(name: &str) -> Option<&str> {
    if name == "towpath" { Some(name) } else { name.strip_prefix("towpath-") }
}

/// Reads the output of `cargo metadata --no-deps`.
fn packages(metadata: &Value) -> Option<Vec<Package>> {
    let root = metadata["workspace_root"].as_str()?;
    let read = |package: &Value| {
        let folder = package["manifest_path"].as_str()?.strip_prefix(root)?.strip_suffix("/Cargo.toml")?;
        let depends_on = package["dependencies"].as_array()?.iter().filter_map(|dependency| {
            // What comes from a registry has a source; what is ours has a path.
            dependency["path"].as_str()?;
            let name = dependency["name"].as_str()?;
            Some((bare(name).unwrap_or(name).to_owned(), dependency["kind"] == "dev"))
        });
        let name = package["name"].as_str()?;
        Some(Package {
            name: bare(name).unwrap_or(name).to_owned(),
            folder: folder.trim_start_matches('/').to_owned(),
            version: package["version"].as_str()?.to_owned(),
            depends_on: depends_on.collect(),
        })
    };
    metadata["packages"].as_array()?.iter().map(read).collect()
}

#[test]
fn arrows_point_down() -> Result<(), Box<dyn Error>> {
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let packages = packages(&serde_json::from_slice(&output.stdout)?).ok_or("cargo metadata has changed")?;

    // A reader that finds nothing would find nothing wrong.
    let transport = packages.iter().find(|package| package.name == "transport").ok_or("no transport")?;
    assert!(transport.depends_on.contains(&("core".to_owned(), false)), "{transport:?}");

    let found = violations(&packages);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
    Ok(())
}

#[cfg(test)]
mod rule {
    use super::*;

    fn graph(arrows: &[(&str, &str, bool)]) -> Vec<Package> {
        let mut names: Vec<&str> = arrows.iter().flat_map(|(from, to, _)| [*from, *to]).collect();
        names.sort_unstable();
        names.dedup();
        let package = |name: &str| Package {
            name: name.to_owned(),
            folder: if matches!(name, "examples" | "benches") {
                name.into()
            } else {
                format!("crates/{name}")
            },
            version: "0.1.0".to_owned(),
            depends_on: (arrows.iter().filter(|(from, ..)| *from == name))
                .map(|(_, to, for_tests)| ((*to).to_owned(), *for_tests))
                .collect(),
        };
        names.into_iter().map(package).collect()
    }

    #[test]
    fn the_plan_s_own_arrows_are_fine() {
        let good = [
            ("timeout", "core", false),
            ("transport", "codec", false),
            ("metrics", "breaker", false),
            ("towpath", "transport", false),
            ("towpath", "metrics", false),
            ("cli", "towpath", false),
            ("examples", "core", false),
            ("testing", "core", false),
            ("core", "testing", true),
            ("retry", "testing", true),
        ];
        assert_eq!(violations(&graph(&good)), [""; 0]);
    }

    #[test]
    fn every_arrow_against_the_plan_is_found() {
        let bad = [
            ("retry", "breaker", false, "sideways"),
            ("retry", "breaker", true, "sideways"),
            ("codec", "transport", false, "sideways"),
            ("admin", "metrics", false, "sideways"),
            ("cli", "examples", false, "sideways"),
            ("core", "codec", false, "up"),
            ("breaker", "metrics", false, "up"),
            ("transport", "towpath", true, "up"),
            ("towpath", "cli", false, "up"),
            ("towpath", "testing", false, "make it a dev-dependency"),
            ("testing", "transport", false, "knows the ground only"),
            ("wormhole", "core", false, "no floor"),
            ("core", "wormhole", false, "no floor"),
        ];
        for (from, to, for_tests, says) in bad {
            let found = violations(&graph(&[(from, to, for_tests)]));
            assert!(found.iter().any(|line| line.contains(says)), "{from} -> {to}: {found:?}");
        }
    }

    #[test]
    fn folders_and_versions_are_looked_at() {
        let mut packages = graph(&[("timeout", "core", false)]);
        packages[1].folder = "crates/towpath-timeout".to_owned();
        packages[1].version = "0.2.0".to_owned();
        let found = violations(&packages);
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn metadata_is_read_by_kind_and_by_path() {
        let metadata = serde_json::json!({
            "workspace_root": "/w",
            "packages": [{
                "name": "towpath-retry", "version": "0.1.0", "manifest_path": "/w/crates/retry/Cargo.toml",
                "dependencies": [
                    {"name": "bytes", "kind": null},
                    {"name": "towpath-core", "kind": null, "path": "/w/crates/core"},
                    {"name": "towpath-testing", "kind": "dev", "path": "/w/crates/testing"},
                    {"name": "towpath-breaker", "kind": "build", "path": "/w/crates/breaker"},
                ],
            }],
        });
        let read = packages(&metadata).unwrap();
        assert_eq!((&*read[0].name, &*read[0].folder), ("retry", "crates/retry"));
        let found = violations(&read);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("retry (floor 2) -> breaker (floor 2), a dependency"), "{found:?}");
    }
}
