//! From a plan to what became of it.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use iscsi_proto::ids::Isid;
use mpio::core::WriterMode;

use super::{
    calm,
    check::{Ghosts, Row, Rules, Violation, check, invariants, secrets},
    faults,
    finding::Finding,
    host, marginal, orders,
    plan::Plan,
    tally::Tallies,
    verdict,
    world::{SECRET, TARGET_SECRET, World, runtime},
};
use crate::target::{TargetCore, Violation as Broken};

/// One session's login attempts in a second: one at once, then after 100 ms, 200 ms and 400 ms at least,
/// jitter and a second session of the same slot (a device that was opened again) included. An attempt
/// with CHAP is two logins where the first is refused: the second offers the algorithms that older
/// targets know.
const LOGINS_A_SECOND: usize = 10;

/// A world lives this long at least.
const LEAST: Duration = Duration::from_secs(60);

/// What became of a plan.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Run {
    /// The plan's seed.
    pub seed: u64,
    /// A hash of everything that happened: equal for equal runs.
    pub hash: u64,
    /// What was done.
    pub tallies: Tallies,
    /// What is wrong, above all the rules that were broken.
    pub findings: Vec<Finding>,
    /// The last things that happened, one per line, if anything is wrong.
    pub trace: Vec<String>,
}

impl fmt::Display for Run {
    /// The trace, and the findings.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        write!(f, "seed {}: {} findings", self.seed, self.findings.len())
    }
}

/// Carries `plan` out. Whatever panics meanwhile is a violation (`panic`), with the trace up to it.
#[must_use]
pub fn run(plan: &Plan) -> Run {
    run_with(plan, false)
}

impl Run {
    /// Carries `plan` out and keeps the whole trace.
    #[must_use]
    pub fn traced(plan: &Plan) -> Self {
        run_with(plan, true)
    }
}

fn run_with(plan: &Plan, traced: bool) -> Run {
    let sim = runtime(plan);
    let world = match World::build(plan, &sim) {
        Ok(world) => world,
        Err(error) => {
            let findings = vec![Finding::Plan(error.to_string())];
            return Run {
                seed: plan.seed,
                hash: 0,
                tallies: Tallies::default(),
                findings,
                trace: Vec::new(),
            };
        }
    };
    world.board.with(|state| state.ring.unbounded = traced);
    let lived = catch_unwind(AssertUnwindSafe(|| sim.block_on(live(&world))));
    let hash = sim.trace_hash();
    let elapsed = sim.elapsed();
    // The tasks go while the world is still there; one of them may be what panicked.
    let ended = catch_unwind(AssertUnwindSafe(|| drop(sim)));
    for panic in [lived.err(), ended.err()].into_iter().flatten() {
        let finding = Finding::Panic(message(&*panic));
        world.board.with(|state| state.find(finding));
    }
    judge(&world, hash, elapsed, traced)
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").into()
}

async fn live(world: &Arc<World>) {
    for index in 0..world.board.with(|state| state.devices.len()) {
        if let Err(error) = world.open(index).await {
            let account = format!("device {index} cannot be opened before any fault: {error}");
            world.board.with(|state| state.violate(Row::L2, account));
            return;
        }
    }
    host::begin(world);
    faults::storm(world).await;
    faults::heal(world);
    calm::requests_end(world).await;
    calm::paths_return(world).await;
    marginal::paths_are_sound(world).await;
    calm::preferred_returns(world).await;
    orders::calm::keys_are_right(world).await;
    let left = LEAST.saturating_sub(world.handle.elapsed());
    world.handle.sleep(left).await;
    calm::quiet_comes(world).await;
    calm::audit(world).await;
    calm::close(world).await;
}

/// Looks at the history, at the target's list and at the memory.
fn judge(world: &World, hash: u64, elapsed: Duration, traced: bool) -> Run {
    let plan = &world.plan;
    let core = world.target.core();
    let mut tallies = world.board.with(|state| std::mem::take(&mut state.tallies));
    tallies.simulated = elapsed;
    let met = world.handle.net().counts().named();
    let met = met.into_iter().filter(|(_, count)| *count > 0);
    tallies.met.extend(met);
    tallies.late_writes = core.late_writes();
    for portal in 0..plan.portals.len() {
        let counters = core.counters(portal);
        tallies.logins += counters.logins;
        tallies.commands += counters.commands;
    }
    world.board.with(|state| {
        for (portal, violation) in core.violations() {
            // Over a network that holds things up nobody can be in time.
            let is_excused = plan.holds_up() && matches!(violation, Broken::Late(_));
            let row = match violation {
                Broken::Unproven => Row::I13,
                _ => Row::I6,
            };
            if !is_excused {
                state.violate(row, format!("portal {portal}: {violation}"));
            }
        }
        let unregistered = core.unregistered_writes();
        if plan.device.fence.preempt.is_some() && unregistered > 0 {
            let account = format!("{unregistered} writes by nexuses that had not been registered");
            state.violate(Row::I16, account);
        }
        if let Err(violation) = logins_keep_their_pace(plan, core, &state.restarts) {
            state.find(Finding::Rule(violation));
        }
        for violation in verdict::judge(plan, core, state) {
            state.find(Finding::Rule(violation));
        }
        let unearned = state.unearned.take();
        let unearned = unearned.as_ref().map(|(id, error)| (*id, error.as_str()));
        if let Err(violation) = invariants::no_error_seen(true, unearned) {
            state.find(Finding::Rule(violation));
        }
        for (id, guest) in std::mem::take(&mut state.guests) {
            if let Some(what) = guest.misused() {
                state.violate(Row::I5, format!("memory of {id} was {what}"));
            }
        }
        let healthy = u64::try_from(plan.calm.as_nanos()).unwrap_or(u64::MAX);
        let is_whole = !state
            .findings
            .iter()
            .any(|finding| matches!(finding, Finding::Panic(_)));
        let linear = check(&state.history, rules(plan)).map(drop);
        // Of a world that panicked, nothing can be said about what would have ended.
        let ended = if is_whole {
            invariants::all_ended(&state.history, healthy, &plan.bound())
        } else {
            Ok(())
        };
        for violation in [linear, ended].into_iter().filter_map(Result::err) {
            state.find(Finding::Rule(violation));
        }
        if plan.session.chap {
            let secrets = [SECRET, TARGET_SECRET];
            let mut said = state.ring.lines(plan, &state.history);
            said.push(state.hosts.iter().fold(String::new(), |text, host| {
                let initiator = &host.initiator;
                text + &format!("{initiator:?} {:?}", initiator.sessions())
            }));
            if let Err(violation) = secrets::are_kept(&secrets, &said) {
                state.find(Finding::Rule(violation));
            }
        }
        let told = traced || !state.findings.is_empty();
        let lines = || state.ring.lines(plan, &state.history);
        Run {
            seed: plan.seed,
            hash: fold(hash, &tallies),
            trace: if told { lines() } else { Vec::new() },
            tallies,
            findings: std::mem::take(&mut state.findings),
        }
    })
}

/// L4, for each session by itself: the first two attempts follow a loss at once, then they back off. A host
/// that starts again knows of no attempt of its former life.
fn logins_keep_their_pace(
    plan: &Plan,
    core: &TargetCore,
    restarts: &[u64],
) -> Result<(), Violation> {
    const SECOND: u64 = 1_000_000_000;
    let each = if plan.session.chap { 2 } else { 1 };
    let mut attempts: BTreeMap<(usize, String, Isid), Vec<u64>> = BTreeMap::new();
    for attempt in core.login_attempts() {
        let at = u64::try_from(attempt.at.as_nanos()).unwrap_or(u64::MAX);
        let session = (attempt.portal, attempt.initiator, attempt.isid);
        attempts.entry(session).or_default().push(at);
    }
    attempts
        .iter()
        .try_for_each(|((portal, initiator, isid), times)| {
            let whose = format!("portal {portal}, {initiator}, ISID {isid}");
            let life = |at: u64| restarts.partition_point(|restart| *restart <= at);
            let most = each * LOGINS_A_SECOND;
            times
                .chunk_by(|a, b| life(*a) == life(*b))
                .try_for_each(|of_a_life| {
                    invariants::no_login_storm(&whose, of_a_life, SECOND, most)
                })
        })
}

/// A device with a fence holds back what overlaps a write that may still land. One that shares its unit, and
/// whose fence may find no proof, does so until it has told the caller, who is to take care from then on. Programs
/// take care that lock what they write; the others here take none.
fn rules(plan: &Plan) -> Rules {
    let fence = &plan.device.fence;
    let gives_up = fence.mode == WriterMode::Shared && fence.quiesce.is_none() && !plan.work.locked;
    let ghosts = if !fence.proves() {
        Ghosts::MayLandAnyTime
    } else if gives_up {
        Ghosts::MayLandAgain
    } else {
        Ghosts::DeadByNextAck
    };
    Rules { ghosts }
}

/// The network's hash says what was scheduled; the tallies, what the callers saw of it.
fn fold(hash: u64, tallies: &Tallies) -> u64 {
    let words = [
        tallies.checked,
        tallies.failed,
        tallies.dropped,
        tallies.commands,
        tallies.failovers,
    ];
    words.iter().fold(hash, |hash, word| {
        (hash ^ word)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(23)
    })
}
