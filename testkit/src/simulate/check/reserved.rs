//! I17: what a device says of registrations and reservations is what the target has done, and I9 the other way round:
//! whose registration stands is told of no conflict.
//!
//! A registration *stands* from the success of the order that made it, until the device is told to end it or loses it
//! by its own account, or until somebody else ends any of it: another host's PREEMPT or CLEAR, or a target that has
//! forgotten it. Who has ended it is known from the target's list of its changes.

use std::ops::Range;

use super::{
    history::{End, History, Kind, OpId},
    violation::{Row, Violation, seconds},
};

/// An order that a program gives its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// REGISTER, over all paths.
    Register,
    /// The end of that.
    Unregister,
    /// RESERVE.
    Reserve,
    /// RELEASE.
    Release,
    /// CLEAR.
    Clear,
    /// PREEMPT of this key, perhaps AND ABORT.
    Preempt(u64),
}

impl Order {
    /// Its name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Unregister => "unregister",
            Self::Reserve => "reserve",
            Self::Release => "release",
            Self::Clear => "clear",
            Self::Preempt(_) => "preempt",
        }
    }
}

/// From when to when, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The beginning.
    pub from: u64,
    /// The end; `u64::MAX` if there is none.
    pub to: u64,
}

impl Span {
    /// Whether a moment lies in it; the last one does not.
    pub(crate) const fn contains(self, at: u64) -> bool {
        self.from <= at && at < self.to
    }

    const fn covers(self, other: Self) -> bool {
        self.from <= other.from && other.to <= self.to
    }

    /// Whether all of another one lies within, and began later: of one moment nobody can say what came first.
    const fn holds(self, other: Self) -> bool {
        self.from < other.from && other.to < self.to
    }

    /// Whether they have a moment in common.
    const fn touches(self, other: Self) -> bool {
        self.from <= other.to && other.from <= self.to
    }
}

/// How the unit stood with a host meanwhile, in words.
fn account(standings: &[Standing], during: Span) -> Vec<String> {
    let meanwhile = standings.iter().filter(|one| one.during.touches(during));
    let line = |one: &Standing| format!("{} {}", seconds(one.during.from), one.text);
    meanwhile.map(line).collect()
}

/// How a unit stood with one host, from one change to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// From when to when.
    pub during: Span,
    /// Keys of the host, one for each nexus.
    pub ours: Vec<u64>,
    /// All keys.
    pub all: Vec<u64>,
    /// TYPE of the reservation.
    pub reserved: Option<u8>,
    /// The reservation is this host's: it is registered where all registrants hold it, or holds it itself.
    pub holds: bool,
    /// Key of the one nexus that holds it, if there is one.
    pub holder: Option<u64>,
    /// Somebody else, or the target by itself, has ended a registration of this host just then.
    pub ended_by_others: bool,
    /// All of it in words.
    pub text: String,
}

/// I9: no request is told of a conflict that lay wholly within a time at which its device's registration stood.
///
/// # Errors
///
/// One was.
pub fn no_conflict_while_registered(
    history: &History,
    conflicts: impl IntoIterator<Item = OpId>,
    device: u16,
    stood: &[Span],
    standings: &[Standing],
) -> Result<(), Violation> {
    for id in conflicts {
        let Some(record) = history.records.get(id.0 as usize) else {
            continue;
        };
        let Some((ended, _)) = record.ended.as_ref().filter(|_| record.op.device == device) else {
            continue;
        };
        let during = Span {
            from: record.invoked.ns,
            to: ended.ns,
        };
        if let Some(span) = stood.iter().find(|span| span.holds(during)) {
            let what = format!(
                "{id} of device {device} ended at {} with a reservation conflict, though the device is registered since {}",
                seconds(during.to),
                seconds(span.from),
            );
            return Err(Violation {
                row: Row::I9,
                what,
                account: account(standings, *span),
            });
        }
    }
    Ok(())
}

/// I17: what comes through a session that was opened while the registration stood comes with a key. `at` and `since`: when
/// a write came that had none, and when its session had logged in.
///
/// # Errors
///
/// It had none.
pub fn writes_have_keys(
    path: &str,
    (since, at): (u64, u64),
    stood: &[Span],
) -> Result<(), Violation> {
    let session = Span {
        from: since,
        to: at,
    };
    let Some(span) = stood.iter().find(|span| span.holds(session)) else {
        return Ok(());
    };
    let what = format!(
        "{path}: a write at {} through a session of {} that was not registered, though the device is since {}",
        seconds(at),
        seconds(since),
        seconds(span.from)
    );
    Err(Violation::new(Row::I17, what))
}

/// I17: once the last key of a host was taken from it, and as long as others reserve the unit, none of its writes is
/// acknowledged, until its program has it registered again.
///
/// # Errors
///
/// One was.
pub fn is_fenced_out(
    history: &History,
    device: u16,
    standings: &[Standing],
    registering: &[Span],
) -> Result<(), Violation> {
    let fenced = standings.windows(2).filter(|pair| {
        let [before, after] = pair else { return false };
        !before.ours.is_empty() && after.ours.is_empty() && after.ended_by_others
    });
    for pair in fenced {
        let from = pair[1].during.from;
        // Until nobody else reserves it.
        let still = |one: &&Standing| one.during.from >= from;
        let mut later = standings.iter().filter(still);
        let to = later.find(|one| one.reserved.is_none() || one.holds && !is_theirs(one));
        let mut during = Span {
            from,
            to: to.map_or(u64::MAX, |one| one.during.from),
        };
        let wanted = registering.iter().filter(|span| span.touches(during));
        let wanted = wanted.map(|span| span.from.max(from)).min();
        during.to = wanted.map_or(during.to, |at| at.min(during.to));
        let wrote = history.records.iter().position(|record| {
            let ended = match &record.ended {
                Some((ended, End::Wrote)) => ended.ns,
                _ => return false,
            };
            let of_write = Span {
                from: record.invoked.ns,
                to: ended,
            };
            let is_write = matches!(record.op.kind, Kind::Write { .. });
            is_write && record.op.device == device && during.covers(of_write)
        });
        if let Some(index) = wrote {
            let id = OpId(u32::try_from(index).unwrap_or(u32::MAX));
            let what = format!(
                "{id} of device {device} was acknowledged, though its keys were preempted at {} and another host reserves the unit",
                seconds(from)
            );
            return Err(Violation::new(Row::I17, what));
        }
    }
    Ok(())
}

/// All registrants hold it, and the host is one by a registration that nobody has wanted.
fn is_theirs(one: &Standing) -> bool {
    matches!(one.reserved, Some(7 | 8))
}

/// I17: an order that has succeeded was carried out at some moment of its time. `knew`: whether a key is one of those that
/// the device was given and has not given up; what a nexus holds with another one is a stranger's to it, though the host be
/// the same.
///
/// # Errors
///
/// It was at none.
pub fn was_carried_out(
    device: u16,
    (order, during): (Order, Span),
    kind: u8,
    standings: &[Standing],
    knew: impl Fn(u64) -> bool,
) -> Result<(), Violation> {
    let is_so = |one: &Standing| match order {
        Order::Register => !one.ours.is_empty(),
        // A path that was away is unregistered when it is back.
        Order::Unregister => true,
        Order::Reserve => one.holds && one.reserved == Some(kind),
        Order::Release => !one.holds || one.holder.is_some_and(|key| !knew(key)),
        Order::Clear => one.ours.is_empty(),
        Order::Preempt(victim) => !one.all.contains(&victim),
    };
    let mut meanwhile = standings.iter().filter(|one| one.during.touches(during));
    if meanwhile.any(is_so) {
        return Ok(());
    }
    let what = format!(
        "device {device}: {order:?} succeeded, and was not carried out at any time from {} to {}",
        seconds(during.from),
        seconds(during.to)
    );
    Err(Violation {
        row: Row::I17,
        what,
        account: account(standings, during),
    })
}

/// A registration of a host that another one has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The other host's device.
    pub by: u16,
    /// When.
    pub at: u64,
    /// The key that it had.
    pub key: u64,
    /// What there was after that, and before, in words.
    pub text: String,
}

/// I17: nobody ends registrations of another host but as its program has ordered: by a PREEMPT of that very key, or by a
/// CLEAR. Neither releases a device what others hold, nor does it take from others to do so. `given`: what its program
/// has ordered, and from when to when each of that may have been carried out.
///
/// # Errors
///
/// Nothing of that was ordered.
pub fn was_ordered(
    taken: &Taken,
    given: impl IntoIterator<Item = (Order, Span)>,
) -> Result<(), Violation> {
    let moment = Span {
        from: taken.at,
        to: taken.at,
    };
    let explains = |(order, during): (Order, Span)| {
        let is_it = matches!(order, Order::Clear) || order == Order::Preempt(taken.key);
        is_it && during.touches(moment)
    };
    if given.into_iter().any(explains) {
        return Ok(());
    }
    let what = format!(
        "device {} has ended the registration of another host with {:#x} at {}, which nobody had ordered",
        taken.by,
        taken.key,
        seconds(taken.at)
    );
    Err(Violation {
        row: Row::I17,
        what,
        account: vec![taken.text.clone()],
    })
}

/// I17: a path that a device calls registered with a key was so at some moment of its order.
///
/// # Errors
///
/// It was at none. `found`: its keys, and from when to when it had each.
pub fn path_had_its_key(
    path: &str,
    key: u64,
    during: Span,
    found: &[(Range<u64>, Option<u64>)],
) -> Result<(), Violation> {
    let had = found.iter().any(|(range, found)| {
        *found == Some(key) && range.start <= during.to && during.from <= range.end
    });
    if had {
        return Ok(());
    }
    let what = format!(
        "{path} is called registered with {key:#x} at {}, and was not",
        seconds(during.to)
    );
    Err(Violation::new(Row::I17, what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::check::{ExecutionKnowledge, Op, Stamp};

    fn standing(from: u64, to: u64, ours: &[u64], others: &[u64]) -> Standing {
        Standing {
            during: Span { from, to },
            ours: ours.to_vec(),
            all: [ours, others].concat(),
            reserved: None,
            holds: false,
            holder: None,
            ended_by_others: false,
            text: String::new(),
        }
    }

    fn history(asked: u64, ended: u64, end: End) -> History {
        let mut history = History::new();
        let stamp = Stamp::new(1, 1);
        let op = Op {
            client: 1,
            device: 0,
            unit: 0,
            kind: Kind::Write { stamp },
            blocks: 8..16,
        };
        let id = history.invoke(asked, op);
        history.respond(ended, id, end);
        history
    }

    fn row(result: Result<(), Violation>) -> Option<Row> {
        result.err().map(|violation| violation.row)
    }

    const NEVER: End = End::Failed(ExecutionKnowledge::NotExecuted);

    #[test]
    fn a_conflict_while_it_stands_is_a_violation() {
        let judge = |asked, ended, device| {
            let stood = [Span { from: 10, to: 90 }];
            let history = history(asked, ended, NEVER);
            let told = [OpId(0)];
            row(no_conflict_while_registered(
                &history,
                told,
                device,
                &stood,
                &[],
            ))
        };
        assert_eq!(judge(11, 89, 0), Some(Row::I9));
        assert_eq!(judge(10, 89, 0), None);
        assert_eq!(judge(11, 90, 0), None);
        assert_eq!(judge(11, 89, 1), None, "another device's");
    }

    #[test]
    fn a_write_without_a_key_through_a_session_that_began_registered_is_a_violation() {
        let spans = [Span { from: 10, to: 90 }];
        assert_eq!(row(writes_have_keys("p", (11, 89), &spans)), Some(Row::I17));
        assert_eq!(row(writes_have_keys("p", (10, 89), &spans)), None);
        assert_eq!(row(writes_have_keys("p", (11, 90), &spans)), None);
    }

    #[test]
    fn who_was_preempted_has_nothing_acknowledged() {
        let mut changes = vec![
            standing(0, 40, &[1], &[2]),
            standing(40, 60, &[], &[2]),
            standing(60, 99, &[], &[2]),
        ];
        changes[1].ended_by_others = true;
        changes[1].reserved = Some(5);
        let judge = |asked, ended, changes: &[Standing], registering: &[Span]| {
            row(is_fenced_out(
                &history(asked, ended, End::Wrote),
                0,
                changes,
                registering,
            ))
        };
        assert_eq!(judge(40, 60, &changes, &[]), Some(Row::I17));
        assert_eq!(judge(39, 60, &changes, &[]), None, "it was under way");
        assert_eq!(judge(41, 61, &changes, &[]), None, "nobody reserves it");
        let again = [Span { from: 50, to: 70 }];
        assert_eq!(judge(41, 59, &changes, &again), None);
        assert_eq!(judge(41, 49, &changes, &again), Some(Row::I17));
        changes[1].ended_by_others = false;
        assert_eq!(judge(40, 60, &changes, &[]), None, "its own doing");
    }

    #[test]
    fn an_order_that_succeeds_was_carried_out() {
        let changes = [standing(0, 40, &[], &[2]), standing(40, 99, &[1], &[])];
        let judge = |order, from, to| {
            let order = (order, Span { from, to });
            row(was_carried_out(0, order, 5, &changes, |key| key == 1))
        };
        assert_eq!(judge(Order::Register, 30, 50), None);
        assert_eq!(judge(Order::Register, 30, 39), Some(Row::I17));
        assert_eq!(judge(Order::Reserve, 30, 50), Some(Row::I17));
        assert_eq!(judge(Order::Release, 30, 50), None);
        assert_eq!(judge(Order::Clear, 50, 60), Some(Row::I17));
        assert_eq!(judge(Order::Preempt(2), 30, 39), Some(Row::I17));
        assert_eq!(judge(Order::Preempt(2), 30, 41), None);
    }

    #[test]
    fn what_is_held_with_a_key_of_before_the_device_was_opened_is_not_released() {
        let judge = |holder| {
            let mut held = standing(40, 99, &[1, 2], &[]);
            held.holds = true;
            held.holder = holder;
            let order = (Order::Release, Span { from: 50, to: 60 });
            row(was_carried_out(0, order, 5, &[held], |key| key == 1))
        };
        assert_eq!(judge(Some(2)), None);
        assert_eq!(judge(Some(1)), Some(Row::I17));
        assert_eq!(judge(None), Some(Row::I17), "all registrants hold it");
    }

    #[test]
    fn what_is_taken_from_others_was_ordered() {
        let judge = |order, from, to| {
            let taken = Taken {
                by: 0,
                at: 50,
                key: 7,
                text: String::new(),
            };
            row(was_ordered(&taken, [(order, Span { from, to })]))
        };
        assert_eq!(judge(Order::Preempt(7), 40, 60), None);
        assert_eq!(judge(Order::Clear, 50, 50), None);
        assert_eq!(judge(Order::Preempt(8), 40, 60), Some(Row::I17));
        assert_eq!(judge(Order::Release, 40, 60), Some(Row::I17));
        assert_eq!(judge(Order::Preempt(7), 51, 60), Some(Row::I17), "later");
        assert_eq!(judge(Order::Preempt(7), 40, 49), Some(Row::I17), "before");
    }

    #[test]
    fn a_path_that_is_called_registered_was_so() {
        let found = [(0..40, None), (40..99, Some(1))];
        let judge = |key, from, to| row(path_had_its_key("p", key, Span { from, to }, &found));
        assert_eq!(judge(1, 30, 50), None);
        assert_eq!(judge(1, 30, 39), Some(Row::I17));
        assert_eq!(judge(2, 30, 50), Some(Row::I17));
    }
}
