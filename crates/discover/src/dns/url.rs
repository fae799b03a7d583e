//! `dns://name:port` and `dns+srv://name`, taken apart.

use crate::{InvalidTarget, Target, target::host_port};
use std::net::{IpAddr, SocketAddr};

/// What is asked for, and of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) name: String,
    /// `None`: the records of the service say it.
    pub(super) port: Option<u16>,
    pub(super) scheme: &'static str,
    pub(super) family: Family,
    /// `None`: the system's.
    pub(super) server: Option<SocketAddr>,
}

/// Which addresses are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// IPv4; IPv6 where there are none of the first.
    Auto,
    V4,
    V6,
    /// Each address is an endpoint, although two may lead to the same server.
    All,
}

impl Query {
    pub(super) fn read(target: &Target<'_>) -> Result<Self, InvalidTarget> {
        target.only(&["server", "scheme", "family"])?;
        let rest = target.rest().strip_suffix('/').unwrap_or(target.rest());
        let (name, port) = match target.scheme() {
            "dns" => {
                let (name, port) = host_port(rest).map_err(|why| target.refuse(why))?;
                (name, Some(port))
            }
            _ => (rest, None),
        };
        if name.parse::<IpAddr>().is_ok() {
            return Err(target.refuse(format!("{name} is an address already: mcp://{rest}")));
        }
        let wrong = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '@' | ',' | '[');
        if name.is_empty() || name.len() > 253 || name.contains(wrong) {
            let hint = if port.is_none() && name.contains(':') { "; its records say the port" } else { "" };
            return Err(target.refuse(format!("{name:?} is no name{hint}")));
        }
        let scheme = match target.option("scheme") {
            None | Some("mcp") => "mcp",
            Some("mcps") => "mcps",
            Some(_) => return Err(target.refuse("scheme is neither mcp nor mcps")),
        };
        let family = match target.option("family") {
            None | Some("auto") => Family::Auto,
            Some("4") => Family::V4,
            Some("6") => Family::V6,
            Some("all") => Family::All,
            Some(_) => return Err(target.refuse("family is none of auto, 4, 6 and all")),
        };
        let server = match target.option("server").map(str::parse) {
            None => None,
            Some(Ok(server)) => Some(server),
            Some(Err(_)) => return Err(target.refuse("server is no address and port, such as 127.0.0.1:53")),
        };
        Ok(Query { name: name.to_owned(), port, scheme, family, server })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for() {
        let read = |url| Query::read(&Target::parse(url).unwrap()).map_err(|error| error.to_string());
        let plain = read("dns://orders:80").unwrap();
        assert_eq!((&*plain.name, plain.port, plain.scheme, plain.server), ("orders", Some(80), "mcp", None));
        let srv = read("dns+srv://_mcp._tcp.orders.svc/?scheme=mcps&family=all&server=[::1]:53").unwrap();
        assert_eq!(
            (&*srv.name, srv.port, srv.scheme, srv.family),
            ("_mcp._tcp.orders.svc", None, "mcps", Family::All)
        );
        assert_eq!(srv.server, Some("[::1]:53".parse().unwrap()));
        for (bad, says) in [
            ("dns://orders", "no port"),
            ("dns://10.0.0.7:80", "mcp://10.0.0.7:80"),
            ("dns://[::1]:80", "mcp://[::1]:80"),
            ("dns://a,b:80", "no name"),
            ("dns+srv://orders:80", "its records say the port"),
            ("dns+srv://", "no name"),
            ("dns://orders:80?scheme=http", "scheme"),
            ("dns://orders:80?family=5", "family"),
            ("dns://orders:80?server=8.8.8.8", "server"),
            ("dns://orders:80?ttl=5", "no option"),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
