//! I19: a connection is called dead only while something that was sent on it is not acknowledged, and ended before its
//! full time only if another path was heard from meanwhile.
//!
//! A path is *asked* when it has been silent for a while, and *suspected* when it has not answered in time. Of one that is
//! suspected another one must have been heard from since then, or, where its own network is known to be dead, since it was
//! asked: where all are silent nobody knows that another path would do better.

use std::collections::BTreeMap;

use iscsi_proto::ids::Isid;

use super::violation::{Row, Violation, seconds};

/// I19: a network is dead that has not delivered everything.
///
/// # Errors
///
/// It has: nothing was under way.
pub fn is_called_dead_rightly(path: &str, at_ns: u64, in_flight: u64) -> Result<(), Violation> {
    if in_flight > 0 {
        return Ok(());
    }
    let what = format!(
        "{path} is said at {} to have a dead network, which has delivered everything",
        seconds(at_ns)
    );
    Err(Violation::new(Row::I19, what))
}

/// What a device held against a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspected {
    /// When it was asked.
    pub asked_ns: u64,
    /// From when on it was suspected.
    pub suspected_ns: u64,
    /// For how long it is before its connection ends in any case.
    pub full_ns: u64,
    /// Its network was called dead.
    pub is_dead: bool,
    /// When another path of the device was last heard from; `None` if there is none.
    pub others_heard_ns: Option<u64>,
}

impl Suspected {
    /// Whether an end at this time is before its full time.
    #[must_use]
    pub const fn is_early(&self, at_ns: u64) -> bool {
        at_ns < self.suspected_ns.saturating_add(self.full_ns)
    }

    fn has_a_reason(&self, at_ns: u64) -> bool {
        let since = match self.is_dead {
            true => self.asked_ns,
            false => self.suspected_ns,
        };
        self.others_heard_ns.is_some_and(|at| at >= since) || !self.is_early(at_ns)
    }
}

/// A device has lost a path by the end of its connection that a device of the host has brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The host, and the session, which devices of several units may have in common.
    pub session: (u8, Isid),
    /// The device.
    pub by: usize,
    /// When.
    pub at_ns: u64,
    /// `None` where silence was not why, or not the only reason.
    pub suspected: Option<Suspected>,
}

/// I19: where a connection ends before the full time of the suspicion, at least one of those that lose a path by that has
/// heard from another one.
///
/// # Errors
///
/// None of them has.
pub fn ends_have_a_reason(ends: &[Ended]) -> Result<(), Violation> {
    let mut by_session: BTreeMap<_, Vec<&Ended>> = BTreeMap::new();
    for end in ends {
        let key = (end.at_ns, end.session);
        by_session.entry(key).or_default().push(end);
    }
    let has_a_reason = |end: &Ended| {
        let suspected = end.suspected;
        suspected.is_none_or(|suspected| suspected.has_a_reason(end.at_ns))
    };
    let mut all = by_session.into_values();
    let without = all.find(|ends| !ends.iter().copied().any(has_a_reason));
    let Some(ends) = without else {
        return Ok(());
    };
    let told = |end: &&Ended| {
        let suspected = end.suspected?;
        let heard = match suspected.others_heard_ns {
            Some(at) => format!("others were last heard from at {}", seconds(at)),
            None => "there is no other path".to_owned(),
        };
        let since = seconds(suspected.suspected_ns);
        Some(format!(
            "device {} suspected it at {since}; {heard}",
            end.by
        ))
    };
    let ((host, isid), at) = (ends[0].session, seconds(ends[0].at_ns));
    Err(Violation {
        row: Row::I19,
        what: format!(
            "host {host}, ISID {isid}: ended at {at} for a silence that nobody had a witness of"
        ),
        account: ends.iter().filter_map(told).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(result: Result<(), Violation>) -> Option<Row> {
        result.err().map(|violation| violation.row)
    }

    #[test]
    fn a_network_that_has_delivered_everything_is_not_dead() {
        assert_eq!(row(is_called_dead_rightly("p", 1, 1)), None);
        assert_eq!(row(is_called_dead_rightly("p", 1, 0)), Some(Row::I19));
    }

    fn ended(by: usize, at_ns: u64, is_dead: bool, others_heard_ns: Option<u64>) -> Ended {
        Ended {
            session: (0, Isid([0; 6])),
            by,
            at_ns,
            suspected: Some(Suspected {
                asked_ns: 100,
                suspected_ns: 200,
                full_ns: 100,
                is_dead,
                others_heard_ns,
            }),
        }
    }

    #[test]
    fn an_early_end_has_a_witness() {
        for (at, is_dead, heard, expected) in [
            (299, false, Some(200), None),
            (299, false, Some(199), Some(Row::I19)),
            (299, false, None, Some(Row::I19)),
            (299, true, Some(100), None),
            (299, true, Some(99), Some(Row::I19)),
            (300, true, None, None),
        ] {
            let judged = ends_have_a_reason(&[ended(0, at, is_dead, heard)]);
            assert_eq!(row(judged), expected, "{at} {is_dead} {heard:?}");
        }
    }

    #[test]
    fn the_reason_of_one_of_those_who_share_a_session_will_do() {
        let silent = ended(0, 250, false, None);
        let of_another = Ended {
            suspected: None,
            ..ended(1, 250, false, None)
        };
        assert_eq!(row(ends_have_a_reason(&[silent, of_another])), None);
        let witnessed = ended(1, 250, false, Some(240));
        assert_eq!(row(ends_have_a_reason(&[silent, witnessed])), None);
        let later = ended(1, 251, false, Some(240));
        let judged = ends_have_a_reason(&[silent, later]);
        assert_eq!(row(judged), Some(Row::I19), "another end");
        let elsewhere = Ended {
            session: (1, Isid([0; 6])),
            ..witnessed
        };
        let judged = ends_have_a_reason(&[silent, elsewhere]);
        assert_eq!(row(judged), Some(Row::I19), "another session");
    }
}
