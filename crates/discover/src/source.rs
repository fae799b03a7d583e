//! Where instances come from: the trait that every source implements.

use crate::Instance;
use std::{fmt, future::Future, pin::Pin, sync::Arc};
use towpath_core::BoxError;

/// What a source says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Update {
    /// These are all: those that are not among them are gone.
    Full(Vec<Instance>),
    /// What is different from before; what is not named stays. The first word of a source may be one, too.
    Delta {
        /// Those that are new or described anew.
        changed: Vec<Instance>,
        /// The [keys](Instance::key) of those that are gone.
        removed: Vec<Arc<str>>,
    },
    /// It was asked, and all is as before.
    Unchanged,
}

/// Where the instances of one service come from.
///
/// Whoever drives it (a [`Directory`](crate::Directory) does) calls [`next`](Self::next) again and again. **When**
/// there is something to say is the source's own affair, and so is how it comes to know:
///
/// | kind | within `next` |
/// | --- | --- |
/// | polled (DNS, a file) | waits until it is time, then asks |
/// | blocking query (Consul, the embedded registry) | asks with the index that it has, and the answer takes its time |
/// | watch (etcd, Kubernetes) | lists first, [`Full`](Update::Full); then waits for events, [`Delta`](Update::Delta); lists again when its revision is gone |
/// | push (Nacos) | waits for what a listener receives |
///
/// **An error is not a change**: the set stays as it was, and `next` is called again after a backoff, which is not the
/// source's affair. A service of which the source knows for certain that nobody answers for it is an empty
/// [`Full`](Update::Full), which is not believed at once either.
///
/// Cancel safety: the future that `next` returns may be dropped (somebody asked for a [refresh](Self::refresh)),
/// and `next` is called again later. Nothing may be lost by that: a source changes what it has in mind (an index,
/// a revision) when it returns, not before.
///
/// ```
/// use towpath_core::BoxError;
/// use towpath_discover::{Instance, Source, Update};
///
/// /// Says once what it was made with.
/// struct Once(Option<Vec<Instance>>);
///
/// impl Source for Once {
///     fn about(&self) -> String {
///         "known from the start".into()
///     }
///
///     async fn next(&mut self) -> Result<Option<Update>, BoxError> {
///         Ok(self.0.take().map(Update::Full))
///     }
/// }
/// ```
pub trait Source: Send + 'static {
    /// Where it looks, for people: `file /etc/orders.toml`.
    fn about(&self) -> String;

    /// The next thing that it has to say; `None`: there will be no more, and the set stays as it is.
    ///
    /// # Errors
    /// If it could not be asked, or what it said makes no sense: in words that tell what to do.
    fn next(&mut self) -> impl Future<Output = Result<Option<Update>, BoxError>> + Send;

    /// Somebody wants to know at once: the `next` that follows asks without waiting for its time. A source that
    /// hears of changes by itself has nothing to do.
    fn refresh(&mut self) {}
}

/// The future of a source whose type is not known any more.
type Next<'a> = Pin<Box<dyn Future<Output = Result<Option<Update>, BoxError>> + Send + 'a>>;

trait Erased: Send {
    fn about(&self) -> String;
    fn next(&mut self) -> Next<'_>;
    fn refresh(&mut self);
}

impl<S: Source> Erased for S {
    fn about(&self) -> String {
        Source::about(self)
    }

    fn next(&mut self) -> Next<'_> {
        Box::pin(Source::next(self))
    }

    fn refresh(&mut self) {
        Source::refresh(self);
    }
}

/// A source of whatever type.
pub struct BoxSource(Box<dyn Erased>);

impl BoxSource {
    /// Forgets the type.
    pub fn new(source: impl Source) -> Self {
        BoxSource(Box::new(source))
    }
}

impl Source for BoxSource {
    fn about(&self) -> String {
        self.0.about()
    }

    fn next(&mut self) -> impl Future<Output = Result<Option<Update>, BoxError>> + Send {
        self.0.next()
    }

    fn refresh(&mut self) {
        self.0.refresh();
    }
}

impl fmt::Debug for BoxSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BoxSource").field(&self.0.about()).finish()
    }
}
