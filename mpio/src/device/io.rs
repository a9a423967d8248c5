//! Reading, writing and flushing through whatever path there is.
//!
//! The caller's own future makes the attempts: it asks the core where, polls that path's future in
//! place, and tells the core how it ended. So a request costs two short locks (`shared.rs`) and no task
//! switch beyond those of the path itself. The driver is only needed for what happens on no one's behalf.

use std::{
    future::{Future, poll_fn},
    sync::Arc,
    task::Poll,
};

use iscsi_client::{
    buf::{Completion, ReadBuf, WriteBuf},
    device::{FlushOptions, ReadOptions, WriteOptions},
    error::{Error, ErrorKind, Outcome, Retry},
    logical_unit::Recall,
    runtime::Runtime,
};
use iscsi_proto::planted::Bug;

use super::{
    MultipathDevice,
    outcome::{Attempts, result_of},
    shared::{Order, State},
    ticket::Deadline,
};
use crate::{core::IoClass, path::Path};

impl<P: Path> MultipathDevice<P> {
    /// Reads `buf.len()` bytes at `offset`; as
    /// [`BlockDevice::read`](iscsi_client::device::BlockDevice::read), without boxing. In a steady state
    /// nothing is allocated here.
    ///
    /// A read whose path is lost, or falls silent, goes on through another one, into the same
    /// buffer. Without a timeout it ends when the no-path policy says so.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: after the drop no region of `buf` is stored to again. A future that was polled
    /// should be polled on or be dropped: the request moves only while it is.
    pub async fn read(
        &self,
        offset: u64,
        mut buf: ReadBuf,
        options: ReadOptions,
    ) -> Completion<ReadBuf> {
        let shared = &**self.shared();
        let len = buf.len();
        if len == 0 {
            let result = shared.look(|state| state.check(offset, len, false));
            return Completion { result, buf };
        }
        let mut deadline = Deadline::new(&*shared.runtime, options.timeout);
        let class = IoClass::read(offset..offset.saturating_add(len as u64));
        let mut ticket = match shared.submit(class, |state| state.check(offset, len, false)) {
            Ok(ticket) => ticket,
            Err(error) => return Completion::err(error, buf),
        };
        let mut attempts = Attempts::default();
        loop {
            let order = match ticket.ready_order() {
                Some(order) => order,
                None => ticket.order(&mut deadline).await,
            };
            let go = match order {
                Order::Go(go) => go,
                Order::Done(verdict) => {
                    let result = result_of(verdict, attempts, deadline.is_expired());
                    return Completion { result, buf };
                }
            };
            let Ok(left) = deadline.left(&*shared.runtime) else {
                ticket.end_late(go);
                continue;
            };
            let mut options = options;
            options.timeout = left;
            let read = go.path.read(offset, buf, options, &go.recall);
            let read = in_time(read, &mut deadline, &*shared.runtime, || go.recall.recall());
            let mut read = read.await;
            buf = read.buf;
            if shared.planted.has(Bug::RecalledReadIsSuccess) && go.recall.is_recalled() {
                read.result = Ok(());
            }
            if ticket.end(go, &read.result) {
                return Completion {
                    result: Ok(()),
                    buf,
                };
            }
            attempts.note(read.result.err());
        }
    }

    /// Writes `buf` at `offset`; as
    /// [`BlockDevice::write`](iscsi_client::device::BlockDevice::write). In a steady state nothing is
    /// allocated here, see below.
    ///
    /// Regions are loaded once, and every attempt sends the same bytes. A write whose path is lost is
    /// tried again through another one, at once or after the first attempt is known to be dead, as the
    /// [`WriterMode`](crate::core::WriterMode) says. Overlapping writes wait for each other, and for
    /// attempts of earlier ones that may still land ([`FenceConfig`](crate::core::FenceConfig)).
    ///
    /// # Errors
    ///
    /// With [`Outcome::Unknown`] nobody knows whether the write was executed, or will be: read it back
    /// after a while, and do not write the place again before that.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the memory of `buf` is the request's own (regions were loaded). An attempt that
    /// is under way is not taken back: the driver sees it to its end, since only its outcome says
    /// when its range may safely be written again. For that its future lives in a box of the device's,
    /// of which there are as many as there were ever writes under way (256 are kept).
    pub async fn write(
        &self,
        offset: u64,
        buf: WriteBuf,
        options: WriteOptions,
    ) -> Completion<WriteBuf> {
        let shared = &**self.shared();
        let len = buf.len();
        let mut loaded = None;
        if len == 0 || buf.has_regions() {
            // Nothing is loaded for a request that is refused.
            let result = shared.look(|state| state.check(offset, len, true));
            if result.is_err() || len == 0 {
                return Completion { result, buf };
            }
            match buf.load() {
                Ok(data) => loaded = Some(data),
                Err(error) => return Completion::err(error.into(), buf),
            }
        }
        if shared.planted.has(Bug::RegionLoadedPerAttempt) {
            loaded = None;
        }
        let data = loaded.as_ref().unwrap_or(&buf);
        let mut deadline = Deadline::new(&*shared.runtime, options.timeout);
        let class = IoClass::write(offset..offset.saturating_add(len as u64));
        let mut ticket = match shared.submit(class, |state| state.check(offset, len, true)) {
            Ok(ticket) => ticket,
            Err(error) => return Completion::err(error, buf),
        };
        let mut attempts = Attempts::default();
        loop {
            let order = match ticket.ready_order() {
                Some(order) => order,
                None => ticket.order(&mut deadline).await,
            };
            let go = match order {
                Order::Go(go) => go,
                Order::Done(verdict) => {
                    let result = result_of(verdict, attempts, deadline.is_expired());
                    return Completion { result, buf };
                }
            };
            let Ok(left) = deadline.left(&*shared.runtime) else {
                ticket.end_late(go);
                continue;
            };
            let mut options = options;
            options.timeout = left;
            let write = ticket.vessel();
            write.load(Arc::clone(&go.path), offset, data.clone(), options);
            let polled = poll_fn(|cx| {
                if let Poll::Ready(result) = write.poll(cx) {
                    return Poll::Ready(Some(result));
                }
                let expired = deadline.poll_expired(cx, &*shared.runtime);
                if expired {
                    Poll::Ready(None)
                } else {
                    Poll::Pending
                }
            });
            let Some(result) = polled.await else {
                // The driver sees it to its end.
                let error = Error::new(ErrorKind::Timeout, Outcome::Unknown);
                return Completion::err(error.with_retry(Retry::SamePath), buf);
            };
            if ticket.end(go, &result) {
                return Completion { result, buf };
            }
            attempts.note(result.err());
        }
    }

    /// Makes every write durable that had completed when this was called, whichever path it took; as
    /// [`BlockDevice::flush`](iscsi_client::device::BlockDevice::flush), without boxing.
    ///
    /// # Errors
    ///
    /// After a failure nothing is known about the durability of any of them.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped flush promises nothing.
    pub async fn flush(&self, options: FlushOptions) -> Result<(), Error> {
        let shared = &**self.shared();
        let mut deadline = Deadline::new(&*shared.runtime, options.timeout);
        let mut ticket = shared.submit(IoClass::flush(), |state| state.check(0, 0, false))?;
        let mut attempts = Attempts::default();
        loop {
            let order = match ticket.ready_order() {
                Some(order) => order,
                None => ticket.order(&mut deadline).await,
            };
            let go = match order {
                Order::Go(go) => go,
                Order::Done(verdict) => return result_of(verdict, attempts, deadline.is_expired()),
            };
            let Ok(left) = deadline.left(&*shared.runtime) else {
                ticket.end_late(go);
                continue;
            };
            let mut options = options;
            options.timeout = left;
            let flush = go.path.flush(options);
            let flush = unless_recalled(flush, &go.recall);
            let result = in_time(flush, &mut deadline, &*shared.runtime, || {
                go.recall.recall()
            })
            .await;
            let result = match shared.planted.has(Bug::FlushFailureIgnored) {
                true => Ok(()),
                false => result,
            };
            if ticket.end(go, &result) {
                return result;
            }
            attempts.note(result.err());
        }
    }
}

impl<P: Path> State<P> {
    /// Whether the device takes a request.
    fn check(&self, offset: u64, len: usize, writes: bool) -> Result<(), Error> {
        if self.core.is_closing() {
            return Err(Error::not_executed(ErrorKind::Closed));
        }
        self.info.check(offset, len)?;
        if writes && self.info.read_only {
            return Err(Error::not_executed(ErrorKind::ReadOnly));
        }
        Ok(())
    }
}

/// A flush has no buffer that has to come back, so it is taken back by dropping it.
async fn unless_recalled(
    flush: impl Future<Output = Result<(), Error>>,
    recall: &Recall,
) -> Result<(), Error> {
    let mut flush = std::pin::pin!(flush);
    poll_fn(|cx| {
        if recall.poll(cx).is_ready() {
            return Poll::Ready(Err(Error::not_executed(ErrorKind::Aborted)));
        }
        flush.as_mut().poll(cx)
    })
    .await
}

/// The path keeps to the time that is left by itself, but it may wait for the target to confirm an
/// abort first; the caller's time is up all the same.
async fn in_time<T>(
    attempt: impl Future<Output = T>,
    deadline: &mut Deadline,
    runtime: &dyn Runtime,
    give_up: impl Fn(),
) -> T {
    let mut attempt = std::pin::pin!(attempt);
    poll_fn(|cx| {
        let polled = attempt.as_mut().poll(cx);
        if polled.is_pending() && deadline.poll_expired(cx, runtime) {
            give_up();
            return attempt.as_mut().poll(cx);
        }
        polled
    })
    .await
}
