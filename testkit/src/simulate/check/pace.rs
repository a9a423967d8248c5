//! How fast things may follow each other.

use super::{
    history::History,
    violation::{Row, Violation, seconds},
};

const SECOND_NS: u64 = 1_000_000_000;

/// Events that one request may be the cause of (L4).
const PER_REQUEST: u64 = 200;

/// A session lost its connection unexpectedly, and was without one for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Whose it was.
    pub path: String,
    /// When it was noticed.
    pub from_ns: u64,
    /// When the next thing happened to the session; `None` if nothing did.
    pub to_ns: Option<u64>,
}

/// I6, by section 13.15 of RFC 7143: no login attempt of a session within Time2Wait of an unexpected loss.
/// `attempts_ns` are those of the session's ISID.
///
/// # Errors
///
/// There was one.
pub fn waits_after_a_loss(
    loss: &Loss,
    attempts_ns: &[u64],
    time2wait_ns: u64,
) -> Result<(), Violation> {
    let until = loss.from_ns + time2wait_ns;
    let until = loss.to_ns.map_or(until, |to| to.min(until));
    match attempts_ns
        .iter()
        .find(|at| (loss.from_ns..until).contains(at))
    {
        None => Ok(()),
        Some(at) => Err(Violation::new(
            Row::I6,
            format!(
                "{}: its connection was lost at {}, Time2Wait is {}, and a login came at {}",
                loss.path,
                seconds(loss.from_ns),
                seconds(time2wait_ns),
                seconds(*at)
            ),
        )),
    }
}

/// L4, second half: in no second is more done than 200 events for each request that is under way in it, and
/// `upkeep` besides. `events` are commands that came to the target, login attempts and what devices
/// reported, in each second from the beginning.
///
/// # Errors
///
/// There is such a second: something goes round.
pub fn work_is_bounded(history: &History, events: &[u64], upkeep: u64) -> Result<(), Violation> {
    let mut under_way = vec![0_u64; events.len()];
    for record in &history.records {
        let second = |ns: u64| usize::try_from(ns / SECOND_NS).unwrap_or(usize::MAX);
        let first = second(record.invoked.ns);
        let last = record
            .ended
            .as_ref()
            .map_or(usize::MAX, |(at, _)| second(at.ns));
        let seconds = under_way.iter_mut().enumerate();
        let touched = seconds.skip(first).take_while(|(at, _)| *at <= last);
        touched.for_each(|(_, count)| *count += 1);
    }
    for (second, (&events, &requests)) in events.iter().zip(&under_way).enumerate() {
        let allowed = requests * PER_REQUEST + upkeep;
        if events > allowed {
            let what = format!(
                "{events} events in the second from {second} s on, with {requests} requests under way; {allowed} are allowed"
            );
            return Err(Violation::new(Row::L4, what));
        }
    }
    Ok(())
}

/// Between two requests of a device that a port group become active, at least.
const ACTIVATION_PAUSE_NS: u64 = 2 * SECOND_NS;

/// L4: a device that asks for a port group to become active leaves the target in peace for a while, as two hosts would
/// else pull a unit to and fro. `last_ns`: when it asked before.
///
/// # Errors
///
/// It did not.
pub fn activates_with_pauses(
    device: usize,
    last_ns: Option<u64>,
    now_ns: u64,
) -> Result<(), Violation> {
    match last_ns.filter(|last| now_ns < last + ACTIVATION_PAUSE_NS) {
        None => Ok(()),
        Some(last) => Err(Violation::new(
            Row::L4,
            format!(
                "device {device} asks for a group to become active at {}, and had at {}",
                seconds(now_ns),
                seconds(last)
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::check::{End, Kind, Op};

    fn row(result: Result<(), Violation>) -> Option<Row> {
        result.err().map(|violation| violation.row)
    }

    #[test]
    fn a_login_within_time2wait_is_refused() {
        let loss = |to_ns| Loss {
            path: "p".into(),
            from_ns: 100,
            to_ns,
        };
        for (attempts, to, expected) in [
            (&[99, 150][..], None, None),
            (&[100], None, Some(Row::I6)),
            (&[149], None, Some(Row::I6)),
            (&[149], Some(150), Some(Row::I6)),
            // What came after it is another story.
            (&[149], Some(120), None),
        ] {
            assert_eq!(row(waits_after_a_loss(&loss(to), attempts, 50)), expected);
        }
    }

    #[test]
    fn two_activations_at_once_are_refused() {
        for (last, expected) in [(None, None), (Some(0), None), (Some(1), Some(Row::L4))] {
            assert_eq!(row(activates_with_pauses(0, last, 2 * SECOND_NS)), expected);
        }
    }

    #[test]
    fn what_nobody_asked_for_is_bounded() {
        let mut history = History::new();
        let op = Op {
            client: 1,
            device: 0,
            unit: 0,
            kind: Kind::Flush,
            blocks: 0..0,
        };
        let id = history.invoke(SECOND_NS, op);
        history.respond(2 * SECOND_NS, id, End::Flushed);
        assert_eq!(row(work_is_bounded(&history, &[7, 207, 207, 7], 7)), None);
        for events in [[8, 0, 0, 0], [0, 208, 0, 0], [0, 0, 208, 0], [0, 0, 0, 8]] {
            let judged = work_is_bounded(&history, &events, 7);
            assert_eq!(row(judged), Some(Row::L4), "{events:?}");
        }
    }
}
