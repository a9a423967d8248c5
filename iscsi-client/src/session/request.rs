//! Pings and text requests as futures.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    queue::Submitted,
    slot::{Class, OpId},
    tether::Tether,
    work::{Finished, Work},
};
use crate::error::{Error, ErrorKind};

/// A request of [`Class::Control`]: submitted when it is made, refused when it cannot be.
#[derive(Debug)]
struct Request {
    session: Arc<Tether>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Running(OpId),
    Refused(Error),
    Over,
}

impl Request {
    fn new(session: &Arc<Tether>, work: Work) -> Self {
        let mut work = Some(work);
        let stage = match session.submit(Class::Control, &mut None, &mut work, None) {
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
    pub(super) fn new(session: &Arc<Tether>) -> Self {
        Self(Request::new(session, Work::Ping))
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
