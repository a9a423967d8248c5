//! The timeout ladder: what stops a command that is not answered in time.
//!
//! ABORT TASK, then LOGICAL UNIT RESET, then the end of the connection, which whoever drives the
//! session follows by a reinstatement. A rung that is refused, rejected or not answered in its own
//! time leads to the next one.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "positions in our own buffers, and counters, which memory bounds"
)]

use core::time::Duration;

use super::{
    Event, Session,
    tasks::{Kind, Management, Origin, Recovery, Task, after},
};
use crate::{
    error::{Error, TimedOut},
    ids::InitiatorTaskTag,
    pdu::TaskManagementFunction as Function,
    scsi::lun::Lun,
    serial::CmdSn,
    time::Instant,
};

/// Which rungs there are, and how long each may take. The last one, the end of the connection,
/// cannot be left out: it is what makes the others bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimeoutLadder {
    /// Time for the answer to an ABORT TASK. Default 5 s; `None` leaves the rung out. Then a command
    /// that its caller abandons or [detaches](Session::detach) is not aborted either: its slot waits for the target's
    /// answer until the command's own deadline. Those without a deadline may have half of
    /// [`max_tasks`](super::SessionConfig::max_tasks) for as long as the session lasts; each one more has
    /// [`detached`](Self::detached) as its deadline, and then the rungs that are left.
    pub abort_task: Option<Duration>,
    /// Time for the answer to a LOGICAL UNIT RESET. Default `None`: the rung is left out. A reset ends
    /// the commands of *every* initiator in the logical unit, and where there is another path, the
    /// end of the connection and a new login get there sooner and harm nobody else. With a single
    /// path to a disk of one's own, 10 s may save a login.
    pub logical_unit_reset: Option<Duration>,
    /// How long a command that was [detached](Session::detach) may go without its answer before the first rung is
    /// taken for it. Default 5 s, which is as long as a connection may stay silent: whoever detaches
    /// does so since nothing comes, and one that outlives that on a connection that speaks again is stuck. Until
    /// then it is not aborted, though nobody waits for it: there are targets that an ABORT TASK costs the
    /// session. Without [`abort_task`](Self::abort_task) its own deadline holds instead, since the next rungs
    /// harm others.
    pub detached: Duration,
}

impl Default for TimeoutLadder {
    fn default() -> Self {
        Self {
            abort_task: Some(Duration::from_secs(5)),
            logical_unit_reset: None,
            detached: Duration::from_secs(5),
        }
    }
}

/// A step of the timeout ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rung {
    /// ABORT TASK.
    AbortTask,
    /// LOGICAL UNIT RESET.
    LogicalUnitReset,
    /// The connection is dropped.
    DropConnection,
}

impl Session {
    /// The deadline of a command that was sent has passed.
    pub(super) fn command_timed_out(
        &mut self,
        now: Instant,
        itt: InitiatorTaskTag,
    ) -> Result<(), Error> {
        let Some(task) = self.tasks.get_mut(itt) else {
            return Ok(());
        };
        if !task.timed_out && !task.abandoned {
            task.timed_out = true;
            self.timeouts += 1;
        }
        self.climb(now, itt, TimedOut::Command)
    }

    /// Takes the next rung for a command; `why` is the error if that is the last one.
    pub(super) fn climb(
        &mut self,
        now: Instant,
        itt: InitiatorTaskTag,
        why: TimedOut,
    ) -> Result<(), Error> {
        let Some(task) = self.tasks.get(itt).filter(|task| !task.finished) else {
            return Ok(());
        };
        let lun = task.command.lun;
        let ladder = self.config.ladder;
        let rung = match task.recovery {
            Recovery::None if ladder.abort_task.is_some() => Rung::AbortTask,
            Recovery::None | Recovery::Aborting if ladder.logical_unit_reset.is_some() => {
                Rung::LogicalUnitReset
            }
            _ => Rung::DropConnection,
        };
        self.events.push(Event::CommandLate { itt, lun, rung });
        match rung {
            Rung::AbortTask => self.want_abort(now, itt),
            Rung::LogicalUnitReset => return self.want_reset(now, itt, lun, why),
            Rung::DropConnection => return Err(why.into()),
        }
        Ok(())
    }

    /// Queues an ABORT TASK, unless that rung is left out. Until it is staged the command's own
    /// deadline watches over it: a target that does not read would otherwise keep both for ever.
    pub(super) fn want_abort(&mut self, now: Instant, itt: InitiatorTaskTag) {
        let Some(timeout) = self.config.ladder.abort_task else {
            return;
        };
        let deadline = after(now, timeout);
        if let Some(task) = self.tasks.get_mut(itt) {
            if task.recovery == Recovery::None {
                task.recovery = Recovery::Aborting;
                task.deadline = deadline;
                self.deadlines.add(deadline);
                self.aborts.push_back(itt);
            }
        }
    }

    /// Queues a LOGICAL UNIT RESET, or joins one that is under way for another command.
    fn want_reset(
        &mut self,
        now: Instant,
        itt: InitiatorTaskTag,
        lun: Lun,
        why: TimedOut,
    ) -> Result<(), Error> {
        let timeout = self.config.ladder.logical_unit_reset.unwrap_or_default();
        if let Some(task) = self.tasks.get_mut(itt) {
            task.recovery = Recovery::Resetting;
            task.deadline = None;
        }
        self.aborts.retain(|abort| *abort != itt);
        let under_way = self.tasks.iter().any(|task| match &task.kind {
            Kind::Management(m) => {
                m.function == Function::LogicalUnitReset
                    && m.origin == Origin::Ladder
                    && m.lun == lun
                    && !task.reported
            }
            _ => false,
        });
        if under_way {
            return Ok(());
        }
        let reset = Management {
            function: Function::LogicalUnitReset,
            lun,
            of: InitiatorTaskTag::RESERVED,
            ref_cmd_sn: CmdSn(0),
            cmd_sn: CmdSn(0),
            origin: Origin::Ladder,
        };
        self.insert_function(reset, after(now, timeout))
            .map(|_| self.resets += 1)
            .ok_or_else(|| why.into())
    }

    /// A function of the ladder was refused (`why` is "command") or not answered.
    pub(super) fn rung_failed(
        &mut self,
        now: Instant,
        failed: &Management,
        why: TimedOut,
    ) -> Result<(), Error> {
        if failed.function == Function::AbortTask {
            return self.climb(now, failed.of, why);
        }
        // Whoever it was meant for may have been answered meanwhile; then nothing is lost.
        let waits = |task: &&Task| {
            task.is_command()
                && !task.finished
                && task.command.lun == failed.lun
                && (task.recovery == Recovery::Resetting || task.no_more_data)
        };
        let late = self.tasks.tags().find(|itt| {
            let task = self.tasks.get(*itt);
            task.filter(waits).is_some()
        });
        match late {
            None => Ok(()),
            Some(itt) => {
                self.events.push(Event::CommandLate {
                    itt,
                    lun: failed.lun,
                    rung: Rung::DropConnection,
                });
                Err(why.into())
            }
        }
    }
}
