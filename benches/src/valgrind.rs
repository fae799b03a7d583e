//! Counting instructions, by callgrind.

use crate::Failure;
use std::{env, ffi::OsStr, process::Command};

/// How many instructions this program executes when it is run with these arguments. With `within`, only those
/// inside functions whose name matches that pattern (`*` stands for anything), and whatever they call.
///
/// The count includes start-up: take the difference of two runs of different length.
///
/// # Errors
/// If valgrind cannot be run, the program fails under it, or there is no count.
pub fn instructions<A: AsRef<OsStr>>(arguments: &[A], within: Option<&str>) -> Result<u64, Failure> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    if let Some(function) = within {
        command.arg(format!("--toggle-collect={function}"));
    }
    let output = command.arg(env::current_exe()?).args(arguments).output().map_err(|error| {
        format!("valgrind cannot be run ({error}): install it (apt-get install valgrind)")
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("under valgrind the program failed ({}):\n{said}", output.status).into());
    }
    collected(&said).ok_or_else(|| format!("callgrind gave no count:\n{said}").into())
}

/// How many instructions one more iteration takes, where `arguments` are those for so many iterations.
///
/// # Errors
/// As [`instructions`].
pub fn per_iteration(
    few: u64,
    many: u64,
    within: Option<&str>,
    arguments: impl Fn(u64) -> Vec<String>,
) -> Result<f64, Failure> {
    let short = instructions(&arguments(few), within)?;
    let long = instructions(&arguments(many), within)?;
    let more = long.checked_sub(short).ok_or("more iterations took fewer instructions")?;
    Ok(more as f64 / (many - few) as f64)
}

/// From callgrind's last lines: `==123== Collected : 4567`.
fn collected(said: &str) -> Option<u64> {
    said.lines().find_map(|line| line.split_once("Collected :"))?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found() {
        let said = "==7== Events    : Ir\n==7== Collected : 182034\n==7== \n";
        assert_eq!(collected(said), Some(182_034));
        assert_eq!(collected("==7== Events : Ir"), None);
    }
}
