//! Where a service is: `mcp://host:port`, `mcps://host:port`, `mcp+unix:/path`.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// The address of an MCP service: `mcp://host:port` over TCP, `mcps://host:port` over TLS, `mcp+unix:/path` over
/// a Unix socket. A host is a name, an IPv4 address, or an IPv6 address in brackets; a path is absolute, and
/// taken as it is written (there is no `%20`).
///
/// ```
/// use towpath_transport::{Address, Scheme};
/// let a: Address = "mcps://[::1]:8443".parse()?;
/// assert_eq!((a.scheme(), a.host(), a.port()), (Scheme::Tls, Some("::1"), Some(8443)));
/// assert_eq!(a.to_string(), "mcps://[::1]:8443");
/// let b: Address = "mcp+unix:/run/orders.sock".parse()?;
/// assert_eq!(b.path(), Some("/run/orders.sock".as_ref()));
/// # Ok::<(), towpath_transport::InvalidAddress>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address(Place);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Host { tls: bool, host: String, port: u16 },
    Path(PathBuf),
}

/// How a service is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// `mcp`: TCP.
    Tcp,
    /// `mcps`: TLS 1.3 over TCP.
    Tls,
    /// `mcp+unix`: a Unix socket.
    Unix,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidAddress {
    text: String,
    why: &'static str,
}

impl Address {
    /// A host, without brackets, and a port: plain TCP.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Address(Place::Host { tls: false, host: host.into(), port })
    }

    /// A host, without brackets, and a port: TLS.
    pub fn tls(host: impl Into<String>, port: u16) -> Self {
        Address(Place::Host { tls: true, host: host.into(), port })
    }

    /// A Unix socket, by the path of its file.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Address(Place::Path(path.into()))
    }

    /// How it is reached.
    pub fn scheme(&self) -> Scheme {
        match self.0 {
            Place::Host { tls: false, .. } => Scheme::Tcp,
            Place::Host { tls: true, .. } => Scheme::Tls,
            Place::Path(_) => Scheme::Unix,
        }
    }

    /// The name or address, without brackets; none of a Unix socket.
    pub fn host(&self) -> Option<&str> {
        self.host_port().map(|(host, _)| host)
    }

    /// The port; none of a Unix socket.
    pub fn port(&self) -> Option<u16> {
        self.host_port().map(|(_, port)| port)
    }

    /// The path of a Unix socket.
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Place::Host { .. } => None,
            Place::Path(path) => Some(path),
        }
    }

    pub(crate) fn host_port(&self) -> Option<(&str, u16)> {
        match &self.0 {
            Place::Host { host, port, .. } => Some((host, *port)),
            Place::Path(_) => None,
        }
    }

    /// Reads a text in which the port may be 0: a server takes a free one then.
    pub(crate) fn parse_listen(text: &str) -> Result<Self, InvalidAddress> {
        let refuse = |why| InvalidAddress { text: shown(text), why };
        if let Some(rest) = text.strip_prefix("mcp+unix:") {
            // As in `file:`, an empty host may stand before the path.
            let path = match rest.strip_prefix("//") {
                Some(path) if path.starts_with('/') => path,
                Some(_) => return Err(refuse("a Unix socket has no host: it is mcp+unix:/path")),
                None => rest,
            };
            if !path.starts_with('/') {
                return Err(refuse("the path of the socket is not absolute"));
            }
            if path.ends_with('/') || path.contains('\0') {
                return Err(refuse("the path of the socket names no file"));
            }
            return Ok(Address::unix(path));
        }
        let (tls, rest) = match text.split_once("://") {
            Some(("mcp", rest)) => (false, rest),
            Some(("mcps", rest)) => (true, rest),
            Some(_) => return Err(refuse("the scheme is none of mcp, mcps and mcp+unix")),
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
        if host.is_empty() || host.contains(['/', '@', ' ', '[', ']']) {
            return Err(refuse("the host is none"));
        }
        if !rest.starts_with('[') && host.contains(':') {
            return Err(refuse("an IPv6 address stands in brackets"));
        }
        match port.parse() {
            Ok(port) => Ok(Address(Place::Host { tls, host: host.to_owned(), port })),
            Err(_) => Err(refuse("the port is no number from 1 to 65535")),
        }
    }
}

/// Where others have a name and a password, there may be one by mistake: it is not for logs.
fn shown(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => text.to_owned(),
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let address = Address::parse_listen(text)?;
        if address.port() == Some(0) {
            return Err(InvalidAddress {
                text: text.to_owned(),
                why: "the port is no number from 1 to 65535",
            });
        }
        Ok(address)
    }
}

impl From<std::net::SocketAddr> for Address {
    fn from(address: std::net::SocketAddr) -> Self {
        Address::new(address.ip().to_string(), address.port())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Host { tls, host, port } => {
                f.write_str(if *tls { "mcps://" } else { "mcp://" })?;
                if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
            }
            Place::Path(path) => {
                // Two slashes in front would be the beginning of a host.
                let host = if path.as_os_str().as_encoded_bytes().starts_with(b"//") { "//" } else { "" };
                write!(f, "mcp+unix:{host}{}", path.display())
            }
        }
    }
}

impl InvalidAddress {
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What follows on the text, or on what stands for it.
    pub(crate) fn verdict(&self) -> String {
        format!(
            "is no address: {}; it looks like mcp://127.0.0.1:8080, mcps://orders:8443 or mcp+unix:/run/orders.sock",
            self.why
        )
    }
}

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.text, self.verdict())
    }
}

impl std::error::Error for InvalidAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_address() {
        for (text, scheme, host, port) in [
            ("mcp://127.0.0.1:80", Scheme::Tcp, "127.0.0.1", 80),
            ("mcp://orders:7000/", Scheme::Tcp, "orders", 7000),
            ("mcp://[::1]:9", Scheme::Tcp, "::1", 9),
            ("mcps://orders:7000", Scheme::Tls, "orders", 7000),
            ("mcps://[fe80::1%eth0]:443", Scheme::Tls, "fe80::1%eth0", 443),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.scheme(), address.host(), address.port()), (scheme, Some(host), Some(port)));
            assert_eq!((address.path(), address.to_string().as_str()), (None, text.trim_end_matches('/')));
        }
        for (text, path) in [
            ("mcp+unix:/run/a.sock", "/run/a.sock"),
            ("mcp+unix:///run/a.sock", "/run/a.sock"),
            ("mcp+unix:////run/a.sock", "//run/a.sock"),
            ("mcp+unix:/run/a b%20:1", "/run/a b%20:1"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.scheme(), address.path()), (Scheme::Unix, Some(Path::new(path))));
            assert_eq!((address.host(), address.port()), (None, None));
            assert_eq!(address.to_string().parse(), Ok(address));
        }
    }

    #[test]
    fn a_free_port_is_for_servers_only() {
        assert_eq!(Address::parse_listen("mcp://127.0.0.1:0"), Ok(Address::new("127.0.0.1", 0)));
        assert!("mcp://127.0.0.1:0".parse::<Address>().is_err());
    }

    #[test]
    fn a_password_is_not_shown() {
        for bad in ["mcp://me:hush@a:80", "http://me:hush@a", "mcp://me:hu@sh@a:80"] {
            let error = bad.parse::<Address>().unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains("://…@a") && !text.contains("hu"), "{text}");
        }
    }

    #[test]
    fn what_is_none_says_why() {
        for (bad, why) in [
            ("", "no scheme"),
            ("127.0.0.1:80", "no scheme"),
            ("http://a:80", "the scheme is none of"),
            ("mcp+tcp://a:80", "the scheme is none of"),
            ("mcp://a", "no port"),
            ("mcps://a", "no port"),
            ("mcp://:80", "the host is none"),
            ("mcp://user@a:80", "the host is none"),
            ("mcp://a b:80", "the host is none"),
            ("mcp://a:0", "1 to 65535"),
            ("mcp://a:65536", "1 to 65535"),
            ("mcp://::1:80", "in brackets"),
            ("mcp://[::1]", "no port after the ]"),
            ("mcp://[[0]7]:80", "the host is none"),
            ("mcp://a:80/path", "no path in an address"),
            ("mcp+unix:", "not absolute"),
            ("mcp+unix:a.sock", "not absolute"),
            ("mcp+unix://host/a.sock", "has no host"),
            ("mcp+unix:/run/", "names no file"),
        ] {
            let error = bad.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("mcp://127.0.0.1:8080"), "{error}");
        }
    }
}
