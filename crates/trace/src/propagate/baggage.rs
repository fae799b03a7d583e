//! W3C `baggage`: what an application wants to have with it on every hop.

use std::{borrow::Cow, fmt, fmt::Write};
use towpath_core::{Context, context::Field};

/// W3C `baggage`: names and values of an application that travel with a call to all calls below it.
///
/// It is passed on as it came, without looking. This is for who wants to read an entry, or write one. Everybody who is
/// called can read it: it is no place for secrets.
///
/// ```
/// use towpath_core::{Context, Request, context};
/// use towpath_trace::Baggage;
/// let mut request = Request::new("Cart.Add", ());
/// let mut baggage = Baggage::of(request.context());
/// baggage.insert("tenant", "Zoë & co")?;
/// baggage.put(request.context_mut());
///
/// // In the handler of the callee, or of one below it.
/// let _inside = context::enter(request.context());
/// assert_eq!(Baggage::current().get("tenant"), Some("Zoë & co"));
/// # Ok::<(), towpath_trace::InvalidBaggage>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baggage(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    key: Box<str>,
    /// Decoded.
    value: Box<str>,
    /// As they came, with the `;` before them.
    properties: Box<str>,
}

/// What cannot be put into a [`Baggage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidBaggage {
    /// A key is a token of HTTP: at least one letter, digit, or character of ``!#$%&'*+-.^_`|~``.
    Key,
    /// More than 180 entries, or more than 8 192 bytes in all.
    TooLarge,
}

impl Baggage {
    /// The most entries.
    pub const MAX_ENTRIES: usize = 180;
    /// The most bytes, as it travels.
    pub const MAX_LEN: usize = 8_192;

    /// That of a call; what cannot be read of it is left out.
    pub fn of(context: &Context) -> Self {
        let text = context.field(Field::Baggage).map(|bytes| String::from_utf8_lossy(bytes));
        text.map(|text| Baggage::parse(&text)).unwrap_or_default()
    }

    /// That of the call that this task handles.
    pub fn current() -> Self {
        Baggage::of(&Context::inherit())
    }

    /// Reads one. An entry that is wrong is left out, of two with the same key the last one counts.
    pub fn parse(text: &str) -> Self {
        let mut all = Baggage::default();
        for member in text.split(',').take(Self::MAX_ENTRIES) {
            let (pair, properties) = match member.find(';') {
                Some(at) => member.split_at(at),
                None => (member, ""),
            };
            let Some((key, value)) = pair.split_once('=') else { continue };
            let (key, value) = (key.trim(), decode(value.trim()));
            if is_token(key) {
                all.remove(key);
                let (key, value, properties) = (key.into(), value.into(), properties.trim_end().into());
                all.0.push(Entry { key, value, properties });
            }
        }
        all
    }

    /// The value of an entry.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// All entries, as they came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|entry| (&*entry.key, &*entry.value))
    }

    /// Writes an entry, in place of an earlier one of the same key. The value may be any text.
    ///
    /// # Errors
    /// If the key is none, or if there is no room; then nothing is changed.
    pub fn insert(&mut self, key: &str, value: &str) -> Result<(), InvalidBaggage> {
        if !is_token(key) {
            return Err(InvalidBaggage::Key);
        }
        let mut changed = self.clone();
        changed.remove(key);
        changed.0.push(Entry { key: key.into(), value: value.into(), properties: "".into() });
        if changed.0.len() > Self::MAX_ENTRIES || changed.to_string().len() > Self::MAX_LEN {
            return Err(InvalidBaggage::TooLarge);
        }
        *self = changed;
        Ok(())
    }

    /// Takes an entry out; whether there was one.
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|entry| &*entry.key != key);
        self.0.len() < before
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes it that of a call.
    pub fn put(&self, context: &mut Context) {
        let text = (!self.is_empty()).then(|| self.to_string().into());
        context.set_field(Field::Baggage, text);
    }
}

fn is_token(key: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !key.is_empty() && key.bytes().all(allowed)
}

/// What may stand in a value as it is.
fn is_plain(byte: u8) -> bool {
    (b'!'..=b'~').contains(&byte) && !b"\",;\\%".contains(&byte)
}

/// What is no escape stands for itself; what is no UTF-8 then is replaced, as the standard wants it.
fn decode(value: &str) -> Cow<'_, str> {
    if !value.contains('%') {
        return value.into();
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(value.len()), value.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *first == b'%').and_then(unhex);
        bytes.push(escaped.unwrap_or(*first));
        rest = &after[if escaped.is_some() { 2 } else { 0 }..];
    }
    String::from_utf8_lossy(&bytes).into_owned().into()
}

fn unhex(digits: &[u8]) -> Option<u8> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16);
    let [high, low] = digits else { return None };
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

impl fmt::Display for Baggage {
    /// As it travels: values are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, entry) in self.0.iter().enumerate() {
            write!(f, "{}{}=", if i == 0 { "" } else { "," }, entry.key)?;
            for byte in entry.value.bytes() {
                if is_plain(byte) {
                    f.write_char(byte.into())?;
                } else {
                    write!(f, "%{byte:02X}")?;
                }
            }
            f.write_str(&entry.properties)?;
        }
        Ok(())
    }
}

impl fmt::Display for InvalidBaggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InvalidBaggage::Key => "a key of baggage is a token of HTTP: letters, digits and !#$%&'*+-.^_`|~",
            InvalidBaggage::TooLarge => "baggage has at most 180 entries and 8192 bytes",
        })
    }
}

impl std::error::Error for InvalidBaggage {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_samples_of_the_standard() {
        let baggage = Baggage::parse(
            "key1=value1;property1;property2, key2 = value2, key3=value3; propertyKey=propertyValue,user=Am%C3%A9lie",
        );
        assert_eq!((baggage.get("key1"), baggage.get("key2")), (Some("value1"), Some("value2")));
        assert_eq!(baggage.get("user"), Some("Amélie"));
        assert_eq!(
            baggage.to_string(),
            "key1=value1;property1;property2,key2=value2,key3=value3; propertyKey=propertyValue,user=Am%C3%A9lie"
        );
    }

    #[test]
    fn what_is_wrong_is_left_out() {
        let baggage = Baggage::parse("=1,a,b=%FF,c c=1,d=1,d=2,e=100%,,\u{e9}=1,f=%+1");
        let entries = [("b", "\u{fffd}"), ("d", "2"), ("e", "100%"), ("f", "%+1")];
        assert_eq!(baggage.iter().collect::<Vec<_>>(), entries);
        let mut full = Baggage::default();
        assert_eq!(full.insert("a b", ""), Err(InvalidBaggage::Key));
        assert_eq!(full.insert("a", &"x".repeat(8_192)), Err(InvalidBaggage::TooLarge));
        for i in 0..180 {
            full.insert(&format!("k{i}"), "").unwrap();
        }
        assert_eq!(full.insert("one-more", ""), Err(InvalidBaggage::TooLarge));
        assert!(full.insert("k7", "again").is_ok() && full.remove("k7") && !full.remove("k7"));
        let mut context = Context::new();
        Baggage::default().put(&mut context);
        assert!(!context.has_fields());
    }

    proptest! {
        #[test]
        fn any_value_travels(value: String) {
            let mut baggage = Baggage::default();
            if baggage.insert("k", &value).is_ok() {
                let text = baggage.to_string();
                prop_assert!(text.bytes().all(|byte| (b'!'..=b'~').contains(&byte)));
                prop_assert_eq!(Baggage::parse(&text), baggage);
            }
        }

        #[test]
        fn any_text(text: String) {
            let baggage = Baggage::parse(&text);
            prop_assert_eq!(Baggage::parse(&baggage.to_string()), baggage);
        }
    }
}
