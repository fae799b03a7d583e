//! Texts for people, from texts of others.

use std::time::{SystemTime, UNIX_EPOCH};

/// A text of others is cut to this, in characters.
const LONGEST: usize = 400;

/// One line without control characters, and not endless.
pub(crate) fn plain(text: &str) -> String {
    let mut plain: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        plain.push('…');
    }
    plain
}

/// `12 µs`, `1.5 ms`, `2.25 s`.
pub(crate) fn micros(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.2} s", micros as f64 / 1e6),
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_are_a_line() {
        assert_eq!(plain("a\nb\u{1b}[31m"), "a b [31m");
        assert_eq!(plain(&"x".repeat(1_000)).chars().count(), LONGEST + 1);
        assert_eq!([micros(7), micros(1_500), micros(2_250_000)], ["7 µs", "1.5 ms", "2.25 s"]);
    }
}
