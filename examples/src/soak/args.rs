//! The command line.

use clap::Parser;
use std::time::Duration;

/// Clients and servers over TCP on loopback, with connections that are killed, stalled and fed with garbage,
/// deadlines, cancellations, drains and restarts, until the time is up; then the books.
///
/// Exit: 0 the books balance and memory is steady, 1 they do not or it is not, 2 the command line is not usable.
#[derive(Parser, Debug, Clone)]
#[command(name = "soak", version)]
pub(crate) struct Args {
    /// How long.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    minutes: u64,

    /// How long, for a short one.
    #[arg(long, value_name = "N", conflicts_with = "minutes", value_parser = clap::value_parser!(u64).range(1..=600_000))]
    seconds: Option<u64>,

    /// Of the faults and of the calls. (Which of two comes first is not in its hands.)
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Everything on one thread, instead of tokio's threads.
    #[arg(long)]
    pub(crate) current_thread: bool,

    /// Servers, each with a proxy in front of it.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) servers: u16,

    /// Clients, each of which calls every server.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) clients: u16,

    /// Callers of each client, which make one call after another.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) callers: u16,
}

impl Args {
    pub(crate) fn duration(&self) -> Duration {
        self.seconds.map_or(Duration::from_secs(self.minutes * 60), Duration::from_secs)
    }
}
