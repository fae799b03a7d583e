//! What a connection allows, and how long it waits.

use crate::compression::Compression;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// Both sides' limits and times of one connection. A plain value; [`Default`] is fit for production.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientConfig {
    /// How long a connect may take. Default 5 s.
    pub connect_timeout: Duration,
    /// The largest payload that is accepted, in bytes; announced to the peer. Default 16 MiB.
    pub max_payload: u32,
    /// How many calls may be outstanding; further ones wait in line, bounded by their deadlines.
    /// Default 65 536, the protocol's; a smaller limit of the peer's holds.
    pub max_outstanding: u32,
    /// How many bytes may wait to be written; further calls wait in line. Default 8 MiB.
    pub max_buffered: usize,
    /// A PING goes out when nothing was received for so long; `None`: never. Default 10 s.
    pub keep_alive: Option<Duration>,
    /// The connection is given up when nothing arrives for so long after that. Default 5 s.
    pub keep_alive_timeout: Duration,
    /// Compressed bodies, each way; `None`: neither sent nor read. Default `None`.
    pub compression: Option<Compression>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        ClientConfig {
            connect_timeout: Duration::from_secs(5),
            max_payload: towpath_codec::DEFAULT_MAX_PAYLOAD,
            max_outstanding: 65_536,
            max_buffered: 8 << 20,
            keep_alive: Some(Duration::from_secs(10)),
            keep_alive_timeout: Duration::from_secs(5),
            compression: None,
        }
    }
}

/// The server's limits and times. A plain value; [`Default`] is fit for production.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// The largest payload that is accepted, in bytes; announced to the peer. Default 16 MiB.
    pub max_payload: u32,
    /// The largest metadata of a request, in bytes. Default 64 KiB.
    pub max_metadata: u32,
    /// How many calls may be outstanding on one connection; further ones are refused (MCP-W-103).
    /// Default 65 536, the protocol's.
    pub max_outstanding: u32,
    /// How many connections may be open; further ones get GOAWAY and are closed. Default 65 536.
    pub max_connections: usize,
    /// How many bytes of requests one connection may have in work before it is no longer read from.
    /// Default 32 MiB.
    pub max_held: usize,
    /// How many bytes may wait for a peer that does not read before it is no longer read from.
    /// Default 8 MiB.
    pub max_backlog: usize,
    /// How long a frame that has begun may stand still (less than 16 KiB of it arriving in that time), and
    /// how long a peer may refuse to take any byte; then the connection is closed. Default 30 s.
    pub stall_timeout: Duration,
    /// How long a new connection may take to bring its first frame's header whole; then it is closed
    /// (GOAWAY 6). At half of that time a PING asks for one, so that a peer that has nothing to say yet is
    /// not taken for one that never will. Default 20 s.
    pub header_timeout: Duration,
    /// A PING goes out when nothing was received for so long; `None`: never. Default 60 s.
    pub keep_alive: Option<Duration>,
    /// The connection is given up when nothing arrives for so long after that. Default 20 s.
    pub keep_alive_timeout: Duration,
    /// A connection without an outstanding call is closed (GOAWAY 6) after so long; `None`: never.
    /// Default `None`.
    pub idle_timeout: Option<Duration>,
    /// How old a connection may become; then it is drained (GOAWAY 0), and the peer makes a new one, which
    /// may lead to another server. Each connection's own age is up to a tenth less or more, so that peers
    /// who came together do not come again together. `None`: any age. Default `None`: only who knows what
    /// stands between the peers and the server knows whether a connection that works is worth ending.
    pub max_connection_age: Option<Duration>,
    /// How long a connection that has reached its age waits for the calls that were accepted; those that
    /// are left then end as in a drain. Default 30 s.
    pub connection_age_grace: Duration,
    /// How long a drain waits for the calls that were accepted. Default 30 s.
    pub drain_timeout: Duration,
    /// Compressed bodies, each way; `None`: neither sent nor read. Default `None`.
    pub compression: Option<Compression>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            max_payload: towpath_codec::DEFAULT_MAX_PAYLOAD,
            max_metadata: towpath_codec::DEFAULT_MAX_METADATA,
            max_outstanding: 65_536,
            max_connections: 65_536,
            max_held: 32 << 20,
            max_backlog: 8 << 20,
            stall_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(20),
            keep_alive: Some(Duration::from_secs(60)),
            keep_alive_timeout: Duration::from_secs(20),
            idle_timeout: None,
            max_connection_age: None,
            connection_age_grace: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(30),
            compression: None,
        }
    }
}

/// Why a configuration is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidConfig {
    field: &'static str,
    wants: &'static str,
}

impl InvalidConfig {
    pub(crate) fn new(field: &'static str, wants: &'static str) -> Self {
        InvalidConfig { field, wants }
    }
}

/// The smallest payload limit that can hold a fault.
const LEAST_PAYLOAD: u32 = 1024;

impl ClientConfig {
    /// Checks the values against each other.
    ///
    /// # Errors
    /// Names the first field that cannot be.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        time(self.connect_timeout, "connect_timeout")?;
        check(self.max_payload >= LEAST_PAYLOAD, "max_payload", "at least 1024 bytes")?;
        check(self.max_outstanding > 0, "max_outstanding", "at least 1")?;
        check(self.max_outstanding <= 1 << 20, "max_outstanding", "at most 1048576")?;
        check(self.max_buffered > 0, "max_buffered", "at least 1 byte")?;
        time_or_none(self.keep_alive, "keep_alive")?;
        time(self.keep_alive_timeout, "keep_alive_timeout")?;
        self.compression.as_ref().map_or(Ok(()), Compression::validate)
    }
}

impl ServerConfig {
    /// Checks the values against each other.
    ///
    /// # Errors
    /// Names the first field that cannot be.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        check(self.max_payload >= LEAST_PAYLOAD, "max_payload", "at least 1024 bytes")?;
        check(self.max_outstanding > 0, "max_outstanding", "at least 1")?;
        check(self.max_connections > 0, "max_connections", "at least 1")?;
        check(self.max_held > 0, "max_held", "at least 1 byte")?;
        check(self.max_backlog > 0, "max_backlog", "at least 1 byte")?;
        check(self.drain_timeout <= LONGEST, "drain_timeout", "at most a year")?;
        check(self.connection_age_grace <= LONGEST, "connection_age_grace", "at most a year")?;
        time(self.stall_timeout, "stall_timeout")?;
        time(self.header_timeout, "header_timeout")?;
        time_or_none(self.keep_alive, "keep_alive")?;
        time(self.keep_alive_timeout, "keep_alive_timeout")?;
        time_or_none(self.idle_timeout, "idle_timeout")?;
        time_or_none(self.max_connection_age, "max_connection_age")?;
        self.compression.as_ref().map_or(Ok(()), Compression::validate)
    }
}

/// Times beyond this are as good as none, and cannot be added to the clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl ServerConfig {
    /// The same with no time beyond a year.
    pub(crate) fn clamped(&self) -> Self {
        ServerConfig {
            stall_timeout: self.stall_timeout.min(LONGEST),
            header_timeout: self.header_timeout.min(LONGEST),
            keep_alive: self.keep_alive.map(|every| every.min(LONGEST)),
            keep_alive_timeout: self.keep_alive_timeout.min(LONGEST),
            idle_timeout: self.idle_timeout.map(|after| after.min(LONGEST)),
            max_connection_age: self.max_connection_age.map(|age| age.min(LONGEST)),
            connection_age_grace: self.connection_age_grace.min(LONGEST),
            drain_timeout: self.drain_timeout.min(LONGEST),
            ..self.clone()
        }
    }
}

fn time(value: Duration, field: &'static str) -> Result<(), InvalidConfig> {
    check(!value.is_zero() && value <= LONGEST, field, "more than zero, and at most a year")
}

fn time_or_none(value: Option<Duration>, field: &'static str) -> Result<(), InvalidConfig> {
    let fine = value.is_none_or(|value| !value.is_zero() && value <= LONGEST);
    check(fine, field, "more than zero and at most a year, or none")
}

fn check(fine: bool, field: &'static str, wants: &'static str) -> Result<(), InvalidConfig> {
    if fine { Ok(()) } else { Err(InvalidConfig { field, wants }) }
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} must be {}", self.field, self.wants)
    }
}

impl std::error::Error for InvalidConfig {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_nonsense_is_named() {
        assert_eq!(ClientConfig::default().validate(), Ok(()));
        assert_eq!(ServerConfig::default().validate(), Ok(()));
        let config = ClientConfig { max_outstanding: 0, ..Default::default() };
        assert_eq!(config.validate().unwrap_err().to_string(), "max_outstanding must be at least 1");
        let config = ClientConfig { connect_timeout: Duration::MAX, ..Default::default() };
        assert!(config.validate().is_err());
        let config = ServerConfig { drain_timeout: Duration::MAX, ..Default::default() };
        assert!(config.validate().is_err() && config.clamped().validate().is_ok());
        let config = ServerConfig { keep_alive: Some(Duration::ZERO), ..Default::default() };
        assert_eq!(
            config.validate().unwrap_err().to_string(),
            "keep_alive must be more than zero and at most a year, or none"
        );
        let config = ServerConfig { header_timeout: Duration::ZERO, ..Default::default() };
        assert_eq!(
            config.validate().unwrap_err().to_string(),
            "header_timeout must be more than zero, and at most a year"
        );
        let config = ServerConfig { max_connection_age: Some(Duration::MAX), ..Default::default() };
        assert!(config.validate().is_err() && config.clamped().validate().is_ok());
    }
}
