//! What follows from the end of an attempt: one function, one table.

use std::time::Duration;

use super::action::{Execution, FailReason, Failure, IoClass, IoKind, Outcome, Retry, Scope};

/// How often an I/O was tried again so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tries {
    /// After an error that had nothing to do with the path.
    pub(crate) retries: u32,
    /// Because of its path.
    pub(crate) moves: u32,
    /// It was hedged. These have a limit and a budget of their own, so that a device whose paths fall silent now and then
    /// does not use up the moves of a read.
    pub(crate) hedges: u8,
}

/// Whether an attempt was taken back from its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TakenBack {
    No,
    /// When its path was asked.
    Hedged,
    /// For any other reason.
    Recalled,
}

/// How often it may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) retries: u32,
    pub(crate) moves: u32,
}

/// Which path the next attempt wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Same,
    Other,
    /// Another one that is as good.
    Equal,
}

/// What to do with the I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    Succeed,
    Fail(FailReason),
    Again(Wish),
    After(Duration),
    /// A write that may still land: again, but not before it is fenced.
    Fence,
}

/// Decides, and charges the attempt to the budget.
///
/// Each row answers: may it have been executed, may it be executed *later*, does repeating it help?
/// Being moved is charged like being retried: a request that kills every connection on which it
/// is sent must not go round for ever, and an outage that ends costs each I/O one or two moves.
pub(crate) fn decide(
    class: &IoClass,
    outcome: Outcome,
    taken_back: TakenBack,
    tries: &mut Tries,
    limits: Limits,
) -> Disposition {
    let failure = match outcome {
        Outcome::Success => return Disposition::Succeed,
        Outcome::Failed(failure) => failure,
    };
    if taken_back == TakenBack::Hedged {
        tries.hedges = tries.hedges.saturating_add(1);
        return Disposition::Again(Wish::Equal);
    }
    let recalled = taken_back == TakenBack::Recalled;
    // "Never" is the honest advice for an aborted command; but it was we who had it aborted.
    let retry = if recalled {
        Retry::OtherPath
    } else {
        failure.retry
    };
    if retry == Retry::Never {
        return Disposition::Fail(FailReason::Error);
    }
    let repeatable = class.kind != IoKind::Other { idempotent: false };
    if !repeatable && failure.execution != Execution::NotExecuted {
        return Disposition::Fail(FailReason::Error);
    }
    let (count, limit) = if recalled || failure.scope == Scope::Path || retry == Retry::OtherPath {
        (&mut tries.moves, limits.moves)
    } else {
        (&mut tries.retries, limits.retries)
    };
    *count += 1;
    if *count > limit {
        return Disposition::Fail(FailReason::RetriesExhausted);
    }
    if may_land_later(class, failure) {
        return Disposition::Fence;
    }
    match retry {
        Retry::SamePath if failure.scope != Scope::Path => Disposition::Again(Wish::Same),
        Retry::After(delay) => Disposition::After(delay),
        Retry::SamePath | Retry::OtherPath | Retry::Never => Disposition::Again(Wish::Other),
    }
}

/// Whether the target may still execute this attempt, and thereby change data.
pub(crate) fn may_land_later(class: &IoClass, failure: Failure) -> bool {
    class.modifies().is_some() && failure.execution == Execution::Unknown && !failure.dead
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        retries: 2,
        moves: 3,
    };

    fn decide_once(class: &IoClass, failure: Failure) -> Disposition {
        decide(
            class,
            Outcome::Failed(failure),
            TakenBack::No,
            &mut Tries::default(),
            LIMITS,
        )
    }

    fn failure(execution: Execution, dead: bool, retry: Retry) -> Failure {
        Failure {
            scope: Scope::Path,
            execution,
            dead,
            unsent: false,
            retry,
        }
    }

    #[test]
    fn a_write_moves_at_once_only_if_it_cannot_land_later() {
        let write = IoClass::write(0..8);
        let go = Disposition::Again(Wish::Other);
        use Execution::{NotExecuted, Unknown};
        let lost = |execution, dead| failure(execution, dead, Retry::OtherPath);
        assert_eq!(decide_once(&write, lost(NotExecuted, false)), go);
        assert_eq!(decide_once(&write, lost(Unknown, true)), go);
        assert_eq!(
            decide_once(&write, lost(Unknown, false)),
            Disposition::Fence
        );
        assert_eq!(
            decide_once(&IoClass::read(0..8), lost(Unknown, false)),
            go,
            "a read moves in any case"
        );
    }

    #[test]
    fn what_is_not_idempotent_is_repeated_only_if_it_was_not_executed() {
        let caw = IoClass {
            kind: IoKind::Other { idempotent: false },
            ..IoClass::write(0..8)
        };
        let lost = |execution| failure(execution, true, Retry::OtherPath);
        assert_eq!(
            decide_once(&caw, lost(Execution::NotExecuted)),
            Disposition::Again(Wish::Other)
        );
        assert_eq!(
            decide_once(&caw, lost(Execution::Unknown)),
            Disposition::Fail(FailReason::Error)
        );
    }

    #[test]
    fn both_budgets_end() {
        for (scope, retry, allowed) in [
            (Scope::Path, Retry::OtherPath, LIMITS.moves),
            (Scope::Device, Retry::SamePath, LIMITS.retries),
            (
                Scope::Request,
                Retry::After(Duration::from_millis(1)),
                LIMITS.retries,
            ),
        ] {
            let failure = Failure {
                scope,
                ..failure(Execution::NotExecuted, true, retry)
            };
            let mut tries = Tries::default();
            let mut again = || {
                decide(
                    &IoClass::read(0..1),
                    Outcome::Failed(failure),
                    TakenBack::No,
                    &mut tries,
                    LIMITS,
                )
            };
            for _ in 0..allowed {
                assert!(!matches!(again(), Disposition::Fail(_)));
            }
            assert_eq!(again(), Disposition::Fail(FailReason::RetriesExhausted));
        }
    }

    #[test]
    fn a_recalled_read_moves_although_its_path_says_never() {
        let aborted = failure(Execution::NotExecuted, true, Retry::Never);
        let read = IoClass::read(0..1);
        assert_eq!(
            decide_once(&read, aborted),
            Disposition::Fail(FailReason::Error)
        );
        let moved = decide(
            &read,
            Outcome::Failed(aborted),
            TakenBack::Recalled,
            &mut Tries::default(),
            LIMITS,
        );
        assert_eq!(moved, Disposition::Again(Wish::Other));
    }

    #[test]
    fn a_hedged_read_moves_to_an_equal_and_its_moves_are_left() {
        let aborted = failure(Execution::Unknown, false, Retry::Never);
        let mut tries = Tries::default();
        let moved = decide(
            &IoClass::read(0..1),
            Outcome::Failed(aborted),
            TakenBack::Hedged,
            &mut tries,
            LIMITS,
        );
        assert_eq!(moved, Disposition::Again(Wish::Equal));
        assert_eq!((tries.moves, tries.retries, tries.hedges), (0, 0, 1));
    }
}
