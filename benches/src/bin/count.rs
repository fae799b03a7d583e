//! Counts what an echo costs: instructions, allocations, frames to a write. Counts do not depend on how busy the
//! machine is, so a change can be judged by them.
//!
//! ```text
//! count [--only SCENARIO]… [--sides] [--no-instructions] [--check LIMITS.toml]
//! ```

use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};
use towpath_benches::{
    Failure,
    alloc::Switched,
    limits::{Counted, Limits},
    scenario::{SCENARIOS, Scenario, Taken},
    valgrind,
};

#[global_allocator]
static ALLOCATOR: Switched = Switched;

#[derive(Parser)]
#[command(about = "Counts instructions, allocations and frames per write of an echo")]
struct Args {
    /// Only these scenarios.
    #[arg(long)]
    only: Vec<String>,
    /// Also say which of the instructions are the server's (another two runs under valgrind).
    #[arg(long)]
    sides: bool,
    /// Leave out what needs valgrind.
    #[arg(long)]
    no_instructions: bool,
    /// Fail if a limit in this file is not kept.
    #[arg(long)]
    check: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Makes the calls and says nothing: for valgrind.
    #[command(hide = true)]
    Run { scenario: String, calls: u64 },
}

fn scenario(name: &str) -> Result<Scenario, Failure> {
    let names = || SCENARIOS.map(|scenario| scenario.name).join(", ");
    let found = SCENARIOS.into_iter().find(|scenario| scenario.name == name);
    found.ok_or_else(|| format!("there is no scenario {name}; there are {}", names()).into())
}

fn count(scenario: &Scenario, args: &Args) -> Result<Counted, Failure> {
    let calls = scenario.calls;
    let (client, server) = scenario.run(calls)?;
    let per_call = |count: u64| count as f64 / calls as f64;
    let per_write = |taken: Taken| taken.writes.map(|writes| calls as f64 / writes as f64);
    let counted = Counted {
        instructions: match args.no_instructions {
            true => None,
            false => Some(instructions(scenario, None)?),
        },
        client_allocations: per_call(client.allocated.count),
        server_allocations: per_call(server.allocated.count),
        client_frames_per_write: per_write(client),
        server_frames_per_write: per_write(server),
    };
    let share = match args.sides {
        true => format!("{:.0}", instructions(scenario, Some("*poll_server*"))?),
        false => String::new(),
    };
    let or_none =
        |value: Option<f64>, digits| value.map_or(String::new(), |value| format!("{value:.digits$}"));
    println!(
        "| {} | {} | {share} | {:.3} | {:.0} | {:.3} | {:.0} | {} | {} |",
        scenario.name,
        or_none(counted.instructions, 0),
        counted.client_allocations,
        per_call(client.allocated.bytes),
        counted.server_allocations,
        per_call(server.allocated.bytes),
        or_none(counted.client_frames_per_write, 1),
        or_none(counted.server_frames_per_write, 1),
    );
    Ok(counted)
}

/// Start-up, connecting and warm-up are the same in both runs, and cancel.
fn instructions(scenario: &Scenario, within: Option<&str>) -> Result<f64, Failure> {
    let few = (scenario.calls / 10).max(scenario.inflight);
    let run = |calls: u64| vec!["run".to_owned(), scenario.name.to_owned(), calls.to_string()];
    valgrind::per_iteration(few, few + scenario.calls, within, run)
}

fn run(args: &Args) -> Result<bool, Failure> {
    if let Some(Command::Run { scenario: name, calls }) = &args.command {
        scenario(name)?.run(*calls)?;
        return Ok(true);
    }
    let scenarios = match args.only.is_empty() {
        true => SCENARIOS.to_vec(),
        false => args.only.iter().map(|name| scenario(name)).collect::<Result<_, _>>()?,
    };
    let limits = match &args.check {
        Some(path) => Limits::read(path, &SCENARIOS)?,
        None => Limits::default(),
    };
    println!(
        "| for each call | instructions | of the server | client allocations | bytes | server allocations | bytes \
         | requests a write | responses a write |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    let mut beyond = Vec::new();
    for scenario in scenarios {
        beyond.extend(limits.exceeded(scenario.name, &count(&scenario, args)?));
    }
    for line in &beyond {
        eprintln!("{line}");
    }
    Ok(beyond.is_empty())
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
