//! The balance sheet.

use super::{
    Outcome,
    args::Args,
    book::{DONE, Done, TOLD, Told},
    memory,
};
use std::{
    io::{self, Write},
    time::Duration,
};

/// How late the end of a call may be: a busy machine is slow, and a call that hangs is later than that.
const LATEST: Duration = Duration::from_secs(3);

/// Writes it; false if something is wrong.
pub(super) fn write(args: &Args, outcome: &Outcome, out: &mut dyn Write) -> io::Result<bool> {
    let Outcome { counts, said, seen, elapsed, memory, hanging, left_tasks } = outcome;
    let runtime = if args.current_thread { "one thread" } else { "tokio's threads" };
    let rate = counts.issued as f64 / elapsed.as_secs_f64();
    writeln!(
        out,
        "\nsoak: {:.1} s, seed {}, on {runtime}; {rate:.0} calls/s",
        elapsed.as_secs_f64(),
        args.seed
    )?;
    writeln!(out, "trouble: {seen}\n")?;
    writeln!(out, "{:>12}  calls made\n", counts.issued)?;
    for told in TOLD {
        let what = match told {
            Told::Answer => "answered, and the answer is right",
            Told::Written => "one-way, written",
            Told::Fault => "fault of the service, as asked for",
            Told::GaveUp => "given up by their callers",
            Told::NotProcessed => "failed, not processed",
            Told::Processed => "failed, processed",
            Told::Unknown => "failed, nobody knows whether processed",
        };
        writeln!(out, "{:>12}  {what}", counts.of(told))?;
    }
    writeln!(out, "{:>12}  together\n", counts.told.iter().sum::<u64>())?;
    for ((code, known, accepted), count) in &said.failures {
        let after = if *accepted { ", after ACK" } else { "" };
        writeln!(out, "{count:>12}  {code} {known}{after}")?;
    }
    writeln!(out, "\n{:>12}  handlers began", counts.began)?;
    for done in DONE {
        let what = match done {
            Done::Answered => "answered",
            Done::Faulted => "answered with a fault",
            Done::Panicked => "panicked",
            Done::Stopped => "were stopped",
        };
        let told = counts.pair(Told::Answer, done) + counts.pair(Told::Fault, done);
        writeln!(out, "{:>12}  {what}; {told} of them, their callers know", counts.by(done))?;
    }
    writeln!(out, "\nlatest end of a call after its deadline: {:.1} ms", said.latest.as_secs_f64() * 1e3)?;
    let mut wrong = counts.violations();
    match memory::trend(memory) {
        Some(trend) => {
            let (mean, growth) = (trend.mean / 1e6, trend.growth / 1e6);
            writeln!(out, "memory after warm-up: {mean:.1} MB on average, {growth:+.2} MB over the run")?;
            if !trend.steady {
                wrong.push(format!("memory has grown by {growth:.1} MB"));
            }
        }
        None => writeln!(out, "memory: not measured here")?,
    }
    wrong.extend(said.wrong.iter().take(20).cloned());
    if *hanging > 0 {
        wrong.push(format!("{hanging} callers hang"));
    }
    if *left_tasks > 0 {
        wrong.push(format!("{left_tasks} tasks are left when everything is closed"));
    }
    if said.latest > LATEST {
        wrong.push("a call ended long after its deadline".to_owned());
    }
    if counts.of(Told::Answer) == 0 {
        wrong.push("no call was answered".to_owned());
    }
    for line in &wrong {
        writeln!(out, "WRONG: {line}")?;
    }
    if wrong.is_empty() {
        writeln!(out, "the books balance")?;
    }
    Ok(wrong.is_empty())
}
