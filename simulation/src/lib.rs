//! Clients and servers in virtual time. `docs/simulation.md` says what is simulated and what is real, and shows what came
//! of it.

mod any;
mod args;
mod chart;
mod ledger;
mod picker;
mod picture;
mod report;
mod run;
mod scenario;
mod stack;
mod study;
mod tower_p2c;
mod world;

pub use args::main;
pub use ledger::{Ledger, Tally};
pub use picker::Picker;
pub use picture::picture;
pub use report::report;
pub use run::{Line, Outcome, run};
pub use scenario::{PATIENCE, Phase, Scenario};
pub use study::{Findings, Study};

/// What the program ends with.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
