//! What the tasks of a world share: the devices, the history, and who waits for whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    task::{Poll, Waker},
};

use iscsi_client::{initiator::Initiator, links::LinkFeed};
use iscsi_proto::ids::Isid;
use mpio::{MultipathDevice, RegistrationKeys};

use super::{
    asked::Asked,
    check::{End, History, Op, OpId, Row, Violation, conflict::Reasons, reserved::Span},
    finding::Finding,
    locks::Locks,
    memory::Guest,
    orders::book::Book,
    silences::Silences,
    spare::Spares,
    tally::Tallies,
    trace::{Note, Ring},
    watched::Watched,
};

use crate::sim::SimProcess;

/// More than anybody reads.
const MOST_FINDINGS: usize = 20;

/// A host's present life.
#[derive(Clone)]
pub(super) struct Host {
    pub(super) process: SimProcess,
    pub(super) initiator: Initiator,
    /// It has not died, or was started again.
    pub(super) is_up: bool,
    /// Counts from 1.
    pub(super) life: u32,
    /// Tells it of the carriers of its NICs.
    pub(super) feed: Arc<Mutex<LinkFeed>>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) hosts: Vec<Host>,
    /// Who may write where, if the hosts share their units.
    pub(super) locks: Locks,
    /// When a host was started again.
    pub(super) restarts: Vec<u64>,
    pub(super) history: History,
    pub(super) tallies: Tallies,
    pub(super) ring: Ring,
    pub(super) findings: Vec<Finding>,
    /// By host and unit; `None` while one is closed.
    pub(super) devices: Vec<Option<MultipathDevice>>,
    /// Counts how often each was opened.
    pub(super) openings: Vec<u32>,
    /// Whether each waits for the proof that a former life's writes are dead.
    pub(super) fencing: Vec<bool>,
    /// Paths that a fault has taken out of their devices: device, opening and path.
    pub(super) removed: BTreeSet<(usize, u32, u8)>,
    /// Since when each device has had no path.
    pub(super) pathless: Vec<Option<u64>>,
    /// Since when there has been another unit in the place of each.
    pub(super) remapped: Vec<Option<u64>>,
    /// The first error that a program saw which it should not have seen.
    pub(super) unearned: Option<(OpId, String)>,
    /// Programs that are not done.
    pub(super) clients: usize,
    /// Requests that each of them has still to make.
    pub(super) left: Vec<u32>,
    /// Devices that are asked to take the size that their paths tell.
    pub(super) asked: BTreeMap<usize, Asked>,
    /// When each device last had a port group activated.
    pub(super) activated: BTreeMap<usize, (u32, u64)>,
    /// What was ordered of persistent reservations.
    pub(super) book: Book,
    /// With what each device is to be registered, and its opening.
    pub(super) keys: BTreeMap<usize, Option<(u32, RegistrationKeys)>>,
    /// Paths that a device called registered: device, ISID and key, and the time of the order.
    pub(super) registered: Vec<((usize, Isid, u64), Span)>,
    /// Faults whose undoing is still under way.
    pub(super) jobs: usize,
    /// Of the last write, over all programs.
    pub(super) sequence: u64,
    /// What callers were told besides.
    pub(super) reasons: Reasons,
    /// The paths of all devices, also of those that are closed.
    pub(super) watched: Vec<Watched>,
    /// The most that a device was seen to hold.
    pub(super) held_bytes: u64,
    /// The spares as they were last looked at.
    pub(super) spares: Spares,
    /// Paths that devices suspect for their silence.
    pub(super) silences: Silences,
    /// A device that has done more reads twice than it may.
    pub(super) overspent: Option<Violation>,
    /// Requests that have ended since paths were last looked at.
    pub(super) since_observed: usize,
    /// In which second each event of a device came.
    pub(super) reported: Vec<u64>,
    /// The memory of requests that are over, to see at the end that nobody has touched it.
    pub(super) guests: Vec<(OpId, Arc<Guest>)>,
}

impl State {
    pub(super) fn find(&mut self, finding: Finding) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(finding);
        }
    }

    pub(super) fn violate(&mut self, row: Row, what: String) {
        self.find(Finding::Rule(Violation::new(row, what)));
    }

    pub(super) fn invoke(&mut self, now: u64, op: Op) -> OpId {
        let id = self.history.invoke(now, op.clone());
        self.ring.push(now, Note::Began(id, op));
        id
    }

    pub(super) fn respond(&mut self, now: u64, id: OpId, end: End) {
        self.history.respond(now, id, end);
        self.ring.push(now, Note::Ended(id));
    }
}

#[derive(Default)]
struct Inner {
    state: State,
    waiting: Vec<Waker>,
}

/// The state, behind a lock that is never held across a wait.
#[derive(Default)]
pub(super) struct Board(Mutex<Inner>);

impl Board {
    /// Looks at the state, or changes what nobody waits for.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).state)
    }

    /// Changes the state, and has everybody look at it again.
    pub(super) fn change<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut inner.state);
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        waiting.into_iter().for_each(Waker::wake);
        result
    }

    /// Waits until there is an answer.
    pub(super) async fn until<T>(&self, mut f: impl FnMut(&mut State) -> Option<T>) -> T {
        poll_fn(|cx| {
            let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match f(&mut inner.state) {
                Some(answer) => Poll::Ready(answer),
                None => {
                    inner.waiting.push(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}
