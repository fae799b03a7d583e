//! What is said over MCP, in JSON: see docs/registry.md.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use towpath_discover::Instance;

pub(crate) const REGISTER: &str = "Registry.Register";
pub(crate) const HEARTBEAT: &str = "Registry.Heartbeat";
pub(crate) const DEREGISTER: &str = "Registry.Deregister";
pub(crate) const LIST: &str = "Registry.List";
pub(crate) const WATCH: &str = "Registry.Watch";
pub(crate) const SERVICES: &str = "Registry.Services";

/// The longest name of a service, in bytes.
pub(crate) const MAX_SERVICE: usize = 128;

/// An instance; members that nobody knows yet are skipped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Described {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    pub(crate) address: String,
    #[serde(default = "one")]
    pub(crate) weight: u32,
    #[serde(default)]
    pub(crate) priority: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) zone: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<Box<str>, Box<str>>,
    #[serde(default)]
    pub(crate) draining: bool,
}

fn one() -> u32 {
    1
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Register {
    pub(crate) service: Arc<str>,
    pub(crate) instance: Described,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lease: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Leased {
    pub(crate) lease: String,
    /// How often a heartbeat is wanted.
    pub(crate) heartbeat_ms: u64,
    /// How long the lease lasts without one.
    pub(crate) lease_ms: u64,
}

/// Asked by [`HEARTBEAT`] and by [`DEREGISTER`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OfLease {
    pub(crate) lease: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Deregistered {
    /// Whether there was such a lease.
    pub(crate) found: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct List {
    pub(crate) service: Arc<str>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Watch {
    pub(crate) service: Arc<str>,
    /// What the answer before said; empty and 0 at first.
    #[serde(default)]
    pub(crate) epoch: String,
    #[serde(default)]
    pub(crate) index: u64,
    /// What the answer before said.
    #[serde(default = "yes")]
    pub(crate) complete: bool,
    #[serde(default)]
    pub(crate) wait_ms: u64,
}

fn yes() -> bool {
    true
}

/// Answers [`LIST`] and [`WATCH`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) epoch: String,
    pub(crate) index: u64,
    /// Whether the registry has been there long enough for everybody to have registered again.
    #[serde(default = "yes")]
    pub(crate) complete: bool,
    /// Whether `instances` are all, or those that have changed.
    pub(crate) full: bool,
    #[serde(default)]
    pub(crate) instances: Vec<Described>,
    /// Ids of those that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) removed: Vec<Arc<str>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Services {
    pub(crate) services: Vec<ServiceSummary>,
    #[serde(default = "yes")]
    pub(crate) complete: bool,
}

/// A service of which something is registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceSummary {
    /// Its name.
    pub service: String,
    /// How many instances are registered.
    pub instances: usize,
    /// How many of them are draining.
    #[serde(default)]
    pub draining: usize,
}

impl From<&Instance> for Described {
    fn from(instance: &Instance) -> Self {
        Described {
            id: Some(instance.key().to_string()),
            address: instance.address().to_string(),
            weight: instance.weight(),
            priority: instance.priority(),
            zone: instance.zone().map(|zone| zone.to_string()),
            labels: instance.labels().map(|(name, value)| (name.into(), value.into())).collect(),
            draining: instance.is_draining(),
        }
    }
}

impl From<Described> for Instance {
    fn from(said: Described) -> Self {
        let Described { id, address, weight, priority, zone, labels, draining } = said;
        let mut instance = Instance::new(address);
        instance = instance.with_weight(weight).with_priority(priority).with_draining(draining);
        if let Some(id) = id {
            instance = instance.with_key(id);
        }
        if let Some(zone) = zone {
            instance = instance.with_zone(zone);
        }
        labels.into_iter().fold(instance, |instance, (name, value)| instance.with_label(name, value))
    }
}

/// Whether a text can be the name of a service.
pub(crate) fn check_service(service: &str) -> Result<(), String> {
    let bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '/' | '?' | '#');
    if service.is_empty() {
        Err("the name of the service is empty".into())
    } else if service.len() > MAX_SERVICE {
        Err(format!(
            "the name of the service has {} bytes, and at most {MAX_SERVICE} are taken",
            service.len()
        ))
    } else if service.contains(bad) {
        Err(format!("the name of the service, {service:?}, has blanks or one of / ? #"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_enough_and_more_is_skipped() {
        let said: Described = serde_json::from_str(r#"{"address":"mcp://a:1","new":1}"#).unwrap();
        assert_eq!(Instance::from(said), Instance::new("mcp://a:1"));
        let watch: Watch = serde_json::from_str(r#"{"service":"s"}"#).unwrap();
        assert_eq!((watch.index, watch.complete, watch.wait_ms), (0, true, 0));
    }

    #[test]
    fn what_is_written_is_read() {
        let one = Instance::new("a").with_key("k").with_weight(0).with_zone("z").with_label("v", "1");
        for instance in [one.with_priority(3).with_draining(true), Instance::new("b")] {
            let text = serde_json::to_string(&Described::from(&instance)).unwrap();
            let read: Described = serde_json::from_str(&text).unwrap();
            assert_eq!(Instance::from(read), instance);
        }
    }

    #[test]
    fn names_of_services() {
        assert!(check_service("orders.eu:v2").is_ok() && check_service(&"x".repeat(128)).is_ok());
        for bad in ["", "a b", "a/b", "a\n", &"x".repeat(129)] {
            assert!(check_service(bad).is_err(), "{bad:?}");
        }
    }
}
