//! Many worlds, on several threads.

use std::{
    io::{IsTerminal, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use iscsi_testkit::simulate::{Plan, Run, Tallies, run as run_world};

use crate::{
    args::{Args, Failure},
    cpu, one, summary,
};

/// Worlds that are told of in full; of the others only the seeds.
const TOLD: usize = 3;

#[derive(Default)]
struct Outcome {
    tallies: Tallies,
    broken: Vec<u64>,
    differing: Vec<u64>,
    first: Option<Run>,
}

/// Runs all seeds; whether a rule was broken.
pub(crate) fn run(args: &Args) -> Result<bool, Failure> {
    let started = cpu::clock();
    let cpu_started = cpu::time();
    let next = AtomicU64::new(0);
    let done = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let outcome = Mutex::new(Outcome::default());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..args.jobs)
            .map(|_| scope.spawn(|| work(args, &next, &done, &outcome)))
            .collect();
        let progress = scope.spawn(|| watch(args, &done, &over));
        for worker in workers {
            if worker.join().is_err() {
                eprintln!("simulate: a worker panicked outside of any world");
            }
        }
        over.store(true, Ordering::Relaxed);
        progress.thread().unpark();
    });
    let wall = cpu::clock().saturating_duration_since(started);
    let cpu = cpu::time().zip(cpu_started).map(|(now, then)| now - then);
    let outcome = outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
    let broken = outcome.broken.len() + outcome.differing.len();
    print!(
        "{}",
        summary::table(args, &outcome.tallies, wall, cpu, broken)
    );
    for seed in &outcome.differing {
        println!("seed {seed}: two runs of one seed differ (I15)");
    }
    if let Some(run) = outcome.first.filter(|_| args.shrink) {
        one::shrink_it(&run);
    }
    if args.json {
        let broken = broken as u64;
        println!(
            "{}",
            summary::json(args.seeds, broken, &outcome.tallies, Some(wall), cpu)
        );
    }
    let finished = done.load(Ordering::Relaxed) == args.seeds;
    Ok(broken > 0 || !finished)
}

/// Runs all seeds, or the one, and tells their hashes.
pub(crate) fn hashes(args: &Args) {
    let seeds = match args.seed {
        Some(seed) => seed..seed + 1,
        None => args.from..args.from + args.seeds,
    };
    for seed in seeds {
        println!("{seed} {:016x}", run_world(&Plan::draw(seed)).hash);
    }
}

fn work(args: &Args, next: &AtomicU64, done: &AtomicU64, outcome: &Mutex<Outcome>) {
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= args.seeds {
            return;
        }
        let seed = args.from + index;
        let plan = Plan::draw(seed);
        let run = run_world(&plan);
        // Spread over all seeds: every hundredth, with one percent.
        let twice = index * args.determinism % 100 < args.determinism;
        let differs = twice && run_world(&plan).hash != run.hash;
        let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.tallies.add(&run.tallies);
        if differs {
            outcome.differing.push(seed);
        }
        if !run.findings.is_empty() {
            outcome.broken.push(seed);
            if outcome.broken.len() <= TOLD {
                one::report(&run);
            } else {
                println!("seed {seed}: {}", run.findings[0]);
            }
            outcome.first.get_or_insert(run);
        }
        drop(outcome);
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Tells a person at a terminal how far it is.
fn watch(args: &Args, done: &AtomicU64, over: &AtomicBool) {
    let started = cpu::clock();
    let interval = if std::io::stderr().is_terminal() {
        Duration::from_millis(500)
    } else {
        Duration::from_secs(30)
    };
    loop {
        thread::park_timeout(interval);
        if over.load(Ordering::Relaxed) {
            break;
        }
        let done = done.load(Ordering::Relaxed);
        let passed = cpu::clock().saturating_duration_since(started);
        let rate = done as f64 / passed.as_secs_f64();
        let left = (args.seeds - done) as f64 / rate;
        let end = if std::io::stderr().is_terminal() {
            "\x1b[K\r"
        } else {
            "\n"
        };
        eprint!(
            "{done} of {} seeds, {rate:.1} a second, {left:.0} s left{end}",
            args.seeds
        );
        // A terminal that is gone is no reason to stop.
        let _flushed = std::io::stderr().flush();
    }
}
