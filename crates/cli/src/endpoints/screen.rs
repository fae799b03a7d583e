//! A terminal that shows the same text again and again as it changes.

use console::Term;
use std::io;

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// The terminal's other screen, without a cursor; the first one is as it was when this is dropped.
pub(super) struct Screen {
    term: Term,
    entered: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        Screen { term: Term::buffered_stdout(), entered: false }
    }

    /// Shows as much of a text as there is room for, in place of what it showed before.
    pub(super) fn draw(&mut self, text: &str) -> io::Result<()> {
        if !std::mem::replace(&mut self.entered, true) {
            self.term.write_str(ENTER)?;
        }
        let (height, width) = self.term.size();
        self.term.write_str(&fit(text, height.into(), width.into()))?;
        self.term.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.entered {
            // Nobody is left to be told if this fails.
            let _ = self.term.write_str(LEAVE).and_then(|()| self.term.flush());
        }
    }
}

/// From the top left corner on: each line cut, and what is behind it erased; no line end after the last one, which would
/// scroll.
fn fit(text: &str, height: usize, width: usize) -> String {
    let all = text.lines().count();
    let shown = if all > height { height.saturating_sub(1) } else { all };
    let mut lines: Vec<String> =
        text.lines().take(shown).map(|line| line.chars().take(width).collect()).collect();
    if shown < all {
        let more = format!("… and {} lines more: --once shows them all", all - shown);
        lines.push(more.chars().take(width).collect());
    }
    let lines: Vec<String> = lines.into_iter().map(|line| line + "\x1b[K").collect();
    format!("\x1b[H{}\x1b[J", lines.join("\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fits() {
        assert_eq!(fit("ab\nc\n", 5, 9), "\x1b[Hab\x1b[K\r\nc\x1b[K\x1b[J");
        let cut = fit("größe\n2\n3\n4\n", 3, 3);
        assert_eq!(cut, "\x1b[Hgrö\x1b[K\r\n2\x1b[K\r\n… a\x1b[K\x1b[J");
        assert!(fit("1\n2\n3\n4\n", 3, 80).contains("… and 2 lines more"));
    }
}
