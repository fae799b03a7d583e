//! One place that answers calls.

use super::state::{EndpointState, InFlight};
use crate::EndpointId;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// One place that answers calls: address, weight, zone, priority, labels; and the [state](EndpointState) that
/// everybody who has a clone of it shares.
///
/// Its id is unique in this process and is never used again, so that what is kept by id cannot reach
/// another endpoint. The `with_` methods describe the same endpoint anew: id and state stay. A clone is two
/// reference counts.
///
/// ```
/// use towpath_core::Endpoint;
/// let one = Endpoint::new("mcp://10.0.0.7:8080").with_zone("eu-1a").with_label("version", "2.1");
/// let heavier = one.clone().with_weight(3);
/// assert_eq!(one.id(), heavier.id());
/// one.state().set_ready();
/// assert!(heavier.state().is_ready());
/// assert_ne!(one.id(), Endpoint::new("mcp://10.0.0.7:8080").id());
/// ```
#[derive(Clone)]
pub struct Endpoint {
    about: Arc<About>,
    state: Arc<EndpointState>,
}

#[derive(Clone, PartialEq, Eq)]
struct About {
    id: EndpointId,
    address: Arc<str>,
    weight: u32,
    priority: u32,
    zone: Option<Arc<str>>,
    labels: BTreeMap<Box<str>, Box<str>>,
}

impl Endpoint {
    /// An endpoint that nobody knew before: weight 1, priority 0, no zone, no labels, not connected.
    ///
    /// The address is what the connector takes, for example `mcp://10.0.0.7:8080`.
    pub fn new(address: impl Into<Arc<str>>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Endpoint {
            about: Arc::new(About {
                id: EndpointId(NEXT.fetch_add(1, Relaxed)),
                address: address.into(),
                weight: 1,
                priority: 0,
                zone: None,
                labels: BTreeMap::new(),
            }),
            state: Arc::new(EndpointState::new()),
        }
    }

    /// Sets its share of the traffic, compared with the others'. 0: none.
    #[must_use]
    pub fn with_weight(mut self, weight: u32) -> Self {
        Arc::make_mut(&mut self.about).weight = weight;
        self
    }

    /// Sets its group: endpoints of a higher number are used when those of the lower ones cannot take it.
    #[must_use]
    pub fn with_priority(mut self, priority: u32) -> Self {
        Arc::make_mut(&mut self.about).priority = priority;
        self
    }

    /// Says where it stands: who is in the same zone may prefer it.
    #[must_use]
    pub fn with_zone(mut self, zone: impl Into<Arc<str>>) -> Self {
        Arc::make_mut(&mut self.about).zone = Some(zone.into());
        self
    }

    /// Sets a label; an earlier one of the same name is replaced.
    #[must_use]
    pub fn with_label(mut self, name: impl Into<Box<str>>, value: impl Into<Box<str>>) -> Self {
        Arc::make_mut(&mut self.about).labels.insert(name.into(), value.into());
        self
    }

    /// Takes back all that was said of it but its address: weight 1, priority 0, no zone, no labels. For who
    /// describes it anew as a whole.
    #[must_use]
    pub fn undescribed(mut self) -> Self {
        let about = Arc::make_mut(&mut self.about);
        (about.weight, about.priority, about.zone) = (1, 0, None);
        about.labels.clear();
        self
    }

    /// This endpoint, described as another one is: address, weight, priority, zone and labels. Id and state stay.
    #[must_use]
    pub fn described_as(&self, other: &Endpoint) -> Self {
        let about = About { id: self.about.id, ..(*other.about).clone() };
        Endpoint { about: Arc::new(about), state: self.state.clone() }
    }

    /// Which one it is, for as long as this process runs.
    #[inline]
    pub fn id(&self) -> EndpointId {
        self.about.id
    }

    /// What the connector takes.
    pub fn address(&self) -> &Arc<str> {
        &self.about.address
    }

    /// Its share of the traffic, compared with the others'.
    #[inline]
    pub fn weight(&self) -> u32 {
        self.about.weight
    }

    /// Its group: 0 is used first.
    #[inline]
    pub fn priority(&self) -> u32 {
        self.about.priority
    }

    /// Where it stands.
    pub fn zone(&self) -> Option<&str> {
        self.about.zone.as_deref()
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.about.labels.get(name).map(|value| &**value)
    }

    /// All labels, by name.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.about.labels.iter().map(|(name, value)| (&**name, &**value))
    }

    /// What is known of it at this moment.
    #[inline]
    pub fn state(&self) -> &EndpointState {
        &self.state
    }

    /// Counts a call to it until what is returned is dropped.
    #[inline]
    pub fn begin(&self) -> InFlight {
        InFlight::begin(self.state.clone())
    }
}

/// The same endpoint, described in the same way. The state does not matter.
impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        self.about == other.about
    }
}

impl Eq for Endpoint {}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.about.address)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("id", &self.about.id.0)
            .field("address", &self.about.address)
            .field("weight", &self.about.weight)
            .field("priority", &self.about.priority)
            .field("zone", &self.about.zone)
            .field("labels", &self.about.labels)
            .field("state", &self.state)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn described_anew_it_is_the_same_with_the_same_state() {
        let one = Endpoint::new("a").with_label("v", "1");
        let other = one.clone().with_weight(0).with_priority(2).with_zone("z").with_label("v", "2");
        assert_ne!(one, other);
        assert_eq!(one.id(), other.id());
        assert_eq!((one.weight(), one.priority(), one.zone(), one.label("v")), (1, 0, None, Some("1")));
        assert_eq!(
            (other.weight(), other.priority(), other.zone(), other.label("v")),
            (0, 2, Some("z"), Some("2"))
        );
        let third = Endpoint::new("b");
        let alike = third.described_as(&other);
        assert_eq!(
            (alike.id(), alike.address(), alike.weight(), alike.label("v")),
            (third.id(), one.address(), 0, Some("2"))
        );
        let call = one.begin();
        assert_eq!(alike.state().in_flight(), 0);
        assert_eq!(other.state().in_flight(), 1);
        drop(call);
        assert_eq!(other.state().in_flight(), 0);
        assert_eq!(one, one.clone());
        assert_eq!(other.labels().collect::<Vec<_>>(), [("v", "2")]);
        let bare = other.undescribed();
        assert_eq!((bare.id(), bare.weight(), bare.priority(), bare.zone()), (one.id(), 1, 0, None));
        assert_eq!(bare.labels().count(), 0);
    }
}
