//! What writing and reading costs, by frame and by body.
//!
//! ```text
//! codec [--rounds N] [--no-instructions]
//! ```

use clap::{Parser, Subcommand};
use towpath_benches::{Failure, alloc::Switched, cases::cases, timing, valgrind};

#[global_allocator]
static ALLOCATOR: Switched = Switched;

#[derive(Parser)]
#[command(about = "What writing and reading costs, by frame and by body")]
struct Args {
    /// How often each is timed.
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// Leave out what needs valgrind.
    #[arg(long)]
    no_instructions: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Does the work of one case so many times: for valgrind.
    #[command(hide = true)]
    Run { case: usize, times: u64 },
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let mut works = cases()?;
    if let Some(Command::Run { case, times }) = args.command {
        works.get_mut(case).ok_or("there is no such case")?.repeat(times);
        return Ok(());
    }
    println!("| | ns | instructions | allocations | bytes |\n| --- | ---: | ---: | ---: | ---: |");
    for (case, cost) in timing::measure(&mut works, args.rounds).into_iter().enumerate() {
        let instructions = match args.no_instructions {
            true => String::new(),
            false => {
                let run = |times: u64| vec!["run".to_owned(), case.to_string(), times.to_string()];
                format!("{:.0}", valgrind::per_iteration(1_000, 11_000, None, run)?)
            }
        };
        let (name, ns) = (works[case].name, cost.ns());
        println!("| {name} | {ns:.1} | {instructions} | {:.2} | {:.0} |", cost.allocations, cost.bytes);
    }
    Ok(())
}
