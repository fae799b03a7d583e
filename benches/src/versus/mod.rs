//! The program `versus`: everybody in one interleaved run.

mod child;
mod plan;
mod promises;
mod report;
mod run;

use crate::Failure;
use clap::{Parser, Subcommand};
use plan::{Cell, Pin, Who};
use std::net::SocketAddr;

/// Compares towpath with a bare multiplexer and with others, server and client in processes of their own.
#[derive(Debug, Parser)]
#[command(name = "versus")]
struct Args {
    /// How often everything is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long one measurement takes, in seconds.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// How long it is called before that, in seconds.
    #[arg(long, default_value_t = 0.3)]
    warm_up: f64,
    /// Who takes part; the reference always does.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Who>,
    /// Calls in flight x bytes of the body.
    #[arg(long, value_delimiter = ',', default_value = "1x64,64x64,512x64,4x65536,64x65536")]
    cells: Vec<Cell>,
    /// Both processes on one core, one on each of two, or not pinned (then on tokio's multi-thread runtime, but for
    /// the reference).
    #[arg(long, value_delimiter = ',', value_enum, default_value = "one,two,free")]
    pin: Vec<Pin>,
    /// Print JSON in place of tables.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    child: Option<Child>,
}

/// What the processes are told that the runner starts.
#[derive(Debug, Subcommand)]
enum Child {
    #[command(hide = true)]
    Serve {
        #[command(flatten)]
        place: Place,
    },
    #[command(hide = true)]
    Call {
        #[command(flatten)]
        place: Place,
        #[arg(long)]
        address: SocketAddr,
        #[arg(long)]
        server: u32,
        #[arg(long)]
        cell: Cell,
        #[arg(long)]
        seconds: f64,
        #[arg(long)]
        warm_up: f64,
    },
}

#[derive(Clone, Debug, clap::Args)]
struct Place {
    #[arg(long, value_enum)]
    who: Who,
    /// The processor to stay on.
    #[arg(long)]
    cpu: Option<usize>,
    /// On tokio's multi-thread runtime, as it comes.
    #[arg(long)]
    multi_thread: bool,
}

/// Runs the program, with the command line of this process.
///
/// # Errors
/// If a process cannot be started, or a measurement fails.
pub fn main() -> Result<(), Failure> {
    let mut args = Args::parse();
    match args.child.take() {
        Some(Child::Serve { place }) => child::serve(&place),
        Some(Child::Call { place, address, server, cell, seconds, warm_up }) => {
            child::call(&place, child::Load { address, server, cell, seconds, warm_up })
        }
        None => run::run(&args),
    }
}
