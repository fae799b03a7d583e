//! A log line for a call.

use super::event::{Ended, Listen};
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};
use towpath_core::Live;

/// The target of all log lines of calls, for filters: `towpath::access=info`.
pub const TARGET: &str = "towpath::access";

/// Which calls get a log line.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessLogOptions {
    /// The share of all calls, from 0 to 1; 1 by default.
    pub sample: f64,
    /// Whether every call that has failed (`failed` or `panicked`) gets one; so by default.
    pub failures: bool,
    /// From how many milliseconds on every call gets one; by default there is no such bound.
    pub slow_ms: Option<u64>,
}

/// Valid [`AccessLogOptions`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "AccessLogOptions", into = "AccessLogOptions")]
pub struct AccessLogConfig(AccessLogOptions);

/// `sample` is not from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InvalidAccessLog;

/// Writes a log line (a `tracing` event, level info, target [`TARGET`]) for calls that have ended: all of them or a sample, and those
/// that failed or were slow. Its fields are `rpc.method`, `outcome`, `error.type`, `duration_ms`, `attempt`, `endpoint`,
/// `trace_id` and `side`. Never what is in a call: no body, no metadata.
///
/// Where nobody subscribes to the target, calls cost as good as nothing.
#[derive(Clone, Debug, Default)]
pub struct AccessLog(Live<AccessLogConfig>);

impl Default for AccessLogOptions {
    fn default() -> Self {
        AccessLogOptions { sample: 1.0, failures: true, slow_ms: None }
    }
}

impl AccessLogConfig {
    /// Checks them.
    ///
    /// # Errors
    /// If `sample` is not from 0 to 1.
    pub fn try_new(options: AccessLogOptions) -> Result<Self, InvalidAccessLog> {
        let valid = (0.0..=1.0).contains(&options.sample);
        valid.then_some(AccessLogConfig(options)).ok_or(InvalidAccessLog)
    }

    /// What they are.
    pub fn options(&self) -> &AccessLogOptions {
        &self.0
    }
}

impl TryFrom<AccessLogOptions> for AccessLogConfig {
    type Error = InvalidAccessLog;

    fn try_from(options: AccessLogOptions) -> Result<Self, InvalidAccessLog> {
        AccessLogConfig::try_new(options)
    }
}

impl From<AccessLogConfig> for AccessLogOptions {
    fn from(config: AccessLogConfig) -> Self {
        config.0
    }
}

impl fmt::Display for InvalidAccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sample must be from 0 to 1")
    }
}

impl std::error::Error for InvalidAccessLog {}

impl AccessLog {
    /// With a config, or one that [can be replaced](Live).
    pub fn new(config: impl Into<Live<AccessLogConfig>>) -> Self {
        AccessLog(config.into())
    }

    /// The config, to read it or to replace it while calls are made.
    pub fn config(&self) -> &Live<AccessLogConfig> {
        &self.0
    }
}

impl Listen for AccessLog {
    #[inline]
    fn listens(&self) -> bool {
        tracing::enabled!(target: TARGET, tracing::Level::INFO)
    }

    fn ended(&self, call: &Ended<'_>) {
        let AccessLogOptions { sample, failures, slow_ms } = self.0.get().0;
        let failed = failures && matches!(call.outcome, "failed" | "panicked");
        let slow = slow_ms.is_some_and(|slow| call.took >= Duration::from_millis(slow));
        if !(failed || slow || sample >= 1.0 || fastrand::f64() < sample) {
            return;
        }
        tracing::info!(
            target: TARGET,
            side = if call.role == crate::Role::Server { "server" } else { "client" },
            "rpc.method" = call.name(),
            outcome = call.outcome,
            "error.type" = (!call.error_type.is_empty()).then_some(call.error_type),
            duration_ms = call.took.as_secs_f64() * 1e3,
            attempt = call.attempt,
            endpoint = call.endpoint.map(|endpoint| endpoint.0),
            trace_id = call.trace.map(|trace| tracing::field::display(trace.trace_id)),
            "call"
        );
    }
}
