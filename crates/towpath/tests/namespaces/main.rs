//! Clients and servers in two network namespaces, with a bad line between them: 50 ms each way, 1 % loss,
//! packets that overtake each other, and a cut of 5 s. TCP is the kernel's on both sides; the line is a TUN
//! device in each namespace and this process in between, since `tc netem` is not in every kernel.
//!
//! It needs Linux, root, `/dev/net/tun` and `ip` (iproute2); where one of them is missing, a line says so.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod line;
mod peers;
mod spaces;

use line::Line;
use peers::Report;
use spaces::Spaces;
use std::{env, io::Write, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::Command,
    time::{sleep, timeout},
};

/// Which side this process plays, if it was started by the test.
const ROLE: &str = "TOWPATH_NAMESPACE_ROLE";

const BEFORE: Duration = Duration::from_secs(6);
const CUT: Duration = Duration::from_secs(5);
const AFTER: Duration = Duration::from_secs(9);

/// This program again, as `role`.
fn program(spaces: &Spaces, space: usize, role: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &spaces.names[space]]).arg(env::current_exe().unwrap());
    command.args(["--exact", "a_bad_line_and_a_cut", "--nocapture"]).env(ROLE, role);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

/// Past the capture of the test's output: it is to be seen.
fn tell(text: &str) {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

#[test]
fn a_bad_line_and_a_cut() {
    let play = async {
        match env::var(ROLE).as_deref() {
            Ok("server") => peers::server().await,
            Ok("client") => peers::client(BEFORE + CUT + AFTER).await,
            _ => test().await,
        }
    };
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(play);
}

async fn test() {
    let (spaces, ends) = match Spaces::new() {
        Ok(made) => made,
        Err(why) => {
            tell(&format!("skipped: two namespaces with a bad line between them: {why}"));
            return;
        }
    };
    let line = Line::new(ends);
    let mut server = program(&spaces, 1, "server").spawn().unwrap();
    let mut said = BufReader::new(server.stdout.take().unwrap()).lines();
    let first = |said: &str| said.contains("listening").then_some(());
    timeout(Duration::from_secs(20), async {
        while first(&said.next_line().await.unwrap().unwrap()).is_none() {}
    })
    .await
    .expect("the server does not come up");

    let mut client = program(&spaces, 0, "client").spawn().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let begins = async { while !lines.next_line().await.unwrap().unwrap().contains("begins") {} };
    timeout(Duration::from_secs(20), begins).await.expect("the client does not come up");
    sleep(BEFORE).await;
    line.cut(true);
    sleep(CUT).await;
    line.cut(false);
    let mut rest = String::new();
    let ended = timeout(AFTER + Duration::from_secs(20), async {
        lines.into_inner().read_to_string(&mut rest).await.unwrap();
        client.wait().await.unwrap()
    });
    assert!(ended.await.expect("the client hangs").success(), "{rest}");
    // The end of its input tells the server to drain.
    drop(server.stdin.take());
    let mut left = String::new();
    let drained = timeout(Duration::from_secs(40), async {
        while let Some(line) = said.next_line().await.unwrap() {
            left += &line;
        }
    });
    drained.await.expect("the server does not drain");

    let report = Report::read(&rest);
    let (sent, lost) = line.counts();
    let summary = report.summary(BEFORE, CUT);
    tell(&format!("{summary}\npackets: {sent} carried, {lost} lost"));
    report.judge(BEFORE, CUT);
    assert!(lost > 0 && sent > 1_000, "the line was no bad one: {sent} {lost}");
    assert!(left.contains("handlers left: 0"), "{left}");
}
