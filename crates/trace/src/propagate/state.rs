//! W3C `tracestate`: what each tracing system wants to know again.

use std::fmt;
use towpath_core::{Context, context::Field};

/// W3C `tracestate`: for each tracing system on the way one entry, the last one that wrote first.
///
/// A call passes it on as it came, without looking. This is for who wants to read an entry, or write one.
///
/// ```
/// use towpath_core::Context;
/// use towpath_trace::Tracestate;
/// let mut context = Context::new();
/// let mut state = Tracestate::parse("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7").unwrap();
/// state.insert("rojo", "1")?;
/// state.put(&mut context);
/// assert_eq!(Tracestate::of(&context).to_string(), "rojo=1,congo=t61rcWkgMzE");
/// # Ok::<(), towpath_trace::InvalidTracestate>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracestate(Vec<(Box<str>, Box<str>)>);

/// What cannot be an entry of a [`Tracestate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidTracestate {
    /// A key has 1 to 256 lower-case letters, digits and `_-*/`, begins with a letter or digit, and may have one `@`.
    Key,
    /// A value has 1 to 256 printable ASCII characters but `,` and `=`, and does not end with a space.
    Value,
}

impl Tracestate {
    /// The most entries: 32.
    pub const MAX_ENTRIES: usize = 32;

    /// That of a call; empty if it has none, or one that cannot be read.
    pub fn of(context: &Context) -> Self {
        let text = context.field(Field::Tracestate).and_then(|bytes| std::str::from_utf8(bytes).ok());
        text.and_then(Tracestate::parse).unwrap_or_default()
    }

    /// Reads one. `None` if any entry is wrong, if a key comes twice, or if there are more than 32: then the standard
    /// wants the whole to be thrown away.
    pub fn parse(text: &str) -> Option<Self> {
        let mut entries = Vec::new();
        for member in text.split(',').map(|member| member.trim_matches([' ', '\t'])) {
            if member.is_empty() {
                continue;
            }
            let (key, value) = member.split_once('=')?;
            if !is_key(key) || !is_value(value) || entries.len() == Self::MAX_ENTRIES {
                return None;
            }
            if entries.iter().any(|(known, _): &(Box<str>, Box<str>)| &**known == key) {
                return None;
            }
            entries.push((key.into(), value.into()));
        }
        Some(Tracestate(entries))
    }

    /// The value of an entry.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// All entries, the last one that was written first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Writes an entry; it is the first one then. What is beyond 32 is dropped at the end.
    ///
    /// # Errors
    /// If key or value has a form that is not allowed.
    pub fn insert(&mut self, key: &str, value: &str) -> Result<(), InvalidTracestate> {
        if !is_key(key) {
            return Err(InvalidTracestate::Key);
        }
        if !is_value(value) {
            return Err(InvalidTracestate::Value);
        }
        self.remove(key);
        self.0.insert(0, (key.into(), value.into()));
        self.0.truncate(Self::MAX_ENTRIES);
        Ok(())
    }

    /// Takes an entry out; whether there was one.
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(known, _)| &**known != key);
        self.0.len() < before
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes it that of a call.
    pub fn put(&self, context: &mut Context) {
        let text = (!self.is_empty()).then(|| self.to_string().into());
        context.set_field(Field::Tracestate, text);
    }
}

fn is_key(key: &str) -> bool {
    let bytes = key.as_bytes();
    let begins = bytes.first().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let allowed = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(byte);
    let ats = bytes.iter().filter(|byte| **byte == b'@').count();
    begins && bytes.len() <= 256 && bytes.iter().all(allowed) && ats <= 1
}

fn is_value(value: &str) -> bool {
    let allowed = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b',' && byte != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(allowed) && !value.ends_with(' ')
}

impl fmt::Display for Tracestate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (key, value)) in self.iter().enumerate() {
            write!(f, "{}{key}={value}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Display for InvalidTracestate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InvalidTracestate::Key => {
                "a key of tracestate has 1 to 256 of a-z, 0-9 and _-*/@, and begins with one of the first"
            }
            InvalidTracestate::Value => "a value of tracestate has 1 to 256 printable characters but , and =",
        })
    }
}

impl std::error::Error for InvalidTracestate {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_the_standard_allows_and_forbids() {
        for good in ["", "a=1", "a=1, b=2 ,,\t", "1tenant@system=x y", "foo-_*/bar=!~"] {
            assert!(Tracestate::parse(good).is_some(), "{good}");
        }
        let many = |n: usize| (0..n).map(|i| format!("k{i}=v")).collect::<Vec<_>>().join(",");
        assert_eq!(Tracestate::parse(&many(32)).unwrap().iter().count(), 32);
        for bad in ["a", "a=", "=1", "A=1", "a=1=2", "a@b@c=1", "a=1,a=2", "\u{e9}=1", "a=\u{e9}", &many(33)]
        {
            assert_eq!(Tracestate::parse(bad), None, "{bad}");
        }
        let mut full = Tracestate::parse(&many(32)).unwrap();
        full.insert("own", "1").unwrap();
        assert_eq!(
            (full.iter().next(), full.iter().count(), full.get("k31")),
            (Some(("own", "1")), 32, None)
        );
        assert_eq!(full.insert("Own", "1"), Err(InvalidTracestate::Key));
        assert_eq!(full.insert("own", "a,b"), Err(InvalidTracestate::Value));
        assert!(full.remove("own") && !full.remove("own"));
    }

    proptest! {
        #[test]
        fn written_and_read(text in "[a-z=, @0-9]{0,40}") {
            if let Some(state) = Tracestate::parse(&text) {
                prop_assert_eq!(Tracestate::parse(&state.to_string()), Some(state));
            }
        }
    }
}
