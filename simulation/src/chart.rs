//! Lines in a frame: as much SVG as it takes.

use std::fmt::Write;

/// Where values are on an axis: from 0 to 1.
pub(crate) struct Axis {
    pub(crate) title: &'static str,
    pub(crate) place: fn(f64) -> f64,
    pub(crate) ticks: Vec<(f64, String)>,
}

/// A line of a chart.
pub(crate) struct Curve {
    pub(crate) colour: &'static str,
    pub(crate) dashed: bool,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A frame with lines in it.
pub(crate) struct Chart {
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) curves: Vec<Curve>,
    /// Parts of the x axis, with names.
    pub(crate) bands: Vec<(f64, f64, &'static str)>,
}

/// Colours that those tell apart who see few (Okabe and Ito, then some of Tol's).
pub(crate) const COLOURS: [&str; 12] = [
    "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#000000", "#56b4e9", "#777777", "#882255",
    "#999933", "#332288", "#aa4499",
];

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 44.0;
const KEY: f64 = 18.0;

/// Charts one below the other, and below them whose lines they are.
pub(crate) fn svg(charts: &[Chart], keys: &[(String, &'static str, bool)]) -> String {
    let bottom = charts.len() as f64 * HEIGHT;
    let height = bottom + keys.len().div_ceil(2) as f64 * KEY + 10.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n",
    );
    for (number, chart) in charts.iter().enumerate() {
        chart.draw(&mut svg, number as f64 * HEIGHT);
    }
    for (number, (name, colour, dashed)) in keys.iter().enumerate() {
        let x = LEFT + (number % 2) as f64 * WIDTH / 2.0;
        let y = bottom + (number / 2) as f64 * KEY + 8.0;
        put(
            &mut svg,
            format!(
                "<path d=\"M{x} {y}h26\" stroke=\"{colour}\" stroke-width=\"2\"{}/><text x=\"{}\" y=\"{}\">{name}</text>",
                dashes(*dashed),
                x + 32.0,
                y + 4.0,
            ),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

impl Chart {
    fn draw(&self, svg: &mut String, top: f64) {
        let (from, to) = (top + TOP, top + HEIGHT - BOTTOM);
        let x = |value: f64| LEFT + (self.x.place)(value).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| to - (self.y.place)(value).clamp(0.0, 1.0) * (to - from);
        for (start, end, name) in &self.bands {
            let (left, right) = (x(*start), x(*end));
            put(
                svg,
                format!(
                    "<rect x=\"{left:.1}\" y=\"{from}\" width=\"{:.1}\" height=\"{}\" fill=\"#eeeeee\"/>\
                     <text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555555\">{name}</text>",
                    right - left,
                    to - from,
                    (left + right) / 2.0,
                    from - 6.0,
                ),
            );
        }
        for (value, name) in &self.y.ticks {
            let y = y(*value);
            put(
                svg,
                format!(
                    "<path d=\"M{LEFT} {y:.1}H{}\" stroke=\"#cccccc\"/><text x=\"{}\" y=\"{:.1}\" \
                     text-anchor=\"end\">{name}</text>",
                    WIDTH - RIGHT,
                    LEFT - 6.0,
                    y + 4.0,
                ),
            );
        }
        for (value, name) in &self.x.ticks {
            let x = x(*value);
            put(svg, format!("<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{name}</text>", to + 16.0));
        }
        put(
            svg,
            format!(
                "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text><text transform=\"translate(14 {}) rotate(-90)\" \
                 text-anchor=\"middle\">{}</text>",
                (WIDTH + LEFT) / 2.0,
                to + 32.0,
                self.x.title,
                (from + to) / 2.0,
                self.y.title,
            ),
        );
        for Curve { colour, dashed, points } in &self.curves {
            let points: Vec<_> =
                points.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
            put(
                svg,
                format!(
                    "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"{} points=\"{}\"/>",
                    dashes(*dashed),
                    points.join(" "),
                ),
            );
        }
    }
}

fn dashes(dashed: bool) -> &'static str {
    if dashed { " stroke-dasharray=\"5 3\"" } else { "" }
}

fn put(svg: &mut String, line: String) {
    // To a string it cannot fail.
    let _ = writeln!(svg, "{line}");
}
