//! The soak: `cargo run --release --example soak -- --help`. It is described in `docs/proof.md`, and lives in
//! `src/soak`.

use std::{io, process::ExitCode};

fn main() -> ExitCode {
    let code =
        towpath_examples::soak::run(std::env::args_os(), &mut io::stdout().lock(), &mut io::stderr().lock());
    ExitCode::from(code)
}
