//! Reading, writing and flushing through whatever path there is.
//!
//! The caller's own future makes the attempts: it asks the core where, polls that path's future in
//! place, and tells the core how it ended. So a request costs two short locks and no task switch
//! beyond those of the path itself. The driver is only needed for what happens on no one's behalf.

use std::{
    future::{Future, poll_fn},
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use iscsi_client::{
    buf::{Completion, ReadBuf, WriteBuf},
    device::{FlushOptions, ReadOptions, WriteOptions},
    error::{Error, ErrorKind, Outcome, Retry},
    logical_unit::Recall,
    runtime::Runtime,
};

use super::{
    MultipathDevice,
    job::Job,
    outcome::{refused, result_of},
    shared::{Order, Shared},
    ticket::{Deadline, Ticket},
};
use crate::{core::IoClass, path::Path};

impl<P: Path> MultipathDevice<P> {
    /// Reads `buf.len()` bytes at `offset`; as
    /// [`BlockDevice::read`](iscsi_client::device::BlockDevice::read), without boxing.
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
        let shared = self.shared();
        if let Err(error) = self.check(offset, buf.len()) {
            return Completion::err(error, buf);
        }
        if buf.is_empty() {
            return Completion::ok(buf);
        }
        let mut deadline = Deadline::new(&*shared.runtime, options.timeout);
        let range = offset..offset + buf.len() as u64;
        let mut ticket = match shared.submit(IoClass::read(range)) {
            Ok(ticket) => ticket,
            Err(error) => return Completion::err(refused(error), buf),
        };
        let mut last = None;
        loop {
            let go = match ticket.order(&mut deadline).await {
                Order::Go(go) => go,
                Order::Done(verdict) => {
                    let result = result_of(verdict, last, deadline.is_expired());
                    return Completion { result, buf };
                }
            };
            let Ok(left) = deadline.left(&*shared.runtime) else {
                ticket.end_late();
                continue;
            };
            let mut options = options;
            options.timeout = left;
            let read = go.path.read(offset, buf, options, &go.recall);
            let read = in_time(read, &mut deadline, &*shared.runtime, || go.recall.recall()).await;
            buf = read.buf;
            ticket.end(&read.result);
            last = read.result.err().or(last);
        }
    }

    /// Writes `buf` at `offset`; as
    /// [`BlockDevice::write`](iscsi_client::device::BlockDevice::write), and boxed once, see below.
    ///
    /// Regions are loaded once, and every attempt sends the same bytes. A write whose path is lost is
    /// tried again only after the first attempt is known to be dead (see
    /// [`FenceConfig`](crate::core::FenceConfig)); overlapping writes wait for each other.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the memory of `buf` is the request's own (regions were loaded). An attempt that
    /// is under way is not taken back: the driver sees it to its end, since only its outcome says
    /// when its range may safely be written again. For that its future lives in a box.
    pub async fn write(
        &self,
        offset: u64,
        buf: WriteBuf,
        options: WriteOptions,
    ) -> Completion<WriteBuf> {
        let shared = self.shared();
        if let Err(error) = self.check_write(offset, buf.len()) {
            return Completion::err(error, buf);
        }
        if buf.is_empty() {
            return Completion::ok(buf);
        }
        let mut deadline = Deadline::new(&*shared.runtime, options.timeout);
        let data = if buf.has_regions() {
            match buf.load() {
                Ok(data) => data,
                Err(error) => return Completion::err(error.into(), buf),
            }
        } else {
            buf.clone()
        };
        let range = offset..offset + buf.len() as u64;
        let ticket = match shared.submit(IoClass::write(range)) {
            Ok(ticket) => ticket,
            Err(error) => return Completion::err(refused(error), buf),
        };
        let mut request = WriteRequest {
            ticket,
            under_way: None,
            shared,
        };
        let mut last = None;
        loop {
            let go = match request.ticket.order(&mut deadline).await {
                Order::Go(go) => go,
                Order::Done(verdict) => {
                    let result = result_of(verdict, last, deadline.is_expired());
                    return Completion { result, buf };
                }
            };
            let Ok(left) = deadline.left(&*shared.runtime) else {
                request.ticket.end_late();
                continue;
            };
            let mut options = options;
            options.timeout = left;
            let (path, data) = (go.path, data.clone());
            let attempt = async move { path.write(offset, data, options).await.result };
            request.under_way = Some(Box::pin(attempt));
            let polled = poll_fn(|cx| request.poll(cx, &mut deadline)).await;
            let Some(result) = polled else {
                // The driver sees it to its end.
                let error = Error::new(ErrorKind::Timeout, Outcome::Unknown);
                return Completion::err(error.with_retry(Retry::SamePath), buf);
            };
            request.ticket.end(&result);
            last = result.err().or(last);
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
        let shared = self.shared();
        self.check(0, 0)?;
        let mut deadline = Deadline::new(&*shared.runtime, options.timeout);
        let mut ticket = shared.submit(IoClass::flush()).map_err(refused)?;
        let mut last = None;
        loop {
            let go = match ticket.order(&mut deadline).await {
                Order::Go(go) => go,
                Order::Done(verdict) => return result_of(verdict, last, deadline.is_expired()),
            };
            let Ok(left) = deadline.left(&*shared.runtime) else {
                ticket.end_late();
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
            ticket.end(&result);
            last = result.err().or(last);
        }
    }

    fn check_write(&self, offset: u64, len: usize) -> Result<(), Error> {
        self.check(offset, len)?;
        if self.info().read_only {
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

type Attempt = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// A write on its way. Dropped in the middle of an attempt, it leaves that to the driver.
struct WriteRequest<'a, P: Path> {
    ticket: Ticket<P>,
    under_way: Option<Attempt>,
    shared: &'a Arc<Shared<P>>,
}

impl<P: Path> WriteRequest<'_, P> {
    /// The result of the attempt; `None` if the time is over before.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        deadline: &mut Deadline,
    ) -> Poll<Option<Result<(), Error>>> {
        let Some(attempt) = &mut self.under_way else {
            return Poll::Pending;
        };
        if let Poll::Ready(result) = attempt.as_mut().poll(cx) {
            self.under_way = None;
            return Poll::Ready(Some(result));
        }
        if deadline.poll_expired(cx, &*self.shared.runtime) {
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

impl<P: Path> Drop for WriteRequest<'_, P> {
    fn drop(&mut self) {
        // Before the ticket is dropped, which would report the attempt as gone.
        let (Some(attempt), Some(id)) = (mem::take(&mut self.under_way), self.ticket.hand_over())
        else {
            return;
        };
        let mut attempt = Some(attempt);
        self.shared.act(|state, _| {
            // With no driver left nobody would poll it, and it would keep its session open.
            if let Some(attempt) = attempt.take_if(|_| !state.ended) {
                state.jobs.push(Job::Finish(id, attempt));
            }
        });
        // Without the lock, as in the driver's end.
        drop(attempt);
    }
}
