//! Typed values that ride along inside one process.

use std::{
    any::{Any, TypeId},
    fmt,
    sync::Arc,
};

type Entry = (TypeId, Arc<dyn Any + Send + Sync>);

/// Values by type, for what a layer or a connection wants to tell the caller beside the answer. They never
/// travel on the wire. Empty (the usual case) costs nothing; a clone is one reference count.
#[derive(Clone, Default)]
pub struct Extensions(Option<Arc<Vec<Entry>>>);

impl Extensions {
    /// No values; does not allocate.
    pub const fn new() -> Self {
        Extensions(None)
    }

    /// Sets the value of its type; an earlier one is replaced.
    pub fn insert<T: Any + Send + Sync>(&mut self, value: T) {
        let entries = Arc::make_mut(self.0.get_or_insert_default());
        let id = TypeId::of::<T>();
        entries.retain(|(other, _)| *other != id);
        entries.push((id, Arc::new(value)));
    }

    /// The value of a type, if it was set.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<&T> {
        let id = TypeId::of::<T>();
        let (_, value) = self.0.as_ref()?.iter().find(|(other, _)| *other == id)?;
        value.downcast_ref()
    }

    /// Takes the value of a type away; whether there was one.
    pub fn remove<T: Any + Send + Sync>(&mut self) -> bool {
        if self.get::<T>().is_none() {
            return false;
        }
        let entries = Arc::make_mut(self.0.get_or_insert_default());
        entries.retain(|(other, _)| *other != TypeId::of::<T>());
        true
    }

    /// Whether both are the same values, known without a look at them: one is a clone of the other, and neither was
    /// changed since. Two that are equal for another reason may count as different.
    #[inline]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            _ => false,
        }
    }

    /// Whether nothing was set.
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|entries| entries.is_empty())
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Extensions({})", self.0.as_ref().map_or(0, |entries| entries.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_by_type() {
        let mut e = Extensions::new();
        assert!(e.is_empty());
        e.insert(1u8);
        let before = e.clone();
        e.insert(2u8);
        e.insert("text");
        assert_eq!((e.get::<u8>(), e.get::<&str>()), (Some(&2), Some(&"text")));
        assert_eq!((before.get::<u8>(), before.get::<&str>()), (Some(&1), None));
        assert!(
            e.is_same(&e.clone()) && !e.is_same(&before) && Extensions::new().is_same(&Extensions::new())
        );
        assert!(e.remove::<u8>() && !e.remove::<u8>() && !e.is_empty());
        assert!(e.remove::<&str>() && e.is_empty() && before.get::<u8>().is_some());
    }
}
