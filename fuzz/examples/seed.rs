//! Writes the seeds as files, for a fuzzer that is to begin without the corpus.
//!
//! `cargo run --manifest-path fuzz/Cargo.toml --example seed FOLDER` from the root of the repository.

use std::{env, fs, path::Path};

fn main() {
    let folder = env::args().nth(1).expect("the folder for them");
    towpath_fuzz::seeds::each(|target, name, input| {
        let folder = Path::new(&folder).join(target);
        fs::create_dir_all(&folder).expect("a folder for seeds");
        fs::write(folder.join(name), input).expect("a seed is written");
    });
}
