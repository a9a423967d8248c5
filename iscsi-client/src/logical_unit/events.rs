//! What a unit reports on its own account.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use super::LogicalUnit;
use crate::{
    error::{Error, ErrorKind},
    session::{SessionState, UnitEvent},
};

impl LogicalUnit {
    /// The unit attentions after number `seen`, oldest first, as far as they are kept (the last 64).
    ///
    /// A unit reports each once per nexus. All [`LogicalUnit`]s of one LUN on one session, clones or
    /// opened one by one, share them; those that came while it was being opened are among them. What a
    /// command of [`Session::execute`](crate::session::Session::execute) finds is not: its caller has
    /// the sense data.
    #[must_use]
    pub fn events(&self, seen: u64) -> Vec<UnitEvent> {
        self.inner.commander.unit.events_after(seen)
    }

    /// Waits for the next unit attention after number `seen`: the oldest one that is kept. Nothing is
    /// sent for it: a unit has its say when the next command comes, and
    /// [`test_unit_ready`](Self::test_unit_ready) is such a command.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] once the unit or its session is closed and no event is left.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no event is lost.
    pub async fn next_event(&self, seen: u64) -> Result<UnitEvent, Error> {
        let mut watch = self.inner.commander.unit.watch();
        let mut unit_closed = pin!(self.closed());
        let mut session_closed = pin!(self.session_closed());
        poll_fn(|cx| {
            if let Poll::Ready(event) = watch.poll_after(seen, cx) {
                return Poll::Ready(Ok(event));
            }
            let closed = unit_closed.as_mut().poll(cx).is_ready()
                || session_closed.as_mut().poll(cx).is_ready();
            match closed {
                true => Poll::Ready(Err(Error::not_executed(ErrorKind::Closed))),
                false => Poll::Pending,
            }
        })
        .await
    }

    async fn closed(&self) {
        let mut seen = self.info().generation;
        while let Ok(info) = self.inner.info.changed(seen).await {
            seen = info.generation;
        }
    }

    async fn session_closed(&self) {
        let session = self.session();
        let mut status = session.status();
        while !matches!(status.state, SessionState::Closed) {
            status = session.changed(status.generation).await;
        }
    }
}
