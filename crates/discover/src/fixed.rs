//! A list that is known from the start.

use crate::{Instance, InvalidTarget, Source, Target, Update, target::host_port};
use towpath_core::BoxError;

/// A list that is known from the start and never changes: `mcp://a:8080,b:8080`, `mcps://a:8443,b:8443`,
/// `mcp+unix:/run/a.sock,/run/b.sock`.
#[derive(Clone, Debug)]
pub struct FixedList {
    count: usize,
    instances: Option<Vec<Instance>>,
}

impl FixedList {
    /// These and no others.
    pub fn new(instances: impl IntoIterator<Item = Instance>) -> Self {
        let instances: Vec<_> = instances.into_iter().collect();
        FixedList { count: instances.len(), instances: Some(instances) }
    }

    /// The addresses of a URL, of one scheme. A name stays a name: it is looked up by whoever connects, whenever it
    /// connects.
    ///
    /// # Errors
    /// If one of them is none.
    pub fn open(target: &Target<'_>) -> Result<Self, InvalidTarget> {
        let scheme = target.scheme();
        if scheme == "mcp+unix" {
            let whole = target.whole();
            let path = whole.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(whole);
            let Some(path) = path.strip_prefix('/') else {
                return Err(target.refuse("the path of the socket is not absolute"));
            };
            // A path may have commas; the next one begins at its root.
            return Ok(FixedList::new(
                path.split(",/").map(|path| Instance::new(format!("mcp+unix:/{path}"))),
            ));
        }
        target.only(&[])?;
        let rest = target.rest().strip_suffix('/').unwrap_or(target.rest());
        let read = |text: &str| match host_port(text) {
            Ok(_) => Ok(Instance::new(format!("{scheme}://{text}"))),
            Err(why) => Err(target.refuse(why)),
        };
        Ok(FixedList::new(rest.split(',').map(read).collect::<Result<Vec<_>, _>>()?))
    }
}

impl Source for FixedList {
    fn about(&self) -> String {
        format!("a fixed list of {}", self.count)
    }

    async fn next(&mut self) -> Result<Option<Update>, BoxError> {
        Ok(self.instances.take().map(Update::Full))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(url: &str) -> Result<Vec<String>, String> {
        let target = Target::parse(url).unwrap();
        let list = FixedList::open(&target).map_err(|error| error.to_string())?;
        Ok(list.instances.unwrap().iter().map(|one| one.address().to_string()).collect())
    }

    #[test]
    fn the_addresses_of_a_url() {
        for (url, found) in [
            ("mcp://a:1", &["mcp://a:1"][..]),
            ("mcp://a:1,[::1]:2/", &["mcp://a:1", "mcp://[::1]:2"]),
            ("mcps://a:1,b:2", &["mcps://a:1", "mcps://b:2"]),
            ("mcp+unix:/a", &["mcp+unix:/a"]),
            ("mcp+unix:///a,b,/c?d", &["mcp+unix:/a,b", "mcp+unix:/c?d"]),
        ] {
            assert_eq!(addresses(url).unwrap(), found);
        }
        for (bad, why) in [
            ("mcp://", "no port"),
            ("mcp://a", "no port"),
            ("mcp://a:1,", "no port"),
            ("mcp://a:1?weight=2", "no option"),
            ("mcp+unix:a", "not absolute"),
        ] {
            let error = addresses(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
