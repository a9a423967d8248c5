//! From the core's errors to the client's.

use std::{io, sync::Arc};

use iscsi_proto::{
    Error as CoreError,
    error::Consequence,
    pdu::RejectReason,
    session::{Execution, SubmitError, TaskError, TaskErrorKind},
};

use crate::error::{Error, ErrorKind, Outcome, Retry};

/// What ended a connection.
#[derive(Clone, Debug)]
pub(super) enum Loss {
    /// The transport failed.
    Io(Arc<io::Error>),
    /// The core gave up on it, or the peer closed it ([`CoreError::Closed`]).
    Core(CoreError),
}

impl Loss {
    /// What the core is told.
    pub(super) const fn for_core(&self) -> CoreError {
        match self {
            Self::Io(_) => CoreError::Closed,
            Self::Core(error) => *error,
        }
    }

    /// The session's condition from now on, as an error that a refused command gets.
    pub(super) fn error(&self) -> Error {
        match self {
            Self::Io(error) => {
                Error::not_executed(ErrorKind::Transport).with_source(Arc::clone(error))
            }
            Self::Core(error) => Error::not_executed(kind_of(error)).with_source(*error),
        }
    }
}

const fn kind_of(error: &CoreError) -> ErrorKind {
    match error {
        CoreError::Decode(_) | CoreError::PeerMisbehaved(_) | CoreError::ApiMisuse(_) => {
            ErrorKind::Protocol
        }
        _ => ErrorKind::Transport,
    }
}

const fn outcome_of(execution: Execution) -> Outcome {
    match execution {
        Execution::NotExecuted => Outcome::NotExecuted,
        Execution::Unknown => Outcome::Unknown,
        Execution::Executed => Outcome::Executed,
    }
}

/// A task that ended without a usable answer. `loss` is what ended its connection, if that is why.
pub(super) fn task_error(error: TaskError, loss: Option<&Loss>) -> Error {
    let (kind, retry) = match error.kind {
        TaskErrorKind::Abandoned => (ErrorKind::Aborted, None),
        TaskErrorKind::TimedOut => (ErrorKind::Timeout, None),
        TaskErrorKind::TargetFailure(_) => (ErrorKind::Hardware, None),
        TaskErrorKind::Terminated(_) => (ErrorKind::Aborted, None),
        TaskErrorKind::LogoutRequested => (ErrorKind::Transport, None),
        TaskErrorKind::Rejected(
            RejectReason::ImmediateCommandReject | RejectReason::LongOperationReject,
        ) => (ErrorKind::Busy, None),
        TaskErrorKind::Rejected(RejectReason::WaitingForLogout) => (ErrorKind::Transport, None),
        TaskErrorKind::Rejected(_) => (ErrorKind::Protocol, Some(Retry::SamePath)),
        TaskErrorKind::ConnectionLost(core) => (
            kind_of(&core),
            (core.consequence() == Consequence::DropConnection).then_some(Retry::OtherPath),
        ),
        _ => (ErrorKind::Protocol, None),
    };
    let mut mapped = Error::new(kind, outcome_of(error.execution)).with_dead(error.is_dead);
    if let Some(retry) = retry {
        mapped = mapped.with_retry(retry);
    }
    let lost = match error.kind {
        TaskErrorKind::ConnectionLost(core) => Some(core),
        // Late, and not stopped before its connection ended.
        TaskErrorKind::TimedOut if !error.is_dead => loss.map(Loss::for_core),
        _ => None,
    };
    match (lost, loss) {
        (Some(_), Some(Loss::Io(cause))) => mapped.with_source(Arc::clone(cause)),
        (Some(core), _) => mapped.with_source(core),
        (None, _) => mapped.with_source(error.kind),
    }
}

/// A request that the core did not take.
pub(super) fn submit_error(error: SubmitError) -> Error {
    match error {
        SubmitError::QueueFull => Error::not_executed(ErrorKind::Busy),
        SubmitError::Closing => Error::not_executed(ErrorKind::Closed),
        SubmitError::Misuse(misuse) => Error::not_executed(ErrorKind::Protocol)
            .with_retry(Retry::Never)
            .with_source(misuse),
        other => Error::not_executed(ErrorKind::Protocol).with_source(other),
    }
}

/// What a command gets that comes after the target has asked for a logout.
pub(super) fn leaving() -> Error {
    Error::not_executed(ErrorKind::Transport).with_source(TaskErrorKind::LogoutRequested)
}
