//! The program `towpath`: calls methods from a shell, pings services, lists their methods and endpoints, shows what a process's
//! clients do, measures services, serves a few methods to try things on, keeps a registry.

mod args;
mod bench;
mod body;
mod call;
mod endpoints;
mod exit;
mod listen;
mod methods;
mod ping;
mod place;
mod registry;
mod say;
mod serve;
mod span;
mod stop;
mod tls;
mod token;
mod top;
mod usage;

use args::{Args, Command};
use clap::Parser;
use exit::Failure;
use std::{future::Future, process::ExitCode};
use tokio::runtime::Builder;

fn main() -> ExitCode {
    let outcome = match Args::parse().command {
        Command::Call(args) => run(Builder::new_current_thread(), call::run(args)),
        Command::Ping(args) => run(Builder::new_current_thread(), ping::run(args)),
        Command::Methods(args) => run(Builder::new_current_thread(), methods::run(args)),
        Command::Endpoints(args) => run(Builder::new_current_thread(), endpoints::run(args)),
        Command::Top(args) => run(Builder::new_current_thread(), top::run(args)),
        Command::Bench(args) => run(Builder::new_multi_thread(), bench::run(args)),
        Command::Serve(args) => run(Builder::new_multi_thread(), serve::run(args)),
        Command::Registry(args) => run(Builder::new_multi_thread(), registry::run(args)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(mut builder: Builder, work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = builder.enable_all().build().map_err(|error| Failure::Other(error.to_string()))?;
    let outcome = runtime.block_on(work);
    // Not waiting for what cannot be cancelled: a look-up of a name takes as long as the system likes.
    runtime.shutdown_background();
    outcome
}
