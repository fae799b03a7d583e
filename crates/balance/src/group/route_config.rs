//! Which calls go to which endpoints: a validated value.

use crate::hash::KeyFrom;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};
use towpath_core::{Endpoint, Patterns};

/// What a [`RoutesConfig`] is made of, unchecked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoutesOptions {
    /// The first one that is for the method is taken. Calls that none is for go to any endpoint. At most 100.
    pub routes: Vec<Route>,
    /// Calls with the same key are drawn for the same target, while its share includes them. Default: affinity keys; empty:
    /// each call is drawn by itself.
    pub keys: Vec<KeyFrom>,
}

/// Where the calls of some methods go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// For which methods. Empty, the default: for all.
    #[serde(default, skip_serializing_if = "Patterns::is_empty")]
    pub methods: Patterns,
    /// Where they go, by weight: at least one, at most 100. A target of which no endpoint takes calls leaves its share to
    /// the others that have a share, in this order.
    pub to: Vec<Target>,
    /// Where they go, in this order, if none of those takes calls. Empty, the default: nowhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub or: Vec<Labels>,
}

/// Some endpoints, and their share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Which endpoints.
    #[serde(default)]
    pub labels: Labels,
    /// Their share, compared with the other targets'. 0: none. Default: 1.
    #[serde(default = "one")]
    pub weight: u32,
}

/// Endpoints that have all these labels. Empty: all endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(BTreeMap<String, String>);

/// Which calls go to which endpoints.
///
/// Its fields are those of [`RoutesOptions`], checked. Five of a hundred calls to a new version:
///
/// ```
/// use towpath_balance::RoutesConfig;
/// let canary: RoutesConfig = serde_json::from_str(r#"{"routes": [{"to": [
///     {"labels": {"version": "2"}, "weight": 5},
///     {"labels": {"version": "1"}, "weight": 95}
/// ]}]}"#)?;
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// Reads to the replicas, or to the primary if there is no replica; writes to the primary and nowhere else:
///
/// ```
/// use towpath_balance::RoutesConfig;
/// let split: RoutesConfig = serde_json::from_str(r#"{"routes": [
///     {"methods": ["*.Get*", "*.List*"], "to": [{"labels": {"role": "replica"}}], "or": [{"role": "primary"}]},
///     {"to": [{"labels": {"role": "primary"}}]}
/// ]}"#)?;
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RoutesOptions", into = "RoutesOptions")]
pub struct RoutesConfig(RoutesOptions);

/// A config that makes no sense: which field, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRoutes {
    field: String,
    reason: String,
}

const MOST: usize = 100;

impl RoutesConfig {
    /// Checks a config.
    ///
    /// # Errors
    /// If a list is too long or empty where it must not be, if the weights of a route are all 0, or if a route comes after
    /// one that is for all methods.
    pub fn try_new(options: RoutesOptions) -> Result<Self, InvalidRoutes> {
        let refuse = |field: &str, reason: String| Err(InvalidRoutes { field: field.into(), reason });
        if options.routes.len() > MOST {
            return refuse("routes", format!("{} are more than {MOST}", options.routes.len()));
        }
        for (number, route) in options.routes.iter().enumerate() {
            let at = |field: &str| format!("routes[{number}].{field}");
            if route.to.is_empty() || route.to.len() > MOST {
                return refuse(&at("to"), format!("{} targets are not from 1 to {MOST}", route.to.len()));
            }
            if route.to.iter().all(|target| target.weight == 0) {
                return refuse(&at("to"), "no target has a weight above 0".into());
            }
            if route.or.len() > MOST {
                return refuse(&at("or"), format!("{} are more than {MOST}", route.or.len()));
            }
            if route.methods.is_empty() && number + 1 < options.routes.len() {
                return refuse(
                    &at("methods"),
                    "it is for all methods, so no later route is ever taken".into(),
                );
            }
        }
        Ok(RoutesConfig(options))
    }

    /// The fields, to make another config of them.
    pub fn options(&self) -> RoutesOptions {
        self.0.clone()
    }
}

impl std::ops::Deref for RoutesConfig {
    type Target = RoutesOptions;

    fn deref(&self) -> &RoutesOptions {
        &self.0
    }
}

impl Default for RoutesOptions {
    fn default() -> Self {
        RoutesOptions { routes: Vec::new(), keys: vec![KeyFrom::AffinityKey] }
    }
}

impl Target {
    /// The endpoints with these labels, and their share.
    pub fn new(labels: Labels, weight: u32) -> Self {
        Target { labels, weight }
    }
}

impl Labels {
    /// Whether an endpoint has all of them.
    pub fn fit(&self, endpoint: &Endpoint) -> bool {
        self.0.iter().all(|(name, value)| endpoint.label(name) == Some(value))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(labels: I) -> Self {
        Labels(labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl<N: Into<String>, V: Into<String>, const COUNT: usize> From<[(N, V); COUNT]> for Labels {
    fn from(labels: [(N, V); COUNT]) -> Self {
        labels.into_iter().collect()
    }
}

fn one() -> u32 {
    1
}

impl TryFrom<RoutesOptions> for RoutesConfig {
    type Error = InvalidRoutes;

    fn try_from(options: RoutesOptions) -> Result<Self, InvalidRoutes> {
        RoutesConfig::try_new(options)
    }
}

impl From<RoutesConfig> for RoutesOptions {
    fn from(config: RoutesConfig) -> Self {
        config.0
    }
}

impl InvalidRoutes {
    /// Where it is, as in a file.
    pub fn field(&self) -> &str {
        &self.field
    }
}

impl fmt::Display for InvalidRoutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

impl std::error::Error for InvalidRoutes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |text: &str| serde_json::from_str::<RoutesConfig>(text).unwrap_err().to_string();
        for (text, expected) in [
            (r#"{"routes":[{"to":[]}]}"#, "routes[0].to: 0 targets are not from 1 to 100"),
            (r#"{"routes":[{"to":[{"weight":0}]}]}"#, "routes[0].to: no target has a weight above 0"),
            (r#"{"routes":[{"to":[{}]},{"to":[{}]}]}"#, "routes[0].methods: it is for all methods"),
            (r#"{"routes":[{}]}"#, "missing field `to`"),
            (r#"{"routes":[{"to":[{"label":{}}]}]}"#, "unknown field"),
            (r#"{"canary":5}"#, "unknown field"),
        ] {
            assert!(refused(text).starts_with(expected), "{}", refused(text));
        }
        let many = |to: usize, or: usize| Route {
            methods: ["A.*"].into_iter().collect(),
            to: vec![Target::new(Labels::default(), 1); to],
            or: vec![Labels::default(); or],
        };
        let field = |routes| {
            let options = RoutesOptions { routes, ..RoutesOptions::default() };
            RoutesConfig::try_new(options).map_err(|error| error.field().to_owned())
        };
        assert_eq!(field(vec![many(1, 0); 101]).unwrap_err(), "routes");
        assert_eq!(field(vec![many(100, 100), many(101, 0)]).unwrap_err(), "routes[1].to");
        assert_eq!(field(vec![many(1, 101)]).unwrap_err(), "routes[0].or");
        assert!(field(vec![many(100, 100); 100]).is_ok());
    }

    #[test]
    fn it_is_written_as_it_is_read() {
        let text = r#"{"routes":[{"methods":["*.Get*"],"to":[{"labels":{"role":"replica"},"weight":2}],"or":[{"role":"primary"}]},{"to":[{"labels":{},"weight":1}]}],"keys":["session-id"]}"#;
        let config: RoutesConfig = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&config).unwrap(), text);
        assert_eq!(serde_json::from_str::<RoutesConfig>("{}").unwrap(), RoutesConfig::default());
    }

    #[test]
    fn all_labels_have_to_fit() {
        let endpoint = Endpoint::new("a").with_label("role", "replica").with_label("version", "2");
        assert!(Labels::default().fit(&endpoint));
        assert!(Labels::from([("role", "replica"), ("version", "2")]).fit(&endpoint));
        assert!(!Labels::from([("role", "replica"), ("version", "1")]).fit(&endpoint));
        assert!(!Labels::from([("zone", "")]).fit(&endpoint));
    }
}
