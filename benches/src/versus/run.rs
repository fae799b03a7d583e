//! The runner: one measurement after another.

use super::{
    Args,
    plan::{Shot, Who, shots},
    promises,
    report::{self, Figures, Row},
};
use crate::{Failure, alloc};
use nix::{sched::sched_getaffinity, unistd::Pid};
use std::{
    env,
    io::{self, IsTerminal},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// How long a process may take to start, or to end after its time.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let cpus = available()?;
    let mut pins = args.pin.clone();
    pins.retain(|pin| {
        let enough = pin.cpus(&cpus).is_some();
        if !enough {
            eprintln!("left out, for want of processors: {}", pin.title());
        }
        enough
    });
    let mut who = Who::all();
    who.retain(|who| *who == Who::Reference || args.only.is_empty() || args.only.contains(who));
    let shots = shots(args.rounds, &pins, &args.cells, &who);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut rows, mut failed) = (Vec::new(), 0);
    for (i, shot) in shots.iter().enumerate() {
        if io::stderr().is_terminal() {
            eprint!("\r{}/{} ", i + 1, shots.len());
        }
        match runtime.block_on(measure(shot, args, &cpus)) {
            Ok(figures) => rows.push(Row { shot: *shot, figures }),
            Err(error) => {
                failed += 1;
                eprintln!("\n{} ({}, {}): {error}", shot.who.title(), shot.cell, shot.pin.title());
            }
        }
    }
    if io::stderr().is_terminal() {
        eprintln!();
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report::json(&rows))?);
    } else {
        print!("{}", report::tables(&rows, &pins, &args.cells, &who));
        print!("{}", promises::table(&rows));
    }
    if failed > 0 { Err(format!("{failed} of {} measurements failed", shots.len()).into()) } else { Ok(()) }
}

/// The processors that this process may use.
fn available() -> Result<Vec<usize>, Failure> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..nix::sched::CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

async fn measure(shot: &Shot, args: &Args, cpus: &[usize]) -> Result<Figures, Failure> {
    let (server_cpu, client_cpu) = shot.pin.cpus(cpus).unwrap_or_default();
    let mut server = start("serve", shot, server_cpu).stdin(Stdio::piped()).spawn()?;
    let address = match timeout(PATIENCE, first_line(&mut server)).await {
        Ok(line) => line?,
        Err(_) => return Err("the server does not say where it listens".into()),
    };
    let mut client = start("call", shot, client_cpu);
    client.args(["--address", &address, "--cell", &shot.cell.to_string()]);
    client.args(["--server", &server.id().unwrap_or_default().to_string()]);
    client.args(["--seconds", &args.seconds.to_string(), "--warm-up", &args.warm_up.to_string()]);
    let time = PATIENCE + Duration::from_secs_f64(args.seconds + args.warm_up);
    let output = timeout(time, client.stderr(Stdio::piped()).output()).await;
    // Its stdin ends, and with it the server. Killed if it does not.
    drop(server.stdin.take());
    let _ = timeout(Duration::from_secs(2), server.wait()).await;
    let output = output.map_err(|_| "the client does not come to an end")??;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned().into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn start(role: &str, shot: &Shot, cpu: Option<usize>) -> Command {
    let mut command = Command::new(env::current_exe().unwrap_or_else(|_| "versus".into()));
    let who = clap::ValueEnum::to_possible_value(&shot.who)
        .map_or(String::new(), |value| value.get_name().to_owned());
    command.args([role, "--who", &who]).stdout(Stdio::piped()).kill_on_drop(true);
    if let Some(cpu) = cpu {
        command.args(["--cpu", &cpu.to_string()]);
    }
    if shot.pin.multi_thread(shot.who) {
        command.arg("--multi-thread");
    }
    command.env_remove(alloc::VARIABLE);
    if let Some(allocator) = shot.who.allocator() {
        command.env(alloc::VARIABLE, allocator);
    }
    command
}

async fn first_line(child: &mut Child) -> Result<String, Failure> {
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout.take(1000)).read_line(&mut line).await?;
    }
    let line = line.trim();
    if line.is_empty() { Err("the server did not start".into()) } else { Ok(line.to_owned()) }
}
