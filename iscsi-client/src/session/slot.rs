//! The table of operations that a session's handles and its driver share.
//!
//! Plain data: no lock, no clock, no I/O. [`super::queue::Shared`] puts the one lock around it.

use std::{
    collections::VecDeque,
    task::{Poll, Waker},
};

use iscsi_proto::{
    Instant,
    held::{HeldBytes, make_room},
    planted::{Bug, Planted},
    session::Response,
};

use super::{
    op_id::OpId,
    work::{Finished, Held, Operation, Prepared, Work},
};
use crate::error::Error;

/// Which part of the table a request competes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// SCSI commands: `queue_depth` slots, and a fair line when they are taken.
    Command,
    /// Pings, text requests and task management: a few slots of their own, since they exist to judge
    /// or to mend a path whose queue is full, and no line.
    Control,
}

/// Slots of [`Class::Control`]. Each path has one or two users of pings (its checker, a person), and
/// now and then somebody who resets a unit.
const CONTROL_SLOTS: u32 = 8;

#[derive(Debug)]
enum Phase {
    Free,
    /// The driver has not seen it yet.
    Queued(Work),
    /// The driver owns the buffers.
    Running,
    /// The result waits for its future to be polled.
    Done(Finished),
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    phase: Phase,
    owner: Owner,
    /// The box of this slot's commands, while no command is in it.
    spare: Option<Box<Operation>>,
}

/// Who gets the result.
#[derive(Debug)]
pub(super) enum Owner {
    /// A future, which may have left its waker.
    Future(Option<Waker>),
    /// A ring, and its name for the command.
    Ring(RingId, u64),
    /// Nobody any more.
    Orphan,
}

/// Names a ring among those of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RingId(usize);

/// Results that wait for a ring to harvest them.
#[derive(Debug)]
struct RingBin {
    done: Vec<OpId>,
    waker: Option<Waker>,
    /// Somebody has it.
    taken: bool,
}

/// A command of a ring that is over.
#[derive(Debug)]
pub(super) struct Harvested {
    pub(super) tag: u64,
    pub(super) result: Result<Response, Error>,
    pub(super) held: Held,
}

/// Somebody who waits for a slot.
#[derive(Debug)]
struct Waiter {
    ticket: u64,
    waker: Waker,
    /// When it gives up.
    deadline: Option<Instant>,
}

/// A place in the line for slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// A running operation whose buffer is wanted back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Revocation {
    pub(super) op: OpId,
    pub(super) then: Then,
}

/// What becomes of a command whose buffer was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Abort,
    /// It is left to its end.
    Leave,
}

/// The table. A command's slot is made when all that there are have one, and kept: a session holds as
/// many as it once needed, and most never need all that they may.
#[derive(Debug)]
pub(super) struct Slots {
    /// First those of [`Class::Control`], then those of commands.
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Slots of commands that are not yet made.
    unmade: usize,
    free_control: Vec<u32>,
    /// Who waits, first come first served, by ascending ticket. The first [`room`](Self::room) of them have
    /// been woken and may take a slot: so a newcomer can never overtake, and no slot is reserved for
    /// a future that might be dropped.
    line: VecDeque<Waiter>,
    next_ticket: u64,
    /// No later than the first deadline in the line of somebody who was not woken for it.
    line_due: Option<Instant>,
    submitted: Vec<OpId>,
    revoked: Vec<Revocation>,
    rings: Vec<RingBin>,
    planted: Planted,
}

impl Slots {
    pub(super) fn held_bytes(&self) -> u64 {
        let rings = self.rings.iter().map(|ring| ring.done.held_bytes());
        self.slots.held_bytes()
            + self.free.held_bytes()
            + self.free_control.held_bytes()
            + self.line.held_bytes()
            + self.submitted.held_bytes()
            + self.revoked.held_bytes()
            + self.rings.held_bytes()
            + rings.sum::<u64>()
    }

    pub(super) fn new(queue_depth: u16) -> Self {
        Self {
            slots: (0..CONTROL_SLOTS).map(|_| Slot::new()).collect(),
            free: Vec::new(),
            unmade: usize::from(queue_depth.max(1)),
            free_control: (0..CONTROL_SLOTS).rev().collect(),
            line: VecDeque::new(),
            next_ticket: 0,
            line_due: None,
            submitted: Vec::new(),
            revoked: Vec::new(),
            rings: Vec::new(),
            planted: Planted::NONE,
        }
    }

    pub(super) fn planted(mut self, planted: Planted) -> Self {
        self.planted = planted;
        self
    }

    /// Hands `work` to the driver, or leaves it if no slot is free or others came first.
    pub(super) fn submit(
        &mut self,
        class: Class,
        ticket: &mut Option<Ticket>,
        work: &mut Option<Work>,
        waker: Option<&Waker>,
    ) -> Option<OpId> {
        let index = self.claim(class, ticket)?;
        let owner = Owner::Future(waker.cloned());
        self.enqueue(index, owner, |_| work.take())
    }

    /// The same for a command, which goes into the slot's box.
    pub(super) fn submit_command(
        &mut self,
        ticket: &mut Option<Ticket>,
        prepared: &mut Option<Prepared>,
        waker: Option<&Waker>,
    ) -> Option<OpId> {
        let index = self.claim(Class::Command, ticket)?;
        let owner = Owner::Future(waker.cloned());
        self.enqueue(index, owner, |spare| box_up(spare, prepared))
    }

    /// The same for a command of a ring, or of a future that does not wait, which `fill` puts into its
    /// place.
    pub(super) fn submit_filled(
        &mut self,
        owner: Owner,
        fill: impl FnOnce(&mut Prepared),
    ) -> Option<OpId> {
        let index = self.claim(Class::Command, &mut None)?;
        self.enqueue(index, owner, |spare| {
            let mut operation = spare.take().unwrap_or_default();
            fill(&mut operation.request);
            Some(Work::Command(operation))
        })
    }

    /// Takes a slot, and leaves the line for it.
    fn claim(&mut self, class: Class, ticket: &mut Option<Ticket>) -> Option<u32> {
        match class {
            Class::Command => {
                if self.line.is_empty() {
                    return self.free.pop().or_else(|| self.make());
                }
                let place = self.place(*ticket);
                if place.unwrap_or(self.line.len()) >= self.room() {
                    return None;
                }
                if let Some(place) = place {
                    self.line.remove(place);
                }
                *ticket = None;
                self.free.pop().or_else(|| self.make())
            }
            Class::Control => self.free_control.pop(),
        }
    }

    /// Commands that could have a slot now.
    fn room(&self) -> usize {
        self.free.len() + self.unmade
    }

    /// One more slot for commands, which is the caller's, unless there are as many as there may be.
    #[cold]
    #[inline(never)]
    fn make(&mut self) -> Option<u32> {
        let index = u32::try_from(self.slots.len()).ok()?;
        let left = self.unmade.checked_sub(1)?;
        let most = self.slots.len() + self.unmade;
        make_room(&mut self.slots, most);
        // As many as there are slots can be free: so giving one back never allocates.
        self.free.reserve_exact(self.slots.capacity());
        self.slots.push(Slot::new());
        self.unmade = left;
        Some(index)
    }

    fn enqueue(
        &mut self,
        index: u32,
        owner: Owner,
        work: impl FnOnce(&mut Option<Box<Operation>>) -> Option<Work>,
    ) -> Option<OpId> {
        let slot = self.slots.get_mut(index as usize)?;
        slot.phase = Phase::Queued(work(&mut slot.spare)?);
        slot.owner = owner;
        let op = OpId {
            index,
            generation: slot.generation,
        };
        self.submitted.push(op);
        Some(op)
    }

    /// Whether a newcomer would get a slot.
    pub(super) fn has_free(&self) -> bool {
        self.line.len() < self.room()
    }

    /// Stands in the line, or stays in it with another waker. True if [`line_due`](Self::line_due) is
    /// earlier now.
    pub(super) fn wait(
        &mut self,
        ticket: &mut Option<Ticket>,
        waker: &Waker,
        deadline: Option<Instant>,
    ) -> bool {
        if let Some(waiter) = self
            .place(*ticket)
            .and_then(|place| self.line.get_mut(place))
        {
            waiter.waker.clone_from(waker);
            return false;
        }
        let new = self.next_ticket;
        self.next_ticket += 1;
        self.line.push_back(Waiter {
            ticket: new,
            waker: waker.clone(),
            deadline,
        });
        *ticket = Some(Ticket(new));
        let due = self.line_due;
        self.line_due = [due, deadline].into_iter().flatten().min();
        self.line_due != due
    }

    /// When somebody in the line is to be woken because its time is over, or somewhat earlier.
    pub(super) const fn line_due(&self) -> Option<Instant> {
        self.line_due
    }

    /// Finds those in the line whose time is over; they see that when they are polled.
    pub(super) fn expire_line(&mut self, now: Instant, wakers: &mut Vec<Waker>) {
        self.line_due = None;
        for waiter in &self.line {
            match waiter.deadline {
                Some(deadline) if deadline <= now => wakers.push(waiter.waker.clone()),
                later => self.line_due = [self.line_due, later].into_iter().flatten().min(),
            }
        }
    }

    /// The waker of a waiter, to make it look again.
    pub(super) fn waiter(&self, ticket: Ticket) -> Option<Waker> {
        let waiter = self
            .place(Some(ticket))
            .and_then(|place| self.line.get(place))?;
        Some(waiter.waker.clone())
    }

    /// Leaves the line. Whoever thereby becomes eligible is returned to be woken.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<Waker> {
        let place = self.place(Some(ticket))?;
        self.line.remove(place);
        if place < self.room() {
            self.newly_eligible()
        } else {
            None
        }
    }

    /// Everyone in the line; they find out why when they are polled.
    pub(super) fn wake_line(&self, wakers: &mut Vec<Waker>) {
        wakers.extend(self.line.iter().map(|waiter| waiter.waker.clone()));
    }

    fn place(&self, ticket: Option<Ticket>) -> Option<usize> {
        self.line
            .binary_search_by_key(&ticket?.0, |waiter| waiter.ticket)
            .ok()
    }

    /// The waiter at the edge of eligibility, after `free` grew or the line moved up by one.
    fn newly_eligible(&self) -> Option<Waker> {
        if self.planted.has(Bug::LineNotWoken) {
            return None;
        }
        let edge = self.room().checked_sub(1)?;
        self.line.get(edge).map(|waiter| waiter.waker.clone())
    }

    fn slot(&mut self, op: OpId) -> Option<&mut Slot> {
        self.slots
            .get_mut(op.index as usize)
            .filter(|slot| slot.generation == op.generation)
    }

    fn release(&mut self, op: OpId) -> Option<Waker> {
        let slot = self.slot(op)?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.phase = Phase::Free;
        slot.owner = Owner::Orphan;
        if op.index >= CONTROL_SLOTS {
            self.free.push(op.index);
            self.newly_eligible()
        } else {
            self.free_control.push(op.index);
            None
        }
    }

    /// Whether the driver has anything to fetch.
    pub(super) fn has_news(&self) -> bool {
        !(self.submitted.is_empty() && self.revoked.is_empty())
    }

    /// Moves all that was submitted since the last call to the driver, in order of submission.
    pub(super) fn take_submitted(&mut self, batch: &mut Vec<(OpId, Work)>) {
        let mut submitted = std::mem::take(&mut self.submitted);
        for op in submitted.drain(..) {
            let Some(slot) = self.slot(op) else { continue };
            match std::mem::replace(&mut slot.phase, Phase::Running) {
                Phase::Queued(work) => batch.push((op, work)),
                other => slot.phase = other,
            }
        }
        self.submitted = submitted;
    }

    /// Moves the names of running operations whose buffers are wanted back to the driver.
    pub(super) fn take_revoked(&mut self, batch: &mut Vec<Revocation>) {
        let mut revoked = std::mem::take(&mut self.revoked);
        for revocation in revoked.drain(..) {
            if self
                .slot(revocation.op)
                .is_some_and(|slot| matches!(slot.phase, Phase::Running))
            {
                batch.push(revocation);
            }
        }
        self.revoked = revoked;
    }

    /// The driver's result. `wakers` are to be woken and `trash` to be dropped after the lock is
    /// released: dropping a buffer may run the caller's code (an owner behind `Bytes`).
    pub(super) fn finish(
        &mut self,
        op: OpId,
        finished: Finished,
        wakers: &mut Vec<Waker>,
        trash: &mut Vec<Finished>,
    ) {
        let planted = self.planted;
        let Some(slot) = self.slot(op) else {
            trash.push(finished);
            return;
        };
        match &mut slot.owner {
            Owner::Orphan => {
                trash.push(match planted.has(Bug::DroppedReadStored) {
                    true => finished.stored_all_the_same(),
                    false => finished,
                });
                wakers.extend(self.release(op));
            }
            Owner::Future(waker) => {
                wakers.extend(waker.take());
                slot.phase = Phase::Done(finished);
            }
            Owner::Ring(ring, _) => {
                let ring = *ring;
                slot.phase = Phase::Done(finished);
                if let Some(bin) = self.rings.get_mut(ring.0) {
                    bin.done.push(op);
                    wakers.extend(bin.waker.take());
                }
            }
        }
    }

    /// The result, once it is there; the slot is then free, and the waker to wake is returned too.
    pub(super) fn poll(&mut self, op: OpId, waker: &Waker) -> Poll<(Finished, Option<Waker>)> {
        let Some(slot) = self.slot(op) else {
            return Poll::Pending;
        };
        match std::mem::replace(&mut slot.phase, Phase::Running) {
            Phase::Done(finished) => Poll::Ready((finished, self.release(op))),
            other => {
                slot.phase = other;
                slot.wake_later(waker);
                Poll::Pending
            }
        }
    }

    /// The same for a command, whose box stays here.
    pub(super) fn poll_command(
        &mut self,
        op: OpId,
        waker: &Waker,
    ) -> Poll<(Result<Response, Error>, Held, Option<Waker>)> {
        let Some(slot) = self.slot(op) else {
            return Poll::Pending;
        };
        match slot.take_command() {
            Some((result, held)) => Poll::Ready((result, held, self.release(op))),
            None => {
                slot.wake_later(waker);
                Poll::Pending
            }
        }
    }

    /// A ring of its own for somebody.
    pub(super) fn open_ring(&mut self) -> RingId {
        let free = self.rings.iter().position(|bin| !bin.taken);
        let index = free.unwrap_or_else(|| {
            self.rings.push(RingBin {
                done: Vec::new(),
                waker: None,
                taken: true,
            });
            self.rings.len() - 1
        });
        if let Some(bin) = self.rings.get_mut(index) {
            bin.taken = true;
        }
        RingId(index)
    }

    /// What is over of a ring's commands goes to `sink`, whoever then may have a slot to `wakers`.
    /// Pending if there is nothing, with the waker kept.
    pub(super) fn harvest(
        &mut self,
        ring: RingId,
        waker: Option<&Waker>,
        wakers: &mut Vec<Waker>,
        mut sink: impl FnMut(Harvested),
    ) -> Poll<()> {
        let Some(bin) = self.rings.get_mut(ring.0) else {
            return Poll::Ready(());
        };
        if bin.done.is_empty() {
            match (&mut bin.waker, waker) {
                (Some(stored), Some(waker)) => stored.clone_from(waker),
                (none @ None, Some(waker)) => *none = Some(waker.clone()),
                // Who only looks takes nobody's place.
                (_, None) => {}
            }
            return Poll::Pending;
        }
        let mut done = std::mem::take(&mut bin.done);
        for op in done.drain(..) {
            let Some(slot) = self.slot(op) else { continue };
            let Owner::Ring(_, tag) = slot.owner else {
                continue;
            };
            if let Some((result, held)) = slot.take_command() {
                sink(Harvested { tag, result, held });
            }
            wakers.extend(self.release(op));
        }
        if let Some(bin) = self.rings.get_mut(ring.0) {
            bin.done = done;
        }
        Poll::Ready(())
    }

    /// A ring is gone: its commands are nobody's any more. As for [`abandon`](Self::abandon).
    pub(super) fn close_ring(&mut self, ring: RingId, abandoned: &mut Vec<Abandoned>) {
        for index in CONTROL_SLOTS.. {
            let Some(slot) = self.slots.get(index as usize) else {
                break;
            };
            if matches!(slot.owner, Owner::Ring(of, _) if of == ring) {
                let generation = slot.generation;
                abandoned.push(self.abandon(OpId { index, generation }));
            }
        }
        if let Some(bin) = self.rings.get_mut(ring.0) {
            bin.done.clear();
            bin.waker = None;
            bin.taken = false;
        }
    }

    /// Asks for the buffer back. True if the driver must be woken for it.
    pub(super) fn revoke(&mut self, op: OpId, then: Then) -> bool {
        let running = self
            .slot(op)
            .is_some_and(|slot| matches!(slot.phase, Phase::Running | Phase::Queued(_)));
        if running {
            self.want_back(op, then);
        }
        running
    }

    /// Who is not to be left to its end any more is aborted; the other way round there is nothing to take back.
    fn want_back(&mut self, op: OpId, then: Then) {
        match self.revoked.iter_mut().find(|other| other.op == op) {
            Some(other) if then == Then::Abort => other.then = then,
            Some(_) => {}
            None => self.revoked.push(Revocation { op, then }),
        }
    }

    /// The future is gone. What nobody will fetch any more is returned to be dropped outside the
    /// lock; for a running operation the driver must be woken (`Abandoned::Running`).
    pub(super) fn abandon(&mut self, op: OpId) -> Abandoned {
        let Some(slot) = self.slot(op) else {
            return Abandoned::Gone;
        };
        match std::mem::replace(&mut slot.phase, Phase::Running) {
            Phase::Free => {
                slot.phase = Phase::Free;
                Abandoned::Gone
            }
            Phase::Queued(work) => Abandoned::Unsent(work, self.release(op)),
            Phase::Done(finished) => Abandoned::Unread(finished, self.release(op)),
            Phase::Running => {
                slot.owner = Owner::Orphan;
                // One that was detached stays so, whether its future is dropped before the driver has seen that
                // or after.
                if !self.revoked.iter().any(|other| other.op == op) {
                    self.revoked.push(Revocation {
                        op,
                        then: Then::Abort,
                    });
                }
                Abandoned::Running
            }
        }
    }
}

impl Slot {
    const fn new() -> Self {
        Self {
            generation: 0,
            phase: Phase::Free,
            owner: Owner::Orphan,
            spare: None,
        }
    }

    /// The result of a command that is over, whose box stays.
    fn take_command(&mut self) -> Option<(Result<Response, Error>, Held)> {
        match std::mem::replace(&mut self.phase, Phase::Running) {
            Phase::Done(Finished::Command(mut operation)) => {
                let taken = operation.take();
                self.spare = Some(operation);
                taken
            }
            other => {
                self.phase = other;
                None
            }
        }
    }

    fn wake_later(&mut self, waker: &Waker) {
        match &mut self.owner {
            // `clone_from` compares with `will_wake` first, so that a task which polls again costs
            // nothing.
            Owner::Future(Some(stored)) => stored.clone_from(waker),
            Owner::Future(none) => *none = Some(waker.clone()),
            Owner::Ring(..) | Owner::Orphan => {}
        }
    }
}

/// Puts a command into the box of its slot.
fn box_up(spare: &mut Option<Box<Operation>>, prepared: &mut Option<Prepared>) -> Option<Work> {
    let prepared = prepared.take()?;
    let mut operation = spare.take().unwrap_or_default();
    operation.request = prepared;
    Some(Work::Command(operation))
}

/// What became of an operation whose future was dropped.
#[derive(Debug)]
pub(super) enum Abandoned {
    /// It had been finished and fetched.
    Gone,
    /// The driver had not seen it: it leaves no trace.
    Unsent(Work, Option<Waker>),
    /// It was finished.
    Unread(Finished, Option<Waker>),
    /// The driver has its buffers and gives them up at its next poll.
    Running,
}

#[cfg(test)]
mod tests;
