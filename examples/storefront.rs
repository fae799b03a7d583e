//! The storefront: `cargo run --release --example storefront -- --help`. It is described in the README beside
//! this file, and lives in `src/storefront`.

use std::{io, process::ExitCode};

fn main() -> ExitCode {
    let code = towpath_examples::storefront::run(
        std::env::args_os(),
        &mut io::stdout().lock(),
        &mut io::stderr().lock(),
    );
    ExitCode::from(code)
}
