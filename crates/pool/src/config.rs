//! How many connections, and for how long: a validated value.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};
use towpath_core::{Backoff, Jitter};

/// What a [`PoolConfig`] is made of, unchecked: change what is to differ, and check the whole.
///
/// ```
/// use towpath_pool::{PoolConfig, PoolOptions};
/// let config = PoolConfig::try_new(PoolOptions { min: 2, max: 8, ..PoolOptions::default() })?;
/// assert_eq!(config.calls_per_connection, 1_024);
/// # Ok::<(), towpath_pool::InvalidPool>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PoolOptions {
    /// How many connections are kept from the first use on, whether they are needed or not. Default: 1. With 0 there
    /// are none while nobody calls; so too where the balancer has said that calls do not go to the
    /// [endpoint](crate::PoolBuilder::endpoint) as a rule ([`set_spare`](towpath_core::EndpointState::set_spare)).
    pub min: u32,
    /// How many there may be; while one is replaced, one more. From 1, and from `min`, to
    /// [`PoolConfig::MAX_CONNECTIONS`]. Default: 4; one for each call that may be under way is right for an exclusive
    /// pool ([`PoolConfig::exclusive`]).
    pub max: u32,
    /// Of a shared pool: how many calls one connection takes before the next one is used, or made. Few connections are
    /// better than many, since calls of one connection share reads and writes; when all have so many, calls are spread
    /// over them. A share, and no limit: threads that look at the same moment see the same room. An exclusive pool has
    /// one call on each. Default: 1 024.
    pub calls_per_connection: u32,
    /// How many calls may wait for a connection; further ones are refused (MCP-W-107). 0: none waits. Default: 65 536, as
    /// many as one connection of MCP may have outstanding.
    pub max_waiting: u32,
    /// How long a call may wait for a connection (MCP-W-107), if its deadline is not sooner. Default: 10 s.
    pub acquire_timeout: Duration,
    /// How long a connect may take. Default: 5 s.
    pub connect_timeout: Duration,
    /// The waits before connects: after one that failed, and after a peer has said that it goes away. The first one after
    /// a connection broke is immediate. Default: 2.5 s, doubling to 5 s, with full jitter: of however many clients that
    /// come back to one server, no more than a tenth do within any 100 ms.
    pub reconnect: Backoff,
    /// A connection above `min` that nobody used for so long is closed; `None`: none is. How long it was, is known by looking
    /// that often, so it can be twice as long. Default: 60 s.
    pub idle_timeout: Option<Duration>,
    /// A connection is replaced when it is so old: a new one is made, then the old one takes no more calls. Each has an age
    /// of its own, from a tenth of this to all of it, so that those which were made together do not end together. `None`:
    /// any age. Default: `None`.
    pub max_age: Option<Duration>,
    /// A connection that was not used for so long (as with `idle_timeout`, up to twice that) is asked for a sign of life,
    /// if it [can be](crate::Connection::ping). `None`: never. Default: 30 s.
    pub keep_alive: Option<Duration>,
    /// How long the answer may take before the connection is given up. Default: 5 s.
    pub keep_alive_timeout: Duration,
}

/// How many connections a pool has, and for how long.
///
/// Its fields are those of [`PoolOptions`], checked. In a file, times are whole milliseconds, and what is left out has
/// its default; 0 stands for none where there can be none:
///
/// ```
/// use std::time::Duration;
/// use towpath_pool::PoolConfig;
/// let config: PoolConfig = serde_json::from_str(r#"{"min": 2, "max_age_ms": 600000, "idle_timeout_ms": 0}"#)?;
/// assert_eq!((config.min, config.max_age, config.idle_timeout), (2, Some(Duration::from_secs(600)), None));
/// let refused = serde_json::from_str::<PoolConfig>(r#"{"min": 8, "max": 4}"#).unwrap_err();
/// assert!(refused.to_string().starts_with("max: 4 is not from 8 to 65536"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct PoolConfig(PoolOptions);

/// A config that makes no sense: which field, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPool {
    field: &'static str,
    reason: String,
}

impl PoolConfig {
    /// The most connections: 65 536.
    pub const MAX_CONNECTIONS: u32 = 65_536;

    /// The most that may wait, and the most calls on one connection: a million.
    pub const MAX_CALLS: u32 = 1_000_000;

    /// The longest of all times: a day.
    pub const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);

    /// Checks a config.
    ///
    /// # Errors
    /// If a field is out of the range that is said there, or a time under 1 ms or above a day.
    pub fn try_new(options: PoolOptions) -> Result<Self, InvalidPool> {
        let o = &options;
        count("max", o.max, o.min.max(1), Self::MAX_CONNECTIONS)?;
        count("calls_per_connection", o.calls_per_connection, 1, Self::MAX_CALLS)?;
        count("max_waiting", o.max_waiting, 0, Self::MAX_CALLS)?;
        time("acquire_timeout_ms", Some(o.acquire_timeout))?;
        time("connect_timeout_ms", Some(o.connect_timeout))?;
        time("idle_timeout_ms", o.idle_timeout)?;
        time("max_age_ms", o.max_age)?;
        time("keep_alive_ms", o.keep_alive)?;
        time("keep_alive_timeout_ms", Some(o.keep_alive_timeout))?;
        Ok(PoolConfig(options))
    }

    /// The default for connections that take one call at a time: up to 64 of them, none kept that nobody needs, each
    /// closed when it was idle for 30 s.
    pub fn exclusive() -> Self {
        PoolConfig(PoolOptions {
            min: 0,
            max: 64,
            idle_timeout: Some(Duration::from_secs(30)),
            ..PoolOptions::default()
        })
    }

    /// The fields, to make another config of them.
    pub fn options(&self) -> PoolOptions {
        self.0.clone()
    }

    /// The same with another time for a connect, at most a day.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.0.connect_timeout = timeout.clamp(LEAST, Self::MAX_TIME);
        self
    }

    /// The same with other waits before connects.
    #[must_use]
    pub fn with_reconnect(mut self, reconnect: Backoff) -> Self {
        self.0.reconnect = reconnect;
        self
    }
}

impl std::ops::Deref for PoolConfig {
    type Target = PoolOptions;

    fn deref(&self) -> &PoolOptions {
        &self.0
    }
}

const LEAST: Duration = Duration::from_millis(1);

fn count(field: &'static str, n: u32, least: u32, most: u32) -> Result<(), InvalidPool> {
    if (least..=most).contains(&n) {
        return Ok(());
    }
    Err(InvalidPool { field, reason: format!("{n} is not from {least} to {most}") })
}

fn time(field: &'static str, time: Option<Duration>) -> Result<(), InvalidPool> {
    match time {
        Some(time) if !(LEAST..=PoolConfig::MAX_TIME).contains(&time) => {
            Err(InvalidPool { field, reason: format!("{time:?} is not from 1 ms to a day") })
        }
        _ => Ok(()),
    }
}

impl InvalidPool {
    /// The name of the field, as in a file.
    pub fn field(&self) -> &str {
        self.field
    }
}

impl fmt::Display for InvalidPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

impl std::error::Error for InvalidPool {}

impl Default for PoolOptions {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        PoolOptions {
            min: 1,
            max: 4,
            calls_per_connection: 1_024,
            max_waiting: 65_536,
            acquire_timeout: seconds(10),
            connect_timeout: seconds(5),
            reconnect: Backoff::try_new(Duration::from_millis(2_500), seconds(5), 2.0, Jitter::Full)
                .unwrap_or_default(),
            idle_timeout: Some(seconds(60)),
            max_age: None,
            keep_alive: Some(seconds(30)),
            keep_alive_timeout: seconds(5),
        }
    }
}

/// As [`PoolOptions`].
impl Default for PoolConfig {
    fn default() -> Self {
        PoolConfig(PoolOptions::default())
    }
}

impl TryFrom<PoolOptions> for PoolConfig {
    type Error = InvalidPool;

    fn try_from(options: PoolOptions) -> Result<Self, InvalidPool> {
        PoolConfig::try_new(options)
    }
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    min: u32,
    max: u32,
    calls_per_connection: u32,
    max_waiting: u32,
    acquire_timeout_ms: u64,
    connect_timeout_ms: u64,
    reconnect: Backoff,
    idle_timeout_ms: u64,
    max_age_ms: u64,
    keep_alive_ms: u64,
    keep_alive_timeout_ms: u64,
}

impl Default for Raw {
    fn default() -> Self {
        PoolConfig::default().into()
    }
}

impl TryFrom<Raw> for PoolConfig {
    type Error = InvalidPool;

    fn try_from(raw: Raw) -> Result<Self, InvalidPool> {
        let ms = Duration::from_millis;
        let or_none = |millis: u64| (millis > 0).then_some(ms(millis));
        PoolConfig::try_new(PoolOptions {
            min: raw.min,
            max: raw.max,
            calls_per_connection: raw.calls_per_connection,
            max_waiting: raw.max_waiting,
            acquire_timeout: ms(raw.acquire_timeout_ms),
            connect_timeout: ms(raw.connect_timeout_ms),
            reconnect: raw.reconnect,
            idle_timeout: or_none(raw.idle_timeout_ms),
            max_age: or_none(raw.max_age_ms),
            keep_alive: or_none(raw.keep_alive_ms),
            keep_alive_timeout: ms(raw.keep_alive_timeout_ms),
        })
    }
}

impl From<PoolConfig> for Raw {
    fn from(PoolConfig(o): PoolConfig) -> Self {
        // At most a day, as checked when it was made.
        let ms = |time: Duration| time.as_millis() as u64;
        let or_zero = |time: Option<Duration>| time.map_or(0, ms);
        Raw {
            min: o.min,
            max: o.max,
            calls_per_connection: o.calls_per_connection,
            max_waiting: o.max_waiting,
            acquire_timeout_ms: ms(o.acquire_timeout),
            connect_timeout_ms: ms(o.connect_timeout),
            reconnect: o.reconnect,
            idle_timeout_ms: or_zero(o.idle_timeout),
            max_age_ms: or_zero(o.max_age),
            keep_alive_ms: or_zero(o.keep_alive),
            keep_alive_timeout_ms: ms(o.keep_alive_timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut PoolOptions)) -> String {
        let mut options = PoolOptions::default();
        change(&mut options);
        PoolConfig::try_new(options).unwrap_err().field().to_owned()
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let ms = Duration::from_millis;
        assert!(PoolConfig::try_new(PoolOptions::default()).is_ok());
        assert!(PoolConfig::try_new(PoolConfig::exclusive().options()).is_ok());
        assert_eq!(refused(|o| o.max = 0), "max");
        assert_eq!(refused(|o| o.min = 5), "max");
        assert_eq!(refused(|o| o.max = 65_537), "max");
        assert_eq!(refused(|o| o.calls_per_connection = 0), "calls_per_connection");
        assert_eq!(refused(|o| o.max_waiting = 1_000_001), "max_waiting");
        assert_eq!(refused(|o| o.acquire_timeout = Duration::ZERO), "acquire_timeout_ms");
        assert_eq!(refused(|o| o.connect_timeout = Duration::MAX), "connect_timeout_ms");
        assert_eq!(refused(|o| o.idle_timeout = Some(Duration::ZERO)), "idle_timeout_ms");
        assert_eq!(refused(|o| o.max_age = Some(Duration::MAX)), "max_age_ms");
        assert_eq!(refused(|o| o.keep_alive = Some(ms(0))), "keep_alive_ms");
        assert_eq!(refused(|o| o.keep_alive_timeout = ms(0)), "keep_alive_timeout_ms");
    }

    #[test]
    fn the_form_in_a_file() {
        assert_eq!(serde_json::from_str::<PoolConfig>("{}").unwrap(), PoolConfig::default());
        for config in [PoolConfig::default(), PoolConfig::exclusive()] {
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<PoolConfig>(&text).unwrap(), config);
        }
        let read = |text| serde_json::from_str::<PoolConfig>(text).unwrap_err().to_string();
        assert!(read(r#"{"size": 3}"#).contains("unknown field"));
        assert!(read(r#"{"acquire_timeout_ms": 0}"#).starts_with("acquire_timeout_ms: 0ns is not from 1 ms"));
        let none =
            r#"{"idle_timeout_ms": 0, "max_age_ms": 0, "keep_alive_ms": 0, "max_waiting": 0, "min": 0}"#;
        let none = serde_json::from_str::<PoolConfig>(none).unwrap();
        assert_eq!((none.idle_timeout, none.max_age, none.keep_alive), (None, None, None));
    }
}
