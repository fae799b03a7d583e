//! Where the socket of an endpoint is, whatever it speaks.

use std::path::PathBuf;
use towpath_core::{BoxError, Endpoint};
use towpath_transport::{Address, Scheme};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl Place {
    /// Of an address that [`Address`] reads, or `scheme://host:port/…`, or `host:port`.
    pub(super) fn of(endpoint: &Endpoint) -> Result<Self, BoxError> {
        let text = &**endpoint.address();
        let read = match text.parse::<Address>() {
            Err(_) => {
                let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
                let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
                format!("mcp://{authority}").parse::<Address>()
            }
            read => read,
        };
        let refused = || format!("{text} names no host and port: it looks like 10.0.0.7:8080");
        let address = read.map_err(|_| refused())?;
        match (address.scheme(), address.host(), address.port(), address.path()) {
            (Scheme::Unix, _, _, Some(path)) => Ok(Place::Unix(path.to_owned())),
            (_, Some(host), Some(port), _) => Ok(Place::Tcp(host.to_owned(), port)),
            _ => Err(refused().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let of = |address: &str| Place::of(&Endpoint::new(address));
        let tcp = |host: &str, port| Place::Tcp(host.to_owned(), port);
        assert_eq!(of("mcp://10.0.0.7:8080").unwrap(), tcp("10.0.0.7", 8080));
        assert_eq!(of("mcps://orders:8443").unwrap(), tcp("orders", 8443));
        assert_eq!(of("http://[::1]:80/a/b?c").unwrap(), tcp("::1", 80));
        assert_eq!(of("redis.local:6379").unwrap(), tcp("redis.local", 6379));
        assert_eq!(of("mcp+unix:/run/orders.sock").unwrap(), Place::Unix("/run/orders.sock".into()));
        for none in ["", "orders", "http://orders/", "mcp+unix:orders.sock", "a:0b"] {
            let error = of(none).unwrap_err().to_string();
            assert!(error.contains("names no host and port"), "{error}");
        }
    }
}
