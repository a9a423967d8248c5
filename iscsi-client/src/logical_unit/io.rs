//! Reading, writing and flushing.

use std::{
    future::{Future, poll_fn},
    task::Poll,
    time::Instant,
};

use futures_util::stream::{FuturesOrdered, StreamExt};
use iscsi_proto::{planted::Bug, scsi::Cdb};

use super::{
    LogicalUnit,
    classify::CommandClass,
    command::{Attempt, Step, Tried, worse},
    recall::Recall,
};
use crate::{
    buf::{Completion, ReadBuf, WriteBuf},
    device::{FlushOptions, ReadOptions, WriteOptions},
    error::{Error, ErrorKind, Outcome},
    session::Payload,
};

/// A request in the unit's own terms.
#[derive(Clone, Copy, Debug)]
struct Plan {
    lba: u64,
    /// Length in bytes, a multiple of the block size.
    len: usize,
    block_size: u32,
    /// The longest transfer of one command, in bytes.
    max_transfer: usize,
    deadline: Instant,
    read_only: bool,
    fua: bool,
    write_cache: bool,
}

impl Plan {
    const fn fits_one(&self) -> bool {
        self.len <= self.max_transfer
    }

    /// Blocks in `len` bytes; one command never has more than `max_transfer`, so they fit.
    const fn blocks(&self, len: usize) -> u32 {
        (len as u64 / self.block_size as u64) as u32
    }
}

impl LogicalUnit {
    /// Reads `buf.len()` bytes at `offset`; as
    /// [`BlockDevice::read`](crate::device::BlockDevice::read), without boxing. A request that fits
    /// one command allocates nothing here.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: after the drop no region of `buf` is stored to again, and the command is
    /// aborted at the target.
    pub fn read(
        &self,
        offset: u64,
        buf: ReadBuf,
        options: ReadOptions,
    ) -> impl Future<Output = Completion<ReadBuf>> + Send {
        self.read_as(offset, buf, options, None)
    }

    /// Reads as [`read`](Self::read) does, and can be taken back: `recall` makes it complete soon,
    /// with [`ErrorKind::Aborted`] and the buffer.
    ///
    /// # Cancel safety
    ///
    /// As [`read`](Self::read).
    pub fn read_recallable(
        &self,
        offset: u64,
        buf: ReadBuf,
        options: ReadOptions,
        recall: &Recall,
    ) -> impl Future<Output = Completion<ReadBuf>> + Send {
        self.read_as(offset, buf, options, Some(recall))
    }

    async fn read_as(
        &self,
        offset: u64,
        buf: ReadBuf,
        options: ReadOptions,
        recall: Option<&Recall>,
    ) -> Completion<ReadBuf> {
        let commander = &self.inner.commander;
        let deadline = commander.deadline(options.timeout);
        if commander.stale() != 0 {
            if let Err(error) = self.look_first(deadline, recall).await {
                return Completion::err(error, buf);
            }
        }
        let plan = match self.plan(offset, buf.len(), deadline) {
            Ok(plan) => plan,
            Err(error) => return Completion::err(error, buf),
        };
        if plan.len == 0 {
            return Completion::ok(buf);
        }
        if !plan.fits_one() {
            let (result, buf) = Box::pin(self.read_split(&plan, buf, recall)).await;
            return Completion { result, buf };
        }
        let cdb = Cdb::read(plan.lba, plan.blocks(plan.len), false);
        let read = commander.try_once(cdb, Payload::In(buf), deadline, recall);
        let (result, payload) = match read.await {
            Ok(payload) => (Ok(()), payload),
            Err(tried) => {
                let mut attempt = Attempt::new(CommandClass::Read, cdb, Payload::None, deadline);
                attempt.recall = recall.cloned();
                Box::pin(self.command_from(attempt, Some(tried))).await
            }
        };
        let buf = match payload {
            Payload::In(buf) => buf,
            _ => ReadBuf::default(),
        };
        Completion { result, buf }
    }

    /// Writes `buf` at `offset`; as [`BlockDevice::write`](crate::device::BlockDevice::write),
    /// without boxing. A request of owned bytes that fits one command allocates nothing here.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: regions of `buf` are loaded in the first poll and never looked at again. The
    /// command is aborted at the target; whether it was carried out is unknown.
    pub async fn write(
        &self,
        offset: u64,
        buf: WriteBuf,
        options: WriteOptions,
    ) -> Completion<WriteBuf> {
        let commander = &self.inner.commander;
        let deadline = commander.deadline(options.timeout);
        if commander.stale() != 0 {
            if let Err(error) = self.look_first(deadline, None).await {
                return Completion::err(error, buf);
            }
        }
        let plan = match self.plan(offset, buf.len(), deadline) {
            Ok(plan) if plan.read_only => {
                return Completion::err(Error::not_executed(ErrorKind::ReadOnly), buf);
            }
            Ok(plan) => plan,
            Err(error) => return Completion::err(error, buf),
        };
        if plan.len == 0 {
            return Completion::ok(buf);
        }
        // Every repeat has to send the same bytes, so a region is loaded here and not once a try.
        let (data, original) = if buf.has_regions() {
            match buf.load() {
                Ok(data) => (data, Some(buf)),
                Err(error) => return Completion::err(error.into(), buf),
            }
        } else {
            (buf, None)
        };
        let fua = options.fua && plan.fua;
        let (mut result, data) = if plan.fits_one() {
            let cdb = Cdb::write(plan.lba, plan.blocks(data.len()), fua);
            let write = commander.try_once(cdb, Payload::Out(data), deadline, None);
            let (result, payload) = match write.await {
                Ok(payload) => (Ok(()), payload),
                Err(tried) => {
                    let attempt = Attempt::new(CommandClass::Write, cdb, Payload::None, deadline);
                    Box::pin(self.command_from(attempt, Some(tried))).await
                }
            };
            match payload {
                Payload::Out(data) => (result, data),
                _ => (result, WriteBuf::default()),
            }
        } else {
            Box::pin(self.write_split(&plan, data, fua)).await
        };
        if result.is_ok() && options.fua && !plan.fua && plan.write_cache {
            // The bytes are written, so a failure from here on means: written, not durable.
            let flushed = Box::pin(self.synchronize_cache(deadline)).await;
            result = flushed.map_err(|error| error.with_outcome(Outcome::Unknown));
        }
        Completion {
            result,
            buf: original.unwrap_or(data),
        }
    }

    /// Makes completed writes durable (SYNCHRONIZE CACHE); as
    /// [`BlockDevice::flush`](crate::device::BlockDevice::flush), without boxing.
    ///
    /// # Errors
    ///
    /// Anything but a unit that does not know the command: that has no cache to be flushed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped flush promises nothing.
    pub async fn flush(&self, options: FlushOptions) -> Result<(), Error> {
        let commander = &self.inner.commander;
        let timeout = options.timeout.or(commander.options.flush_timeout);
        self.inner.info.with(|_| Ok(()))?;
        if commander
            .session
            .options()
            .core
            .planted
            .has(Bug::FlushNotSent)
        {
            return Ok(());
        }
        self.synchronize_cache(commander.deadline(timeout)).await
    }

    async fn synchronize_cache(&self, deadline: Instant) -> Result<(), Error> {
        // LBA 0, 0 blocks: all of the medium.
        let cdb = Cdb::synchronize_cache10(0, 0);
        let attempt = Attempt::new(CommandClass::Flush, cdb, Payload::None, deadline);
        match self.command(attempt).await.0 {
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(()),
            result => result,
        }
    }

    /// Something is out of date, and looked at before a request is planned.
    async fn look_first(&self, deadline: Instant, recall: Option<&Recall>) -> Result<(), Error> {
        self.inner.info.with(|_| Ok(()))?;
        self.attend_or_recall(deadline, recall).await
    }

    /// Bounds, alignment and limits, by the unit's info at this moment.
    fn plan(&self, offset: u64, len: usize, deadline: Instant) -> Result<Plan, Error> {
        self.inner.info.with(|info| {
            info.check(offset, len)?;
            Ok(Plan {
                lba: offset / u64::from(info.block_size),
                len,
                block_size: info.block_size,
                max_transfer: info.max_transfer as usize,
                deadline,
                read_only: info.read_only,
                fua: info.fua,
                write_cache: info.write_cache,
            })
        })
    }

    async fn attend_or_recall(
        &self,
        deadline: Instant,
        recall: Option<&Recall>,
    ) -> Result<(), Error> {
        // Rare, and its future is large.
        let mut attending = Box::pin(self.attend(deadline));
        poll_fn(|cx| match recall.map(|recall| recall.poll(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(Err(Error::not_executed(ErrorKind::Aborted))),
            _ => attending.as_mut().poll(cx),
        })
        .await
    }

    /// Runs a command; in front of it, and of each of its repeats, whatever is out of date is looked
    /// at.
    async fn command(&self, attempt: Attempt) -> (Result<(), Error>, Payload) {
        self.command_from(attempt, None).await
    }

    async fn command_from(
        &self,
        mut attempt: Attempt,
        mut tried: Option<Tried>,
    ) -> (Result<(), Error>, Payload) {
        let commander = &self.inner.commander;
        let mut stale = tried.is_none() && commander.stale() != 0;
        loop {
            if stale {
                let recall = attempt.recall.as_ref();
                if let Err(error) = self.attend_or_recall(attempt.deadline, recall).await {
                    return (Err(attempt.after_all(error)), attempt.payload);
                }
            }
            match commander.run_from(attempt, tried.take()).await {
                Step::Done(result, payload) => return (result.map(drop), payload),
                Step::Attend(again) => (attempt, stale) = (again, true),
            }
        }
    }

    async fn read_one(
        &self,
        plan: &Plan,
        lba: u64,
        buf: ReadBuf,
        recall: Option<&Recall>,
    ) -> (Result<(), Error>, ReadBuf) {
        let cdb = Cdb::read(lba, plan.blocks(buf.len()), false);
        let payload = Payload::In(buf);
        let mut attempt = Attempt::new(CommandClass::Read, cdb, payload, plan.deadline);
        attempt.recall = recall.cloned();
        match self.command(attempt).await {
            (result, Payload::In(buf)) => (result, buf),
            (result, _) => (result, ReadBuf::default()),
        }
    }

    async fn write_one(
        &self,
        plan: &Plan,
        lba: u64,
        buf: WriteBuf,
        fua: bool,
    ) -> (Result<(), Error>, WriteBuf) {
        let cdb = Cdb::write(lba, plan.blocks(buf.len()), fua);
        let payload = Payload::Out(buf);
        let attempt = Attempt::new(CommandClass::Write, cdb, payload, plan.deadline);
        match self.command(attempt).await {
            (result, Payload::Out(buf)) => (result, buf),
            (result, _) => (result, WriteBuf::default()),
        }
    }

    async fn read_split(
        &self,
        plan: &Plan,
        buf: ReadBuf,
        recall: Option<&Recall>,
    ) -> (Result<(), Error>, ReadBuf) {
        let (mut rest, mut whole) = (buf, ReadBuf::default());
        let result = self
            .in_pieces(
                plan,
                |len| rest.split_to(len),
                |lba, piece| self.read_one(plan, lba, piece, recall),
                |piece| whole.unsplit(piece),
            )
            .await;
        // After a failure, what was not asked for any more.
        whole.unsplit(rest);
        (result, whole)
    }

    async fn write_split(
        &self,
        plan: &Plan,
        buf: WriteBuf,
        fua: bool,
    ) -> (Result<(), Error>, WriteBuf) {
        let mut rest = buf.clone();
        let result = self
            .in_pieces(
                plan,
                |len| rest.split_to(len),
                |lba, piece| self.write_one(plan, lba, piece, fua),
                drop,
            )
            .await;
        (result, buf)
    }

    /// Cuts a request into commands of the unit's size, keeps a few of them under way, and joins
    /// the pieces in order. After the first failure no more are sent.
    async fn in_pieces<B, F>(
        &self,
        plan: &Plan,
        mut cut: impl FnMut(usize) -> B,
        send: impl Fn(u64, B) -> F,
        mut join: impl FnMut(B),
    ) -> Result<(), Error>
    where
        F: Future<Output = (Result<(), Error>, B)>,
    {
        let depth = self.inner.commander.options.split_depth.max(1);
        let mut under_way = FuturesOrdered::new();
        let (mut lba, mut left) = (plan.lba, plan.len);
        let mut whole = Joined::default();
        loop {
            while left > 0 && under_way.len() < depth && whole.error.is_none() {
                let len = left.min(plan.max_transfer);
                under_way.push_back(send(lba, cut(len)));
                lba += u64::from(plan.blocks(len));
                left -= len;
            }
            let Some((result, piece)) = under_way.next().await else {
                let planted = self.inner.commander.session.options().core.planted;
                if planted.has(Bug::SplitFailureIgnored) && whole.any_done {
                    return Ok(());
                }
                return whole.into_result();
            };
            join(piece);
            whole.add(result);
        }
    }
}

/// The outcome of a request in several commands.
#[derive(Debug, Default)]
struct Joined {
    /// The first failure, by position.
    error: Option<Error>,
    any_done: bool,
    /// Of the failures after the first.
    rest: Option<(Outcome, bool)>,
}

impl Joined {
    fn add(&mut self, result: Result<(), Error>) {
        match (result, &self.error) {
            (Ok(()), _) => self.any_done = true,
            (Err(error), None) => self.error = Some(error),
            (Err(error), Some(_)) => {
                let (outcome, dead) = self.rest.unwrap_or((Outcome::NotExecuted, true));
                let outcome = worse(outcome, error.outcome());
                self.rest = Some((outcome, dead && error.is_dead()));
            }
        }
    }

    fn into_result(self) -> Result<(), Error> {
        let Some(error) = self.error else {
            return Ok(());
        };
        let (rest, dead) = self.rest.unwrap_or((Outcome::NotExecuted, true));
        let dead = dead && error.is_dead();
        // Some of it is done and some not: nobody can say in one word what the whole is.
        let outcome = match worse(error.outcome(), rest) {
            Outcome::NotExecuted if self.any_done => Outcome::Unknown,
            outcome => outcome,
        };
        Err(error.with_outcome(outcome).with_dead(dead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(outcome: Outcome) -> Result<(), Error> {
        Err(Error::new(ErrorKind::Transport, outcome))
    }

    fn join(results: impl IntoIterator<Item = Result<(), Error>>) -> (Outcome, bool) {
        let mut joined = Joined::default();
        results.into_iter().for_each(|result| joined.add(result));
        let error = joined.into_result().unwrap_err();
        (error.outcome(), error.is_dead())
    }

    #[test]
    fn a_split_request_is_not_executed_only_if_no_piece_of_it_was() {
        use Outcome::{Executed, NotExecuted, Unknown};
        assert_eq!(
            join([failed(NotExecuted), failed(NotExecuted)]),
            (NotExecuted, true)
        );
        assert_eq!(join([Ok(()), failed(NotExecuted)]), (Unknown, true));
        assert_eq!(join([failed(NotExecuted), Ok(())]), (Unknown, true));
        assert_eq!(
            join([failed(NotExecuted), failed(Unknown)]),
            (Unknown, false)
        );
        assert_eq!(join([failed(Executed), Ok(())]), (Executed, true));
    }
}
