//! Clients and servers in virtual time: how often calls succeed, and how long they take, by who says where they go.
//!
//! ```text
//! simulate [--scenario NAME] [--seed N] [--out DIR]
//! ```

use std::process::ExitCode;
use towpath_simulation::Failure;

fn main() -> Result<ExitCode, Failure> {
    towpath_simulation::main()
}
