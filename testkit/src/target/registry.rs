//! Who was registered with a logical unit, who held it, and who wrote without a key: by the time, for a judge who
//! knows what the hosts wanted.

use std::{sync::atomic::Ordering, time::Duration};

use iscsi_proto::ids::Isid;

use super::{
    core::{Session, TargetCore, lock},
    ledger::{MOST, Notes, Port},
    lun::LogicalUnit,
};

/// A registration (SPC-4 section 5.12.7).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Registrant {
    /// The initiator port.
    pub port: Port,
    /// The target portal group, which is the other end of the nexus.
    pub tpgt: u16,
    /// The key.
    pub key: u64,
}

/// How things stand with a logical unit, from one change to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Registry {
    /// The unit.
    pub lun: u16,
    /// Since when, from the beginning.
    pub at: Duration,
    /// The initiator that has brought it about; `None` if the target has by itself.
    pub by: Option<String>,
    /// All registrations.
    pub registrants: Vec<Registrant>,
    /// TYPE of the reservation, and who holds it: nobody in particular where all registrants do.
    pub held: Option<(u8, Option<Port>)>,
}

/// A write came from an I_T nexus that has not been registered since its login.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Keyless {
    /// Who.
    pub by: Port,
    /// When it came.
    pub at: Duration,
    /// When the session logged in.
    pub since: Duration,
}

impl Notes {
    /// Whether an initiator port was not registered then, while others of its initiator were. Such an initiator is
    /// registered, and what it sends through this port it may send through another one.
    #[must_use]
    pub fn is_left_out(&self, port: &Port, at: Duration) -> bool {
        let of_unit = self.registry.iter().filter(|one| one.lun == port.lun);
        let Some(then) = of_unit.take_while(|one| one.at <= at).last() else {
            return false;
        };
        let mut own = then.registrants.iter().map(|one| &one.port);
        own.clone().all(|one| one != port) && own.any(|one| one.initiator == port.initiator)
    }
}

impl TargetCore {
    /// Something may have changed.
    pub(super) fn note_registry(&self, lun: &LogicalUnit, by: Option<&str>) {
        if !self.ledger.is_kept.load(Ordering::Acquire) {
            return;
        }
        let number = lun.config.number;
        let (registrants, held) = lun.reservations(|r| r.standing(number));
        let new = Registry {
            lun: number,
            at: self.ledger.clock(),
            by: by.map(Into::into),
            registrants,
            held,
        };
        let mut notes = lock(&self.ledger.notes);
        let last = notes.registry.iter().rev().find(|last| last.lun == number);
        let (registrants, held) = last.map_or((&[][..], None), |last| {
            (&last.registrants[..], last.held.as_ref())
        });
        if (registrants, held) != (&new.registrants[..], new.held.as_ref())
            && notes.registry.len() < MOST
        {
            notes.registry.push(new);
        }
    }

    /// When the session of an I_T nexus logged in, from the beginning; `None` if it has none.
    #[must_use]
    pub fn session_since(&self, initiator: &str, isid: Isid, tpgt: u16) -> Option<Duration> {
        let sessions = lock(&self.sessions);
        let session = sessions.get(&(initiator.to_owned(), isid, tpgt));
        session.map(|session| session.since)
    }

    /// A write of a nexus that has no key.
    pub(super) fn note_keyless(&self, by: &Session, lun: &LogicalUnit) {
        if !self.ledger.is_kept.load(Ordering::Acquire) {
            return;
        }
        let (initiator, isid, _) = by.nexus.clone();
        let mut notes = lock(&self.ledger.notes);
        if notes.keyless.len() < MOST {
            notes.keyless.push(Keyless {
                by: Port {
                    initiator,
                    isid,
                    lun: lun.config.number,
                },
                at: self.ledger.clock(),
                since: by.since,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use iscsi_proto::ids::Isid;

    use super::*;

    fn port(initiator: &str, isid: u8) -> Port {
        Port {
            initiator: initiator.into(),
            isid: Isid([0x80, 0, 0, 0, 0, isid]),
            lun: 0,
        }
    }

    fn since(seconds: u64, ports: &[Port]) -> Registry {
        let registrant = |port: &Port| Registrant {
            port: port.clone(),
            tpgt: 1,
            key: 1,
        };
        Registry {
            lun: 0,
            at: Duration::from_secs(seconds),
            by: None,
            registrants: ports.iter().map(registrant).collect(),
            held: None,
        }
    }

    #[test]
    fn a_port_is_left_out_while_another_one_of_its_initiator_is_registered() {
        let (one, two, other) = (port("a", 1), port("a", 2), port("b", 1));
        let notes = Notes {
            registry: vec![
                since(1, std::slice::from_ref(&other)),
                since(2, &[other, two.clone()]),
                since(3, &[one.clone(), two]),
                since(4, &[]),
            ],
            ..Notes::default()
        };
        let found = (0..5).map(|at| notes.is_left_out(&one, Duration::from_secs(at)));
        let expected = [false, false, true, false, false];
        assert_eq!(found.collect::<Vec<_>>(), expected);
        let elsewhere = Port { lun: 1, ..one };
        assert!(!notes.is_left_out(&elsewhere, Duration::from_secs(2)));
    }
}
