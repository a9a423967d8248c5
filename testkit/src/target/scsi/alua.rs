//! Asymmetric logical unit access (SPC-4 sections 5.15, 6.37 and 6.45): the states of the target port
//! groups, and what they let pass.
//!
//! A target port group is the set of portals with one target portal group tag, which is also the
//! group's number; the relative identifier of a port is its index in the configuration plus one.

use std::sync::Mutex;

use super::{Action, Purpose, Sense, be32, data};
use crate::target::{config::PortalConfig, core::lock};

/// The state of a target port group (SPC-4 section 5.15.2.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum PortState {
    /// All commands, at best performance.
    #[default]
    Optimized = 0x0,
    /// All commands.
    NonOptimized = 0x1,
    /// No access to the medium: 02/04/0B.
    Standby = 0x2,
    /// Hardly a command: 02/04/0C.
    Unavailable = 0x3,
    /// Some blocks are optimized here and others elsewhere; this target serves all of them alike.
    LogicalBlockDependent = 0x4,
    /// Hardly a command: 02/04/12.
    Offline = 0xe,
    /// Between two states: 02/04/0A.
    Transitioning = 0xf,
}

/// How a target does asymmetric access.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AluaConfig {
    /// Whether states change without a command. Default yes.
    pub implicit: bool,
    /// Whether SET TARGET PORT GROUPS changes them. Default yes.
    pub explicit: bool,
    /// Whether the target knows the extended header of REPORT TARGET PORT GROUPS; it refuses to be
    /// asked for it otherwise (05/24/00). Default yes.
    pub extended_header: bool,
    /// IMPLICIT TRANSITION TIME in seconds. Default 0: not reported.
    pub transition_time: u8,
    /// The group with the PREF bit. Default none.
    pub preferred: Option<u16>,
    /// The states at the start, by target portal group tag; the others are optimized.
    pub states: Vec<(u16, PortState)>,
}

impl Default for AluaConfig {
    fn default() -> Self {
        Self {
            implicit: true,
            explicit: true,
            extended_header: true,
            transition_time: 0,
            preferred: None,
            states: Vec::new(),
        }
    }
}

#[derive(Debug)]
struct Group {
    number: u16,
    ports: Vec<u16>,
    state: PortState,
    status: u8,
    /// How often the state was changed.
    changes: u64,
}

/// The groups of a target, and how they are told.
#[derive(Debug)]
pub(in crate::target) struct Alua {
    /// `None`: the target knows nothing of all this.
    config: Option<AluaConfig>,
    groups: Mutex<Vec<Group>>,
}

impl Alua {
    pub(in crate::target) fn new(config: Option<&AluaConfig>, portals: &[PortalConfig]) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        for (port, portal) in (1..).zip(portals) {
            match groups.iter_mut().find(|group| group.number == portal.tpgt) {
                Some(group) => group.ports.push(port),
                None => groups.push(Group {
                    number: portal.tpgt,
                    ports: vec![port],
                    state: PortState::Optimized,
                    status: 0,
                    changes: 0,
                }),
            }
        }
        for (number, state) in config.iter().flat_map(|config| &config.states) {
            if let Some(group) = groups.iter_mut().find(|group| group.number == *number) {
                group.state = *state;
            }
        }
        Self {
            config: config.cloned(),
            groups: Mutex::new(groups),
        }
    }

    /// The TPGS field of standard INQUIRY data, in place.
    pub(super) fn tpgs(&self) -> u8 {
        self.config.as_ref().map_or(0, |config| {
            u8::from(config.implicit) << 4 | u8::from(config.explicit) << 5
        })
    }

    pub(super) const fn is_on(&self) -> bool {
        self.config.is_some()
    }

    /// Whether SET TARGET PORT GROUPS is there.
    pub(super) fn is_explicit(&self) -> bool {
        self.config.as_ref().is_some_and(|config| config.explicit)
    }

    /// The state of a group; `None` without such a group.
    pub(in crate::target) fn state(&self, number: u16) -> Option<PortState> {
        let groups = lock(&self.groups);
        let group = groups.iter().find(|group| group.number == number);
        group.map(|group| group.state)
    }

    /// How often the state of a group was changed, to another one or not.
    pub(in crate::target) fn changes(&self, number: u16) -> u64 {
        let groups = lock(&self.groups);
        let group = groups.iter().find(|group| group.number == number);
        group.map_or(0, |group| group.changes)
    }

    /// Changes the state of a group; false if there is none, or no asymmetric access.
    pub(in crate::target) fn set(&self, number: u16, state: PortState) -> bool {
        self.is_on() && self.change(number, state, 2)
    }

    fn change(&self, number: u16, state: PortState, status: u8) -> bool {
        let mut groups = lock(&self.groups);
        let group = groups.iter_mut().find(|group| group.number == number);
        group.is_some_and(|group| {
            (group.state, group.status) = (state, status);
            group.changes += 1;
            true
        })
    }

    /// What a command through a port of group `number` fails with because of its state.
    pub(in crate::target) fn gate(&self, number: u16, cdb: &[u8; 16]) -> Option<Sense> {
        if !self.is_on() {
            return None;
        }
        // INQUIRY, REPORT LUNS, REQUEST SENSE, REPORT TARGET PORT GROUPS.
        let always =
            matches!(cdb[0], 0x12 | 0xa0 | 0x03) || cdb[..2] == [0xa3, cdb[1] & 0xe0 | 0x0a];
        let set_groups = cdb[0] == 0xa4 && cdb[1] & 0x1f == 0x0a;
        // Mode parameters, reservations.
        let in_standby = set_groups || matches!(cdb[0], 0x1a | 0x5a | 0x15 | 0x55 | 0x5e | 0x5f);
        let (qualifier, passes) = match self.state(number)? {
            PortState::Standby => (0x0b, in_standby),
            PortState::Unavailable => (0x0c, set_groups),
            PortState::Offline => (0x12, set_groups),
            PortState::Transitioning => (0x0a, false),
            _ => return None,
        };
        (!always && !passes).then_some(Sense(0x02, 0x04, qualifier))
    }

    /// REPORT TARGET PORT GROUPS.
    pub(super) fn report(&self, cdb: &[u8; 16]) -> Result<Action, Sense> {
        let config = self.config.as_ref().ok_or(Sense::INVALID_OPCODE)?;
        let extended = match cdb[1] >> 5 {
            0 => false,
            1 if config.extended_header => true,
            _ => return Err(Sense::INVALID_FIELD),
        };
        let mut bytes = vec![0; 4];
        if extended {
            bytes.extend([0x10, config.transition_time, 0, 0]);
        }
        for group in lock(&self.groups).iter() {
            let preferred = config.preferred == Some(group.number);
            bytes.push(u8::from(preferred) << 7 | group.state as u8);
            // All states.
            bytes.push(0xdf);
            bytes.extend(group.number.to_be_bytes());
            bytes.extend([0, group.status, 0, group.ports.len() as u8]);
            for port in &group.ports {
                bytes.extend([0, 0]);
                bytes.extend(port.to_be_bytes());
            }
        }
        let length = bytes.len() as u32 - 4;
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        Ok(data(bytes, be32(cdb, 6)))
    }

    /// SET TARGET PORT GROUPS.
    pub(super) fn set_command(&self, cdb: &[u8; 16]) -> Result<Action, Sense> {
        if !self.is_explicit() {
            return Err(Sense::INVALID_OPCODE);
        }
        match be32(cdb, 6) {
            0 => Ok(Action::Good),
            // No list of all groups that there could be is longer.
            length if length <= 4 + 4 * 65536 => Ok(Action::Take(length, Purpose::PortGroups)),
            _ => Err(Sense::INVALID_FIELD),
        }
    }

    /// Carries out a parameter list: all of it or nothing.
    pub(in crate::target) fn apply(&self, list: &[u8]) -> Result<(), Sense> {
        if list.len() < 4 || list.len() % 4 != 0 {
            return Err(Sense::PARAMETER_LIST_LENGTH);
        }
        let mut changes = Vec::new();
        for descriptor in list[4..].chunks_exact(4) {
            let number = u16::from_be_bytes([descriptor[2], descriptor[3]]);
            // What a device only reports cannot be asked for.
            let state = match descriptor[0] & 0x0f {
                0x0 => PortState::Optimized,
                0x1 => PortState::NonOptimized,
                0x2 => PortState::Standby,
                0x3 => PortState::Unavailable,
                0xe => PortState::Offline,
                _ => return Err(Sense::INVALID_FIELD_IN_LIST),
            };
            if self.state(number).is_none() {
                return Err(Sense::INVALID_FIELD_IN_LIST);
            }
            changes.push((number, state));
        }
        for (number, state) in changes {
            self.change(number, state, 1);
        }
        Ok(())
    }
}
