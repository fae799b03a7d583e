//! The name of what is called.

use bytes::Bytes;
use std::{
    borrow::Borrow,
    collections::BTreeSet,
    fmt, str,
    sync::{Mutex, PoisonError},
};

/// Names that are kept for the life of the process, so that a request need not count references to them. A
/// program has some dozens of methods; the bounds are for what strangers make it learn.
static INTERNED: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
const MAX_INTERNED: usize = 1024;
const MAX_INTERNED_LEN: usize = 128;

/// A method name, `Service.Method`: UTF-8, 1 to 65 535 bytes; the last dot divides.
///
/// A clone is at most one reference count; a method made from a literal has none.
///
/// ```
/// use towpath_core::Method;
/// let m = Method::from_static("UserService.GetUserInfo");
/// assert_eq!((m.service(), m.name()), ("UserService", "GetUserInfo"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Method(Bytes);

/// Why bytes are no method name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidMethod {
    /// A method name has at least one byte.
    Empty,
    /// A method name has at most 65 535 bytes.
    TooLong,
    /// A method name is UTF-8.
    NotUtf8,
}

impl Method {
    /// The longest method name, in bytes.
    pub const MAX_LEN: usize = 65_535;

    /// A method from a literal, without allocating.
    ///
    /// The literal is the caller's own; an empty or over-long one is refused when it is sent (MCP-E-001).
    pub const fn from_static(name: &'static str) -> Self {
        Method(Bytes::from_static(name.as_bytes()))
    }

    /// A method from bytes that arrived: checks length and UTF-8, copies nothing.
    pub fn try_from_bytes(bytes: Bytes) -> Result<Self, InvalidMethod> {
        match bytes.len() {
            0 => return Err(InvalidMethod::Empty),
            1..=Self::MAX_LEN => {}
            _ => return Err(InvalidMethod::TooLong),
        }
        // Nearly all names are ASCII, and short: this look is a fifth of the instructions of `from_utf8`.
        let ascii = bytes.iter().fold(0, |all, byte| all | byte) < 0x80;
        if ascii || str::from_utf8(&bytes).is_ok() { Ok(Method(bytes)) } else { Err(InvalidMethod::NotUtf8) }
    }

    /// A method from bytes that arrived and are known to be a name; the checks are the caller's. What is not
    /// UTF-8 after all reads as an empty name.
    #[inline]
    pub const fn from_checked(bytes: Bytes) -> Self {
        Method(bytes)
    }

    /// The same name, kept for the life of the process: a method that is made of it has no reference count.
    /// For names that come again and again, such as those of a server's own methods. `None` if the name is
    /// longer than 128 bytes, or if 1 024 names are kept already.
    pub fn intern(&self) -> Option<&'static str> {
        let name = self.as_str();
        let mut interned = INTERNED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = interned.get(name) {
            return Some(known);
        }
        if interned.len() >= MAX_INTERNED || name.len() > MAX_INTERNED_LEN {
            return None;
        }
        let kept: &'static str = Box::leak(name.into());
        interned.insert(kept);
        Some(kept)
    }

    /// The whole name.
    #[inline]
    pub fn as_str(&self) -> &str {
        // Checked once in the constructors; this second check is for the compiler. It is a few ns, and
        // nothing on the path of a call asks for it but the router.
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The name's bytes, as they go on the wire.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether both are the same name, known without a look at it: one is a clone of the other, or they are made of the
    /// same literal. Two that are equal for another reason count as different.
    #[inline]
    pub fn is_same(&self, other: &Self) -> bool {
        // Both hold on to their bytes, so nothing else can be in that place.
        std::ptr::eq(&*self.0, &*other.0)
    }

    /// What stands before the last dot; empty if there is none.
    pub fn service(&self) -> &str {
        self.as_str().rsplit_once('.').map_or("", |(service, _)| service)
    }

    /// What stands after the last dot; the whole name if there is none.
    pub fn name(&self) -> &str {
        self.as_str().rsplit_once('.').map_or(self.as_str(), |(_, name)| name)
    }
}

impl From<&'static str> for Method {
    fn from(name: &'static str) -> Self {
        Method::from_static(name)
    }
}

impl From<String> for Method {
    fn from(name: String) -> Self {
        Method(Bytes::from(name))
    }
}

impl From<&Method> for Method {
    fn from(method: &Method) -> Self {
        method.clone()
    }
}

impl Borrow<[u8]> for Method {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<str> for Method {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for Method {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Method {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for InvalidMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InvalidMethod::Empty => "the method name is empty",
            InvalidMethod::TooLong => "the method name is longer than 65535 bytes",
            InvalidMethod::NotUtf8 => "the method name is not UTF-8",
        })
    }
}

impl std::error::Error for InvalidMethod {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_dot_divides() {
        let m = Method::from("shop.v1.OrderService.Place".to_string());
        assert_eq!(m.service(), "shop.v1.OrderService");
        assert_eq!(m.name(), "Place");
        let bare = Method::from_static("Ping");
        assert_eq!((bare.service(), bare.name()), ("", "Ping"));
    }

    #[test]
    fn a_clone_is_the_same() {
        let (made, literal) = (Method::from("A.B".to_string()), Method::from_static("A.B"));
        assert!(made.is_same(&made.clone()) && literal.is_same(&literal.clone()));
        assert!(made == literal && !made.is_same(&literal));
        let long = Bytes::from_static(b"A.BC");
        let [all, part] = [long.clone(), long.slice(..3)].map(Method::from_checked);
        assert!(!all.is_same(&part) && part.is_same(&part.clone()));
    }

    #[test]
    fn interned_names_are_one_and_bounded() {
        let name = || Method::from("Interned.Name".to_string()).intern();
        assert_eq!(name().unwrap(), "Interned.Name");
        assert!(std::ptr::eq(name().unwrap(), name().unwrap()));
        assert!(Method::from("x".repeat(129)).intern().is_none());
        let kept = (0..2000).filter(|i| Method::from(format!("Stranger.{i}")).intern().is_some()).count();
        assert!(kept < 1024);
        assert!(name().is_some() && Method::from_static("One.More").intern().is_none());
    }

    #[test]
    fn bytes_are_checked() {
        let no = |b: &[u8]| Method::try_from_bytes(Bytes::copy_from_slice(b)).unwrap_err();
        assert_eq!(no(b""), InvalidMethod::Empty);
        assert_eq!(no(b"\xff"), InvalidMethod::NotUtf8);
        assert_eq!(no(&vec![b'a'; 65_536]), InvalidMethod::TooLong);
        assert!(Method::try_from_bytes(Bytes::from(vec![b'a'; 65_535])).is_ok());
    }
}
