//! Where a service is.

use crate::{args::TlsArgs, exit::Failure, tls};
use std::{fmt, str::FromStr, time::Duration};
use towpath::{Address, Client, ClientBuilder};

/// One address, or what leads to the addresses of many endpoints.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    One(Address),
    Many(String),
}

impl Place {
    /// A client's builder, with what TLS needs.
    pub(crate) fn client(&self, args: &TlsArgs, connect: Duration) -> Result<ClientBuilder, Failure> {
        match self {
            Place::One(address) => tls::client(address, args, connect),
            Place::Many(url) => {
                let builder = Client::builder().connect_timeout(connect);
                Ok(match tls::of_many(url, args)? {
                    Some(tls) => builder.tls(tls),
                    None => builder,
                })
            }
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let no_address = match text.parse::<Address>() {
            Ok(address) if !text.contains(',') => return Ok(Place::One(address)),
            Ok(_) => return Ok(Place::Many(text.to_owned())),
            Err(error) => error.to_string(),
        };
        let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
        match Client::connect_lazy(text) {
            Ok(_) => Ok(Place::Many(text.to_owned())),
            Err(error) if towpath::sources().schemes().any(|known| known == scheme) => Err(error.to_string()),
            Err(_) => Err(no_address),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::One(address) => address.fmt(f),
            Place::Many(url) => url.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_is() {
        for one in ["mcp://a:1", "mcps://a:1", "mcp+unix:/run/a.sock"] {
            assert!(matches!(one.parse(), Ok(Place::One(_))), "{one}");
        }
        for many in ["mcp://a:1,b:2", "file:/etc/orders.toml", "dns://a:1", "registry://a:1/orders"] {
            assert!(matches!(many.parse(), Ok(Place::Many(_))), "{many}");
        }
        for (none, why) in
            [("http://a:1", "scheme"), ("file:orders.toml", "not absolute"), ("mcp://a", "port")]
        {
            let said = none.parse::<Place>().unwrap_err();
            assert!(said.contains(why), "{none}: {said}");
        }
    }
}
