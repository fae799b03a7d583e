//! The program `policies`: what each layer adds to a call, beside others' counterparts.

mod contend;
mod limits;
mod ours;
#[cfg(feature = "peers")]
mod peers;
mod pickers;
mod report;
mod run;
#[cfg(feature = "peers")]
mod sent;
mod subject;

use crate::Failure;
use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};
use subject::Callers;

/// What each policy layer adds to a call that succeeds, around a service that answers at once.
#[derive(Debug, Parser)]
#[command(name = "policies")]
struct Args {
    /// How often each is timed.
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// How often each is timed on two threads at once; 0 leaves it out.
    #[arg(long, default_value_t = 25)]
    contended: usize,
    /// Only rows whose name begins like this: `retry`, or `retry/ours`. Pickers, `pick`, and spans that are
    /// sent, `OTLP`, have to be asked for.
    #[arg(long)]
    only: Vec<String>,
    /// Only ours.
    #[arg(long)]
    ours: bool,
    /// Leave out what needs valgrind.
    #[arg(long)]
    no_instructions: bool,
    /// Only ours, only what does not wobble; and fail if a limit in this file is not kept.
    #[arg(long)]
    check: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes the calls of one row and says nothing: for valgrind.
    #[command(hide = true)]
    Run { row: String, calls: u64 },
}

/// Whose layer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Nobody's: the service alone.
    Baseline,
    Ours,
    /// Others'; the name is their crate's.
    #[cfg_attr(not(feature = "peers"), allow(dead_code))]
    Peer(&'static str),
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
struct Policy {
    /// What the layer does; rows with the same name are compared.
    layer: &'static str,
    by: By,
    /// What is to be known of its configuration.
    note: &'static str,
    /// Makes the stack, inside a runtime.
    start: fn() -> Result<Callers, Failure>,
}

impl Policy {
    /// `retry/ours`: how the command line and the file of limits name it.
    fn name(&self) -> String {
        let by = match self.by {
            By::Baseline => return self.layer.to_owned(),
            By::Ours => "ours",
            By::Peer(name) => name,
        };
        match self.note {
            "" => format!("{}/{by}", self.layer),
            note => format!("{}/{by} {note}", self.layer),
        }
    }

    /// Whether it is there only when it is asked for, by `--only`: a single pick of a picker, spans that are sent.
    fn is_on_request(&self) -> bool {
        self.layer.starts_with("pick ") || self.layer == "OTLP"
    }
}

/// All rows: first the baseline, then layer by layer, ours first.
fn all() -> Vec<Policy> {
    #[cfg(feature = "peers")]
    let peers = peers::policies();
    #[cfg(not(feature = "peers"))]
    let peers: Vec<Policy> = Vec::new();
    let mut all = ours::policies();
    for peer in peers {
        let after = all.iter().rposition(|policy: &Policy| policy.layer == peer.layer);
        all.insert(after.map_or(all.len(), |at| at + 1), peer);
    }
    all.extend(pickers::policies());
    #[cfg(feature = "peers")]
    all.extend(sent::policies());
    all
}

/// Runs the program, with the command line of this process.
///
/// # Errors
/// If a call fails, valgrind cannot be run, or the limits cannot be read.
pub fn main() -> Result<ExitCode, Failure> {
    let args = Args::parse();
    if let Some(Command::Run { row, calls }) = &args.command {
        run::calls(row, *calls)?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(if run::all(&args)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
