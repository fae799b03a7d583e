//! The form of a list in a file.

use crate::Instance;
use serde::Deserialize;
use std::{collections::BTreeMap, fmt};

/// Why a file is no list of endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidList(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    endpoints: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    address: String,
    #[serde(default = "one")]
    weight: u32,
    #[serde(default)]
    priority: u32,
    zone: Option<String>,
    #[serde(default)]
    labels: BTreeMap<Box<str>, Box<str>>,
    #[serde(default)]
    draining: bool,
}

fn one() -> u32 {
    1
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Toml,
    Json,
}

impl Format {
    /// By the end of a file's name.
    pub(crate) fn of(path: &str) -> Option<Self> {
        if path.ends_with(".toml") {
            Some(Format::Toml)
        } else if path.ends_with(".json") {
            Some(Format::Json)
        } else {
            None
        }
    }

    /// Reads a list. Either all of it is good or none is taken: half a file is most often one that is being written.
    pub(crate) fn read(self, text: &str) -> Result<Vec<Instance>, InvalidList> {
        let list: List = match self {
            Format::Toml => toml::from_str(text).map_err(|error| InvalidList(error.to_string()))?,
            Format::Json => serde_json::from_str(text).map_err(|error| InvalidList(error.to_string()))?,
        };
        let mut instances: Vec<Instance> = Vec::with_capacity(list.endpoints.len());
        for (n, entry) in list.endpoints.into_iter().enumerate() {
            let mut instance = Instance::new(entry.address)
                .with_weight(entry.weight)
                .with_priority(entry.priority)
                .with_draining(entry.draining);
            if let Some(zone) = entry.zone {
                instance = instance.with_zone(zone);
            }
            for (name, value) in entry.labels {
                instance = instance.with_label(name, value);
            }
            let refuse = |why: String| InvalidList(format!("endpoint {} of the list: {why}", n + 1));
            instance.check().map_err(|error| refuse(error.to_string()))?;
            instances.push(instance);
        }
        let mut addresses: Vec<_> = instances.iter().map(Instance::address).collect();
        addresses.sort_unstable();
        match addresses.windows(2).find(|two| two[0] == two[1]) {
            Some(two) => Err(InvalidList(format!("{} is there twice", two[0]))),
            None => Ok(instances),
        }
    }
}

impl fmt::Display for InvalidList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.trim_end())
    }
}

impl std::error::Error for InvalidList {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let toml = r#"
            [[endpoints]]
            address = "mcp://a:1"

            [[endpoints]]
            address = "mcp://b:1"
            weight = 3
            priority = 1
            zone = "eu-1a"
            labels = { version = "2.1" }
            draining = true
        "#;
        let json = r#"{"endpoints": [{"address": "mcp://a:1"}, {"address": "mcp://b:1", "weight": 3, "priority": 1,
            "zone": "eu-1a", "labels": {"version": "2.1"}, "draining": true}]}"#;
        let read = Format::Toml.read(toml).unwrap();
        let b = Instance::new("mcp://b:1").with_weight(3).with_priority(1).with_zone("eu-1a");
        assert_eq!(read, [Instance::new("mcp://a:1"), b.with_label("version", "2.1").with_draining(true)]);
        assert_eq!(Format::Json.read(json).unwrap(), read);
        assert_eq!(Format::Toml.read("endpoints = []").unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (bad, says) in [
            ("", "endpoints"),
            ("endpoints = 1", "sequence"),
            ("[[endpoints]]\nadress = 'a'", "unknown field `adress`"),
            ("[[endpoints]]\naddress = 'mcp://a:1'\nweight = -1", "line 3"),
            ("[[endpoints]]\naddress = ''", "endpoint 1 of the list: address"),
            ("[[endpoints]]\naddress = 'a'\n[[endpoints]]\naddress = 'a'", "a is there twice"),
        ] {
            let error = Format::Toml.read(bad).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert!(Format::Json.read("{\"endpoints\": [}").unwrap_err().to_string().contains("line 1"));
    }

    #[test]
    fn the_end_of_the_name_decides() {
        assert_eq!(Format::of("/a/b.toml"), Some(Format::Toml));
        assert_eq!(Format::of("/a/b.json"), Some(Format::Json));
        assert_eq!(Format::of("/a/b.yaml"), None);
    }
}
