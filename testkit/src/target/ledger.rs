//! What a target has told whom, and since when it knows that it was heard: facts for a judge who knows
//! what the hosts were doing, which the target does not.
//!
//! A host has heard a status once it acknowledges its StatSN (RFC 7143 section 4.2.2.2), and a PDU that
//! acknowledges it was made after it was heard, however long it was on its way.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use iscsi_proto::{Instant, ids::Isid, serial::StatSn};

use super::{
    core::{Nexus, TargetCore, lock},
    registry::{Keyless, Registry},
    scsi::{End, Sense},
};

/// More than a world of a minute has; a test that runs for hours must not fill the memory.
pub(super) const MOST: usize = 100_000;

/// A range of blocks that a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extent {
    /// The first.
    pub block: u64,
    /// How many; 0 for SYNCHRONIZE CACHE, which is about the unit.
    pub blocks: u32,
    /// Whether they are changed.
    pub writes: bool,
}

impl Extent {
    /// Of a command that accesses the medium (SBC-3 section 4.2), as far as initiators here send such.
    fn of(cdb: &[u8; 16]) -> Option<Self> {
        let number = |at: usize, len: usize| {
            let bytes = cdb[at..at + len].iter();
            bytes.fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let (block, blocks, writes) = match cdb[0] {
            0x28 | 0x2a => (number(2, 4), number(7, 2), cdb[0] == 0x2a),
            0xa8 | 0xaa => (number(2, 4), number(6, 4), cdb[0] == 0xaa),
            0x88 | 0x8a => (number(2, 8), number(10, 4), cdb[0] == 0x8a),
            0x35 | 0x91 => (0, 0, false),
            _ => return None,
        };
        Some(Self {
            block,
            blocks: blocks as u32,
            writes,
        })
    }
}

/// An initiator port of a target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Port {
    /// The initiator's name.
    pub initiator: String,
    /// The ISID.
    pub isid: Isid,
    /// The logical unit.
    pub lun: u16,
}

/// What was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Told {
    /// RESERVATION CONFLICT, to a command that accesses these blocks.
    Conflict(Extent),
    /// A unit attention: additional sense code and qualifier.
    Attention(u8, u8),
    /// NOT READY: additional sense code and qualifier.
    NotReady(u8, u8),
}

/// Something that was told, once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Telling {
    /// To whom.
    pub to: Port,
    /// What.
    pub told: Told,
    /// What the command was about that it was the answer to, if that accesses the medium.
    pub extent: Option<Extent>,
    /// When, since the beginning.
    pub at: Duration,
    /// From when on the target knows that it was heard, if it does.
    pub heard: Option<Duration>,
}

/// A command that accesses the medium came through a port whose state does not allow it, from an
/// initiator that had been told so by the answer to a TEST UNIT READY, and had heard it when it made the
/// command. Neither has the state changed since, nor was the unit asked who it is, as after a login.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeafAccess {
    /// Who.
    pub by: Port,
    /// When it came.
    pub at: Duration,
    /// Since when it is known to have been heard that the port is not to be used.
    pub heard: Duration,
    /// What it is about.
    pub extent: Extent,
}

/// Everything that was noted.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Notes {
    /// What was told, in that order.
    pub tellings: Vec<Telling>,
    /// Accesses to the medium that should not have been made.
    pub deaf: Vec<DeafAccess>,
    /// Commands that came, by the second since the beginning.
    pub commands: Vec<u64>,
    /// Registrations and reservations, from one change to the next.
    pub registry: Vec<Registry>,
    /// Writes of nexuses that were not registered since their login.
    pub keyless: Vec<Keyless>,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) is_kept: AtomicBool,
    pub(super) notes: Mutex<Notes>,
    /// Nanoseconds since the beginning, as of the last thing that happened.
    clock: AtomicU64,
}

impl Ledger {
    pub(super) fn clock(&self) -> Duration {
        Duration::from_nanos(self.clock.load(Ordering::Relaxed))
    }

    pub(super) fn tell_time(&self, now: Instant) {
        let nanos = since_start(now).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        self.clock.fetch_max(nanos, Ordering::Relaxed);
    }

    fn count(&self, now: Instant) {
        let second = usize::try_from(since_start(now).as_secs()).unwrap_or(MOST);
        let commands = &mut lock(&self.notes).commands;
        if commands.len() <= second && second < MOST {
            commands.resize(second + 1, 0);
        }
        if let Some(count) = commands.get_mut(second) {
            *count += 1;
        }
    }
}

impl TargetCore {
    /// Has it noted from now on what initiators are told.
    pub fn keep_ledger(&self) {
        self.ledger.is_kept.store(true, Ordering::Release);
    }

    /// Says how late it is, so that what is done to the target from outside is noted with its time.
    pub fn tell_time(&self, now: Instant) {
        self.ledger.tell_time(now);
    }

    /// What was noted so far.
    #[must_use]
    pub fn notes(&self) -> Notes {
        lock(&self.ledger.notes).clone()
    }
}

/// A TEST UNIT READY was refused because of the state of the port.
#[derive(Debug)]
struct Refusal {
    /// How often the state of the port's group had changed by then.
    changes: u64,
    heard: Option<Duration>,
}

/// What a session has told and not heard to be heard.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// By StatSN: an index of the notes, and the unit whose refusal it is.
    unheard: Vec<(StatSn, Option<usize>, Option<u16>)>,
    refusals: BTreeMap<u16, Refusal>,
}

/// Of which session, and when.
#[derive(Clone, Copy)]
pub(super) struct Occasion<'a> {
    pub(super) core: &'a TargetCore,
    pub(super) nexus: &'a Nexus,
    pub(super) lun: u16,
    pub(super) now: Instant,
}

fn since_start(now: Instant) -> Duration {
    now.saturating_duration_since(Instant::ZERO)
}

impl Occasion<'_> {
    fn port(&self) -> Port {
        Port {
            initiator: self.nexus.0.clone(),
            isid: self.nexus.1,
            lun: self.lun,
        }
    }
}

impl Account {
    /// A command has come, and `allowed` says whether the state of its port lets it pass.
    pub(super) fn received(&mut self, on: Occasion<'_>, cdb: &[u8; 16], allowed: bool) {
        if !on.core.ledger.is_kept.load(Ordering::Acquire) {
            return;
        }
        on.core.ledger.tell_time(on.now);
        on.core.ledger.count(on.now);
        // INQUIRY: who asks that looks at the path anew.
        if cdb[0] == 0x12 {
            self.refusals.remove(&on.lun);
        }
        let changes = on.core.alua.changes(on.nexus.2);
        let refusal = self.refusals.get(&on.lun).filter(|r| r.changes == changes);
        let heard = refusal.and_then(|refusal| refusal.heard);
        if let (Some(heard), Some(extent), false) = (heard, Extent::of(cdb), allowed) {
            let mut notes = lock(&on.core.ledger.notes);
            if notes.deaf.len() < MOST {
                notes.deaf.push(DeafAccess {
                    by: on.port(),
                    at: since_start(on.now),
                    heard,
                    extent,
                });
            }
        }
    }

    /// A command is answered, with this StatSN.
    pub(super) fn answered(&mut self, on: Occasion<'_>, cdb: &[u8; 16], end: End, stat_sn: StatSn) {
        if !on.core.ledger.is_kept.load(Ordering::Acquire) {
            return;
        }
        let extent = Extent::of(cdb);
        let told = match (end, extent) {
            (End::Check(Sense(0x06, asc, ascq)), _) => Some(Told::Attention(asc, ascq)),
            (End::Check(Sense(0x02, asc, ascq)), _) => Some(Told::NotReady(asc, ascq)),
            (End::Status(0x18), Some(extent)) => Some(Told::Conflict(extent)),
            _ => None,
        };
        let index = told.and_then(|told| {
            let mut notes = lock(&on.core.ledger.notes);
            let index = notes.tellings.len();
            (index < MOST).then(|| {
                notes.tellings.push(Telling {
                    to: on.port(),
                    told,
                    extent,
                    at: since_start(on.now),
                    heard: None,
                });
                index
            })
        });
        let mut refused = None;
        if cdb[0] == 0 {
            self.refusals.remove(&on.lun);
            // Standby, unavailable, offline. A transition is over soon, and to ask again is all right.
            if matches!(end, End::Check(Sense(0x02, 0x04, 0x0b | 0x0c | 0x12))) {
                let changes = on.core.alua.changes(on.nexus.2);
                let heard = None;
                self.refusals.insert(on.lun, Refusal { changes, heard });
                refused = Some(on.lun);
            }
        }
        if index.is_some() || refused.is_some() {
            self.unheard.push((stat_sn, index, refused));
        }
    }

    /// The initiator expects `exp_stat_sn`, so it has heard everything before.
    pub(super) fn acknowledged(&mut self, core: &TargetCore, exp_stat_sn: StatSn, now: Instant) {
        let heard = self.unheard.iter();
        let count = heard
            .take_while(|(at, ..)| at.precedes(exp_stat_sn))
            .count();
        if count == 0 {
            return;
        }
        let now = since_start(now);
        let mut notes = lock(&core.ledger.notes);
        for (_, index, refused) in self.unheard.drain(..count) {
            if let Some(telling) = index.and_then(|index| notes.tellings.get_mut(index)) {
                telling.heard = Some(now);
            }
            if let Some(refusal) = refused.and_then(|lun| self.refusals.get_mut(&lun)) {
                refusal.heard.get_or_insert(now);
            }
        }
    }
}
