//! What the callers asked for and what they were told, in the order in which it happened.

use std::{fmt, ops::Range};

use iscsi_client::error::{Error, Outcome};

use super::stamp::{Found, Stamp};

/// An operation of a [`History`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub(super) u32);

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A point of the record. Those of one nanosecond are told apart by the order in which they were
/// recorded: a world has one thread, so that order is the true one, and no two moments are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    /// Counts what was recorded, from 1; 0 is before everything.
    pub(super) order: u64,
    /// Simulated time, in nanoseconds.
    pub(super) ns: u64,
}

/// What is asked of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The blocks, filled by [`stamp::fill`](super::stamp::fill) with this stamp, which no other
    /// write to the unit has.
    Write {
        /// Which write it is.
        stamp: Stamp,
    },
    /// The blocks, to be looked at by [`stamp::read`](super::stamp::read).
    Read,
    /// All writes that were acknowledged to anybody before, onto the medium. Its blocks do not
    /// matter.
    Flush,
}

/// One request of one caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// Who asks. A program that dies and comes back with the same identity is the same client.
    pub client: u16,
    /// Through which device it asks: one of them keeps the order of the writes of all its clients.
    pub device: u16,
    /// The logical unit. Histories of different units have nothing to do with each other.
    pub unit: u16,
    /// What it asks for.
    pub kind: Kind,
    /// Blocks of 512 bytes, whatever the block size of the unit.
    pub blocks: Range<u64>,
}

/// What a caller was told about a request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutionKnowledge {
    /// It had no effect, and will have none.
    NotExecuted,
    /// It may have happened and may happen still.
    Unknown,
    /// It may have happened, in part too, and will not happen any more.
    Dead,
    /// The target worked on it. It may have happened, in part too, and will not happen any more.
    Executed,
}

impl From<&Error> for ExecutionKnowledge {
    fn from(error: &Error) -> Self {
        match error.outcome() {
            Outcome::NotExecuted => Self::NotExecuted,
            Outcome::Unknown if error.is_dead() => Self::Dead,
            Outcome::Unknown => Self::Unknown,
            Outcome::Executed => Self::Executed,
        }
    }
}

/// How a request ended for its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A write was acknowledged.
    Wrote,
    /// A read returned these blocks.
    Read(Vec<Found>),
    /// A flush was acknowledged.
    Flushed,
    /// It failed.
    Failed(ExecutionKnowledge),
    /// The caller went away: it dropped the future, or died. A write may happen at any later time.
    Dropped,
}

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) op: Op,
    pub(super) invoked: Moment,
    pub(super) ended: Option<(Moment, End)>,
    /// When a write of unknown outcome was proven dead.
    pub(super) dead: Option<Moment>,
}

/// The record of a run. Feed it in the order of events; times may not go back.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub(super) records: Vec<Record>,
    /// When the volatile cache of a unit was lost.
    pub(super) losses: Vec<(u16, Moment)>,
    /// Ends of requests that had ended already.
    pub(super) second_ends: Vec<(OpId, Moment)>,
    order: u64,
    open: usize,
}

impl History {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn moment(&mut self, ns: u64) -> Moment {
        self.order += 1;
        let order = self.order;
        Moment { order, ns }
    }

    /// A caller makes a request.
    ///
    /// # Panics
    ///
    /// After four thousand million requests.
    pub fn invoke(&mut self, now_ns: u64, op: Op) -> OpId {
        let id = OpId(u32::try_from(self.records.len()).expect("fewer than 2^32 requests"));
        let invoked = self.moment(now_ns);
        self.open += 1;
        self.records.push(Record {
            op,
            invoked,
            ended: None,
            dead: None,
        });
        id
    }

    /// The request ends for its caller. A second end is kept, and is a violation of I4.
    ///
    /// # Panics
    ///
    /// If the end is none of this kind of request.
    pub fn respond(&mut self, now_ns: u64, id: OpId, end: End) {
        let now = self.moment(now_ns);
        let record = &mut self.records[id.0 as usize];
        let fits = match &end {
            End::Wrote => matches!(record.op.kind, Kind::Write { .. }),
            End::Read(_) => record.op.kind == Kind::Read,
            End::Flushed => record.op.kind == Kind::Flush,
            End::Failed(_) | End::Dropped => true,
        };
        assert!(fits, "{end:?} does not end {:?}", record.op);
        if record.ended.is_some() {
            self.second_ends.push((id, now));
        } else {
            record.ended = Some((now, end));
            self.open -= 1;
        }
    }

    /// A write of unknown outcome cannot happen any more from now on.
    pub fn proven_dead(&mut self, now_ns: u64, id: OpId) {
        let now = self.moment(now_ns);
        let dead = &mut self.records[id.0 as usize].dead;
        *dead = dead.or(Some(now));
    }

    /// The unit loses power: what was not flushed may be lost.
    pub fn power_loss(&mut self, now_ns: u64, unit: u16) {
        let now = self.moment(now_ns);
        self.losses.push((unit, now));
    }

    /// The client's process dies: whatever it had open is never answered.
    pub fn crash(&mut self, now_ns: u64, client: u16) {
        let now = self.moment(now_ns);
        for record in &mut self.records {
            if record.op.client == client && record.ended.is_none() {
                record.ended = Some((now, End::Dropped));
                self.open -= 1;
            }
        }
    }

    /// How a request ended, if it has.
    #[must_use]
    pub fn end(&self, id: OpId) -> Option<&End> {
        let record = self.records.get(id.0 as usize)?;
        record.ended.as_ref().map(|(_, end)| end)
    }

    /// How many requests were made.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many requests have not ended.
    #[must_use]
    pub const fn open(&self) -> usize {
        self.open
    }
}
