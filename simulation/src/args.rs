//! The command line.

use crate::{Failure, Study, picture, report};
use clap::Parser;
use std::{fs, path::PathBuf, process::ExitCode};
use tokio::time::Instant;

/// Clients and servers in virtual time: how often calls succeed, and how long they take, by who says where they go.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Args {
    /// Only this scenario: eleven, sizes, fleet.
    #[arg(long)]
    scenario: Option<String>,
    /// Which course things take; the same one takes the same course again.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many clients the fleet has.
    #[arg(long, default_value_t = 1_000)]
    clients: usize,
    /// How many servers the fleet has.
    #[arg(long, default_value_t = 100)]
    servers: usize,
    /// A directory for the pictures.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Runs the program, with the command line of this process.
///
/// # Errors
/// If there is no such scenario, or a file cannot be written.
pub fn main() -> Result<ExitCode, Failure> {
    let Args { scenario, seed, clients, servers, out } = Args::parse();
    let mut studies = Study::all(clients.max(1), servers.max(1));
    if let Some(name) = scenario {
        studies.retain(|study| study.scenario.name == name);
        if studies.is_empty() {
            return Err(format!("there is no scenario {name}: there are eleven, sizes and fleet").into());
        }
    }
    for study in studies {
        let began = Instant::now();
        let results = study.run(seed)?;
        println!("{}", report(&study, &results));
        eprintln!("{}: {:.0} s", study.scenario.name, began.elapsed().as_secs_f64());
        if let Some(directory) = &out {
            fs::create_dir_all(directory)?;
            let file = directory.join(format!("{}.svg", study.scenario.name));
            fs::write(&file, picture(&study, &results))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
