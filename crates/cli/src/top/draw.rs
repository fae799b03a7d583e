//! A snapshot on a terminal.

use super::plain;
use crate::say;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table},
};
use towpath::admin::view::{Snapshot, TargetView};

/// What is shown, and which client or server of it more closely.
pub(super) struct Shown {
    snapshot: Snapshot,
    selected: usize,
    /// Why there is nothing newer.
    lost: Option<String>,
}

impl Shown {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        Shown { snapshot, selected: 0, lost: None }
    }

    pub(super) fn news(&mut self, snapshot: Snapshot) {
        (self.snapshot, self.lost) = (snapshot, None);
        self.select(0);
    }

    pub(super) fn lost(&mut self, why: String) {
        self.lost = Some(why);
    }

    /// Goes so many further, and round.
    pub(super) fn select(&mut self, by: isize) {
        let all = self.snapshot.targets.len().max(1) as isize;
        self.selected = (self.selected as isize + by).rem_euclid(all) as usize;
    }
}

const HEAD: Style = Style::new().add_modifier(Modifier::BOLD);
const SOFT: Style = Style::new().fg(Color::DarkGray);

fn tone(word: &str) -> Style {
    match word {
        "ready" | "connected" | "serving" | "closed" => Style::new().fg(Color::Green),
        "ejected" | "unhealthy" | "gone" | "open" => Style::new().fg(Color::Red),
        "connecting" | "starting" | "draining" | "half-open" => Style::new().fg(Color::Yellow),
        _ => Style::new(),
    }
}

fn level(word: &str) -> Style {
    match word {
        "good" => Style::new().fg(Color::Green),
        "warn" => Style::new().fg(Color::Yellow),
        "bad" => Style::new().fg(Color::Red),
        _ => Style::new(),
    }
}

pub(super) fn draw(frame: &mut Frame<'_>, shown: &Shown) {
    let targets = shown.snapshot.targets.len() as u16;
    let events = shown.snapshot.events.len() as u16;
    let rows = [
        Constraint::Length(1),
        Constraint::Length((targets + 2).min(12)),
        Constraint::Length(if events == 0 { 0 } else { (events + 2).min(6) }),
        Constraint::Min(0),
    ];
    let [title, all, happened, one] = Layout::vertical(rows).areas(frame.area());
    let status = match &shown.lost {
        None => Span::styled("live", Style::new().fg(Color::Green)),
        Some(why) => Span::styled(say::plain(why), Style::new().fg(Color::Red)),
    };
    let keys = Span::styled("   arrows: another one, q: end", SOFT);
    frame.render_widget(Line::from(vec![Span::styled("towpath top  ", HEAD), status, keys]), title);

    let lines = shown.snapshot.targets.iter().enumerate().map(|(at, target)| {
        let style =
            if at == shown.selected { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        row(&plain::target(target)).style(style)
    });
    let widths = [
        Constraint::Min(12),
        Constraint::Length(11),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(11),
    ];
    frame.render_widget(table(&plain::TARGETS, lines.collect(), &widths, None), all);
    let now = shown.snapshot.at_ms;
    let lines = shown.snapshot.events.iter().map(|one| row(&plain::event(one, now)).style(level(&one.level)));
    let widths = [Constraint::Length(7), Constraint::Length(16), Constraint::Length(26), Constraint::Min(20)];
    frame.render_widget(table(&plain::EVENTS, lines.collect(), &widths, Some("events")), happened);
    match shown.snapshot.targets.get(shown.selected) {
        Some(target) => closely(frame, one, target),
        None => frame.render_widget(Paragraph::new("nothing is shown there: see Admin::target"), one),
    }
}

/// One client or server.
fn closely(frame: &mut Frame<'_>, area: Rect, target: &TargetView) {
    let lines = |count: usize, most: u16| if count == 0 { 0 } else { (count as u16 + 2).min(most) };
    let [about, chart, methods, endpoints, breakers, faults] = Layout::vertical([
        Constraint::Length(1 + target.warnings.len() as u16),
        Constraint::Length(4),
        Constraint::Length(lines(target.methods.len(), 8)),
        Constraint::Length(lines(target.endpoints.len(), 10)),
        Constraint::Length(lines(target.breakers.len(), 8)),
        Constraint::Min(0),
    ])
    .areas(area);
    let name = format!("{} ({})  {}", say::plain(&target.name), target.side, say::plain(&target.about));
    let warnings = target
        .warnings
        .iter()
        .map(|warning| Line::styled(format!("! {}", say::plain(warning)), Style::new().fg(Color::Yellow)));
    let text: Vec<Line<'_>> = std::iter::once(Line::styled(name, HEAD)).chain(warnings).collect();
    frame.render_widget(Paragraph::new(text), about);

    if let Some(traffic) = &target.traffic {
        let rates: Vec<u64> =
            traffic.series.iter().map(|point| (point.ok + point.faults + point.failed) as u64).collect();
        let title = format!(
            "calls per second of the last minute; {} calls, {} faults, {} failed",
            traffic.calls, traffic.faults, traffic.failed
        );
        let chart_of =
            Sparkline::default().data(rates).block(Block::new().borders(Borders::TOP).title(title));
        frame.render_widget(chart_of, chart);
    }
    let rows = target.methods.iter().map(|one| row(&plain::method(one))).collect();
    let widths = [
        Constraint::Min(20),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(10),
    ];
    frame.render_widget(table(&plain::METHODS, rows, &widths, Some("methods")), methods);
    let rows = target.endpoints.iter().map(|one| row(&plain::endpoint(one))).collect();
    let widths = [
        Constraint::Min(20),
        Constraint::Length(11),
        Constraint::Length(7),
        Constraint::Length(10),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Length(10),
    ];
    frame.render_widget(table(&plain::ENDPOINTS, rows, &widths, Some("endpoints")), endpoints);
    let rows = target.breakers.iter().map(|one| row(&plain::breaker(one))).collect();
    let widths = [
        Constraint::Min(20),
        Constraint::Length(9),
        Constraint::Length(10),
        Constraint::Length(14),
        Constraint::Length(22),
    ];
    frame.render_widget(table(&plain::BREAKERS, rows, &widths, Some("breakers")), breakers);
    let rows = target.faults.iter().map(|one| row(&plain::fault(one))).collect();
    let widths = [
        Constraint::Length(32),
        Constraint::Length(10),
        Constraint::Length(22),
        Constraint::Length(8),
        Constraint::Min(20),
    ];
    frame.render_widget(table(&plain::FAULTS, rows, &widths, Some("recent faults")), faults);
}

fn row<const N: usize>(cells: &[String; N]) -> Row<'static> {
    Row::new(cells.iter().map(|cell| Cell::from(cell.clone()).style(tone(cell))).collect::<Vec<_>>())
}

fn table<'a, const N: usize>(
    heads: &[&'a str; N],
    rows: Vec<Row<'a>>,
    widths: &[Constraint; N],
    title: Option<&'a str>,
) -> Table<'a> {
    let table = Table::new(rows, widths).header(Row::new(heads.to_vec()).style(SOFT)).column_spacing(2);
    match title {
        Some(title) => table.block(Block::new().borders(Borders::TOP).title(title)),
        None => table,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::{Terminal, backend::TestBackend};
    use towpath::admin::view::{BreakerView, EndpointView, EventView, FaultView, MethodView, Point, Traffic};

    fn snapshot() -> Snapshot {
        let target = |name: &str| TargetView {
            name: name.to_owned(),
            side: "client".to_owned(),
            state: "connected".to_owned(),
            warnings: vec!["RetryLayer stands here more than once".to_owned()],
            traffic: Some(Traffic {
                calls: 70,
                rate: 12.34,
                success: Some(0.99999),
                p50_us: Some(250),
                p99_us: Some(1_500),
                series: vec![Point { ok: 5.0, ..Point::default() }; 60],
                ..Traffic::default()
            }),
            endpoints: vec![EndpointView {
                address: format!("mcp://10.0.0.7:8080/{name}"),
                status: "ejected".to_owned(),
                weight: 3,
                ..EndpointView::default()
            }],
            methods: vec![
                MethodView {
                    name: "Letters.Send".to_owned(),
                    rate: 56.78,
                    calls: 4_321,
                    ..MethodView::default()
                },
                MethodView::default(),
            ],
            breakers: vec![BreakerView {
                name: "A.B".to_owned(),
                of: "method".to_owned(),
                state: "half-open".to_owned(),
                mode: "automatic".to_owned(),
                ..BreakerView::default()
            }],
            faults: vec![FaultView {
                trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
                code: "MCP-E-010".to_owned(),
                chain: vec!["the connection was lost \u{1b}[31m".to_owned()],
                ..FaultView::default()
            }],
            ..TargetView::default()
        };
        let event = EventView {
            at_ms: 5_000,
            target: "users".to_owned(),
            who: "Letters.Send".to_owned(),
            what: "opened: 7 of 9 calls failed \u{1b}[31m".to_owned(),
            ..EventView::default()
        };
        let targets = vec![target("users"), target("orders")];
        Snapshot { at_ms: 17_300, targets, events: vec![event], ..Snapshot::default() }
    }

    fn screen(shown: &Shown, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, shown)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn what_matters_is_on_the_screen() {
        let mut shown = Shown::new(snapshot());
        let first = screen(&shown, 120, 40);
        for part in [
            "live",
            "users",
            "orders",
            "12.3",
            "99.99%",
            "1.5ms",
            "Letters.Send",
            "56.8",
            "4321",
            "12s",
            "opened: 7 of 9 calls failed",
            "(all others)",
            "mcp://10.0.0.7:8080/users",
            "ejected",
            "half-open",
            "0af7651916cd43dd8448eb211c80319c",
            "the connection was lost",
            "! RetryLayer stands here more than once",
        ] {
            assert!(first.contains(part), "{part} is not on\n{first}");
        }
        assert!(!first.contains('\u{1b}'), "what others say does not steer the terminal");
        shown.select(-1);
        assert!(screen(&shown, 120, 40).contains("mcp://10.0.0.7:8080/orders"));
        shown.select(1);
        assert_eq!(screen(&shown, 120, 40), first);
        shown.lost("connection refused".to_owned());
        assert!(screen(&shown, 120, 40).contains("connection refused"));
        shown.news(Snapshot::default());
        assert!(screen(&shown, 120, 40).contains("nothing is shown there"));
    }

    #[test]
    fn no_size_is_too_small() {
        let shown = Shown::new(snapshot());
        for (width, height) in [(1, 1), (20, 3), (39, 10), (80, 24), (500, 200)] {
            screen(&shown, width, height);
        }
    }

    #[test]
    fn scripts_get_the_same() {
        let text = plain::text(&snapshot());
        assert!(text.starts_with("NAME    STATE"), "{text}");
        assert!(
            text.contains("\nevents\nAGO  OF     WHO           WHAT\n12s  users  Letters.Send  opened"),
            "{text}"
        );
        assert!(text.contains("\nusers: endpoints\nENDPOINT"), "{text}");
        assert!(text.contains("! orders: RetryLayer"), "{text}");
        assert!(!text.contains('\u{1b}'));
        assert_eq!(plain::text(&Snapshot::default()), "");
    }
}
