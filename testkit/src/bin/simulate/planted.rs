//! The hunt for planted bugs: the proof that the simulator finds what there is.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use iscsi_proto::planted::{Bug, Planted};
use iscsi_testkit::simulate::{Plan, Run, run};

use crate::args::Args;

/// Looks for each of the bugs and prints the table; whether all were found.
pub(crate) fn hunt(args: &Args) -> bool {
    println!("| bug | breaks | row | seeds | found by |");
    println!("|---|---|---|---|---|");
    let mut missed = Vec::new();
    for &bug in &args.planted {
        let (name, breaks, row) = (bug.name(), bug.breaks(), bug.row());
        match first(args, bug) {
            Some(run) => {
                let seeds = run.seed - args.from + 1;
                println!(
                    "| {name} | {breaks} | {row} | {seeds} | {} |",
                    found_by(&run)
                );
            }
            None => {
                println!("| {name} | {breaks} | {row} | not in {} | |", args.seeds);
                missed.push(name);
            }
        }
    }
    if missed.is_empty() {
        println!("\nall {} were found", args.planted.len());
    } else {
        println!("\nnot found: {}", missed.join(", "));
    }
    missed.is_empty()
}

/// The first seed that finds the bug.
fn first(args: &Args, bug: Bug) -> Option<Run> {
    let next = AtomicU64::new(args.from);
    let until = args.from + args.seeds;
    let found: Mutex<Option<Run>> = Mutex::new(None);
    let best = || {
        let found = found.lock().unwrap_or_else(PoisonError::into_inner);
        found.as_ref().map_or(until, |run| run.seed)
    };
    thread::scope(|scope| {
        for _ in 0..args.jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= best() {
                        return;
                    }
                    let mut plan = Plan::draw(seed);
                    plan.planted = Planted::with(bug);
                    let run = run(&plan);
                    if run.findings.is_empty() {
                        continue;
                    }
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    if found.as_ref().is_none_or(|other| seed < other.seed) {
                        *found = Some(run);
                    }
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The names of the findings, and the first line of the first.
fn found_by(run: &Run) -> String {
    let mut names: Vec<_> = run.findings.iter().map(|finding| finding.name()).collect();
    names.sort_unstable();
    names.dedup();
    let first = run.findings.first().map(ToString::to_string);
    let line = first.as_deref().and_then(|text| text.lines().next());
    let line = line.unwrap_or_default().replace('|', "/");
    format!("{}: {line}", names.join(" "))
}
