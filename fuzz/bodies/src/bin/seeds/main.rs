//! Writes the inputs that the corpora began with: `seeds DIRECTORY` makes a directory of each target in it.
//!
//! What libFuzzer finds from there is merged with them; see CONTRIBUTING.md.

mod captures;
mod hostile;
mod scripts;

use std::{fs, path::Path};

/// A target and an input of it.
type Seed = (&'static str, Vec<u8>);

fn main() -> std::io::Result<()> {
    let directory = std::env::args().nth(1).expect("usage: seeds DIRECTORY");
    let mut seeds = captures::seeds();
    seeds.extend(hostile::seeds());
    seeds.extend(scripts::seeds());
    for (number, (target, input)) in seeds.iter().enumerate() {
        let body = iscsi_fuzz_bodies::target(target).expect("a target of this name");
        // A seed that fails is a finding, and no seed.
        body(input);
        let directory = Path::new(&directory).join(target);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(format!("seed-{number:04}")), input)?;
    }
    println!("{} seeds", seeds.len());
    Ok(())
}
