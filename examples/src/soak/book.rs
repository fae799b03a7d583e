//! The books: what callers and handlers say of each call, kept beside each other.

use std::sync::atomic::{
    AtomicU16, AtomicU64,
    Ordering::{AcqRel, Relaxed},
};

/// How many calls are kept apart. Their places are taken again by later calls; by then, many minutes have
/// passed. All of it is touched at the start, so that it does not look like growth.
const CELLS: u64 = 1 << 22;

const BEGAN: u16 = 1;
const BEGAN_AGAIN: u16 = 1 << 1;
/// What a handler came to: four bits from here on.
const HANDLER: u32 = 2;
/// What a caller was told: the bits from here on.
const CALLER: u32 = 6;

/// What a handler came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Answered,
    Faulted,
    Panicked,
    /// Dropped before it was done: by a cancellation, a deadline, the end of a connection or of a server.
    Stopped,
}

/// What a caller was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Answer,
    /// One-way: nothing more is ever told.
    Written,
    Fault,
    /// It did not want to know any more.
    GaveUp,
    /// The stack failed, and says that the call was not processed, or was, or that nobody knows.
    NotProcessed,
    Processed,
    Unknown,
}

pub(crate) const DONE: [Done; 4] = [Done::Answered, Done::Faulted, Done::Panicked, Done::Stopped];
pub(crate) const TOLD: [Told; 7] = [
    Told::Answer,
    Told::Written,
    Told::Fault,
    Told::GaveUp,
    Told::NotProcessed,
    Told::Processed,
    Told::Unknown,
];

pub(crate) struct Books {
    cells: Box<[AtomicU16]>,
    issued: AtomicU64,
    began: AtomicU64,
    told: [AtomicU64; TOLD.len()],
    done: [AtomicU64; DONE.len()],
    /// Both sides have spoken: what each of them said.
    pairs: [[AtomicU64; DONE.len()]; TOLD.len()],
    /// Begun although the caller had been told otherwise, or twice, or told twice.
    impossible: AtomicU64,
}

impl Books {
    pub(crate) fn new() -> Self {
        let cells: Box<[AtomicU16]> = (0..CELLS).map(|_| AtomicU16::new(0)).collect();
        // A zeroed block may not be there before it is written to.
        cells.iter().for_each(|cell| cell.store(1, Relaxed));
        Books {
            cells,
            issued: AtomicU64::default(),
            began: AtomicU64::default(),
            told: Default::default(),
            done: Default::default(),
            pairs: Default::default(),
            impossible: AtomicU64::default(),
        }
    }

    fn cell(&self, call: u64) -> &AtomicU16 {
        &self.cells[(call % CELLS) as usize]
    }

    /// A call is about to be made; its number.
    pub(crate) fn issue(&self) -> u64 {
        let call = self.issued.fetch_add(1, Relaxed);
        self.cell(call).store(0, Relaxed);
        call
    }

    fn impossible(&self, holds: bool) {
        if holds {
            self.impossible.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn begin(&self, call: u64) {
        self.began.fetch_add(1, Relaxed);
        let before = self.cell(call).fetch_or(BEGAN, AcqRel);
        self.impossible(before & BEGAN != 0);
        self.impossible(before & told(Told::NotProcessed) != 0);
        if before & BEGAN != 0 {
            self.cell(call).fetch_or(BEGAN_AGAIN, AcqRel);
        }
    }

    pub(crate) fn done(&self, call: u64, what: Done) {
        self.done[what as usize].fetch_add(1, Relaxed);
        let before = self.cell(call).fetch_or(done(what), AcqRel);
        if let Some(told) = TOLD.iter().find(|other| before & told(**other) != 0) {
            self.pairs[*told as usize][what as usize].fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn told(&self, call: u64, what: Told) {
        self.told[what as usize].fetch_add(1, Relaxed);
        let before = self.cell(call).fetch_or(told(what), AcqRel);
        self.impossible(TOLD.iter().any(|other| before & told(*other) != 0));
        self.impossible(what == Told::NotProcessed && before & BEGAN != 0);
        if let Some(done) = DONE.iter().find(|other| before & done(**other) != 0) {
            self.pairs[what as usize][*done as usize].fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let load = |count: &AtomicU64| count.load(Relaxed);
        Counts {
            issued: load(&self.issued),
            began: load(&self.began),
            told: self.told.each_ref().map(load),
            done: self.done.each_ref().map(load),
            pairs: self.pairs.each_ref().map(|row| row.each_ref().map(load)),
            impossible: load(&self.impossible),
        }
    }
}

fn done(what: Done) -> u16 {
    1 << (HANDLER + what as u32)
}

fn told(what: Told) -> u16 {
    1 << (CALLER + what as u32)
}

/// The books at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) issued: u64,
    pub(crate) began: u64,
    pub(crate) told: [u64; TOLD.len()],
    pub(crate) done: [u64; DONE.len()],
    pub(crate) pairs: [[u64; DONE.len()]; TOLD.len()],
    pub(crate) impossible: u64,
}

impl Counts {
    pub(crate) fn of(&self, what: Told) -> u64 {
        self.told[what as usize]
    }

    pub(crate) fn by(&self, what: Done) -> u64 {
        self.done[what as usize]
    }

    pub(crate) fn pair(&self, told: Told, done: Done) -> u64 {
        self.pairs[told as usize][done as usize]
    }

    /// What does not add up, once everything is over.
    pub(crate) fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut equal = |what: &str, one: u64, other: u64| {
            if one != other {
                found.push(format!("{what}: {one} and {other}"));
            }
        };
        equal("calls made, and calls whose callers were told something", self.issued, self.told.iter().sum());
        equal("handlers that began, and handlers that ended", self.began, self.done.iter().sum());
        for (at, done) in DONE.iter().enumerate() {
            let paired = self.pairs.iter().map(|row| row[at]).sum();
            equal(
                &format!("handlers that ended ({done:?}), and those with a caller who was told"),
                self.done[at],
                paired,
            );
        }
        equal(
            "answers, and answers that a handler gave",
            self.of(Told::Answer),
            self.pair(Told::Answer, Done::Answered),
        );
        equal(
            "faults, and faults that a handler gave",
            self.of(Told::Fault),
            self.pair(Told::Fault, Done::Faulted),
        );
        equal(
            "calls that were processed, and that a handler has answered",
            self.of(Told::Processed),
            self.pair(Told::Processed, Done::Answered),
        );
        equal(
            "calls that were not processed, and were",
            self.pairs[Told::NotProcessed as usize].iter().sum(),
            0,
        );
        equal(
            "calls that were begun or told twice, or begun after the caller was told otherwise",
            self.impossible,
            0,
        );
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_that_do_not_balance_say_so() {
        let books = Books::new();
        let call = books.issue();
        books.begin(call);
        assert_eq!(books.counts().violations().len(), 2, "one that is still out");
        books.done(call, Done::Answered);
        books.told(call, Told::Answer);
        assert_eq!(books.counts().violations(), [""; 0]);

        // In the other order: a handler that ends after its caller.
        let call = books.issue();
        books.begin(call);
        books.told(call, Told::GaveUp);
        books.done(call, Done::Stopped);
        assert_eq!(books.counts().violations(), [""; 0]);

        let call = books.issue();
        books.told(call, Told::NotProcessed);
        books.begin(call);
        books.done(call, Done::Answered);
        let found = books.counts().violations();
        assert!(found.iter().any(|line| line.contains("not processed, and were")), "{found:?}");

        let books = Books::new();
        let call = books.issue();
        books.told(call, Told::Answer);
        assert!(!books.counts().violations().is_empty(), "an answer that no handler gave");
    }
}
