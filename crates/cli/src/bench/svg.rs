//! A picture of latency by percentile.

use super::report::{Report, ms};
use std::{fmt::Write, time::Duration};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 56.0;

/// The longest line of text, in characters.
const SHOWN: usize = 90;

/// Readable on light and on dark.
const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#24292f}\
.title{font-size:15px;font-weight:600}\
.paper{fill:#fff}.grid{stroke:#d0d7de}.line{stroke:#0969da;stroke-width:2;fill:none}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.paper{fill:#0d1117}.grid{stroke:#30363d}.line{stroke:#58a6ff}}";

/// The curve: to the right, each step is a tenth of the calls before it (90 %, 99 %, 99.9 % …), up to the
/// slowest call; upwards, time.
pub(super) fn draw(report: &Report) -> String {
    let tally = &report.tally;
    // As many nines as there are calls to tell them apart, at least one.
    let nines = (tally.calls().max(10) as f64).log10();
    let top = ceiling(tally.max());
    let x = |depth: f64| LEFT + depth / nines * (WIDTH - LEFT - RIGHT);
    let y =
        |time: Duration| HEIGHT - BOTTOM - time.as_secs_f64() / top.as_secs_f64() * (HEIGHT - TOP - BOTTOM);

    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\
         <style>{STYLE}</style><rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\
         <text class=\"title\" x=\"{LEFT}\" y=\"24\">Latency by percentile</text>\
         <text x=\"{LEFT}\" y=\"44\">{}</text><text x=\"{LEFT}\" y=\"62\">{}</text>",
        escaped(&report.subject()),
        escaped(&format!("{}; {} calls, {} failed", report.terms(), tally.calls(), tally.failed()))
    );
    for step in 0..=4 {
        let time = top * step / 4;
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            y(time),
            y(time),
            LEFT - 8.0,
            y(time) + 4.0,
            ms(time),
        );
    }
    for depth in 0..=nines as usize {
        let at = x(depth as f64);
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 20.0,
            percentile(depth),
        );
    }
    let _ = write!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">share of the calls answered within the time</text>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 12.0
    );
    let points: Vec<String> = (0..=200)
        .map(|step| {
            let depth = nines * f64::from(step) / 200.0;
            format!("{:.1},{:.1}", x(depth), y(tally.quantile(1.0 - 0.1_f64.powf(depth))))
        })
        .collect();
    let _ = writeln!(out, "<polyline class=\"line\" points=\"{}\"/></svg>", points.join(" "));
    out
}

/// `0 %`, `90 %`, `99 %`, `99.9 %`.
fn percentile(nines: usize) -> String {
    match nines {
        0 => "0 %".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        more => format!("99.{} %", "9".repeat(more - 2)),
    }
}

/// The next of 1, 2, 4, 5, 8, 10 times a power of ten: four equal steps of it have short names.
fn ceiling(most: Duration) -> Duration {
    let seconds = most.as_secs_f64().max(1e-6);
    let unit = 10_f64.powf(seconds.log10().floor());
    let factor = [1.0, 2.0, 4.0, 5.0, 8.0].into_iter().find(|factor| factor * unit >= seconds);
    Duration::from_secs_f64(factor.unwrap_or(10.0) * unit)
}

/// Text that fits and is no markup.
fn escaped(text: &str) -> String {
    let mut text = text.to_owned();
    if let Some((end, _)) = text.char_indices().nth(SHOWN) {
        text.truncate(end);
        text.push('…');
    }
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes() {
        for (most, top) in [(1, 1), (3, 4), (9, 10), (41, 50), (61, 80), (100, 100), (1999, 2000)] {
            let got = ceiling(Duration::from_millis(most)).as_secs_f64() * 1e3;
            assert!((got - f64::from(top)).abs() < 1e-6, "{most}: {got}");
        }
        assert_eq!([0, 1, 2, 4].map(percentile), ["0 %", "90 %", "99 %", "99.99 %"]);
        assert_eq!(escaped("<a&b>\n"), "&lt;a&amp;b&gt;");
        assert_eq!(escaped(&"é".repeat(1000)).chars().count(), 91);
    }
}
