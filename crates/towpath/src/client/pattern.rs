//! Which methods a declaration is about.

use towpath_core::Method;

/// Patterns of method names: `*` stands for any run of characters, everything else for itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Patterns(Vec<Box<str>>);

impl Patterns {
    pub(super) fn add(&mut self, pattern: &str) {
        self.0.push(pattern.into());
    }

    #[inline]
    pub(super) fn matches(&self, method: &Method) -> bool {
        self.0.iter().any(|pattern| fits(pattern.as_bytes(), method.as_bytes()))
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
        assert!(!patterns.matches(&Method::from_static("A.B")));
        patterns.add("X.*");
        patterns.add("A.*");
        assert!(patterns.matches(&Method::from_static("A.B")));
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
