//! One world, told in full.

use iscsi_testkit::simulate::{Plan, Run, Shrunk, shrink};

use crate::{
    args::{Args, Failure},
    summary,
};

/// Lines of a trace that are shown of a world among many.
const SHOWN: usize = 60;

/// Runs it and tells everything; whether a rule was broken.
pub(crate) fn run(args: &Args, seed: u64) -> Result<bool, Failure> {
    let drawn = Plan::draw(seed);
    let plan = args.edits.apply(&drawn)?;
    #[cfg(feature = "__planted")]
    let plan = match args.planted.first() {
        Some(&bug) => planted(plan, bug),
        None => plan,
    };
    println!("{plan}\n");
    let run = Run::traced(&plan);
    println!("{run}");
    println!("hash {:016x}", run.hash);
    let broken = !run.findings.is_empty();
    if broken && args.shrink {
        shrink_it(&run);
    }
    if args.json {
        println!(
            "{}",
            summary::json(1, u64::from(broken), &run.tallies, None, None)
        );
    }
    Ok(broken)
}

#[cfg(feature = "__planted")]
fn planted(mut plan: Plan, bug: iscsi_proto::planted::Bug) -> Plan {
    plan.planted = iscsi_proto::planted::Planted::with(bug);
    plan
}

/// What there is to say of a world that broke a rule.
pub(crate) fn report(run: &Run) {
    println!("\n{}", Plan::draw(run.seed));
    tell(run);
    println!("replay it with: {}", command(run.seed, ""));
}

/// The end of a trace, and the violations.
fn tell(run: &Run) {
    let skipped = run.trace.len().saturating_sub(SHOWN);
    for line in &run.trace[skipped..] {
        println!("{line}");
    }
    for finding in &run.findings {
        println!("VIOLATION {finding}");
    }
}

/// Shrinks the world of `run` and tells what is left.
pub(crate) fn shrink_it(run: &Run) {
    let Some(finding) = run.findings.first() else {
        return;
    };
    let drawn = Plan::draw(run.seed);
    match shrink(&drawn, &finding.name(), 300) {
        Some(Shrunk {
            plan,
            run,
            runs,
            edits,
        }) => {
            println!("\nshrunk in {runs} runs to:\n{plan}");
            tell(&run);
            println!("replay it with: {}", command(run.seed, &edits.to_string()));
        }
        None => println!(
            "it does not break {} again: the run is not deterministic",
            finding.name()
        ),
    }
}

fn command(seed: u64, edits: &str) -> String {
    let command =
        format!("cargo run --release -p iscsi-testkit --bin simulate -- --seed {seed} {edits}");
    command.trim_end().into()
}
