//! What a source says of one place that answers calls.

use std::{collections::BTreeMap, fmt, sync::Arc};

/// What a source says of one place that answers calls: address, weight, priority, zone, labels, and whether it
/// takes nothing new. A plain value: the [`Endpoint`](towpath_core::Endpoint) with its identity and its state is the
/// [`Directory`](crate::Directory)'s to make.
///
/// ```
/// use towpath_discover::Instance;
/// let one = Instance::new("mcp://10.0.0.7:8080").with_weight(3).with_zone("eu-1a").with_label("version", "2.1");
/// assert!(one.check().is_ok());
/// assert!(Instance::new("mcp://10.0.0.7:8080\n").check().unwrap_err().to_string().contains("address"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    key: Option<Arc<str>>,
    address: Arc<str>,
    weight: u32,
    priority: u32,
    zone: Option<Arc<str>>,
    labels: BTreeMap<Box<str>, Box<str>>,
    draining: bool,
}

/// Why what a source says of an instance is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidInstance {
    field: &'static str,
    why: String,
}

impl Instance {
    /// The longest address and the longest key, in bytes: 512.
    pub const MAX_ADDRESS: usize = 512;

    /// The longest zone and the longest name of a label, in bytes: 128.
    pub const MAX_NAME: usize = 128;

    /// All names and values of the labels together, in bytes: 8192.
    pub const MAX_LABELS: usize = 8192;

    /// The largest weight: 10 000 000.
    pub const MAX_WEIGHT: u32 = 10_000_000;

    /// An instance of weight 1 and priority 0, without zone and labels, that takes calls.
    ///
    /// The address is what the connector takes, for example `mcp://10.0.0.7:8080`.
    pub fn new(address: impl Into<Arc<str>>) -> Self {
        Instance {
            key: None,
            address: address.into(),
            weight: 1,
            priority: 0,
            zone: None,
            labels: BTreeMap::new(),
            draining: false,
        }
    }

    /// Sets the name that the source has for it, by which it also says that it is gone; without one, that is its
    /// address. Two instances of one address are one endpoint: as the later one describes it, until both are gone.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Arc<str>>) -> Self {
        let key = key.into();
        self.key = (key != self.address).then_some(key);
        self
    }

    /// Sets its share of the traffic, compared with the others'. 0: none.
    #[must_use]
    pub fn with_weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Sets its group: those of a higher number are used when those of the lower ones cannot take it.
    #[must_use]
    pub fn with_priority(mut self, priority: u32) -> Self {
        self.priority = priority;
        self
    }

    /// Says where it stands.
    #[must_use]
    pub fn with_zone(mut self, zone: impl Into<Arc<str>>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// Sets a label; an earlier one of the same name is replaced.
    #[must_use]
    pub fn with_label(mut self, name: impl Into<Box<str>>, value: impl Into<Box<str>>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Says whether it finishes what it has and takes nothing new.
    #[must_use]
    pub fn with_draining(mut self, draining: bool) -> Self {
        self.draining = draining;
        self
    }

    /// The name that the source has for it: its address, if none was given.
    pub fn key(&self) -> &Arc<str> {
        self.key.as_ref().unwrap_or(&self.address)
    }

    /// What the connector takes.
    pub fn address(&self) -> &Arc<str> {
        &self.address
    }

    /// Its share of the traffic, compared with the others'.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Its group: 0 is used first.
    pub fn priority(&self) -> u32 {
        self.priority
    }

    /// Where it stands.
    pub fn zone(&self) -> Option<&Arc<str>> {
        self.zone.as_ref()
    }

    /// All labels, by name.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether it takes nothing new.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// Checks the bounds: what comes from elsewhere is not trusted with more memory than these, nor with what a log
    /// or a terminal would take for something else.
    ///
    /// # Errors
    /// If the address, the key or a label's name is empty, a text is too long or has control characters, the address
    /// has blanks, or the weight is above [`MAX_WEIGHT`](Self::MAX_WEIGHT).
    pub fn check(&self) -> Result<(), InvalidInstance> {
        text("address", &self.address, 1, Self::MAX_ADDRESS)?;
        if self.address.contains(char::is_whitespace) {
            return Err(InvalidInstance { field: "address", why: format!("{:?} has blanks", self.address) });
        }
        text("key", self.key(), 1, Self::MAX_ADDRESS)?;
        if self.weight > Self::MAX_WEIGHT {
            let why = format!("{} is above {}", self.weight, Self::MAX_WEIGHT);
            return Err(InvalidInstance { field: "weight", why });
        }
        if let Some(zone) = &self.zone {
            text("zone", zone, 0, Self::MAX_NAME)?;
        }
        let mut room = Self::MAX_LABELS;
        for (name, value) in &self.labels {
            text("labels", name, 1, Self::MAX_NAME)?;
            text("labels", value, 0, Self::MAX_LABELS)?;
            room = room.checked_sub(name.len() + value.len()).ok_or_else(|| InvalidInstance {
                field: "labels",
                why: format!("together they have more than {} bytes", Self::MAX_LABELS),
            })?;
        }
        Ok(())
    }
}

fn text(field: &'static str, text: &str, least: usize, most: usize) -> Result<(), InvalidInstance> {
    let why = if text.len() < least {
        "empty".to_owned()
    } else if text.len() > most {
        format!("{} bytes long, and at most {most} are taken", text.len())
    } else if text.contains(char::is_control) {
        // Escaped, so that the message can be printed.
        format!("{text:?} has control characters")
    } else {
        return Ok(());
    };
    Err(InvalidInstance { field, why })
}

impl fmt::Display for InvalidInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of an instance: {}", self.field, self.why)
    }
}

impl std::error::Error for InvalidInstance {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_instances_are_refused() {
        let good = || Instance::new("mcp://a:1");
        let long = |n: usize| "x".repeat(n);
        good().with_zone(long(128)).with_label("v", long(8191)).with_key(long(512)).check().unwrap();
        for (bad, field) in [
            (Instance::new(""), "address"),
            (Instance::new("a b"), "address"),
            (Instance::new("a\u{1b}[2J"), "address"),
            (Instance::new(long(513)), "address"),
            (good().with_key(""), "key"),
            (good().with_key(long(513)), "key"),
            (good().with_weight(10_000_001), "weight"),
            (good().with_zone(long(129)), "zone"),
            (good().with_label("", "x"), "labels"),
            (good().with_label(long(129), "x"), "labels"),
            (good().with_label("v", "\0"), "labels"),
            (good().with_label("v", long(8192)), "labels"),
        ] {
            let error = bad.check().unwrap_err();
            let shown = error.to_string();
            assert!(error.field == field && !shown.contains(char::is_control), "{shown}");
        }
    }

    #[test]
    fn the_key_is_the_address_unless_there_is_one() {
        assert_eq!(&**Instance::new("a").key(), "a");
        assert_eq!(&**Instance::new("a").with_key("k").key(), "k");
    }
}
