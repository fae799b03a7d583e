//! The committed limits, and whether they are kept.

use crate::{Failure, scenario::Scenario};
use serde::Deserialize;
use std::{collections::BTreeMap, fs, path::Path};

/// What was counted, for each call.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// Instructions, both sides; `None` where they were not counted.
    pub instructions: Option<f64>,
    /// Allocations at the client.
    pub client_allocations: f64,
    /// Allocations at the server.
    pub server_allocations: f64,
    /// Requests that the client sends with one write.
    pub client_frames_per_write: Option<f64>,
    /// Responses that the server sends with one write.
    pub server_frames_per_write: Option<f64>,
}

/// The limits of one scenario; what is not named has none.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// At most so many.
    pub instructions: Option<f64>,
    /// At most so many.
    pub client_allocations: Option<f64>,
    /// At most so many.
    pub server_allocations: Option<f64>,
    /// At least so many.
    pub client_frames_per_write: Option<f64>,
    /// At least so many.
    pub server_frames_per_write: Option<f64>,
}

/// Limits by the name of their scenario.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Limits(BTreeMap<String, Limit>);

impl Limits {
    /// Reads the file.
    ///
    /// # Errors
    /// If it cannot be read, or names a scenario or a limit that there is none of.
    pub fn read(path: &Path, scenarios: &[Scenario]) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let limits: Limits = toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        match limits.0.keys().find(|name| scenarios.iter().all(|scenario| scenario.name != **name)) {
            Some(name) => Err(format!("{}: there is no scenario {name}", path.display()).into()),
            None => Ok(limits),
        }
    }

    /// What of a scenario is beyond its limits, in words for people.
    pub fn exceeded(&self, scenario: &str, counted: &Counted) -> Vec<String> {
        let Some(limit) = self.0.get(scenario) else { return Vec::new() };
        let at_most = |what, limit: Option<f64>, counted: Option<f64>| match (limit, counted) {
            (Some(limit), Some(counted)) if counted <= limit => None,
            (None, _) => None,
            (Some(limit), counted) => Some(beyond(scenario, what, counted, "at most", limit)),
        };
        let at_least = |what, limit: Option<f64>, counted: Option<f64>| match (limit, counted) {
            (Some(limit), Some(counted)) if counted >= limit => None,
            (None, _) => None,
            (Some(limit), counted) => Some(beyond(scenario, what, counted, "at least", limit)),
        };
        [
            at_most("instructions a call", limit.instructions, counted.instructions),
            at_most(
                "allocations a call at the client",
                limit.client_allocations,
                Some(counted.client_allocations),
            ),
            at_most(
                "allocations a call at the server",
                limit.server_allocations,
                Some(counted.server_allocations),
            ),
            at_least("requests a write", limit.client_frames_per_write, counted.client_frames_per_write),
            at_least("responses a write", limit.server_frames_per_write, counted.server_frames_per_write),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn beyond(scenario: &str, what: &str, counted: Option<f64>, bound: &str, limit: f64) -> String {
    let counted = counted.map_or("not counted".to_owned(), |counted| format!("{counted:.3}"));
    format!("{scenario}: {what}: {counted}, {bound} {limit} wanted")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Counted = Counted {
        instructions: Some(100.0),
        client_allocations: 0.5,
        server_allocations: 0.5,
        client_frames_per_write: Some(60.0),
        server_frames_per_write: Some(60.0),
    };

    fn limits() -> Limits {
        toml::from_str(
            "[a]\ninstructions = 100\nclient_allocations = 0.5\nserver_allocations = 0.5\n\
             client_frames_per_write = 60\nserver_frames_per_write = 60",
        )
        .unwrap()
    }

    #[test]
    fn each_limit_is_looked_at() {
        assert_eq!(limits().exceeded("a", &GOOD), [""; 0]);
        let bad = [
            Counted { instructions: Some(100.1), ..GOOD },
            Counted { instructions: None, ..GOOD },
            Counted { client_allocations: 0.51, ..GOOD },
            Counted { server_allocations: 0.51, ..GOOD },
            Counted { client_frames_per_write: Some(59.9), ..GOOD },
            Counted { client_frames_per_write: None, ..GOOD },
            Counted { server_frames_per_write: Some(1.0), ..GOOD },
            Counted { client_allocations: f64::NAN, ..GOOD },
        ];
        for counted in bad {
            assert_eq!(limits().exceeded("a", &counted).len(), 1, "{counted:?}");
        }
    }

    #[test]
    fn the_committed_file_is_understood() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("limits.toml");
        let limits = Limits::read(&path, &crate::scenario::SCENARIOS).unwrap();
        for scenario in crate::scenario::SCENARIOS {
            let limit = limits.0.get(scenario.name).unwrap();
            assert!(limit.client_allocations.is_some(), "{}", scenario.name);
            assert!(limit.server_allocations.is_some() && limit.server_frames_per_write.is_some());
        }
        assert!(Limits::read(&path, &[]).is_err());
    }
}
