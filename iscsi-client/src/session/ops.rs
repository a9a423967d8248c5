//! The driver's side of the operations: which are where, and what became of them.

use std::{collections::VecDeque, sync::Arc, task::Waker, time::Instant};

use iscsi_proto::{
    InitiatorTaskTag,
    session::{Command, Event, Response, Session as Core, Stats, SubmitError},
};

use super::{
    outcome::{self, Loss},
    queue::{Batch, Control, Shared},
    slot::{OpId, Slots},
    state::SessionEventKind,
    stats::SessionStats,
    store::Store,
    work::{Finished, Held, Work},
};
use crate::error::{Error, ErrorKind};

/// The driver's side of the operations.
///
/// An operation is in one of three places: in `waiting`, in the core (then its memory is in `store`
/// and its tag in `tags`), or finished in `batch`.
#[derive(Debug)]
pub(super) struct Ops {
    pub(super) shared: Arc<Shared>,
    pub(super) store: Store,
    batch: Batch,
    /// Taken over and not yet in the core: it was full, or there is no connection.
    waiting: VecDeque<(OpId, Work)>,
    /// By the operation's place in the table.
    tags: Vec<Option<(OpId, InitiatorTaskTag)>>,
    pub(super) stats: SessionStats,
    /// The present connection's share of `stats`.
    live: Stats,
    last_receive: Instant,
}

impl Ops {
    pub(super) fn new(shared: Arc<Shared>, queue_depth: u16) -> Self {
        let capacity = Slots::capacity(queue_depth);
        Self {
            last_receive: shared.runtime.now(),
            shared,
            store: Store::default(),
            batch: Batch::with_capacity(capacity),
            waiting: VecDeque::with_capacity(capacity),
            tags: vec![None; capacity],
            stats: SessionStats::default(),
            live: Stats::default(),
        }
    }

    /// Takes over what the handles asked.
    pub(super) fn take(&mut self) -> Control {
        self.shared.take(&mut self.batch)
    }

    /// Gives what was taken over to the core, oldest first, and revokes what is wanted back.
    pub(super) fn start(&mut self, core: &mut Core, now: iscsi_proto::Instant) {
        let mut submitted = std::mem::take(&mut self.batch.submitted);
        for (op, work) in submitted.drain(..) {
            match work {
                Work::Ping => match core.ping(now) {
                    Ok(itt) => self.store.insert(itt, op, Held::None),
                    Err(error) => {
                        self.finish(op, Finished::Ping(Err(outcome::submit_error(error))))
                    }
                },
                Work::Text(text) => match core.text(now, &text) {
                    Ok(itt) => self.store.insert(itt, op, Held::None),
                    Err(error) => {
                        self.finish(op, Finished::Text(Err(outcome::submit_error(error))))
                    }
                },
                command @ Work::Command { .. } => self.waiting.push_back((op, command)),
            }
        }
        self.batch.submitted = submitted;
        self.admit(core, now);
        self.revoke(Some(core), now);
    }

    /// Submits waiting commands as far as the core has room, and ends those whose time is over.
    /// Whether there were any.
    pub(super) fn admit(&mut self, core: &mut Core, now: iscsi_proto::Instant) -> bool {
        let before = self.waiting.len();
        if before == 0 {
            return false;
        }
        self.fail_waiting(|command| {
            let over = command.deadline.is_some_and(|deadline| deadline <= now);
            over.then(|| Error::not_executed(ErrorKind::Timeout))
        });
        while let Some((op, work)) = self.waiting.pop_front() {
            let Work::Command { command, held } = work else {
                continue;
            };
            if let Some(held) = self.submit(core, now, op, &command, held) {
                self.waiting
                    .push_front((op, Work::Command { command, held }));
                break;
            }
        }
        self.waiting.len() < before
    }

    /// Gives the memory back if the core is full.
    fn submit(
        &mut self,
        core: &mut Core,
        now: iscsi_proto::Instant,
        op: OpId,
        command: &Command,
        held: Held,
    ) -> Option<Held> {
        let error = if command.deadline.is_some_and(|deadline| deadline <= now) {
            Error::not_executed(ErrorKind::Timeout)
        } else {
            match core.submit(now, command) {
                Ok(itt) => {
                    self.store.insert(itt, op, held);
                    if let Some(tag) = self.tags.get_mut(op.index()) {
                        *tag = Some((op, itt));
                    }
                    return None;
                }
                Err(SubmitError::QueueFull) => return Some(held),
                Err(error) => outcome::submit_error(error),
            }
        };
        self.finish(
            op,
            Finished::Command {
                result: Err(error),
                held,
            },
        );
        None
    }

    /// What the handles asked, while there is no connection: commands wait, the rest is refused with
    /// `refusal`.
    pub(super) fn park(&mut self, now: iscsi_proto::Instant, refusal: &Error) {
        let mut submitted = std::mem::take(&mut self.batch.submitted);
        for (op, work) in submitted.drain(..) {
            match work {
                command @ Work::Command { .. } => self.waiting.push_back((op, command)),
                other => self.finish(op, other.fail(refusal.clone())),
            }
        }
        self.batch.submitted = submitted;
        self.revoke(None, now);
        self.fail_waiting(|command| {
            let late = command.deadline.is_some_and(|deadline| deadline <= now);
            late.then(|| Error::not_executed(ErrorKind::Timeout))
        });
    }

    /// The earliest deadline of a command that waits.
    pub(super) fn earliest_deadline(&self) -> Option<iscsi_proto::Instant> {
        let deadlines = self.waiting.iter().filter_map(|(_, work)| match work {
            Work::Command { command, .. } => command.deadline,
            _ => None,
        });
        deadlines.min()
    }

    /// Ends the waiting commands for which `verdict` has an error.
    pub(super) fn fail_waiting(&mut self, verdict: impl Fn(&Command) -> Option<Error>) {
        for _ in 0..self.waiting.len() {
            let Some((op, work)) = self.waiting.pop_front() else {
                return;
            };
            let error = match &work {
                Work::Command { command, .. } => verdict(command),
                _ => None,
            };
            match error {
                Some(error) => self.finish(op, work.fail(error)),
                None => self.waiting.push_back((op, work)),
            }
        }
    }

    fn revoke(&mut self, mut core: Option<&mut Core>, now: iscsi_proto::Instant) {
        let mut revoked = std::mem::take(&mut self.batch.revoked);
        for op in revoked.drain(..) {
            let tag = self
                .tags
                .get(op.index())
                .copied()
                .flatten()
                .filter(|(owner, _)| *owner == op);
            match (tag, &mut core) {
                (Some((_, itt)), Some(core)) => core.abandon(now, itt),
                _ => {
                    let place = self.waiting.iter().position(|(waiting, _)| *waiting == op);
                    if let Some((_, work)) = place.and_then(|place| self.waiting.remove(place)) {
                        self.finish(op, work.fail(Error::not_executed(ErrorKind::Aborted)));
                    }
                }
            }
        }
        self.batch.revoked = revoked;
    }

    /// Takes in what the core has to say. `loss` is what ended the connection, if it has ended. True
    /// once the target has confirmed our logout.
    pub(super) fn drain(&mut self, core: &mut Core, loss: Option<&Loss>) -> bool {
        let mut logged_out = false;
        while let Some(event) = core.poll_event() {
            match event {
                Event::CommandDone { itt, result } => {
                    let Some((op, held)) = self.store.remove(itt) else {
                        continue;
                    };
                    if let Some(tag) = self.tags.get_mut(op.index()) {
                        *tag = None;
                    }
                    self.count(&result, &held);
                    let result = result.map_err(|error| outcome::task_error(error, loss));
                    self.finish(op, Finished::Command { result, held });
                }
                Event::PingDone { itt, result } => {
                    let Some((op, _)) = self.store.remove(itt) else {
                        continue;
                    };
                    let result = result.map_err(|error| outcome::task_error(error, loss));
                    self.finish(op, Finished::Ping(result));
                }
                Event::TextDone { itt, result } => {
                    let Some((op, _)) = self.store.remove(itt) else {
                        continue;
                    };
                    let result = result.map_err(|error| outcome::task_error(error, loss));
                    self.finish(op, Finished::Text(result));
                }
                Event::TaskDead { .. } => self.stats.tasks_proven_dead += 1,
                Event::Async { message, sense } => {
                    self.shared
                        .report(SessionEventKind::Async { message, sense }, None);
                }
                Event::LoggedOut { .. } => logged_out = true,
                _ => {}
            }
        }
        self.live = core.stats();
        self.last_receive = self.shared.runtime_time(core.last_receive());
        logged_out
    }

    fn count<E>(&mut self, result: &Result<Response, E>, held: &Held) {
        match result {
            Err(_) => self.stats.failed_ios += 1,
            Ok(response) => {
                self.stats.ios += 1;
                let bytes = u64::from(response.transferred);
                match held {
                    Held::Read(_) => self.stats.bytes_read += bytes,
                    Held::Write(_) => self.stats.bytes_written += bytes,
                    Held::None => {}
                }
            }
        }
    }

    /// The connection is over: its counters are history now.
    pub(super) fn connection_ended(&mut self) {
        let live = std::mem::take(&mut self.live);
        self.stats.pdus_sent += live.pdus_out;
        self.stats.pdus_received += live.pdus_in;
    }

    fn finish(&mut self, op: OpId, finished: Finished) {
        self.batch.finished.push((op, finished));
    }

    /// Delivers the results; see [`Shared::settle`].
    pub(super) fn settle(&mut self, driver: Option<&Waker>) -> bool {
        let mut stats = self.stats.clone();
        stats.pdus_sent += self.live.pdus_out;
        stats.pdus_received += self.live.pdus_in;
        stats.scratch_copied_bytes = self.store.copied;
        self.shared
            .settle(&mut self.batch, stats, self.last_receive, driver)
    }
}
