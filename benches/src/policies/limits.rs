//! The committed limits of our rows, and whether they are kept.

use super::{By, Policy, run::Cost};
use crate::Failure;
use serde::Deserialize;
use std::{collections::BTreeMap, fs, path::Path};

/// What a call may cost at most.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    instructions: f64,
    allocations: f64,
}

/// Limits by the name of their row.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Limits(BTreeMap<String, Limit>);

impl Limits {
    /// Reads the file. Every row of ours has to be in it but for those that are there only when they are asked for, and
    /// nothing else.
    pub(super) fn read(path: &Path, rows: &[Policy]) -> Result<Self, Failure> {
        let in_file = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = fs::read_to_string(path).map_err(|error| in_file(&error))?;
        let limits: Limits = toml::from_str(&text).map_err(|error| in_file(&error))?;
        let counted = |row: &&Policy| row.by == By::Ours && !row.is_on_request();
        let ours: Vec<String> = rows.iter().filter(counted).map(Policy::name).collect();
        if let Some(name) = limits.0.keys().find(|name| !ours.contains(name)) {
            return Err(in_file(&format_args!("there is no row {name}")).into());
        }
        if let Some(name) = ours.iter().find(|name| !limits.0.contains_key(*name)) {
            return Err(in_file(&format_args!("there is no limit for {name}")).into());
        }
        Ok(limits)
    }

    /// What is beyond its limit, in words for people.
    pub(super) fn exceeded(&self, costs: &[Cost]) -> Vec<String> {
        let mut beyond = Vec::new();
        for cost in costs {
            let name = cost.policy.name();
            let Some(limit) = self.0.get(&name) else { continue };
            let counts = [
                ("instructions", cost.instructions, limit.instructions),
                ("allocations", Some(cost.alone.allocations), limit.allocations),
            ];
            for (what, counted, limit) in counts {
                if !counted.is_some_and(|counted| counted <= limit) {
                    let counted = counted.map_or("not counted".to_owned(), |counted| format!("{counted:.2}"));
                    beyond.push(format!("{name}: {what} a call: {counted}, at most {limit} wanted"));
                }
            }
        }
        beyond
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policies::all;

    #[test]
    fn the_committed_file_is_understood() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies.toml");
        let limits = Limits::read(&path, &all()).unwrap();
        assert!(limits.0.values().all(|limit| limit.allocations <= 1.0));
        let refused = Limits::read(&path, &all()[..1]).unwrap_err();
        assert!(refused.to_string().contains("there is no row"), "{refused}");
    }
}
