//! What there is to show, as a table.

use super::view::{Row, Status, View};
use crate::say::plain;
use std::time::Duration;

/// A column: its head, and what stands in it. One of which all cells are empty is left out.
struct Column(&'static str, fn(&Row) -> String);

const COLUMNS: &[Column] = &[
    Column("ENDPOINT", |row| plain(&row.address)),
    Column("STATUS", status),
    Column("WEIGHT", |row| row.weight.to_string()),
    Column("PRIORITY", |row| if row.priority == 0 { String::new() } else { row.priority.to_string() }),
    Column("ZONE", |row| row.zone.as_deref().map(plain).unwrap_or_default()),
    Column("PING", |row| row.ping.map(ms).unwrap_or_default()),
    Column("EWMA", |row| row.ewma.map(ms).unwrap_or_default()),
    Column("LOST", lost),
    Column("IN FLIGHT", |row| row.load.map(|load| load.in_flight.to_string()).unwrap_or_default()),
    Column("QUEUE", |row| row.load.map(|load| ms(load.queue)).unwrap_or_default()),
    Column("LABELS", labels),
];

/// A line that counts, what is to be said of the source, and a line for each endpoint; of those that are down, one more with
/// the reason.
pub(super) fn text(view: &View) -> String {
    let mut text = format!("{}: {}\n", plain(&view.url), plain(&headline(view)));
    for trouble in troubles(view) {
        text += &format!("! {}\n", plain(&trouble));
    }
    if view.rows.is_empty() {
        return text;
    }
    let mut lines = vec![String::new(); view.rows.len() + 1];
    for Column(head, cell) in COLUMNS {
        let cells: Vec<String> = view.rows.iter().map(cell).collect();
        let Some(width) = cells.iter().map(|cell| cell.chars().count()).max().filter(|width| *width > 0)
        else {
            continue;
        };
        let width = width.max(head.len());
        let all = std::iter::once((*head).to_owned()).chain(cells);
        for (line, cell) in lines.iter_mut().zip(all) {
            *line += &format!("{cell:width$}  ");
        }
    }
    let mut lines = lines.iter().map(|line| line.trim_end());
    text += lines.next().unwrap_or_default();
    text += "\n";
    for (line, row) in lines.zip(&view.rows) {
        text += line;
        text += "\n";
        if let Some(error) = &row.error {
            text += &format!("  {}\n", plain(error));
        }
    }
    text
}

fn headline(view: &View) -> String {
    match view.settled {
        true => view.summary(),
        false => format!("nobody has said yet which endpoints there are ({})", view.about),
    }
}

/// What is wrong with the list itself.
fn troubles(view: &View) -> Vec<String> {
    let mut troubles = Vec::new();
    if let Some(error) = &view.error {
        troubles.push(match view.answered {
            Some(ago) => {
                format!("the list is from {} ago; since then {}: {error}", span(ago), vain(view.failures))
            }
            None => format!("{}: {error}", vain(view.failures)),
        });
    }
    if let Some(left) = view.doubted {
        troubles.push(format!(
            "there are none any more, says {}; that is doubted for {}",
            view.about,
            span(left)
        ));
    }
    troubles
}

fn vain(failures: u32) -> String {
    if failures == 1 {
        "it was asked for in vain".to_owned()
    } else {
        format!("it was asked for {failures} times in vain")
    }
}

fn status(row: &Row) -> String {
    let name = row.status.name();
    match (row.status, row.since) {
        (Status::Down, Some(since)) => format!("{name} {}", span(since)),
        _ => name.to_owned(),
    }
}

fn lost(row: &Row) -> String {
    if row.failed == 0 { String::new() } else { format!("{} of {}", row.failed, row.looks) }
}

fn labels(row: &Row) -> String {
    let labels: Vec<String> =
        row.labels.iter().map(|(name, value)| plain(&format!("{name}={value}"))).collect();
    labels.join(" ")
}

fn ms(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1_000.0)
}

/// Roughly.
fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use towpath::LoadReport;

    fn row(address: &str, status: Status) -> Row {
        Row {
            address: address.to_owned(),
            status,
            since: Some(Duration::from_secs(130)),
            weight: 1,
            priority: 0,
            zone: None,
            labels: vec![],
            ping: Some(Duration::from_micros(250)),
            ewma: Some(Duration::from_micros(1_200)),
            load: None,
            looks: 3,
            failed: 0,
            error: None,
        }
    }

    fn view(rows: Vec<Row>) -> View {
        View {
            url: "registry://a:1/b".to_owned(),
            about: "a registry".to_owned(),
            settled: true,
            known: rows.len(),
            answered: Some(Duration::from_secs(30)),
            failures: 0,
            error: None,
            doubted: None,
            rows,
        }
    }

    #[test]
    fn a_column_that_says_nothing_is_left_out() {
        let down = Row {
            failed: 3,
            ping: None,
            ewma: None,
            error: Some("refused\n\u{1b}[2J".to_owned()),
            ..row("mcp://b:1", Status::Down)
        };
        let text = text(&view(vec![down, row("mcp://a:1", Status::Ready)]));
        let wanted = "registry://a:1/b: 2 endpoints: 1 ready, 1 down\n\
                      ENDPOINT   STATUS      WEIGHT  PING      EWMA      LOST\n\
                      mcp://b:1  down 2 min  1                           3 of 3\n  refused\\n\\u{1b}[2J\n\
                      mcp://a:1  ready       1       0.250 ms  1.200 ms\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn one_that_says_something_is_there() {
        let load = LoadReport { queue: Duration::from_micros(1_500), in_flight: 12 };
        let labels = vec![("version".to_owned(), "2".to_owned()), ("a".to_owned(), "\u{202e}".to_owned())];
        let zone = Some("eu-1a".to_owned());
        let full = Row { priority: 2, zone, labels, load: Some(load), ..row("mcp://a:1", Status::Draining) };
        let text = text(&view(vec![full]));
        assert!(text.contains("PRIORITY  ZONE "), "{text}");
        assert!(text.contains("IN FLIGHT  QUEUE     LABELS\n"), "{text}");
        assert!(text.ends_with("12         1.500 ms  version=2 a=\\u{202e}\n"), "{text}");
    }

    #[test]
    fn trouble_with_the_list_is_said() {
        let mut view = view(vec![]);
        (view.error, view.failures) = (Some("refused".to_owned()), 2);
        view.doubted = Some(Duration::from_secs(20));
        let wanted = "registry://a:1/b: 0 endpoints\n\
                      ! the list is from 30 s ago; since then it was asked for 2 times in vain: refused\n\
                      ! there are none any more, says a registry; that is doubted for 20 s\n";
        assert_eq!(text(&view), wanted);
        (view.settled, view.answered, view.failures, view.doubted) = (false, None, 1, None);
        let wanted = "registry://a:1/b: nobody has said yet which endpoints there are (a registry)\n\
                      ! it was asked for in vain: refused\n";
        assert_eq!(text(&view), wanted);
    }
}
