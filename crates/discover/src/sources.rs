//! Which source a URL names.

use crate::{BoxSource, FixedList, InvalidTarget, Target, file::FileSource};
use std::{collections::BTreeMap, fmt, sync::Arc};

type Open = Arc<dyn Fn(&Target<'_>) -> Result<BoxSource, InvalidTarget> + Send + Sync>;

/// Which source a URL names, by its scheme.
///
/// | URL | source |
/// | --- | --- |
/// | `mcp://a:8080,b:8080`, `mcps://…`, `mcp+unix:/a,/b` | a [fixed list](FixedList) |
/// | `file:/etc/orders.toml` | a [file](FileSource) that is watched |
/// | `dns://orders:8080` | the addresses of a name, asked again when they are out of date (feature `dns`) |
/// | `dns+srv://_mcp._tcp.orders` | the same with ports, weights and priorities (feature `dns`) |
///
/// Others are added by [`with`](Self::with): the embedded registry's `registry://` is.
#[derive(Clone)]
pub struct Sources {
    by_scheme: BTreeMap<Box<str>, Open>,
}

impl Sources {
    /// Those of this crate.
    pub fn new() -> Self {
        let sources = Sources::none()
            .with("mcp", |target| FixedList::open(target).map(BoxSource::new))
            .with("mcps", |target| FixedList::open(target).map(BoxSource::new))
            .with("mcp+unix", |target| FixedList::open(target).map(BoxSource::new))
            .with("file", |target| FileSource::open(target).map(BoxSource::new));
        sources.with("dns", open_dns).with("dns+srv", open_dns)
    }

    /// None at all.
    pub fn none() -> Self {
        Sources { by_scheme: BTreeMap::new() }
    }

    /// Has a function open the URLs of a scheme; an earlier one of the same scheme is replaced. It asks nobody and
    /// spawns nothing: a source begins when it is first polled.
    #[must_use]
    pub fn with(
        mut self,
        scheme: impl Into<Box<str>>,
        open: impl Fn(&Target<'_>) -> Result<BoxSource, InvalidTarget> + Send + Sync + 'static,
    ) -> Self {
        self.by_scheme.insert(scheme.into(), Arc::new(open));
        self
    }

    /// Opens the source of a URL.
    ///
    /// # Errors
    /// If the URL has no scheme, none that is known, or one whose source refuses it.
    pub fn open(&self, url: &str) -> Result<BoxSource, InvalidTarget> {
        let target = Target::parse(url)?;
        match self.by_scheme.get(target.scheme()) {
            Some(open) => open(&target),
            None => {
                let known: Vec<&str> = self.schemes().collect();
                Err(target.refuse(format!("the scheme is none of {}", known.join(", "))))
            }
        }
    }

    /// The schemes that are known, in order.
    pub fn schemes(&self) -> impl Iterator<Item = &str> {
        self.by_scheme.keys().map(|scheme| &**scheme)
    }
}

#[cfg(feature = "dns")]
fn open_dns(target: &Target<'_>) -> Result<BoxSource, InvalidTarget> {
    crate::DnsSource::open(target).map(BoxSource::new)
}

#[cfg(not(feature = "dns"))]
fn open_dns(target: &Target<'_>) -> Result<BoxSource, InvalidTarget> {
    Err(target.refuse("this program was built without the feature `dns`"))
}

impl Default for Sources {
    fn default() -> Self {
        Sources::new()
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.schemes()).finish()
    }
}
