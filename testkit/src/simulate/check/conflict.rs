//! I9: a reservation conflict is what its caller is told.
//!
//! Which request a refused command belonged to is known by its blocks. Where several writes could have sent
//! it, one of them must have been told. Left out is what had another end of its own: writes that were
//! dropped or had a time limit, and those that were late already when the conflict was heard.

use std::{collections::BTreeSet, ops::Range};

use super::{
    history::{End, History, Kind, OpId},
    violation::{Row, Violation, seconds},
};

/// RESERVATION CONFLICT in answer to a write, which its initiator has acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The device whose command it was.
    pub device: u16,
    /// The blocks of the command.
    pub blocks: Range<u64>,
    /// When it was told.
    pub told_ns: u64,
    /// When it was known to have been heard.
    pub heard_ns: u64,
}

/// What callers were told besides what is in the history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasons {
    /// Requests that failed with a reservation conflict.
    pub conflicts: BTreeSet<OpId>,
    /// Requests with a time limit of their own.
    pub limited: BTreeSet<OpId>,
}

/// I9, the other way round: where nobody reserves anything, and no command was answered with a conflict, no caller is
/// told of one. That somebody has ended registrations is a matter of the paths.
///
/// # Errors
///
/// Somebody was told.
pub fn has_a_reason(reasons: &Reasons, is_reserved: bool) -> Result<(), Violation> {
    if is_reserved || reasons.conflicts.is_empty() {
        return Ok(());
    }
    let told = reasons.conflicts.iter().map(ToString::to_string).collect();
    Err(Violation {
        row: Row::I9,
        what: "a caller was told of a reservation conflict where there is no reservation".into(),
        account: told,
    })
}

/// I9: somebody was told. `patience_ns`: how long a command may take before it is given up.
///
/// # Errors
///
/// Each request that the command can have belonged to ended otherwise.
pub fn reaches_the_caller(
    history: &History,
    reasons: &Reasons,
    conflict: &Conflict,
    patience_ns: u64,
) -> Result<(), Violation> {
    let mut whose = Vec::new();
    for (id, record) in (0..).map(OpId).zip(&history.records) {
        let op = &record.op;
        let covers =
            op.blocks.start <= conflict.blocks.start && conflict.blocks.end <= op.blocks.end;
        let is_write = matches!(op.kind, Kind::Write { .. });
        if op.device != conflict.device || !is_write || !covers {
            continue;
        }
        if record.invoked.ns > conflict.told_ns {
            continue;
        }
        let is_late = conflict.heard_ns - record.invoked.ns >= patience_ns;
        match &record.ended {
            // Goes on without anybody to be told.
            Some((_, End::Dropped)) | None => return Ok(()),
            // Its command may have been answered before the abort of it arrived.
            Some(_) if is_late || reasons.limited.contains(&id) => return Ok(()),
            Some((ended, _)) if ended.ns < conflict.told_ns => continue,
            Some(_) if reasons.conflicts.contains(&id) => return Ok(()),
            Some((ended, end)) => {
                whose.push(format!("{id} ended at {}: {end:?}", seconds(ended.ns)))
            }
        }
    }
    if whose.is_empty() {
        return Ok(());
    }
    Err(Violation {
        row: Row::I9,
        what: format!(
            "a write to blocks {:?} was refused for a reservation at {}, which no caller was told",
            conflict.blocks,
            seconds(conflict.told_ns)
        ),
        account: whose,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::check::{ExecutionKnowledge, Op, Stamp};

    #[test]
    fn a_conflict_needs_a_reservation() {
        let told = Reasons {
            conflicts: BTreeSet::from([OpId(3)]),
            ..Reasons::default()
        };
        assert_eq!(has_a_reason(&told, true), Ok(()));
        assert_eq!(has_a_reason(&Reasons::default(), false), Ok(()));
        let violation = has_a_reason(&told, false).unwrap_err();
        assert_eq!(violation.row, Row::I9);
    }

    const FAILED: End = End::Failed(ExecutionKnowledge::NotExecuted);

    fn history(writes: &[(u64, u64, End)]) -> History {
        let mut history = History::new();
        let op = |number: u64| Op {
            client: 1,
            device: 0,
            unit: 0,
            kind: Kind::Write {
                stamp: Stamp::new(1, number),
            },
            blocks: 8..16,
        };
        let ids: Vec<_> = (1..)
            .zip(writes)
            .map(|(number, (asked, ..))| history.invoke(*asked, op(number)))
            .collect();
        for (id, (_, ended, end)) in ids.into_iter().zip(writes) {
            history.respond(*ended, id, end.clone());
        }
        history
    }

    fn row(history: &History, told: &[u32], limited: &[u32]) -> Option<Row> {
        let set = |ids: &[u32]| ids.iter().copied().map(OpId).collect();
        let reasons = Reasons {
            conflicts: set(told),
            limited: set(limited),
        };
        let conflict = Conflict {
            device: 0,
            blocks: 8..9,
            told_ns: 50,
            heard_ns: 60,
        };
        let judged = reaches_the_caller(history, &reasons, &conflict, 1000);
        judged.err().map(|violation| violation.row)
    }

    #[test]
    fn a_conflict_that_became_a_success_or_another_error_is_refused() {
        let failed = history(&[(10, 70, FAILED)]);
        assert_eq!(row(&failed, &[0], &[]), None);
        assert_eq!(row(&failed, &[], &[]), Some(Row::I9));
        assert_eq!(row(&failed, &[], &[0]), None, "its time was over");
        let early = history(&[(10, 40, FAILED), (10, 70, End::Wrote)]);
        assert_eq!(row(&early, &[], &[]), Some(Row::I9));
        assert_eq!(row(&early, &[], &[0]), None, "aborted when it was refused");
        let wrote = history(&[(10, 70, End::Wrote)]);
        assert_eq!(row(&wrote, &[], &[]), Some(Row::I9));
        let dropped = history(&[(10, 20, End::Dropped)]);
        assert_eq!(row(&dropped, &[], &[]), None);
    }

    #[test]
    fn one_of_those_that_it_can_have_been_is_told() {
        let two = history(&[(10, 70, End::Wrote), (20, 80, FAILED)]);
        assert_eq!(row(&two, &[1], &[]), None);
        assert_eq!(row(&two, &[], &[]), Some(Row::I9));
        let neither = history(&[(10, 40, End::Wrote), (55, 80, End::Wrote)]);
        assert_eq!(row(&neither, &[], &[]), None, "before and after it");
    }
}
