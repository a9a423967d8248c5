//! I8: a path whose unit has said that it stands by is left alone.
//!
//! The race between a state that changes and a command that is under way is judged by what the initiator
//! has *heard*, not by what the target knew: a command counts only if the initiator acknowledged, in that
//! command or before it, the answer to a TEST UNIT READY that refused the path (standby, unavailable,
//! offline), and nothing has happened since that lets the path be used again (another state, a TEST UNIT
//! READY, an INQUIRY as after a login). What had been asked for by then may be on its way to the path, in
//! its session's queue or as a repetition. What is asked for later has no business there.

use std::ops::Range;

use super::{
    history::{End, History, Kind},
    violation::{Row, Violation, seconds},
};

/// Between the moment at which a session has heard an answer and that at which all who use it know.
const SPREAD_NS: u64 = 50_000_000;

/// An access to the medium through a path that its initiator knew to be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeafAccess {
    /// The device that has the path.
    pub device: u16,
    /// What the path is called.
    pub path: String,
    /// When it came to the target.
    pub at_ns: u64,
    /// Since when it was known.
    pub heard_ns: u64,
    /// The blocks; `None` of a flush.
    pub blocks: Option<Range<u64>>,
}

/// I8: the access belongs to a request that had been asked for before the path was known to be closed.
///
/// # Errors
///
/// There is no such request.
pub fn was_under_way(history: &History, access: &DeafAccess) -> Result<(), Violation> {
    let by = access.heard_ns + SPREAD_NS;
    let explains = history.records.iter().any(|record| {
        let op = &record.op;
        let same = match (&access.blocks, op.kind) {
            (None, Kind::Flush) => true,
            (Some(blocks), Kind::Read | Kind::Write { .. }) => {
                blocks.start < op.blocks.end && op.blocks.start < blocks.end
            }
            _ => false,
        };
        // A write that its caller has dropped goes on.
        let is_over = match (&record.ended, op.kind) {
            (Some((_, End::Dropped)), Kind::Write { .. }) | (None, _) => false,
            (Some((ended, _)), _) => ended.ns < access.heard_ns,
        };
        op.device == access.device && same && record.invoked.ns <= by && !is_over
    });
    if explains {
        return Ok(());
    }
    let DeafAccess { path, blocks, .. } = access;
    let what = match blocks {
        Some(blocks) => format!("blocks {blocks:?}"),
        None => "a flush".to_owned(),
    };
    Err(Violation::new(
        Row::I8,
        format!(
            "{path}: {what} at {}, though its unit's refusal had been heard by {} and nothing that was asked for before that explains it",
            seconds(access.at_ns),
            seconds(access.heard_ns),
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::check::{Op, Stamp};

    const SECOND: u64 = 1_000_000_000;

    fn access(blocks: Option<Range<u64>>) -> DeafAccess {
        DeafAccess {
            device: 0,
            path: "p".into(),
            at_ns: 3 * SECOND,
            heard_ns: SECOND,
            blocks,
        }
    }

    fn history(asked: u64, kind: Kind, end: Option<(u64, End)>) -> History {
        let mut history = History::new();
        let op = Op {
            client: 1,
            device: 0,
            unit: 0,
            kind,
            blocks: 8..16,
        };
        let id = history.invoke(asked, op);
        if let Some((at, end)) = end {
            history.respond(at, id, end);
        }
        history
    }

    fn row(history: &History, blocks: Option<Range<u64>>) -> Option<Row> {
        let judged = was_under_way(history, &access(blocks));
        judged.err().map(|violation| violation.row)
    }

    #[test]
    fn only_what_was_asked_for_before_the_refusal_was_heard_may_still_come() {
        let stamp = Stamp::new(1, 1);
        let write = Kind::Write { stamp };
        let before = history(SECOND - 1, write, None);
        assert_eq!(row(&before, Some(8..9)), None);
        assert_eq!(row(&before, Some(20..21)), Some(Row::I8), "others' blocks");
        assert_eq!(row(&before, None), Some(Row::I8), "no flush was asked for");
        let after = history(2 * SECOND, write, None);
        assert_eq!(row(&after, Some(8..9)), Some(Row::I8));
        let over = history(1, write, Some((SECOND / 2, End::Wrote)));
        assert_eq!(row(&over, Some(8..9)), Some(Row::I8));
        let dropped = history(1, write, Some((SECOND / 2, End::Dropped)));
        assert_eq!(row(&dropped, Some(8..9)), None, "it goes on");
        assert_eq!(row(&history(1, Kind::Flush, None), None), None);
    }
}
