//! The rows that are judged by recorded facts instead of histories.
//!
//! All times are simulated nanoseconds since the start of the run.

use super::{
    history::{History, OpId},
    violation::{Row, Violation, seconds},
};

/// What recovery may take, from the configuration: the bound B of the liveness rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// How long a connection may be silent before it is asked whether it lives.
    pub nop_interval_ns: u64,
    /// How long the answer may take.
    pub nop_timeout_ns: u64,
    /// The longest wait before a login that the target may ask for.
    pub time2wait_ns: u64,
    /// The longest back-off between login attempts.
    pub max_backoff_ns: u64,
    /// How long a login may take.
    pub login_timeout_ns: u64,
    /// How long a command may take.
    pub command_timeout_ns: u64,
    /// How long a write may be held back for a ghost.
    pub fence_ns: u64,
}

impl Bound {
    /// What is allowed for everything that the configuration does not name.
    pub const SLACK_NS: u64 = 10_000_000_000;

    /// The sum of all, and the slack.
    #[must_use]
    pub const fn total_ns(&self) -> u64 {
        self.nop_interval_ns
            + self.nop_timeout_ns
            + self.time2wait_ns
            + self.max_backoff_ns
            + self.login_timeout_ns
            + self.command_timeout_ns
            + self.fence_ns
            + Self::SLACK_NS
    }
}

/// I4 and L1: at the end of a run every request has ended, and none took longer than `bound` from
/// the moment at which both it was asked for and a path was healthy for good.
///
/// # Errors
///
/// The first request that broke this.
pub fn all_ended(history: &History, healthy_from_ns: u64, bound: &Bound) -> Result<(), Violation> {
    for (index, record) in history.records.iter().enumerate() {
        let from = record.invoked.ns.max(healthy_from_ns);
        let late = match &record.ended {
            None => "it never ended".to_owned(),
            Some((at, _)) if at.ns > from + bound.total_ns() => {
                format!("it ended at {}", seconds(at.ns))
            }
            Some(_) => continue,
        };
        return Err(Violation::new(
            Row::L1,
            format!(
                "request {index} ({:?}) was asked for at {}, a path was healthy from {} on, {late}",
                record.op,
                seconds(record.invoked.ns),
                seconds(healthy_from_ns),
            ),
        ));
    }
    Ok(())
}

/// L2: a path that was healed is usable within the bound. `usable_ns`: when it was, if it was.
///
/// # Errors
///
/// It was not, or too late.
pub fn healed_path_is_usable(
    path: &str,
    healed_ns: u64,
    usable_ns: Option<u64>,
    bound: &Bound,
) -> Result<(), Violation> {
    within(
        Row::L2,
        path,
        "healed",
        healed_ns,
        "usable",
        usable_ns,
        bound.total_ns(),
    )
}

/// L5: the preferred paths carry the load again within the bound and the fail-back delay.
///
/// # Errors
///
/// They do not, or did so too late.
pub fn preferred_is_regained(
    group: &str,
    healed_ns: u64,
    regained_ns: Option<u64>,
    failback_ns: u64,
    bound: &Bound,
) -> Result<(), Violation> {
    let allowed = bound.total_ns() + failback_ns;
    within(
        Row::L5,
        group,
        "healed",
        healed_ns,
        "in use",
        regained_ns,
        allowed,
    )
}

/// L3: with all paths dead since `dead_ns`, a request that waits fails within the limit; a second is
/// allowed for its way back. Of a request that was asked for later, pass the later moment.
///
/// # Errors
///
/// It did not end, or too late.
pub fn fails_without_paths(
    request: OpId,
    dead_ns: u64,
    ended_ns: Option<u64>,
    limit_ns: u64,
) -> Result<(), Violation> {
    let name = format!("request {}", request.0);
    let allowed = limit_ns + 1_000_000_000;
    within(
        Row::L3,
        &name,
        "without a path",
        dead_ns,
        "ended",
        ended_ns,
        allowed,
    )
}

fn within(
    row: Row,
    whose: &str,
    from: &str,
    from_ns: u64,
    to: &str,
    to_ns: Option<u64>,
    allowed_ns: u64,
) -> Result<(), Violation> {
    let by = from_ns.saturating_add(allowed_ns);
    let (from_at, by_at) = (seconds(from_ns), seconds(by));
    match to_ns {
        Some(at) if at <= by => Ok(()),
        Some(at) => Err(Violation::new(
            row,
            format!(
                "{whose}: {from} at {from_at}, {to} at {} and due by {by_at}",
                seconds(at)
            ),
        )),
        None => Err(Violation::new(
            row,
            format!("{whose}: {from} at {from_at}, not {to} by {by_at}"),
        )),
    }
}

/// L4, first half: of the login attempts to one portal, `attempts_ns` in order, no more than
/// `burst` lie in any stretch of `step_ns`.
///
/// # Errors
///
/// They do.
pub fn no_login_storm(
    portal: &str,
    attempts_ns: &[u64],
    step_ns: u64,
    burst: usize,
) -> Result<(), Violation> {
    for several in attempts_ns.windows(burst + 1) {
        let (first, last) = (several[0], several[burst]);
        if last - first < step_ns {
            return Err(Violation::new(
                Row::L4,
                format!(
                    "{portal}: {} login attempts between {} and {}: after {} ms",
                    burst + 1,
                    seconds(first),
                    seconds(last),
                    milliseconds_between(several)
                ),
            ));
        }
    }
    Ok(())
}

/// The pauses between moments, in milliseconds, with commas.
fn milliseconds_between(moments: &[u64]) -> String {
    let pauses = moments.windows(2).map(|two| (two[1] - two[0]) / 1_000_000);
    pauses
        .map(|ms| ms.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

/// L6: with a path healthy throughout, no caller saw an error. `error`: the first one.
///
/// # Errors
///
/// There was one.
pub fn no_error_seen(always_a_path: bool, error: Option<(OpId, &str)>) -> Result<(), Violation> {
    match error {
        Some((id, error)) if always_a_path => Err(Violation::new(
            Row::L6,
            format!(
                "request {} failed although a path was healthy: {error}",
                id.0
            ),
        )),
        _ => Ok(()),
    }
}

/// I15: two runs of one seed have the same trace hash.
///
/// # Errors
///
/// They differ.
pub fn same_run(seed: u64, first: u64, second: u64) -> Result<(), Violation> {
    if first == second {
        return Ok(());
    }
    Err(Violation::new(
        Row::I15,
        format!("seed {seed} gave the trace {first:016x}, and then {second:016x}"),
    ))
}

/// I5: memory that nobody may touch any more, filled so that it would be seen.
///
/// Poison what came back from a completed request (guest memory above all: the device had it by
/// reference), and look at it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poison(u8);

impl Poison {
    /// The filling of the `number`-th use of some memory: neighbours differ, so that a store of the
    /// use before the last is seen too.
    #[must_use]
    pub const fn of(number: u64) -> Self {
        Self(0xa0 | (number % 15) as u8)
    }

    /// Fills `memory`.
    pub fn fill(self, memory: &mut [u8]) {
        memory.fill(self.0);
    }

    /// Says whether `memory` is as it was filled.
    ///
    /// # Errors
    ///
    /// The first byte that is not.
    pub fn check(self, whose: &str, memory: &[u8]) -> Result<(), Violation> {
        match memory.iter().position(|&byte| byte != self.0) {
            None => Ok(()),
            Some(at) => Err(Violation::new(
                Row::I5,
                format!("{whose}: byte {at} was stored to after the completion"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::check::{End, Kind, Op};

    const SECOND: u64 = 1_000_000_000;
    const BOUND: Bound = Bound {
        nop_interval_ns: 5 * SECOND,
        nop_timeout_ns: 5 * SECOND,
        time2wait_ns: 2 * SECOND,
        max_backoff_ns: 8 * SECOND,
        login_timeout_ns: 15 * SECOND,
        command_timeout_ns: 30 * SECOND,
        fence_ns: 0,
    };

    fn row(result: Result<(), Violation>) -> Option<Row> {
        result.err().map(|violation| violation.row)
    }

    #[test]
    fn a_request_ends_within_the_bound_of_the_later_of_asking_and_healing() {
        assert_eq!(BOUND.total_ns(), 75 * SECOND);
        let history = |asked, ended: Option<u64>| {
            let mut history = History::new();
            let op = Op {
                client: 1,
                device: 0,
                unit: 0,
                kind: Kind::Flush,
                blocks: 0..0,
            };
            let id = history.invoke(asked, op);
            if let Some(at) = ended {
                history.respond(at, id, End::Flushed);
            }
            history
        };
        let healed = 10 * SECOND;
        for (asked, ended, expected) in [
            (SECOND, Some(85 * SECOND), None),
            (SECOND, Some(85 * SECOND + 1), Some(Row::L1)),
            (20 * SECOND, Some(95 * SECOND), None),
            (20 * SECOND, Some(95 * SECOND + 1), Some(Row::L1)),
            (20 * SECOND, None, Some(Row::L1)),
        ] {
            let found = row(all_ended(&history(asked, ended), healed, &BOUND));
            assert_eq!(found, expected, "{asked} {ended:?}");
        }
    }

    #[test]
    fn what_must_come_back_has_its_time() {
        let by = SECOND + BOUND.total_ns();
        for (at, expected) in [
            (Some(by), None),
            (Some(by + 1), Some(Row::L2)),
            (None, Some(Row::L2)),
        ] {
            let found = row(healed_path_is_usable("p", SECOND, at, &BOUND));
            assert_eq!(found, expected);
        }
        let by = by + 3;
        assert_eq!(
            row(preferred_is_regained("g", SECOND, Some(by), 3, &BOUND)),
            None
        );
        assert_eq!(
            row(preferred_is_regained("g", SECOND, Some(by + 1), 3, &BOUND)),
            Some(Row::L5)
        );
        let id = OpId(7);
        assert_eq!(
            row(fails_without_paths(id, 5, Some(5 + 3 * SECOND), 2 * SECOND)),
            None
        );
        assert_eq!(
            row(fails_without_paths(id, 5, Some(6 + 3 * SECOND), 2 * SECOND)),
            Some(Row::L3)
        );
        assert_eq!(
            row(fails_without_paths(id, 5, None, 2 * SECOND)),
            Some(Row::L3)
        );
    }

    #[test]
    fn storms_are_counted() {
        let attempts = [0, SECOND, 2 * SECOND, 2 * SECOND + 1, 3 * SECOND];
        assert_eq!(
            row(no_login_storm("p", &attempts, SECOND, 1)),
            Some(Row::L4)
        );
        assert_eq!(row(no_login_storm("p", &attempts, SECOND, 3)), None);
        assert_eq!(row(no_login_storm("p", &attempts[..3], SECOND, 1)), None);
    }

    #[test]
    fn an_error_is_one_only_while_there_is_a_path() {
        let error = Some((OpId(3), "no usable path"));
        assert_eq!(row(no_error_seen(false, error)), None);
        assert_eq!(row(no_error_seen(true, error)), Some(Row::L6));
        assert_eq!(row(no_error_seen(true, None)), None);
    }

    #[test]
    fn two_hashes_are_the_same_or_a_violation() {
        assert_eq!(row(same_run(1, 5, 5)), None);
        assert_eq!(row(same_run(1, 5, 6)), Some(Row::I15));
    }

    #[test]
    fn a_touched_byte_is_found() {
        let mut memory = [0; 64];
        let poison = Poison::of(4);
        poison.fill(&mut memory);
        assert_eq!(row(poison.check("guest", &memory)), None);
        assert_eq!(row(Poison::of(5).check("guest", &memory)), Some(Row::I5));
        memory[63] = 1;
        assert_eq!(row(poison.check("guest", &memory)), Some(Row::I5));
    }
}
