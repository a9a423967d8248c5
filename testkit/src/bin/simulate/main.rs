//! Runs simulated worlds, seed after seed, and says which rules were broken.
//!
//! ```text
//! cargo run --release -p iscsi-testkit --bin simulate -- --seeds 1000
//! cargo run --release -p iscsi-testkit --bin simulate -- --seed 17
//! ```

mod args;
mod cpu;
mod many;
mod one;
#[cfg(feature = "__planted")]
mod planted;
mod summary;

use std::process::ExitCode;

use args::{Args, Ask};

fn main() -> ExitCode {
    let args = match Args::parse() {
        Ok(Ask::Run(args)) => args,
        Ok(Ask::Help) => {
            println!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("simulate: {error}; see --help");
            return ExitCode::from(2);
        }
    };
    #[cfg(feature = "__planted")]
    if !args.planted.is_empty() && args.seed.is_none() {
        return match planted::hunt(&args) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        };
    }
    if args.hashes {
        many::hashes(&args);
        return ExitCode::SUCCESS;
    }
    let broken = match args.seed {
        Some(seed) => one::run(&args, seed),
        None => many::run(&args),
    };
    match broken {
        Ok(false) => ExitCode::SUCCESS,
        Ok(true) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("simulate: {error}; see --help");
            ExitCode::from(2)
        }
    }
}
