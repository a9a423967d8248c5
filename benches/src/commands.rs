//! `count`, `check` and `record`.

use std::{
    io::{IsTerminal, stderr},
    path::{Path, PathBuf},
};

use crate::{
    count::{self, Counts, Environment, Kept, What},
    failure::Failure,
    workloads,
};

/// The directory of the sources, which is where the counts are kept.
const HERE: &str = env!("CARGO_MANIFEST_DIR");

fn file() -> PathBuf {
    Path::new(HERE).join("counts.json")
}

fn here() -> Result<Environment, Failure> {
    let here = Path::new(HERE);
    Environment::here(here.parent().unwrap_or(here))
}

/// Counts of an unoptimised build, or of one with other settings, say nothing.
fn require_profile() -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(Failure::new)?;
    let profile = program.parent().and_then(Path::file_name);
    if profile.is_some_and(|name| name == "counts") {
        return Ok(());
    }
    Err(Failure::new(
        "counts are those of one build profile: \
         cargo run --profile counts -p iscsi-benches -- check (or count, or record)",
    ))
}

/// Prints what everything costs.
pub(crate) fn count(only: Option<&str>) -> Result<(), Failure> {
    require_profile()?;
    let counted = count::count(What::Instructions, only, stderr().is_terminal())?;
    print(&counted);
    Ok(())
}

fn print(counted: &[(&'static str, Counts)]) {
    println!(
        "{:34} {:>13} {:>12} {:>12}",
        "per operation", "instructions", "allocations", "bytes"
    );
    for (name, counts) in counted {
        let instructions = counts
            .instructions
            .map_or_else(String::new, |n| n.to_string());
        let (allocations, bytes) = (counts.allocations, counts.bytes);
        println!("{name:34} {instructions:>13} {allocations:>12} {bytes:>12}");
    }
}

/// Compares with what is kept.
///
/// More instructions than 3 % above, any allocation more, and a workload that is new or gone are
/// failures. What is better is said and no failure: a change that makes one thing faster may be
/// finished before it is recorded.
pub(crate) fn check() -> Result<(), Failure> {
    require_profile()?;
    let kept = Kept::read(&file())?;
    let differences = kept.environment.differences(&here()?);
    let what = if differences.is_empty() {
        What::Instructions
    } else {
        println!("SKIPPED: instructions are not compared, only allocations are:");
        for difference in &differences {
            println!("  {difference}");
        }
        println!("  `cargo run --profile counts -p iscsi-benches -- record` keeps those of here.");
        What::Allocations
    };
    let counted = count::count(what, None, stderr().is_terminal())?;
    print(&counted);
    let mut verdict = count::compare(&kept.per_operation, &counted);
    for name in count::gone(&kept.per_operation, |name| workloads::find(name).is_ok()) {
        let line = format!("{name}: kept, and there is no such workload; `benches record`");
        verdict.worse.push(line);
    }
    for line in &verdict.better {
        println!("better: {line}; please keep it with `benches record`");
    }
    for line in &verdict.worse {
        println!("WORSE: {line}");
    }
    match verdict.worse.len() {
        0 => Ok(()),
        n => Err(Failure::new(format!(
            "{n} counts are worse than those in {}. Make it cheaper, or say in the commit why it \
             has to cost more, and keep the new counts with \
             `cargo run --profile counts -p iscsi-benches -- record`",
            file().display()
        ))),
    }
}

/// Counts, and keeps the counts.
pub(crate) fn record() -> Result<(), Failure> {
    require_profile()?;
    let environment = here()?;
    let counted = count::count(What::Instructions, None, stderr().is_terminal())?;
    print(&counted);
    let per_operation = counted
        .into_iter()
        .map(|(name, counts)| (name.to_owned(), counts))
        .collect();
    let kept = Kept {
        environment,
        per_operation,
    };
    kept.write(&file())?;
    println!("kept in {}", file().display());
    Ok(())
}
