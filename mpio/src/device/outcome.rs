//! From a path's errors to the core's terms, and from the core's verdicts to the caller's errors.

use std::{error::Error as StdError, time::Duration};

use iscsi_client::error::{Error, ErrorKind, Outcome as ErrorOutcome, Retry as ErrorRetry};
use iscsi_proto::session::TaskErrorKind;

use super::keys;
use crate::core::{Execution, FailReason, Failure, Outcome, Retry, Scope, SubmitError, Verdict};

/// What the core is told about an attempt that failed, and whether the error says that registrations are lost
/// which the device has made (`keyed`).
/// That is nothing to the caller: there is no reservation of the device's that it could be about, and the
/// command was not executed. Where one of others stands, the repetition is told.
pub(super) fn outcome_with_keys(error: &Error, keyed: bool) -> (Outcome, bool) {
    let lost = keyed && keys::is_loss(error);
    let mut failure = failure_of(error);
    if lost {
        failure.retry = Retry::SamePath;
    }
    (Outcome::Failed(failure), lost)
}

/// The same of a path that has no key where the device is registered (`keyless`): what it was sent before that was known
/// meets the reservation that is the device's own, and is let in elsewhere. If all have lost their keys, that is
/// told to what waits for them.
pub(super) fn outcome_on(error: &Error, keyed: bool, keyless: bool) -> (Outcome, bool) {
    let (outcome, lost) = outcome_with_keys(error, keyed);
    match outcome {
        Outcome::Failed(failure) if keyless && error.kind() == ErrorKind::ReservationConflict => {
            let retry = Retry::OtherPath;
            (Outcome::Failed(Failure { retry, ..failure }), lost)
        }
        outcome => (outcome, lost),
    }
}

fn failure_of(error: &Error) -> Failure {
    let scope = scope_of(error.kind());
    let retry = match error.retry() {
        // For the path it is the end; for the device it is one path less.
        _ if error.kind() == ErrorKind::Closed => Retry::OtherPath,
        // It fits the device, so this path finds another size than the others.
        _ if matches!(error.kind(), ErrorKind::OutOfRange { .. }) => Retry::OtherPath,
        ErrorRetry::Never => Retry::Never,
        ErrorRetry::SamePath => Retry::SamePath,
        ErrorRetry::OtherPath => Retry::OtherPath,
        ErrorRetry::After(delay) => Retry::After(delay),
    };
    Failure {
        scope,
        execution: match error.outcome() {
            ErrorOutcome::NotExecuted => Execution::NotExecuted,
            ErrorOutcome::Unknown => Execution::Unknown,
            ErrorOutcome::Executed => Execution::Executed,
        },
        dead: error.is_dead(),
        unsent: error.outcome() == ErrorOutcome::NotExecuted && is_of_lost_connection(error),
        retry,
    }
}

/// Whether it was the connection that ended. What was late by then reads `Timeout`, with the end as its source; what
/// was late by itself has none, or says so.
fn is_of_lost_connection(error: &Error) -> bool {
    let is_end = |source: &(dyn StdError + 'static)| !source.is::<TaskErrorKind>();
    match error.kind() {
        ErrorKind::Transport => true,
        ErrorKind::Timeout => error.source().is_some_and(is_end),
        _ => false,
    }
}

/// Whom a failure concerns. A target that is out of resources, or slow, is not its path's fault:
/// taking the path out would make it worse.
const fn scope_of(kind: ErrorKind) -> Scope {
    match kind {
        ErrorKind::Transport
        | ErrorKind::Auth
        | ErrorKind::Protocol
        | ErrorKind::Closed
        | ErrorKind::NoPath
        | ErrorKind::NoSuchUnit
        | ErrorKind::WrongUnit
        | ErrorKind::NotReady => Scope::Path,
        ErrorKind::Busy
        | ErrorKind::NoSpace
        | ErrorKind::Medium
        | ErrorKind::Hardware
        | ErrorKind::Protection
        | ErrorKind::ReservationConflict => Scope::Device,
        _ => Scope::Request,
    }
}

/// An attempt that was never made because its request was dropped before.
pub(super) const UNREAD: Outcome = Outcome::Failed(Failure {
    scope: Scope::Request,
    execution: Execution::NotExecuted,
    dead: true,
    unsent: false,
    retry: Retry::Never,
});

/// An attempt of a read or flush whose future is gone. What it still does harms nobody.
pub(super) const DROPPED: Outcome = Outcome::Failed(Failure {
    scope: Scope::Request,
    execution: Execution::Unknown,
    dead: true,
    unsent: false,
    retry: Retry::Never,
});

/// How the attempts of a request have ended so far.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    last: Option<Error>,
    /// One of them may still be executed, whatever is known of the last.
    may_land: bool,
}

impl Attempts {
    pub(super) fn note(&mut self, error: Option<Error>) {
        let Some(error) = error else { return };
        self.may_land |= error.outcome() == ErrorOutcome::Unknown && !error.is_dead();
        self.last = Some(error);
    }
}

/// What the caller gets.
pub(super) fn result_of(
    verdict: Verdict,
    attempts: Attempts,
    timed_out: bool,
) -> Result<(), Error> {
    let Attempts { last, may_land } = attempts;
    let (reason, execution) = match verdict {
        Verdict::Success => return Ok(()),
        Verdict::Failed { reason, execution } => (reason, execution),
    };
    let outcome = match execution {
        Execution::NotExecuted => ErrorOutcome::NotExecuted,
        Execution::Unknown => ErrorOutcome::Unknown,
        Execution::Executed => ErrorOutcome::Executed,
    };
    let kind = match reason {
        _ if timed_out => ErrorKind::Timeout,
        FailReason::NoPath => ErrorKind::NoPath,
        FailReason::Closed => ErrorKind::Closed,
        FailReason::Cancelled => ErrorKind::Aborted,
        FailReason::Preempted => ErrorKind::ReservationConflict,
        FailReason::Error | FailReason::RetriesExhausted | FailReason::Unfenced => {
            // The path's own words, with the whole story's outcome.
            let error = last.unwrap_or_else(|| Error::new(ErrorKind::Timeout, outcome));
            let dead = error.is_dead() && !may_land;
            return Err(error.with_outcome(outcome).with_dead(dead));
        }
    };
    let error = Error::new(kind, outcome);
    let error = match may_land {
        true => error.with_dead(false),
        false => error,
    };
    let error = match kind {
        ErrorKind::NoPath => error.with_retry(ErrorRetry::After(Duration::from_secs(1))),
        // Another path is what was tried already.
        ErrorKind::Timeout => error.with_retry(ErrorRetry::SamePath),
        _ => error,
    };
    Err(match last {
        Some(cause) => error.with_source(cause),
        None => error,
    })
}

/// A request that was not accepted.
pub(super) fn refused(error: SubmitError) -> Error {
    match error {
        SubmitError::QueueFull => Error::not_executed(ErrorKind::Busy),
        SubmitError::Closed => Error::not_executed(ErrorKind::Closed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNKNOWN: Verdict = Verdict::Failed {
        reason: FailReason::Error,
        execution: Execution::Unknown,
    };

    fn told(errors: impl IntoIterator<Item = Error>) -> Error {
        let mut attempts = Attempts::default();
        for error in errors {
            attempts.note(Some(error));
            attempts.note(None);
        }
        result_of(UNKNOWN, attempts, false).unwrap_err()
    }

    /// Else the caller would write something else there, and the first attempt would land over it.
    #[test]
    fn a_request_is_dead_only_if_each_of_its_attempts_is() {
        let lost = || Error::new(ErrorKind::Transport, ErrorOutcome::Unknown);
        let aborted = || lost().with_dead(true);
        let refused = || Error::not_executed(ErrorKind::ReservationConflict);
        let error = told([lost(), refused()]);
        assert_eq!(error.kind(), ErrorKind::ReservationConflict);
        assert_eq!(
            (error.outcome(), error.is_dead()),
            (ErrorOutcome::Unknown, false)
        );
        assert!(!told([lost(), aborted()]).is_dead());
        assert!(!told([lost()]).is_dead());
        assert!(told([aborted(), refused()]).is_dead());
    }
}
