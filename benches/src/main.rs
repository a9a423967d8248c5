//! Counts what the data path costs, and compares it with other initiators; see `docs/performance.md`.

mod commands;
mod count;
mod failure;
mod machine;
mod rig;
mod target;
mod workloads;

use std::{alloc::System, process::ExitCode};

use clap::{Parser, Subcommand};
use serde::Serialize;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use failure::Failure;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Counts what the data path costs.
#[derive(Debug, Parser)]
#[command(name = "benches", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Name the workloads
    List,
    /// Do so many operations of one workload and print what they allocated
    Run {
        /// Which
        name: String,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 1000)]
        ops: u64,
    },
    /// Count instructions and allocations per operation and print them
    Count {
        /// Only workloads with this in their names
        #[arg(value_name = "PART")]
        only: Option<String>,
    },
    /// Compare the counts with the kept ones; fails where something costs more
    Check,
    /// Count, and keep the counts
    Record,
}

fn main() -> ExitCode {
    match run(&Args::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// What a run allocated, in one line of JSON.
#[derive(Debug, Serialize)]
struct Ran {
    ops: u64,
    allocations: usize,
    bytes: usize,
}

fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Count { only } => commands::count(only.as_deref()),
        Command::Check => commands::check(),
        Command::Record => commands::record(),
        Command::List => {
            for workload in workloads::all() {
                println!("{:34} {}", workload.name, workload.about);
            }
            Ok(())
        }
        Command::Run { name, ops } => {
            let workload = workloads::find(name)?;
            let region = Region::new(ALLOCATOR);
            (workload.run)(*ops)?;
            let change = region.change();
            let ran = Ran {
                ops: *ops,
                allocations: change.allocations + change.reallocations,
                bytes: change.bytes_allocated,
            };
            println!("{}", serde_json::to_string(&ran).map_err(Failure::new)?);
            Ok(())
        }
    }
}
