//! Logging spares in and looking after them, as jobs of the driver.

use std::{
    error::Error as _,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::{Either, select};
use iscsi_client::{
    error::{Error, ErrorKind, LoginError},
    runtime::Runtime,
};

use super::{MultipathDriver, Report};
use crate::{
    backoff::sleep,
    core::PathId,
    device::join::{Candidate, Opening},
    path::{Path, PathLink, PathStatus},
    spares::STAY,
};

/// Between the first two attempts of one wait; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

impl<P: Path> MultipathDriver<P> {
    /// Logs in for as long as the path has to wait.
    pub(super) fn open_spare(&self, at: usize, opening: Opening<P>, until: Instant) {
        let runtime = Arc::clone(&self.shared.runtime);
        self.jobs.push(Box::pin(async move {
            let opened = open_until(&*runtime, &opening, until).await;
            Report::SpareOpened(at, opening, until, opened)
        }));
    }

    pub(super) fn spare_opened(
        &self,
        at: usize,
        opening: (Opening<P>, Instant),
        opened: Result<Candidate<P>, Error>,
    ) {
        drop(self.act(|state, now| state.spare_opened(now, at, opening, opened)));
    }

    pub(super) fn watch_spare(&self, at: usize, id: PathId) {
        let runtime = Arc::clone(&self.shared.runtime);
        self.jobs.push(Box::pin(async move {
            sleep(&*runtime, STAY).await;
            Report::SpareStayed(at, id)
        }));
    }

    pub(super) fn spare_stayed(&self, at: usize, id: PathId) {
        if self.act(|state, now| state.look_after_spare(now, at, id)) {
            self.watch_spare(at, id);
        }
    }

    /// What the connection of a path means for its spare.
    pub(super) fn spare_of(&self, id: PathId, status: &PathStatus) {
        match status.link {
            PathLink::Down(_) if !status.nexus_wait.is_zero() => {
                self.act(|state, now| state.want_spare(id, now + status.nexus_wait));
            }
            PathLink::Up => self.act(|state, _| state.need_no_spare(id)),
            PathLink::Down(_) | PathLink::Closed => {}
        }
    }
}

/// Tries until it succeeds, is refused for good, or is too late to be of use.
async fn open_until<P>(
    runtime: &dyn Runtime,
    opening: &Opening<P>,
    until: Instant,
) -> Result<Candidate<P>, Error> {
    let mut last = Error::not_executed(ErrorKind::Timeout);
    let mut pause = FIRST_PAUSE;
    let attempts = async {
        loop {
            let error = match opening.open().await {
                Ok(candidate) => return Ok(candidate),
                Err(error) => error,
            };
            let login = error.source().and_then(|source| source.downcast_ref());
            let is_final = login.is_some_and(|login: &LoginError| !login.is_transient());
            last = error;
            if is_final {
                return Err(());
            }
            sleep(runtime, pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    };
    let time = sleep(runtime, until.saturating_duration_since(runtime.now()));
    match select(pin!(attempts), pin!(time)).await {
        Either::Left((Ok(candidate), _)) => return Ok(candidate),
        Either::Left((Err(()), _)) | Either::Right(_) => {}
    }
    Err(last)
}
