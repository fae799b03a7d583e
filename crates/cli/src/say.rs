//! Text of others, made fit to be shown: what a peer sent does not get to steer the terminal.

use std::fmt::Write;

/// As text: what would steer a terminal is shown as `\u{1b}` and the like.
pub(crate) fn plain(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if steers(c) {
            out.extend(c.escape_default())
        } else {
            out.push(c)
        }
        out
    })
}

/// JSON on one line, every member as it came. What would steer a terminal stands between members only as
/// white space; inside of a text it means the same when it is escaped.
pub(crate) fn json(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '\t' | '\n' | '\r' => out.push(' '),
            // Writing to a string does not fail.
            c if steers(c) => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
        out
    })
}

/// Control characters, and those that change the direction of what follows.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn nothing_steers() {
        assert_eq!(plain("größe ☃ \"x\""), "größe ☃ \"x\"");
        assert_eq!(plain("a\x1b[2J\nb\u{9b}\u{7f}\u{202e}"), r"a\u{1b}[2J\nb\u{9b}\u{7f}\u{202e}");
    }

    #[test]
    fn json_means_what_it_meant() {
        let odd = "{\n\t\"a\": \"x\u{7f}\u{9b}\u{202e}ü\\n\\u001b\",\r\n\"b\": 1.50 }";
        let shown = json(odd);
        assert_eq!(shown, r#"{  "a": "x\u007f\u009b\u202eü\n\u001b",  "b": 1.50 }"#);
        assert_eq!(
            serde_json::from_str::<Value>(&shown).unwrap(),
            serde_json::from_str::<Value>(odd).unwrap()
        );
    }
}
