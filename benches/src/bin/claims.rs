//! The three claims that this design was made on, side by side with what came of them.
//!
//! ```text
//! claims [--rounds N] [--instructions]
//! ```

use clap::{Parser, Subcommand};
use towpath_benches::{
    Failure,
    alloc::Switched,
    claims::duels,
    timing::{self, Cost},
    valgrind,
};

#[global_allocator]
static ALLOCATOR: Switched = Switched;

#[derive(Parser)]
#[command(about = "Binary against JSON, reused against fresh buffers, slices against copies")]
struct Args {
    /// How often each is timed.
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// Compare instructions as well, under valgrind: some minutes.
    #[arg(long)]
    instructions: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Does one side's work (0 plain, 1 ours) of one duel so many times: for valgrind.
    #[command(hide = true)]
    Run { duel: usize, side: usize, times: u64 },
}

/// In percent.
fn less(ours: f64, plain: f64) -> f64 {
    if plain > 0.0 { (1.0 - ours / plain) * 100.0 } else { 0.0 }
}

fn instructions(duel: usize, side: usize) -> Result<f64, Failure> {
    valgrind::per_iteration(20, 220, None, |times| {
        vec!["run".to_owned(), duel.to_string(), side.to_string(), times.to_string()]
    })
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let mut duels = duels()?;
    if let Some(Command::Run { duel, side, times }) = args.command {
        let duel = duels.get_mut(duel).ok_or("there is no such duel")?;
        duel.works.get_mut(side).ok_or("a duel has two sides")?.repeat(times);
        return Ok(());
    }
    println!(
        "| claim | | plain ns | ours ns | faster | claimed | instructions | plain bytes | ours | less | claimed \
         | allocations | better |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
    );
    for (i, duel) in duels.iter_mut().enumerate() {
        let costs = timing::measure(&mut duel.works, args.rounds);
        let [plain, ours]: [Cost; 2] = costs.try_into().map_err(|_| "a duel has two sides")?;
        let (claim, faster) = (duel.claim, ours.faster_than(&plain));
        let memory = less(ours.bytes, plain.bytes);
        let counted = match args.instructions {
            true => format!("{:.1}x fewer", instructions(i, 0)? / instructions(i, 1)?),
            false => String::new(),
        };
        let verdict = match (duel.judged, faster > claim.speed && memory > claim.memory) {
            (false, _) => "(not judged)",
            (true, true) => "yes",
            (true, false) => "no",
        };
        println!(
            "| {} | {} | {:.0} | {:.0} | {faster:.1}x | {}x | {counted} | {:.0} | {:.0} | {memory:.0} % | {} % \
             | {:.1} → {:.1} | {verdict} |",
            claim.what,
            duel.case,
            plain.ns(),
            ours.ns(),
            claim.speed,
            plain.bytes,
            ours.bytes,
            claim.memory,
            plain.allocations,
            ours.allocations,
        );
    }
    Ok(())
}
