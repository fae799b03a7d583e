//! State that a layer's services share, and that their calls hold on to.

use std::{fmt, ops::Deref, sync::Arc};

/// State that the services of a layer share: a reference count for each clone. Their calls hold it by a
/// [`Loan`].
pub struct Shared<T>(Arc<T>);

/// What a call holds of the state of its layer, so that it is there for as long as the call goes on.
pub struct Loan<T>(Arc<T>);

impl<T> Shared<T> {
    /// State of its own.
    pub fn new(state: T) -> Self {
        Shared(Arc::new(state))
    }

    /// Lends it to a call.
    #[inline]
    pub fn lend(&self) -> Loan<T> {
        Loan(self.0.clone())
    }

    /// Whether both are the same state.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Loan<T> {
    /// An owner of the same state.
    pub fn to_owner(&self) -> Shared<T> {
        Shared(self.0.clone())
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared(self.0.clone())
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Deref for Loan<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Default> Default for Shared<T> {
    fn default() -> Self {
        Shared::new(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: fmt::Debug> fmt::Debug for Loan<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
