//! Pings, text requests and task management as futures.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use iscsi_proto::{
    Instant,
    session::{DataSegmentLengths, TaskManagement, TaskManagementAnswer},
};

use super::{
    op_id::OpId,
    queue::Submitted,
    tether::Tether,
    work::{Finished, Work},
};
use crate::error::{Error, ErrorKind};

/// A request that is no SCSI command: submitted when it is made, refused when it cannot be.
#[derive(Debug)]
struct Request {
    session: Arc<Tether>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Running(OpId),
    Refused(Error),
    /// Known without asking.
    Known(TaskManagementAnswer),
    Over,
}

impl Request {
    fn new(session: &Arc<Tether>, work: Work) -> Self {
        let mut work = Some(work);
        let stage = match session.submit(&mut work) {
            Submitted::Taken(op) => Stage::Running(op),
            Submitted::Refused(error) => Stage::Refused(error),
            Submitted::Busy => Stage::Refused(Error::not_executed(ErrorKind::Busy)),
        };
        Self {
            session: Arc::clone(session),
            stage,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Finished, Error>> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Running(op) => {
                let polled = self.session.shared.poll_finished(op, cx);
                if polled.is_pending() {
                    self.stage = Stage::Running(op);
                }
                polled.map(Ok)
            }
            Stage::Refused(error) => Poll::Ready(Err(error)),
            Stage::Known(answer) => Poll::Ready(Ok(Finished::Managed(Ok(answer)))),
            Stage::Over => panic!("request polled after completion"),
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Stage::Running(op) = self.stage {
            self.session.shared.abandon(op);
        }
    }
}

/// A ping on its way; see [`Session::ping`](super::Session::ping).
///
/// # Cancel safety
///
/// Dropping it forgets the answer; the ping itself is not taken back.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Ping(Request);

impl Ping {
    pub(super) fn new(session: &Arc<Tether>, timeout: Duration) -> Self {
        let deadline = session.shared.now().saturating_add(timeout);
        Self(Request::new(session, Work::Ping(Some(deadline))))
    }
}

impl Future for Ping {
    /// The round trip.
    type Output = Result<Duration, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map(|finished| match finished? {
            Finished::Ping(result) => result,
            _ => unreachable!("the operation of a Ping is a ping"),
        })
    }
}

/// A text exchange on its way.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Text(Request);

impl Text {
    pub(super) fn new(session: &Arc<Tether>, text: Vec<u8>) -> Self {
        Self(Request::new(session, Work::Text(text)))
    }
}

impl Future for Text {
    type Output = Result<Vec<u8>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map(|finished| match finished? {
            Finished::Text(result) => result,
            _ => unreachable!("the operation of a Text is a text exchange"),
        })
    }
}

/// A task management function on its way; see
/// [`Session::task_management`](super::Session::task_management).
///
/// # Cancel safety
///
/// Dropping it forgets the answer. The function is not taken back: what it ends at the target it
/// ends here too.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct ManageTasks(Request);

impl ManageTasks {
    pub(super) fn new(
        session: &Arc<Tether>,
        request: TaskManagement,
        timeout: Option<Duration>,
    ) -> Self {
        let work = Work::Manage(request, deadline(session, timeout));
        Self(Request::new(session, work))
    }

    pub(super) fn query(session: &Arc<Tether>, of: OpId, timeout: Option<Duration>) -> Self {
        let work = Work::Query(of, deadline(session, timeout));
        Self(Request::new(session, work))
    }

    /// The target does not have the command: nobody has told it, or it has answered.
    pub(super) fn absent(session: &Arc<Tether>) -> Self {
        Self(Request {
            session: Arc::clone(session),
            stage: Stage::Known(TaskManagementAnswer::ABSENT),
        })
    }
}

fn deadline(session: &Tether, timeout: Option<Duration>) -> Option<Instant> {
    timeout.map(|timeout| session.shared.now().saturating_add(timeout))
}

impl Future for ManageTasks {
    /// The target's answer, whatever it is; or why there is none.
    type Output = Result<TaskManagementAnswer, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map(|finished| match finished? {
            Finished::Managed(result) => result,
            _ => unreachable!("the operation of a ManageTasks is a task management function"),
        })
    }
}

/// A renegotiation on its way; see [`Session::renegotiate`](super::Session::renegotiate).
///
/// # Cancel safety
///
/// Dropping it forgets the answer; what is agreed on holds all the same.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Renegotiate(Request);

impl Renegotiate {
    pub(super) fn new(session: &Arc<Tether>, length: u32) -> Self {
        Self(Request::new(session, Work::Renegotiate(length)))
    }
}

impl Future for Renegotiate {
    /// What holds from now on.
    type Output = Result<DataSegmentLengths, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map(|finished| match finished? {
            Finished::Renegotiated(result) => result,
            _ => unreachable!("the operation of a Renegotiate is a renegotiation"),
        })
    }
}
