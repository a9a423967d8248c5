//! Many commands of one submitter, and their completions in batches.

use std::{
    fmt,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::{
    execute::{Executed, QueueFull, ScsiRequest, conclude, fill, is_plain, prepare_if_free},
    queue::Submitted,
    slot::{Harvested, RingId},
    tether::Tether,
    work::Prepared,
};

/// A submission and completion queue of a session, for a loop that keeps many commands under way: an
/// emulated disk, a copy, a benchmark.
///
/// A future per command costs a waker per command and a poll of whatever holds the futures. A ring has
/// one waker, which is used once per batch, and its completions are moved out under one lock. It
/// allocates nothing per command. What a command does is the same as with
/// [`Session::execute`](super::Session::execute).
///
/// ```no_run
/// # use iscsi_client::{error::Error, session::{Payload, ScsiRequest, Session}};
/// # use iscsi_proto::scsi::{Cdb, Lun};
/// # async fn copy(session: Session) -> Result<(), Box<dyn std::error::Error>> {
/// let mut ring = session.ring();
/// for tag in 0..32 {
///     let buffer = Payload::In(vec![0; 4096].into());
///     let cdb = Cdb::read16(8 * tag, 8, false);
///     ring.try_submit(tag, ScsiRequest::new(Lun::ZERO, cdb, buffer))?;
/// }
/// let mut done = Vec::new();
/// while ring.in_flight() > 0 {
///     ring.harvest(&mut done).await;
///     for completion in done.drain(..) {
///         println!("{}: {:?}", completion.tag, completion.executed.result?.status);
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Dropping it
///
/// Dropping a ring drops its commands as dropping an [`Execute`](super::Execute) does: those that the
/// driver has not seen leave no trace, the others are aborted at the target and their buffers dropped.
pub struct Ring {
    session: Arc<Tether>,
    id: RingId,
    in_flight: usize,
    /// Commands that were refused at submission.
    early: Vec<RingCompletion>,
    /// For use again, both.
    late: Vec<Harvested>,
    wakers: Vec<Waker>,
}

/// The end of a command of a [`Ring`].
#[derive(Debug)]
#[must_use = "it holds the outcome and the buffer"]
pub struct RingCompletion {
    /// What the command was called at submission.
    pub tag: u64,
    /// As of an [`Execute`](super::Execute).
    pub executed: Executed,
}

impl Ring {
    pub(super) fn new(session: Arc<Tether>) -> Self {
        Self {
            id: session.shared.open_ring(),
            session,
            in_flight: 0,
            early: Vec::new(),
            late: Vec::new(),
            wakers: Vec::new(),
        }
    }

    /// Commands submitted and not harvested.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Submits a command, now. `tag` comes back with its completion; two commands may have the same.
    /// A command that cannot be carried out (the session is down, or memory of a write cannot be
    /// loaded) is harvested with its error.
    ///
    /// # Errors
    ///
    /// The request comes back when the session has no free slot; harvest first.
    pub fn try_submit(&mut self, tag: u64, request: ScsiRequest) -> Result<(), QueueFull> {
        let mut request = request;
        if is_plain(&request) {
            let session = &*self.session;
            let fill = |place: &mut Prepared| fill(session, place, &mut request);
            match session.submit_to_ring(self.id, tag, fill) {
                Submitted::Taken(_) => {
                    self.in_flight += 1;
                    return Ok(());
                }
                Submitted::Busy => {
                    return Err(QueueFull {
                        request: Box::new(request),
                    });
                }
                Submitted::Refused(_) => {}
            }
        }
        self.try_submit_any(tag, request)
    }

    /// The same for any request.
    fn try_submit_any(&mut self, tag: u64, request: ScsiRequest) -> Result<(), QueueFull> {
        let executed = match prepare_if_free(&self.session, request)? {
            (Err(executed), _) => executed,
            (Ok(prepared), timeout) => {
                let mut prepared = Some(prepared);
                let fill = |place: &mut Prepared| {
                    if let Some(prepared) = prepared.take() {
                        *place = prepared;
                    }
                };
                let submitted = self.session.submit_to_ring(self.id, tag, fill);
                match (submitted, prepared) {
                    (Submitted::Refused(error), Some(prepared)) => {
                        conclude(&self.session, Err(error), prepared.held)
                    }
                    (_, None) => {
                        self.in_flight += 1;
                        return Ok(());
                    }
                    (_, Some(prepared)) => {
                        return Err(QueueFull::new(&self.session, prepared, timeout));
                    }
                }
            }
        };
        self.in_flight += 1;
        self.early.push(RingCompletion { tag, executed });
        Ok(())
    }

    /// Appends all completions that are there to `done` and says how many; waits for one at least, and
    /// is ready with 0 when nothing is in flight.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a completion is either in `done` or still in the ring.
    pub async fn harvest(&mut self, done: &mut Vec<RingCompletion>) -> usize {
        poll_fn(|cx| self.poll_harvest(cx, done)).await
    }

    /// As [`harvest`](Self::harvest).
    pub fn poll_harvest(
        &mut self,
        cx: &mut Context<'_>,
        done: &mut Vec<RingCompletion>,
    ) -> Poll<usize> {
        self.harvest_or_register(Some(cx.waker()), done)
    }

    /// Appends the completions that are there, without waiting for any.
    pub fn try_harvest(&mut self, done: &mut Vec<RingCompletion>) -> usize {
        match self.harvest_or_register(None, done) {
            Poll::Ready(count) => count,
            Poll::Pending => 0,
        }
    }

    fn harvest_or_register(
        &mut self,
        waker: Option<&Waker>,
        done: &mut Vec<RingCompletion>,
    ) -> Poll<usize> {
        let before = done.len();
        if !self.early.is_empty() {
            done.append(&mut self.early);
        }
        let waker = waker.filter(|_| done.len() == before && self.in_flight > 0);
        let (session, late) = (&self.session, &mut self.late);
        let harvest = |harvested: Harvested| {
            // A region's store runs the caller's code, which has to wait until the lock is free.
            if harvested.held.stores() {
                late.push(harvested);
            } else {
                done.push(harvested.conclude(session));
            }
        };
        let polled = session
            .shared
            .harvest(self.id, waker, &mut self.wakers, harvest);
        if !late.is_empty() {
            done.extend(late.drain(..).map(|harvested| harvested.conclude(session)));
        }
        let count = done.len() - before;
        if polled.is_pending() && count == 0 && self.in_flight > 0 {
            return Poll::Pending;
        }
        self.in_flight -= count;
        Poll::Ready(count)
    }
}

impl Harvested {
    fn conclude(self, session: &Tether) -> RingCompletion {
        RingCompletion {
            tag: self.tag,
            executed: conclude(session, self.result, self.held),
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.session.shared.close_ring(self.id);
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({} in flight)", self.in_flight)
    }
}
