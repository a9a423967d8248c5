//! Persistent reservations of one logical unit (SPC-4 section 5.13).

use super::{core::Nexus, ledger::Port, registry::Registrant, scsi::Sense};

/// RESERVATION CONFLICT, or CHECK CONDITION.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Conflict,
    Check(Sense),
}

impl From<Sense> for Refusal {
    fn from(sense: Sense) -> Self {
        Self::Check(sense)
    }
}

/// A unit attention that another nexus gets: additional sense code and qualifier.
pub(super) type Notice = (Nexus, u8, u8);

const RESERVATIONS_PREEMPTED: (u8, u8) = (0x2a, 0x03);
const RESERVATIONS_RELEASED: (u8, u8) = (0x2a, 0x04);
const REGISTRATIONS_PREEMPTED: (u8, u8) = (0x2a, 0x05);

/// INVALID RELEASE OF PERSISTENT RESERVATION.
const INVALID_RELEASE: Sense = Sense(0x05, 0x26, 0x04);
/// INSUFFICIENT REGISTRATION RESOURCES.
const NO_ROOM: Sense = Sense(0x05, 0x55, 0x04);

/// More than any test has; a client that registers under ever new names must not fill the memory.
const MAX_REGISTRATIONS: usize = 1024;

/// PERSISTENT RESERVE OUT parameter list without transport IDs.
const LIST: usize = 24;

/// TYPE: which commands of which nexuses a reservation lets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Type(u8);

impl Type {
    fn new(byte: u8) -> Result<Self, Sense> {
        // SCOPE, the upper half, must be the logical unit.
        if matches!(byte, 1 | 3 | 5..=8) {
            Ok(Self(byte))
        } else {
            Err(Sense::INVALID_FIELD)
        }
    }

    const fn all_registrants(self) -> bool {
        matches!(self.0, 7 | 8)
    }

    /// Registrants only, or all registrants.
    const fn for_registrants(self) -> bool {
        matches!(self.0, 5..=8)
    }

    const fn reads_pass(self) -> bool {
        matches!(self.0, 1 | 5 | 7)
    }
}

/// What a command is to a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Passes every reservation.
    Free,
    /// Looks at the medium.
    Read,
    /// Changes it.
    Write,
}

impl Access {
    /// SPC-4 table 64 and SBC-3 table 15.
    pub(super) const fn of(cdb: &[u8; 16]) -> Self {
        match cdb[0] {
            // TEST UNIT READY, REQUEST SENSE, INQUIRY, READ CAPACITY, REPORT LUNS, MAINTENANCE IN; and
            // PERSISTENT RESERVE IN and OUT, which judge for themselves.
            0x00 | 0x03 | 0x12 | 0x25 | 0x5e | 0x5f | 0xa0 | 0xa3 => Self::Free,
            // START STOP UNIT that starts.
            0x1b if cdb[4] & 0xf1 == 0x01 => Self::Free,
            0x9e if cdb[1] & 0x1f == 0x10 => Self::Free,
            0x08 | 0x28 | 0xa8 | 0x88 | 0x2f | 0xaf | 0x8f | 0x34 | 0x90 | 0x37 | 0xb7 | 0x9e
            | 0x1a | 0x5a => Self::Read,
            _ => Self::Write,
        }
    }
}

#[derive(Clone, Debug)]
struct Registration {
    nexus: Nexus,
    key: u64,
}

/// Registrations, and the reservation if there is one. Survives resets and lost nexuses.
#[derive(Debug, Default)]
pub(super) struct Reservations {
    /// PRGENERATION.
    generation: u32,
    registrations: Vec<Registration>,
    /// Who holds it; with all registrants, who asked for it.
    holder: Option<(Nexus, Type)>,
}

impl Reservations {
    pub(super) const fn is_reserved(&self) -> bool {
        self.holder.is_some()
    }

    /// Who is registered.
    pub(super) fn registrants(&self) -> Vec<Nexus> {
        let nexuses = self.registrations.iter().map(|one| one.nexus.clone());
        nexuses.collect()
    }

    pub(super) fn is_registered(&self, nexus: &Nexus) -> bool {
        self.key_of(nexus).is_some()
    }

    /// Who is registered, TYPE of the reservation, and who holds it.
    pub(super) fn standing(&self, lun: u16) -> (Vec<Registrant>, Option<(u8, Option<Port>)>) {
        let port = |(initiator, isid, _): &Nexus| Port {
            initiator: initiator.clone(),
            isid: *isid,
            lun,
        };
        let registrants = self.registrations.iter().map(|one| Registrant {
            port: port(&one.nexus),
            tpgt: one.nexus.2,
            key: one.key,
        });
        let held = self.holder.as_ref().map(|(holder, kind)| {
            let holder = (!kind.all_registrants()).then(|| port(holder));
            (kind.0, holder)
        });
        (registrants.collect(), held)
    }

    fn key_of(&self, nexus: &Nexus) -> Option<u64> {
        let found = self.registrations.iter().find(|one| one.nexus == *nexus);
        found.map(|one| one.key)
    }

    fn is_holder(&self, nexus: &Nexus) -> bool {
        match &self.holder {
            Some((_, kind)) if kind.all_registrants() => self.key_of(nexus).is_some(),
            Some((holder, _)) => holder == nexus,
            None => false,
        }
    }

    /// Whether a command of `nexus` conflicts.
    pub(super) fn conflicts(&self, nexus: &Nexus, access: Access) -> bool {
        let Some((holder, kind)) = &self.holder else {
            return false;
        };
        // Who asked for a reservation of all registrants is no more than one of them.
        let passes = access == Access::Free
            || (holder == nexus && !kind.all_registrants())
            || (kind.for_registrants() && self.key_of(nexus).is_some())
            || (access == Access::Read && kind.reads_pass());
        !passes
    }

    /// PERSISTENT RESERVE OUT: service action, SCOPE and TYPE, and the parameter list.
    pub(super) fn change(
        &mut self,
        nexus: &Nexus,
        action: u8,
        scope_type: u8,
        list: &[u8],
    ) -> Result<Vec<Notice>, Refusal> {
        let Ok(list) = <&[u8; LIST]>::try_from(list) else {
            return Err(Sense::PARAMETER_LIST_LENGTH.into());
        };
        let number = |at: usize| {
            let bytes = list[at..at + 8].iter();
            bytes.fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let (key, new_key) = (number(0), number(8));
        // SPEC_I_PT, ALL_TG_PT and APTPL are options, which REPORT CAPABILITIES denies.
        if list[20] & 0x0d != 0 {
            return Err(Sense::INVALID_FIELD_IN_LIST.into());
        }
        match action {
            0x00 | 0x06 => return self.register(nexus, (action == 0).then_some(key), new_key),
            0x01..=0x05 if self.key_of(nexus) != Some(key) => return Err(Refusal::Conflict),
            _ => {}
        }
        match action {
            0x01 => self.reserve(nexus, Type::new(scope_type)?),
            0x02 => self.release(nexus, Type::new(scope_type)?),
            0x03 => Ok(self.clear(nexus)),
            0x04 | 0x05 => self.preempt(nexus, Type::new(scope_type), new_key),
            _ => Err(Sense::INVALID_FIELD.into()),
        }
    }

    /// REGISTER, and with `key` `None` REGISTER AND IGNORE EXISTING KEY.
    fn register(
        &mut self,
        nexus: &Nexus,
        key: Option<u64>,
        new_key: u64,
    ) -> Result<Vec<Notice>, Refusal> {
        let old = self.key_of(nexus);
        if key.is_some_and(|key| key != old.unwrap_or(0)) {
            return Err(Refusal::Conflict);
        }
        let mut notices = Vec::new();
        match (old, new_key) {
            (None, 0) => {}
            (Some(_), 0) => notices = self.unregister(nexus),
            (None, key) => {
                if self.registrations.len() >= MAX_REGISTRATIONS {
                    return Err(NO_ROOM.into());
                }
                let nexus = nexus.clone();
                self.registrations.push(Registration { nexus, key });
            }
            (Some(_), key) => {
                for one in self.registrations.iter_mut().filter(|r| r.nexus == *nexus) {
                    one.key = key;
                }
            }
        }
        self.generation = self.generation.wrapping_add(1);
        Ok(notices)
    }

    fn unregister(&mut self, nexus: &Nexus) -> Vec<Notice> {
        let held = self.is_holder(nexus);
        self.registrations.retain(|one| one.nexus != *nexus);
        let Some((_, kind)) = self.holder.clone().filter(|_| held) else {
            return Vec::new();
        };
        if kind.all_registrants() && !self.registrations.is_empty() {
            return Vec::new();
        }
        self.holder = None;
        // With all registrants nobody is left to be told.
        if kind.for_registrants() {
            self.tell_others(nexus, RESERVATIONS_RELEASED)
        } else {
            Vec::new()
        }
    }

    fn tell_others(&self, nexus: &Nexus, (asc, ascq): (u8, u8)) -> Vec<Notice> {
        let others = self.registrations.iter().filter(|one| one.nexus != *nexus);
        others.map(|one| (one.nexus.clone(), asc, ascq)).collect()
    }

    fn reserve(&mut self, nexus: &Nexus, kind: Type) -> Result<Vec<Notice>, Refusal> {
        match &self.holder {
            None => self.holder = Some((nexus.clone(), kind)),
            Some((_, held)) if self.is_holder(nexus) && *held == kind => {}
            Some(_) => return Err(Refusal::Conflict),
        }
        Ok(Vec::new())
    }

    fn release(&mut self, nexus: &Nexus, kind: Type) -> Result<Vec<Notice>, Refusal> {
        if !self.is_holder(nexus) {
            return Ok(Vec::new());
        }
        if self.holder.as_ref().is_some_and(|(_, held)| *held != kind) {
            return Err(INVALID_RELEASE.into());
        }
        self.holder = None;
        Ok(if kind.for_registrants() {
            self.tell_others(nexus, RESERVATIONS_RELEASED)
        } else {
            Vec::new()
        })
    }

    /// As by somebody who is registered for that alone.
    pub(super) fn clear_all(&mut self) -> Vec<Notice> {
        let (asc, ascq) = RESERVATIONS_PREEMPTED;
        let nexuses = self.registrants().into_iter();
        let notices = nexuses.map(|nexus| (nexus, asc, ascq)).collect();
        self.registrations.clear();
        self.holder = None;
        self.generation = self.generation.wrapping_add(1);
        notices
    }

    /// As a controller that has lost its memory, of nexuses of portal group `tpgt` or of all: nobody is told.
    pub(super) fn forget(&mut self, tpgt: Option<u16>) {
        let is_of = |nexus: &Nexus| tpgt.is_none_or(|tpgt| nexus.2 == tpgt);
        self.registrations.retain(|one| !is_of(&one.nexus));
        self.holder = self.holder.take().filter(|(holder, _)| !is_of(holder));
    }

    fn clear(&mut self, nexus: &Nexus) -> Vec<Notice> {
        let notices = self.tell_others(nexus, RESERVATIONS_PREEMPTED);
        self.registrations.clear();
        self.holder = None;
        self.generation = self.generation.wrapping_add(1);
        notices
    }

    /// Section 5.13.11.2: without the reservation of `victim` at stake, TYPE does not count.
    fn preempt(
        &mut self,
        nexus: &Nexus,
        kind: Result<Type, Sense>,
        victim: u64,
    ) -> Result<Vec<Notice>, Refusal> {
        let holder = self.holder.clone();
        let takes = holder.as_ref().is_some_and(|(holder, held)| {
            if held.all_registrants() {
                victim == 0
            } else {
                self.key_of(holder) == Some(victim)
            }
        });
        if victim == 0 && !takes {
            return Err(Sense::INVALID_FIELD_IN_LIST.into());
        }
        let kind = if takes { Some(kind?) } else { None };
        let is_victim = |one: &Registration| (victim == 0 && takes) || one.key == victim;
        if !takes && !self.registrations.iter().any(is_victim) {
            return Err(Refusal::Conflict);
        }
        let gone = |one: &&Registration| one.nexus != *nexus && is_victim(one);
        let (asc, ascq) = REGISTRATIONS_PREEMPTED;
        let removed = self.registrations.iter().filter(gone);
        let mut notices: Vec<Notice> = removed.map(|one| (one.nexus.clone(), asc, ascq)).collect();
        // A nexus may take itself out too, unless it takes the reservation.
        self.registrations
            .retain(|one| !is_victim(one) || (takes && one.nexus == *nexus));
        if let Some(kind) = kind {
            let changed = holder.is_some_and(|(_, held)| held != kind && held.for_registrants());
            if changed {
                notices.extend(self.tell_others(nexus, RESERVATIONS_RELEASED));
            }
            self.holder = Some((nexus.clone(), kind));
        }
        self.generation = self.generation.wrapping_add(1);
        Ok(notices)
    }

    /// PERSISTENT RESERVE IN: the parameter data of a service action, `None` for one that is unknown.
    pub(super) fn report(&self, action: u8) -> Option<Vec<u8>> {
        let body = match action {
            0x00 => self
                .registrations
                .iter()
                .flat_map(|one| one.key.to_be_bytes())
                .collect(),
            0x01 => self.reservation(),
            0x02 => return Some(capabilities()),
            0x03 => self
                .registrations
                .iter()
                .flat_map(|one| self.full_status(one))
                .collect(),
            _ => return None,
        };
        let mut bytes = self.generation.to_be_bytes().to_vec();
        bytes.extend((body.len() as u32).to_be_bytes());
        bytes.extend(body);
        Some(bytes)
    }

    fn reservation(&self) -> Vec<u8> {
        let Some((holder, kind)) = &self.holder else {
            return Vec::new();
        };
        // A reservation of all registrants has no one key.
        let key = self.key_of(holder).filter(|_| !kind.all_registrants());
        let mut bytes = key.unwrap_or(0).to_be_bytes().to_vec();
        bytes.extend([0, 0, 0, 0, 0, kind.0, 0, 0]);
        bytes
    }

    fn full_status(&self, one: &Registration) -> Vec<u8> {
        let mut bytes = one.key.to_be_bytes().to_vec();
        let kind = self.holder.as_ref().filter(|_| self.is_holder(&one.nexus));
        let (holder, kind) = kind.map_or((0, 0), |(_, kind)| (1, kind.0));
        bytes.extend([0, 0, 0, 0, holder, kind, 0, 0, 0, 0]);
        let (name, isid, tpgt) = &one.nexus;
        bytes.extend(tpgt.to_be_bytes());
        let id = transport_id(name, &isid.0);
        bytes.extend((id.len() as u32).to_be_bytes());
        bytes.extend(id);
        bytes
    }
}

/// No options but the six types (section 6.15.4).
fn capabilities() -> Vec<u8> {
    vec![0, 8, 0, 0x80, 0xea, 0x01, 0, 0]
}

/// An initiator port of iSCSI (SPC-4 section 7.6.4.6).
fn transport_id(name: &str, isid: &[u8; 6]) -> Vec<u8> {
    let mut text = format!("{name},i,0x").into_bytes();
    for byte in isid {
        text.extend(format!("{byte:02x}").bytes());
    }
    text.push(0);
    text.resize(text.len().next_multiple_of(4), 0);
    let mut id = vec![0x45, 0];
    id.extend((text.len() as u16).to_be_bytes());
    id.extend(text);
    id
}
