//! What the address of a client means.

use crate::{Client, ClientBuilder};
use std::time::Duration;
use towpath_core::{Error, ErrorKind};
use towpath_discover::Sources;
use towpath_pool::{PoolConfig, PoolOptions};
use towpath_registry::registry_source;
use towpath_transport::Address;

/// What the address of a client means.
#[derive(Debug)]
pub(crate) enum Goal {
    /// One place.
    One(Address),
    /// The endpoints of a name.
    Many,
}

impl Goal {
    /// One address is a place; a list of them, and whatever else a directory follows, is a name.
    pub(crate) fn of(url: &str, sources: &Sources) -> Result<Self, Error> {
        let failed = match url.parse::<Address>() {
            Ok(address) if !url.contains(',') => return Ok(Goal::One(address)),
            Ok(_) => return Ok(Goal::Many),
            Err(error) => error,
        };
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        let is_list = url.contains(',') && matches!(scheme, "mcp" | "mcps" | "mcp+unix");
        let is_name =
            !matches!(scheme, "mcp" | "mcps" | "mcp+unix") && sources.schemes().any(|one| one == scheme);
        if is_list || is_name {
            return Ok(Goal::Many);
        }
        Err(Error::new(ErrorKind::ConnectFailed).because(failed.to_string()))
    }
}

/// The sources that the URLs of clients can name: those of [`discover`](crate::discover), and `registry://host:port/service`,
/// the embedded [`registry`](crate::registry), which is asked over a client with the default settings. One that cannot be
/// connected to within 2 s has failed, and is asked again.
///
/// To add one, or to have clients share their look-ups, make a [`Directory`](crate::discover::Directory) of it and give that to
/// [`ClientBuilder::directory`](crate::ClientBuilder::directory).
pub fn sources() -> Sources {
    Sources::new().with("registry", registry_source(|address: &str| asks_registry().connect_lazy(address)))
}

/// A watch waits for half a minute on purpose: that there is no connection is to be said sooner.
fn asks_registry() -> ClientBuilder {
    let pool = PoolOptions { acquire_timeout: Duration::from_secs(2), ..PoolOptions::default() };
    Client::builder().pool(PoolConfig::try_new(pool).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_or_a_name() {
        let sources = sources();
        for url in ["mcp://a:80", "mcp+unix:/run/a.sock", "mcp://[::1]:80"] {
            assert!(matches!(Goal::of(url, &sources), Ok(Goal::One(_))), "{url}");
        }
        for url in
            ["mcp://a:80,b:80", "mcp+unix:/a,/b", "file:/etc/a.toml", "dns://a:80", "registry://a:80/b"]
        {
            assert!(matches!(Goal::of(url, &sources), Ok(Goal::Many)), "{url}");
        }
        for url in ["http://a:80", "127.0.0.1:80", "mcp://a", "", "a"] {
            let refused = Goal::of(url, &sources).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectFailed, "{url}");
        }
    }
}
