//! Which methods a declaration is about.

use serde::{Deserialize, Serialize};

/// Patterns of method names: `*` stands for any run of characters, everything else for itself. In a file it is
/// a list of strings.
///
/// ```
/// use towpath_core::Patterns;
/// let reads: Patterns = ["UserService.Get*", "*.List"].into_iter().collect();
/// assert!(reads.matches("UserService.GetUserInfo") && reads.matches("OrderService.List"));
/// assert!(!reads.matches("UserService.SetUserInfo") && !Patterns::default().matches("A.B"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Patterns(Vec<Box<str>>);

impl Patterns {
    /// Adds one.
    pub fn add(&mut self, pattern: &str) {
        self.0.push(pattern.into());
    }

    /// Whether one of them is about this method.
    #[inline]
    pub fn matches(&self, method: impl AsRef<[u8]>) -> bool {
        let method = method.as_ref();
        self.0.iter().any(|pattern| fits(pattern.as_bytes(), method))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<P: AsRef<str>> FromIterator<P> for Patterns {
    fn from_iter<I: IntoIterator<Item = P>>(patterns: I) -> Self {
        Patterns(patterns.into_iter().map(|pattern| pattern.as_ref().into()).collect())
    }
}

/// Goes back to the last `*` only, which is enough: an earlier one could take nothing that the last cannot.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match &mut star {
                Some((at, taken)) => {
                    *taken += 1;
                    (p, n) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_take_any_run() {
        for (pattern, name, expected) in [
            ("UserService.Get*", "UserService.GetUserInfo", true),
            ("UserService.Get*", "UserService.Get", true),
            ("UserService.Get*", "UserService.SetUserInfo", false),
            ("UserService.Get*", "XUserService.GetUserInfo", false),
            ("*.Get*", "a.b.GetX", true),
            ("*Info", "UserService.GetUserInfo", true),
            ("*Info", "UserService.GetInfoX", false),
            ("A.B", "A.B", true),
            ("A.B", "A.BC", false),
            ("*", "", true),
            ("", "A.B", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
        let mut patterns = Patterns::default();
        assert!(!patterns.matches("A.B") && patterns.is_empty());
        patterns.add("X.*");
        patterns.add("A.*");
        assert!(patterns.matches("A.B") && !patterns.is_empty());
    }

    /// The plain, slow definition.
    fn slow(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|skip| slow(rest, &name[skip..])),
            Some((byte, rest)) => name.split_first().is_some_and(|(n, left)| n == byte && slow(rest, left)),
        }
    }

    proptest! {
        #[test]
        fn as_defined(pattern in "[ab*]{0,8}", name in "[ab]{0,10}") {
            prop_assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), slow(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
