//! A URL that names where endpoints are looked up.

use std::fmt;

/// A URL that names where endpoints are looked up, taken apart: `scheme:rest?name=value&name=value`, with `//` before
/// the rest or without. There is no `%20`: everything is taken as it is written.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    url: &'a str,
    scheme: &'a str,
    whole: &'a str,
    rest: &'a str,
    options: &'a str,
}

/// Why a text names no source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTarget {
    url: String,
    why: String,
}

impl<'a> Target<'a> {
    /// Takes a text apart.
    ///
    /// # Errors
    /// If there is no scheme.
    pub fn parse(url: &'a str) -> Result<Self, InvalidTarget> {
        let named = |scheme: &str| !scheme.is_empty() && !scheme.contains(['/', '[', '.', '@']);
        match url.split_once(':') {
            Some((scheme, whole)) if named(scheme) => {
                let (rest, options) = whole.split_once('?').unwrap_or((whole, ""));
                let rest = rest.strip_prefix("//").unwrap_or(rest);
                Ok(Target { url, scheme, whole, rest, options })
            }
            _ => Err(InvalidTarget::new(url, "there is no scheme")),
        }
    }

    /// The text.
    pub fn url(&self) -> &'a str {
        self.url
    }

    /// What stands before the colon.
    pub fn scheme(&self) -> &'a str {
        self.scheme
    }

    /// What stands behind the scheme and `//`, up to the options.
    pub fn rest(&self) -> &'a str {
        self.rest
    }

    /// All that stands behind the colon, for who has no options.
    pub fn whole(&self) -> &'a str {
        self.whole
    }

    /// The value of an option.
    pub fn option(&self, name: &str) -> Option<&'a str> {
        self.options().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Refuses options other than these, so that none is misspelt.
    ///
    /// # Errors
    /// If there is another one, or one twice.
    pub fn only(&self, known: &[&str]) -> Result<(), InvalidTarget> {
        for (n, (name, _)) in self.options().enumerate() {
            if !known.contains(&name) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(self
                    .refuse(format!("there is no option {name:?}; those of {} are: {known}", self.scheme)));
            }
            if self.options().take(n).any(|(before, _)| before == name) {
                return Err(self.refuse(format!("the option {name} is there twice")));
            }
        }
        Ok(())
    }

    /// Why it names no source.
    pub fn refuse(&self, why: impl Into<String>) -> InvalidTarget {
        InvalidTarget::new(self.url, why)
    }

    fn options(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let pairs = self.options.split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }
}

impl InvalidTarget {
    fn new(url: &str, why: impl Into<String>) -> Self {
        // Where others have a name and a password, there may be one by mistake: it is not for logs.
        let url = match (url.split_once("://"), url.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
            _ => url.to_owned(),
        };
        InvalidTarget { url, why: why.into() }
    }
}

impl fmt::Display for InvalidTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} does not say where endpoints are found: {}; it looks like mcp://10.0.0.7:8080,10.0.0.8:8080, \
             file:/etc/orders.toml, dns://orders:8080 or dns+srv://_mcp._tcp.orders",
            self.url, self.why
        )
    }
}

impl std::error::Error for InvalidTarget {}

/// A host, or an address, and a port: `orders:8080`, `[::1]:8080`.
///
/// # Errors
/// Why it is none.
pub(crate) fn host_port(text: &str) -> Result<(&str, u16), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(v6) => v6.split_once("]:").ok_or_else(|| format!("there is no port after the ] of {text:?}"))?,
        None => text.rsplit_once(':').ok_or_else(|| format!("{text:?} has no port"))?,
    };
    if host.is_empty() || host.contains(['/', '@', ' ', '[', ']']) {
        return Err(format!("{text:?} has no host"));
    }
    if !text.starts_with('[') && host.contains(':') {
        return Err(format!("{text:?}: an IPv6 address stands in brackets"));
    }
    match port.parse() {
        Ok(port) if port != 0 => Ok((host, port)),
        _ => Err(format!("{text:?}: the port is no number from 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let target = Target::parse("dns://orders:80?server=127.0.0.1:53&x").unwrap();
        assert_eq!((target.scheme(), target.rest()), ("dns", "orders:80"));
        assert_eq!(
            (target.option("server"), target.option("x"), target.option("y")),
            (Some("127.0.0.1:53"), Some(""), None)
        );
        let error = target.only(&["server"]).unwrap_err().to_string();
        assert!(error.contains(r#"no option "x"; those of dns are: server"#), "{error}");
        let twice = Target::parse("a:b?c=1&c=2").unwrap();
        assert!(twice.only(&["c"]).unwrap_err().to_string().contains("twice"));
        let file = Target::parse("file:/a?b").unwrap();
        assert_eq!((file.rest(), file.whole()), ("/a", "/a?b"));
        for bad in ["", "orders", "127.0.0.1:80", "[::1]:80", ":80", "/a:b"] {
            assert!(Target::parse(bad).unwrap_err().to_string().contains("no scheme"), "{bad}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let error = Target::parse("http://me:hush@a").unwrap().refuse("x");
        assert!(!format!("{error}{error:?}").contains("hush"));
    }

    #[test]
    fn what_is_a_host_and_a_port() {
        assert_eq!(host_port("a:1"), Ok(("a", 1)));
        assert_eq!(host_port("[::1]:65535"), Ok(("::1", 65535)));
        for bad in [
            "", "a", ":1", "a:0", "a:65536", "a:x", "::1:1", "[::1]", "[::1", "u@a:1", "a/b:1", "a b:1",
            "a]:1",
        ] {
            assert!(host_port(bad).is_err(), "{bad}");
        }
    }
}
