//! Where a service is: `mcp://host:port`.

use std::{fmt, str::FromStr};

/// The address of an MCP service over TCP: `mcp://host:port`. The host is a name, an IPv4 address, or an
/// IPv6 address in brackets.
///
/// ```
/// use towpath_transport::Address;
/// let a: Address = "mcp://[::1]:8080".parse()?;
/// assert_eq!((a.host(), a.port()), ("::1", 8080));
/// assert_eq!(a.to_string(), "mcp://[::1]:8080");
/// # Ok::<(), towpath_transport::InvalidAddress>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    host: String,
    port: u16,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidAddress {
    text: String,
    why: &'static str,
}

impl Address {
    /// A host, without brackets, and a port.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Address { host: host.into(), port }
    }

    /// The name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let refuse = |why| InvalidAddress { text: text.to_owned(), why };
        let rest = match text.split_once("://") {
            Some(("mcp", rest)) => rest,
            Some(("mcps", _)) => return Err(refuse("TLS (mcps) is not built in")),
            None if text.starts_with("mcp+unix:") => return Err(refuse("Unix sockets are not built in")),
            Some(_) => return Err(refuse("the scheme is not mcp")),
            None => return Err(refuse("there is no scheme")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[') {
            Some(v6) => v6.split_once("]:").ok_or_else(|| refuse("there is no port after the ]"))?,
            None => rest.rsplit_once(':').ok_or_else(|| refuse("there is no port"))?,
        };
        if port.contains('/') {
            return Err(refuse("there is no path in an address"));
        }
        if host.is_empty() || host.contains(['/', '@', ' ']) || (!rest.starts_with('[') && host.contains(':'))
        {
            return Err(refuse("the host is none"));
        }
        match port.parse() {
            Ok(port) if port > 0 => Ok(Address::new(host, port)),
            _ => Err(refuse("the port is no number from 1 to 65535")),
        }
    }
}

impl From<std::net::SocketAddr> for Address {
    fn from(address: std::net::SocketAddr) -> Self {
        Address::new(address.ip().to_string(), address.port())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "mcp://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "mcp://{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no address: {}; it looks like mcp://127.0.0.1:8080", self.text, self.why)
    }
}

impl std::error::Error for InvalidAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_address() {
        for (text, host, port) in [
            ("mcp://127.0.0.1:80", "127.0.0.1", 80),
            ("mcp://orders:7000/", "orders", 7000),
            ("mcp://[::1]:9", "::1", 9),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host(), address.port()), (host, port));
        }
    }

    #[test]
    fn what_is_not_built_in_is_named() {
        let why = |text: &str| text.parse::<Address>().unwrap_err().to_string();
        assert!(why("mcps://a:80").contains("TLS"));
        assert!(why("mcp+unix:/run/a").contains("Unix sockets"));
        assert!(why("mcp://a:80/path").contains("no path"));
    }

    #[test]
    fn what_is_none_says_why() {
        for bad in [
            "",
            "127.0.0.1:80",
            "http://a:80",
            "mcps://a:80",
            "mcp://a",
            "mcp://:80",
            "mcp://a:0",
            "mcp://a:65536",
            "mcp://::1:80",
            "mcp://[::1]",
            "mcp://a b:80",
            "mcp://a:80/path",
        ] {
            let error = bad.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("mcp://127.0.0.1:8080"), "{error}");
        }
    }
}
