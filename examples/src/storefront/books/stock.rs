//! The inventory service's book.

use super::{Applied, lock};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

/// One run at an order: what is booked for it is taken back together. An order that was compensated and is
/// tried again does so under a new run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RunId {
    /// The order.
    pub(crate) order: u64,
    /// Which try of it, from 0.
    pub(crate) run: u32,
}

/// Why stock was not booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StockError {
    /// There are only so many units.
    Short(i64),
    /// The run was taken back before this came.
    TakenBack,
    /// The same line was booked with another article or quantity.
    Conflict,
}

/// One change of stock, as it was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    of: RunId,
    line: u32,
    article: u32,
    /// Below zero: taken out.
    by: i64,
    /// This takes an earlier change back.
    back: bool,
}

/// A change that stands: line, article, by how many units.
pub(crate) type Standing = (u32, Arc<str>, i64);

#[derive(Default)]
struct Booked {
    taken_back: bool,
    /// Line, article, change.
    lines: Vec<(u32, u32, i64)>,
}

struct Inside {
    on_hand: Vec<i64>,
    codes: Vec<Arc<str>>,
    articles: HashMap<Arc<str>, u32>,
    runs: HashMap<RunId, Booked>,
    journal: Vec<Change>,
}

/// How many units there are of each article, and how it came to that.
pub(crate) struct StockBook {
    initial: i64,
    inside: Mutex<Inside>,
}

impl StockBook {
    /// A book with so many units of every article there is.
    pub(crate) fn new(initial: i64) -> Self {
        let (on_hand, codes, articles) = (Vec::new(), Vec::new(), HashMap::new());
        let (runs, journal) = (HashMap::new(), Vec::new());
        StockBook { initial, inside: Mutex::new(Inside { on_hand, codes, articles, runs, journal }) }
    }

    /// Takes units out, once for each line of a run.
    pub(crate) fn deduct(&self, of: RunId, line: u32, code: &str, units: i64) -> Result<Applied, StockError> {
        self.book(of, &[(line, code, -units)])
    }

    /// Puts units of several lines in, once for each run, all or none.
    pub(crate) fn restock(&self, of: RunId, lines: &[(u32, &str, i64)]) -> Result<Applied, StockError> {
        self.book(of, lines)
    }

    fn book(&self, of: RunId, lines: &[(u32, &str, i64)]) -> Result<Applied, StockError> {
        let inside = &mut *lock(&self.inside);
        let booked = inside.runs.entry(of).or_default();
        if booked.taken_back {
            return Err(StockError::TakenBack);
        }
        let mut fresh = Vec::with_capacity(lines.len());
        for &(line, code, by) in lines {
            let article = match inside.articles.get(code) {
                Some(article) => *article,
                None => {
                    let article = inside.codes.len() as u32;
                    let code: Arc<str> = code.into();
                    inside.articles.insert(code.clone(), article);
                    inside.codes.push(code);
                    inside.on_hand.push(self.initial);
                    article
                }
            };
            match booked.lines.iter().find(|(l, ..)| *l == line) {
                Some(before) if *before == (line, article, by) => continue,
                Some(_) => return Err(StockError::Conflict),
                None => {}
            }
            // Only single lines take out, so no two of these draw on the same article.
            let on_hand = inside.on_hand[article as usize];
            if by < 0 && on_hand + by < 0 {
                return Err(StockError::Short(on_hand));
            }
            fresh.push((line, article, by));
        }
        for &(line, article, by) in &fresh {
            inside.on_hand[article as usize] += by;
            inside.journal.push(Change { of, line, article, by, back: false });
        }
        let applied = if fresh.is_empty() { Applied::Before } else { Applied::Now };
        booked.lines.append(&mut fresh);
        Ok(applied)
    }

    /// Takes back whatever a run booked, and whatever it may still ask for. Refused only where goods that a
    /// cancellation put in have been sold since.
    pub(crate) fn take_back(&self, of: RunId) -> Result<Applied, StockError> {
        let inside = &mut *lock(&self.inside);
        let booked = inside.runs.entry(of).or_default();
        if booked.taken_back {
            return Ok(Applied::Before);
        }
        let mut needed: HashMap<u32, i64> = HashMap::new();
        for (_, article, by) in &booked.lines {
            *needed.entry(*article).or_default() += by;
        }
        for (article, by) in needed {
            let on_hand = inside.on_hand[article as usize];
            if on_hand < by {
                return Err(StockError::Short(on_hand));
            }
        }
        booked.taken_back = true;
        for &(line, article, by) in &booked.lines {
            inside.on_hand[article as usize] -= by;
            inside.journal.push(Change { of, line, article, by: -by, back: true });
        }
        Ok(Applied::Now)
    }

    /// Goes through the book from its first page and checks it: the changes lead to what is on hand, stock was
    /// never below zero, nothing was booked twice or taken back twice. Returns what stands, by run, in the lines'
    /// order.
    pub(crate) fn audit(&self) -> Result<HashMap<RunId, Vec<Standing>>, String> {
        let inside = &*lock(&self.inside);
        let mut on_hand = vec![self.initial; inside.codes.len()];
        let mut standing: HashMap<RunId, Vec<Standing>> = HashMap::new();
        for change in &inside.journal {
            let Change { of, line, article, by, back } = *change;
            let units = &mut on_hand[article as usize];
            *units += by;
            let code = &inside.codes[article as usize];
            if *units < 0 {
                return Err(format!("stock of {code} fell below zero with {of:?}"));
            }
            let lines = standing.entry(of).or_default();
            let before = lines.iter().position(|(l, ..)| *l == line);
            let regular = match (back, before) {
                (true, Some(before)) => {
                    let (_, was, units) = lines.swap_remove(before);
                    was == *code && units == -by
                }
                (false, None) => {
                    lines.push((line, code.clone(), by));
                    true
                }
                (true, None) | (false, Some(_)) => false,
            };
            if !regular {
                let what = if back { "taken back without having been booked" } else { "booked twice" };
                return Err(format!("{code}: line {line} of {of:?} was {what}"));
            }
        }
        if let Some(article) = (0..on_hand.len()).find(|i| on_hand[*i] != inside.on_hand[*i]) {
            let (code, by_journal, counted) =
                (&inside.codes[article], on_hand[article], inside.on_hand[article]);
            return Err(format!("{code}: {by_journal} units by the journal, {counted} on hand"));
        }
        standing.retain(|_, lines| !lines.is_empty());
        for lines in standing.values_mut() {
            lines.sort_unstable();
        }
        Ok(standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: RunId = RunId { order: 1, run: 0 };
    const B: RunId = RunId { order: 2, run: 0 };

    fn on_hand(book: &StockBook, code: &str) -> i64 {
        let inside = lock(&book.inside);
        inside.articles.get(code).map_or(book.initial, |a| inside.on_hand[*a as usize])
    }

    #[test]
    fn a_line_is_taken_out_once() {
        let book = StockBook::new(10);
        assert_eq!(book.deduct(A, 0, "x", 4), Ok(Applied::Now));
        assert_eq!(book.deduct(A, 0, "x", 4), Ok(Applied::Before));
        assert_eq!(book.deduct(A, 0, "x", 5), Err(StockError::Conflict));
        assert_eq!(book.deduct(A, 1, "x", 6), Ok(Applied::Now));
        assert_eq!(book.deduct(B, 0, "x", 1), Err(StockError::Short(0)));
        assert_eq!(on_hand(&book, "x"), 0);
        let standing = book.audit().unwrap();
        assert_eq!(standing.len(), 1);
        assert_eq!(standing[&A], [(0, "x".into(), -4), (1, "x".into(), -6)]);
    }

    #[test]
    fn what_is_taken_back_stays_back() {
        let book = StockBook::new(10);
        book.deduct(A, 0, "x", 4).unwrap();
        book.deduct(A, 1, "y", 10).unwrap();
        assert_eq!(book.take_back(A), Ok(Applied::Now));
        assert_eq!(book.take_back(A), Ok(Applied::Before));
        assert_eq!((on_hand(&book, "x"), on_hand(&book, "y")), (10, 10));
        assert_eq!(book.deduct(A, 2, "x", 1), Err(StockError::TakenBack), "a late one comes too late");
        assert_eq!(book.take_back(B), Ok(Applied::Now), "before anything came");
        assert_eq!(book.deduct(B, 0, "x", 1), Err(StockError::TakenBack));
        assert_eq!(book.deduct(RunId { run: 1, ..A }, 0, "x", 1), Ok(Applied::Now), "the next run is free");
        assert_eq!(book.audit().unwrap().len(), 1);
    }

    #[test]
    fn a_restock_is_one_piece_and_stands_once_its_goods_are_sold() {
        let book = StockBook::new(0);
        let lines = [(0, "x", 3), (1, "x", 2)];
        assert_eq!(book.restock(A, &lines), Ok(Applied::Now));
        assert_eq!(book.restock(A, &lines), Ok(Applied::Before));
        assert_eq!(book.deduct(B, 0, "x", 1), Ok(Applied::Now));
        assert_eq!(book.take_back(A), Err(StockError::Short(4)));
        assert_eq!(on_hand(&book, "x"), 4);
        assert_eq!(book.take_back(B), Ok(Applied::Now));
        assert_eq!(book.take_back(A), Ok(Applied::Now));
        assert_eq!(on_hand(&book, "x"), 0);
        assert!(book.audit().unwrap().is_empty());
    }

    #[test]
    fn the_audit_finds_what_is_wrong() {
        let spoiled = |spoil: fn(&mut Inside)| {
            let book = StockBook::new(10);
            book.deduct(A, 0, "x", 4).unwrap();
            spoil(&mut lock(&book.inside));
            book.audit().unwrap_err()
        };
        assert!(spoiled(|i| i.on_hand[0] = 7).contains("6 units by the journal, 7 on hand"));
        assert!(spoiled(|i| i.journal.push(i.journal[0])).contains("booked twice"));
        assert!(spoiled(|i| i.journal[0].by = -11).contains("below zero"));
        let back = |i: &mut Inside| i.journal.push(Change { by: 3, back: true, ..i.journal[0] });
        assert!(spoiled(back).contains("without having been booked"));
    }
}
