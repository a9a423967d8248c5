//! Counting: every workload in a process of its own, at two numbers of operations; the difference,
//! divided, is what one operation costs, and whatever was set up drops out.

mod callgrind;
mod environment;
mod kept;
mod verdict;

use std::{
    io::{self, Write},
    path::Path,
    process::Command,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use serde::Deserialize;

pub(crate) use self::{
    environment::Environment,
    kept::{Counts, Kept},
    verdict::{compare, gone},
};
use crate::{
    failure::Failure,
    workloads::{self, Workload},
};

/// What `benches run` prints.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Ran {
    allocations: u64,
    bytes: u64,
}

/// What is to be counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// Allocations alone, which are the same whatever compiled them.
    Allocations,
    /// Instructions as well, by valgrind.
    Instructions,
}

/// Counts every workload whose name contains `only`, as many at a time as there are processors.
/// `progress` gets each as it is done.
///
/// # Errors
///
/// The first thing that went wrong.
pub(crate) fn count(
    what: What,
    only: Option<&str>,
    progress: bool,
) -> Result<Vec<(&'static str, Counts)>, Failure> {
    let program = std::env::current_exe().map_err(Failure::new)?;
    let chosen: Vec<_> = workloads::all()
        .filter(|workload| only.is_none_or(|part| workload.name.contains(part)))
        .collect();
    if chosen.is_empty() {
        return Err(Failure::new(
            "no workload has that in its name; see `benches list`",
        ));
    }
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let counting = || {
        while let Some(workload) = chosen.get(next.fetch_add(1, Relaxed)) {
            let counts = of(&program, workload, what);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            if progress {
                let line = format!("\r{} of {} counted", done.len() + 1, chosen.len());
                // A closed standard error is no reason to stop counting.
                let _unprinted = io::stderr().write_all(line.as_bytes());
            }
            done.push((workload.name, counts));
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads.min(chosen.len()) {
            scope.spawn(counting);
        }
    });
    if progress {
        let _unprinted = io::stderr().write_all(b"\n");
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(name, _)| chosen.iter().position(|workload| workload.name == *name));
    done.into_iter()
        .map(|(name, counts)| Ok((name, counts.map_err(|failure| failure.during(name))?)))
        .collect()
}

fn of(program: &Path, workload: &Workload, what: What) -> Result<Counts, Failure> {
    let [few, many] = [workload.warm, workload.warm + workload.counted].map(|ops| {
        let run = ["run", workload.name, "--ops", &ops.to_string()].map(str::to_owned);
        match what {
            What::Allocations => {
                let mut command = Command::new(program);
                command.args(run).env_clear();
                output(&mut command).and_then(|(stdout, _)| Ok((parse(&stdout)?, None)))
            }
            What::Instructions => {
                let (stdout, instructions) = callgrind::run(program, &run)?;
                Ok((parse(&stdout)?, Some(instructions)))
            }
        }
    });
    let ((few, few_instructions), (many, many_instructions)) = (few?, many?);
    let per_op = |few: u64, many: u64| many.saturating_sub(few) as f64 / workload.counted as f64;
    Ok(Counts {
        instructions: few_instructions
            .zip(many_instructions)
            .map(|(few, many)| round(per_op(few, many), 10.0)),
        allocations: round(per_op(few.allocations, many.allocations), 1000.0),
        bytes: round(per_op(few.bytes, many.bytes), 10.0),
    })
}

fn round(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

fn parse(stdout: &str) -> Result<Ran, Failure> {
    serde_json::from_str(stdout.trim())
        .map_err(|error| Failure::new(format!("`benches run` printed {stdout:?}: {error}")))
}

/// Runs it to its end; what it printed to standard output and standard error.
///
/// # Errors
///
/// If it cannot be started or fails, with the end of what it said.
fn output(command: &mut Command) -> Result<(String, String), Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| Failure::new(format!("{name} cannot be started: {error}")))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        return Ok((stdout, stderr));
    }
    let last = stderr.lines().last().unwrap_or("it said nothing");
    Err(Failure::new(format!("{name}: {}: {last}", output.status)))
}
