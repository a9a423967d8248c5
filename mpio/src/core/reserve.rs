//! What persistent reservations of the device's user change here: a path without its key takes no I/O, a device
//! that somebody has fenced out writes nothing, and I/O pauses while the reservation changes hands.
//!
//! The orders themselves, and what to conclude of them, are the shell's.

use std::{fmt, time::Instant};

use iscsi_proto::scsi::ReservationType;

use super::{Event, FailReason, Multipath, PathId};

/// How the device stands with the unit's persistent reservations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Registration {
    /// It is not registered, and need not be.
    #[default]
    None,
    /// It is registered: each path that takes I/O has a key.
    Registered,
    /// It was, and somebody has ended that: its writes fail until it is registered again.
    Lost,
}

impl fmt::Display for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "not registered",
            Self::Registered => "registered",
            Self::Lost => "registration lost",
        })
    }
}

/// Why I/O does not go its usual way, besides an operator's wish.
#[derive(Debug, Default)]
pub(super) struct Standstill {
    registration: Registration,
    pub(super) held: Option<ReservationType>,
    /// The path whose nexus alone may do I/O, with a reservation of that kind.
    sole: Option<PathId>,
    paused: bool,
}

impl Multipath {
    /// How the device stands with the unit's persistent reservations.
    #[must_use]
    pub const fn registration(&self) -> Registration {
        self.standstill.registration
    }

    /// Tells how it stands. While it is [`Lost`](Registration::Lost), what modifies the unit fails, also what waits
    /// now: the path through which it would have been kept out may be gone.
    pub fn set_registration(&mut self, now: Instant, registration: Registration) {
        self.standstill.registration = registration;
        self.weigh_standstill();
        self.settle(now);
    }

    /// The reservation that the device holds, as last known.
    #[must_use]
    pub const fn reservation(&self) -> Option<ReservationType> {
        self.standstill.held
    }

    /// Tells which reservation the device holds, as last known.
    pub fn set_reservation(&mut self, held: Option<ReservationType>) {
        if self.standstill.held == held {
            return;
        }
        self.standstill.held = held;
        self.events.push(match held {
            Some(kind) => Event::Reserved { kind },
            None => Event::Released,
        });
    }

    /// Tells that the reservation lets the nexus of this path alone do I/O; `None`: that there is none of that kind, or
    /// that it is not known whose it is. Others take no I/O meanwhile, which would conflict, nor does one that is added.
    pub fn set_sole_nexus(&mut self, now: Instant, path: Option<PathId>) {
        self.standstill.sole = path;
        self.shut_out();
        self.settle(now);
    }

    /// Once the path is gone nobody else's I/O would be the better for waiting: it tells what is wrong.
    pub(super) fn shut_out(&mut self) {
        let sole = self.standstill.sole;
        let sole = sole.filter(|sole| self.paths.get(sole.0).is_some_and(|path| !path.removing));
        self.standstill.sole = sole;
        for (key, path) in self.paths.iter_mut() {
            path.set_shut_out(sole.is_some_and(|sole| sole.0 != key));
        }
        self.restless = true;
    }

    /// The path's nexus has this key, or needs none: it takes I/O.
    pub fn set_key(&mut self, now: Instant, path: PathId, key: Option<u64>) {
        if let Some(entry) = self.paths.get_mut(path.0) {
            entry.key = key;
            entry.set_unregistered(false);
            self.restless = true;
        }
        self.settle(now);
    }

    /// The path needs a key, and could not be registered: it takes no I/O until [`set_key`](Self::set_key).
    pub fn hold_without_key(&mut self, now: Instant, path: PathId) {
        if let Some(entry) = self.paths.get_mut(path.0) {
            entry.set_keyless();
            self.restless = true;
        }
        self.settle(now);
    }

    /// The path turns out not to be registered, and is being registered again: it takes no I/O until
    /// [`set_key`](Self::set_key), and I/O that has no other path waits for that.
    pub fn await_key(&mut self, now: Instant, path: PathId) {
        if let Some(entry) = self.paths.get_mut(path.0) {
            entry.set_unregistered(true);
            self.restless = true;
        }
        self.settle(now);
    }

    /// Whether it takes no I/O because it has no key, or is not known to have one.
    #[must_use]
    pub fn awaits_key(&self, path: PathId) -> bool {
        let path = self.paths.get(path.0);
        path.is_some_and(|path| path.is_unregistered)
    }

    /// Whether the path is on its way out of the device, or is not part of it.
    #[must_use]
    pub fn is_leaving(&self, path: PathId) -> bool {
        self.paths.get(path.0).is_none_or(|path| path.removing)
    }

    /// Whether commands can be sent there, whatever its state.
    #[must_use]
    pub fn is_connected(&self, path: PathId) -> bool {
        self.paths
            .get(path.0)
            .is_some_and(|path| path.is_connected())
    }

    /// Holds all I/O back as [`suspend`](Self::suspend) does, for the shell's own purposes; a user's `resume` does not
    /// end it.
    pub fn pause(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.standstill.paused, true) {
            self.told_quiesced = false;
            self.events.push(Event::Paused);
        }
        self.weigh_standstill();
        self.settle(now);
    }

    /// Ends a pause.
    pub fn unpause(&mut self, now: Instant) {
        if std::mem::replace(&mut self.standstill.paused, false) {
            self.events.push(Event::Unpaused);
        }
        self.weigh_standstill();
        self.restless = true;
        self.settle(now);
    }

    pub(super) const fn is_held_back(&self) -> bool {
        self.suspended || self.standstill.paused
    }

    pub(super) fn weigh_standstill(&mut self) {
        let is_lost = self.standstill.registration == Registration::Lost;
        self.stopped = self.is_held_back() || is_lost;
    }

    /// Of a device that is `stopped`: whether nothing may go out. What may not, ever, is ended.
    pub(super) fn holds_back(&mut self) -> bool {
        if self.standstill.registration == Registration::Lost {
            for _ in 0..self.pending.len() {
                let Some(io) = self.pending.pop_front() else {
                    break;
                };
                let entry = self.ios.get(io.0);
                if entry.is_some_and(|entry| entry.class.modifies().is_some()) {
                    self.give_up(io, FailReason::Preempted);
                } else {
                    self.pending.push_back(io);
                }
            }
        }
        self.is_held_back()
    }
}
