//! The task set of a session: one slab for SCSI commands, pings, task management, text and logout.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "positions in our own buffers, and counters, which memory bounds"
)]

use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

use super::{
    command::{Command, DataLength},
    exchange::Exchange,
};
use crate::{
    error::PeerMisbehaved,
    held::{HeldBytes, make_room},
    ids::InitiatorTaskTag,
    pdu::{RejectReason, TaskManagementFunction},
    planted::Planted,
    scsi::lun::Lun,
    serial::{CmdSn, DataSn, R2tSn},
    time::Instant,
};

const SLOT_BITS: u32 = 12;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;
const GENERATION_MASK: u32 = (1 << (32 - SLOT_BITS)) - 1;

impl InitiatorTaskTag {
    /// The slot part of a tag that a [`Session`](super::Session) allotted, 0 to 4095: two tasks that
    /// are alive at the same time never share it, so a caller can keep their memory in a table.
    #[must_use]
    pub const fn slot(self) -> usize {
        (self.0 & SLOT_MASK) as usize
    }
}

/// One task: what is known of it between its submission and the reuse of its slot.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) command: Command,
    pub(super) kind: Kind,
    pub(super) cmd_sn: CmdSn,
    /// Stream position of its first PDU; `None` while it waits in the queue.
    pub(super) begin: Option<u64>,
    /// Stream position up to which the plan names its memory.
    pub(super) named_until: u64,
    pub(super) deadline: Option<Instant>,
    /// Its memory is not to be named again, though the target may still answer.
    pub(super) abandoned: bool,
    /// `CommandDone` was emitted: only the slot is still held, until the target is done with it.
    pub(super) reported: bool,
    /// The target answered it; only the plan still names its memory.
    pub(super) finished: bool,
    /// How far up the timeout ladder it is.
    pub(super) recovery: Recovery,
    /// Its deadline passed.
    pub(super) timed_out: bool,
    /// The target rejected its command PDU.
    pub(super) rejected: Option<RejectReason>,
    /// The target wants no (more) data for it; R2Ts that were on their way are not answered.
    pub(super) no_more_data: bool,
    /// The rest of its CDB is in the session's `extended`.
    pub(super) extended: bool,
    /// Bytes of Data-In placed so far, which is also the only Buffer Offset that may come next.
    pub(super) received: u32,
    /// DataSN of the next Data-In.
    pub(super) data_sn: DataSn,
    /// Bytes of our data that were sent unsolicited or asked for by R2T.
    pub(super) solicited: u32,
    /// Bytes of our data that were staged.
    pub(super) staged_out: u32,
    /// R2TSN of the next R2T.
    pub(super) r2t_sn: R2tSn,
    /// R2Ts received whose data is not yet wholly staged.
    pub(super) open_r2ts: u16,
}

/// What a task is; the fields are what only this kind has.
#[derive(Debug)]
pub(super) enum Kind {
    Command,
    /// `own`: the session's, which no caller waits for. `plug`: sent with the CmdSN of a request that
    /// the target rejected, so that its gap is filled.
    Ping {
        sent: Instant,
        own: bool,
        plug: Option<CmdSn>,
    },
    Management(Management),
    /// Boxed, since every task has room for the largest kind.
    Text(Box<Exchange>),
    Logout,
}

/// How far up the timeout ladder a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovery {
    None,
    /// An ABORT TASK for it is queued or under way.
    Aborting,
    /// A LOGICAL UNIT RESET for it is queued or under way.
    Resetting,
}

/// A task management function that is queued or under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Management {
    pub(super) function: TaskManagementFunction,
    /// Zero where the function has none.
    pub(super) lun: Lun,
    /// The Referenced Task Tag.
    pub(super) of: InitiatorTaskTag,
    pub(super) ref_cmd_sn: CmdSn,
    /// The CmdSN that it was sent with: tasks from there on are not its concern.
    pub(super) cmd_sn: CmdSn,
    /// Who asked.
    pub(super) origin: Origin,
}

/// Who asked for a task management function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Somebody who waits for the answer.
    Caller,
    /// The session itself, for a command that has to end.
    Ladder,
}

impl Task {
    const fn new(kind: Kind, command: &Command, deadline: Option<Instant>) -> Self {
        Self {
            command: *command,
            kind,
            cmd_sn: CmdSn(0),
            begin: None,
            named_until: 0,
            deadline,
            abandoned: false,
            reported: false,
            finished: false,
            recovery: Recovery::None,
            timed_out: false,
            rejected: None,
            no_more_data: false,
            extended: false,
            received: 0,
            data_sn: DataSn(0),
            solicited: 0,
            staged_out: 0,
            r2t_sn: R2tSn(0),
            open_r2ts: 0,
        }
    }

    pub(super) const fn is_command(&self) -> bool {
        matches!(self.kind, Kind::Command)
    }

    pub(super) const fn expected_in(&self) -> u32 {
        match self.command.data {
            DataLength::In(len) => len,
            _ => 0,
        }
    }

    pub(super) const fn expected_out(&self) -> u32 {
        match self.command.data {
            DataLength::Out(len) => len,
            _ => 0,
        }
    }
}

#[derive(Debug)]
struct Slot {
    /// Of the task that is or will be here, 20 bits.
    generation: u32,
    /// The last task here that the target declared aborted.
    aborted: Option<InitiatorTaskTag>,
    task: Option<Task>,
}

/// Slots, allotted last-in first-out so that few of them stay warm. The generation in the upper bits
/// of a tag is a check against late PDUs; the rule that a slot is reused only once the target is done
/// with its task is the proof.
///
/// A slot is made when all that there are have a task, and kept: a session holds as many as it once
/// needed, and most never need what they may.
#[derive(Debug)]
pub(super) struct Tasks {
    slots: Vec<Slot>,
    free: Vec<u16>,
    /// How many slots there may be, and the generation that each of them begins with.
    most: u16,
    first_generation: u32,
    commands: u16,
    max_commands: u16,
    /// Here for those who have the tasks and nothing else.
    pub(super) planted: Planted,
}

impl Tasks {
    pub(super) fn new(max_commands: u16, reserved: u16, first_generation: u32) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            most: max_commands + reserved,
            first_generation: first_generation & GENERATION_MASK,
            commands: 0,
            max_commands,
            planted: Planted::NONE,
        }
    }

    pub(super) fn planted(mut self, planted: Planted) -> Self {
        self.planted = planted;
        self
    }

    pub(super) fn held_bytes(&self) -> u64 {
        let tables = self.slots.held_bytes() + self.free.held_bytes();
        // Only what is no command has memory of its own, and mostly there is nothing of that kind.
        let others = self.slots.len() - self.free.len() - usize::from(self.commands);
        if others == 0 {
            return tables;
        }
        let tasks = self.slots.iter().filter_map(|slot| slot.task.as_ref());
        let gathered = tasks.map(|task| match &task.kind {
            Kind::Text(exchange) => exchange.gathered.held_bytes(),
            _ => 0,
        });
        tables + gathered.sum::<u64>()
    }

    pub(super) const fn is_full_for_commands(&self) -> bool {
        self.commands >= self.max_commands
    }

    /// A slot for a new task; `None` if there is none left for its kind.
    // A call would carry the task's parts through memory once more.
    #[inline(always)]
    pub(super) fn insert(
        &mut self,
        kind: Kind,
        command: &Command,
        deadline: Option<Instant>,
    ) -> Option<InitiatorTaskTag> {
        let is_command = matches!(kind, Kind::Command);
        if is_command && self.is_full_for_commands() {
            return None;
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None => self.make_slot()?,
        };
        let slot = self.slots.get_mut(usize::from(index))?;
        let mut tag = (slot.generation << SLOT_BITS) | u32::from(index);
        if tag == InitiatorTaskTag::RESERVED.0 {
            slot.generation = 0;
            tag = u32::from(index);
        }
        // Made in its place: a task is too large to be carried there.
        slot.task = Some(Task::new(kind, command, deadline));
        self.commands += u16::from(is_command);
        Some(InitiatorTaskTag(tag))
    }

    /// One slot more, which is the caller's, unless there are as many as there may be.
    #[cold]
    #[inline(never)]
    fn make_slot(&mut self) -> Option<u16> {
        let index = self.slots.len();
        if index >= usize::from(self.most) {
            return None;
        }
        make_room(&mut self.slots, usize::from(self.most));
        // As many as there are slots can be free: so giving one back never allocates.
        self.free.reserve_exact(self.slots.capacity());
        self.slots.push(Slot {
            generation: self.first_generation,
            aborted: None,
            task: None,
        });
        u16::try_from(index).ok()
    }

    #[inline]
    pub(super) fn get(&self, itt: InitiatorTaskTag) -> Option<&Task> {
        let slot = self.slots.get(itt.slot())?;
        (slot.generation == itt.0 >> SLOT_BITS).then_some(slot.task.as_ref())?
    }

    #[inline]
    pub(super) fn get_mut(&mut self, itt: InitiatorTaskTag) -> Option<&mut Task> {
        let slot = self.slots.get_mut(itt.slot())?;
        (slot.generation == itt.0 >> SLOT_BITS).then_some(slot.task.as_mut())?
    }

    /// Takes a task out. Who does not need it uses [`release`](Self::release).
    pub(super) fn remove(&mut self, itt: InitiatorTaskTag) -> Option<Task> {
        let slot = self.slots.get_mut(itt.slot())?;
        if slot.generation != itt.0 >> SLOT_BITS {
            return None;
        }
        let task = slot.task.take()?;
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        self.free.push(itt.slot() as u16);
        self.commands -= u16::from(task.is_command());
        Some(task)
    }

    /// Gives a slot back, if it is that of `itt`. Unlike [`remove`](Self::remove) it carries nothing
    /// out, which is what every command ends with.
    #[inline]
    pub(super) fn release(&mut self, itt: InitiatorTaskTag) {
        let Some(slot) = self.slots.get_mut(itt.slot()) else {
            return;
        };
        let Some(task) = &slot.task else {
            return;
        };
        if slot.generation != itt.0 >> SLOT_BITS {
            return;
        }
        self.commands -= u16::from(task.is_command());
        slot.task = None;
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        self.free.push(itt.slot() as u16);
    }

    /// Nothing more is expected for `itt`: the target says that it has aborted it, or we have given a
    /// ping up. An answer that was on its way may follow all the same; it harms nobody, since no
    /// memory is left.
    pub(super) fn note_aborted(&mut self, itt: InitiatorTaskTag) {
        if let Some(slot) = self.slots.get_mut(itt.slot()) {
            slot.aborted = Some(itt);
        }
    }

    /// What a PDU for `itt` means when there is no such task: a straggler of an aborted one, or
    /// misbehaviour.
    pub(super) fn expect_straggler(&self, itt: InitiatorTaskTag) -> Result<(), PeerMisbehaved> {
        match self.slots.get(itt.slot()) {
            Some(slot) if slot.aborted == Some(itt) => Ok(()),
            _ => Err(PeerMisbehaved::UnknownTask(itt)),
        }
    }

    /// All tags in use, in no particular order.
    pub(super) fn tags(&self) -> impl Iterator<Item = InitiatorTaskTag> + '_ {
        (0u32..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.task.is_some())
            .map(|(index, slot)| InitiatorTaskTag((slot.generation << SLOT_BITS) | index))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Task> {
        self.slots.iter().filter_map(|slot| slot.task.as_ref())
    }

    /// SCSI commands that hold a slot.
    pub(super) const fn commands(&self) -> u16 {
        self.commands
    }
}

/// The earliest deadline of all tasks, kept as a lower bound: adding a task lowers it, finishing one
/// does not raise it. So a submission costs nothing, and the scan that finds the true minimum runs
/// at most once per deadline that was ever set.
#[derive(Debug, Default)]
pub(super) struct EarliestDeadline(Option<Instant>);

impl EarliestDeadline {
    pub(super) fn add(&mut self, deadline: Option<Instant>) {
        self.0 = Instant::earlier(self.0, deadline);
    }

    pub(super) const fn get(&self) -> Option<Instant> {
        self.0
    }

    pub(super) fn recompute(&mut self, tasks: &Tasks) {
        self.0 = tasks.iter().filter_map(|task| task.deadline).min();
    }
}

/// `now + timeout`, as a deadline.
pub(super) fn after(now: Instant, timeout: Duration) -> Option<Instant> {
    Some(now.saturating_add(timeout))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::{cdb::Cdb, lun::Lun};

    fn insert(tasks: &mut Tasks, kind: Kind) -> Option<InitiatorTaskTag> {
        let command = Command::new(Lun::new(0), Cdb::test_unit_ready(), DataLength::None);
        tasks.insert(kind, &command, None)
    }

    #[test]
    fn a_stale_tag_finds_nothing_after_its_slot_was_reused() {
        let mut tasks = Tasks::new(1, 0, 5);
        let first = insert(&mut tasks, Kind::Command).unwrap();
        assert!(tasks.remove(first).is_some());
        let second = insert(&mut tasks, Kind::Command).unwrap();
        assert_eq!(first.slot(), second.slot());
        assert!(tasks.get(first).is_none() && tasks.remove(first).is_none());
        tasks.release(first);
        assert!(tasks.get(second).is_some());
        assert_eq!(tasks.commands(), 1);
    }

    #[test]
    fn a_slot_is_given_back_once_however_it_is_done() {
        let mut tasks = Tasks::new(2, 0, 0);
        for _ in 0..5 {
            let one = insert(&mut tasks, Kind::Command).unwrap();
            let two = insert(&mut tasks, Kind::Command).unwrap();
            assert!(insert(&mut tasks, Kind::Command).is_none());
            tasks.release(one);
            tasks.release(one);
            assert!(tasks.remove(one).is_none() && tasks.remove(two).is_some());
            tasks.release(two);
            assert_eq!((tasks.commands(), tasks.free.len()), (0, 2));
        }
    }

    #[test]
    fn the_reserved_tag_is_never_allotted() {
        let mut tasks = Tasks::new(4032, 64, GENERATION_MASK);
        for _ in 0..4032 {
            assert_ne!(
                insert(&mut tasks, Kind::Command).unwrap(),
                InitiatorTaskTag::RESERVED
            );
        }
        assert!(insert(&mut tasks, Kind::Command).is_none());
        let ping = || Kind::Ping {
            sent: Instant::ZERO,
            own: true,
            plug: None,
        };
        for _ in 0..64 {
            let tag = insert(&mut tasks, ping()).unwrap();
            assert_ne!(tag, InitiatorTaskTag::RESERVED);
        }
        assert_eq!(tasks.tags().count(), 4096);
    }
}
