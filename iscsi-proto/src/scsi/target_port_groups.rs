//! Asymmetric logical unit access: REPORT TARGET PORT GROUPS and SET TARGET PORT GROUPS (SPC-4
//! sections 5.15, 6.37 and 6.45).

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "lengths within what was received, and of what we make ourselves"
)]

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use super::{
    cdb::{Cdb, opcode},
    field::{self, array, be32, byte},
};
use crate::error::DecodeError;

/// REPORT TARGET PORT GROUPS within MAINTENANCE IN, SET TARGET PORT GROUPS within MAINTENANCE OUT.
const SERVICE_ACTION: u8 = 0x0a;
/// PARAMETER DATA FORMAT 001b, and RETURN DATA FORMAT 001b in the answer to it.
const EXTENDED: u8 = 0b001;
const DESCRIPTOR: usize = 8;
const PORT: usize = 4;

/// ASYMMETRIC ACCESS STATE (SPC-4 section 5.15.2.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AccessState {
    /// 0h: all commands, at best performance.
    #[default]
    ActiveOptimized,
    /// 1h: all commands, slower than through an optimized group.
    ActiveNonOptimized,
    /// 2h: no access to the medium; ready to become active.
    Standby,
    /// 3h: few commands, and no access to the medium.
    Unavailable,
    /// 4h: some blocks are optimized here and others elsewhere.
    LogicalBlockDependent,
    /// Eh: a secondary state; the ports of the group are not reachable.
    Offline,
    /// Fh: on its way from one state to another.
    Transitioning,
    /// Any other value of the four bits.
    Unknown(u8),
}

impl AccessState {
    /// The state in the low four bits.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0x0f {
            0x0 => Self::ActiveOptimized,
            0x1 => Self::ActiveNonOptimized,
            0x2 => Self::Standby,
            0x3 => Self::Unavailable,
            0x4 => Self::LogicalBlockDependent,
            0xe => Self::Offline,
            0xf => Self::Transitioning,
            other => Self::Unknown(other),
        }
    }

    /// The four bits on the wire.
    #[must_use]
    pub const fn to_bits(self) -> u8 {
        match self {
            Self::ActiveOptimized => 0x0,
            Self::ActiveNonOptimized => 0x1,
            Self::Standby => 0x2,
            Self::Unavailable => 0x3,
            Self::LogicalBlockDependent => 0x4,
            Self::Offline => 0xe,
            Self::Transitioning => 0xf,
            Self::Unknown(bits) => bits & 0x0f,
        }
    }

    /// Whether commands that access the medium are accepted in this state.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(
            self,
            Self::ActiveOptimized | Self::ActiveNonOptimized | Self::LogicalBlockDependent
        )
    }
}

/// The words of the standard, as `sg_rtpg -d` prints them.
impl fmt::Display for AccessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ActiveOptimized => "active/optimized",
            Self::ActiveNonOptimized => "active/non-optimized",
            Self::Standby => "standby",
            Self::Unavailable => "unavailable",
            Self::LogicalBlockDependent => "logical block dependent",
            Self::Offline => "offline",
            Self::Transitioning => "transitioning",
            Self::Unknown(bits) => return write!(f, "state {bits:#x}"),
        })
    }
}

/// STATUS CODE: what brought a group into its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AccessStatus {
    /// 00h: no status available.
    #[default]
    None,
    /// 01h: SET TARGET PORT GROUPS altered it.
    SetByCommand,
    /// 02h: the device altered it by itself.
    Implicit,
    /// Any other code.
    Unknown(u8),
}

impl AccessStatus {
    const fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::None,
            1 => Self::SetByCommand,
            2 => Self::Implicit,
            other => Self::Unknown(other),
        }
    }

    const fn to_byte(self) -> u8 {
        match self {
            Self::None => 0,
            Self::SetByCommand => 1,
            Self::Implicit => 2,
            Self::Unknown(code) => code,
        }
    }
}

/// Which states a group can be in: T_SUP to AO_SUP of byte 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SupportedStates(
    /// The byte on the wire; bit 5 is reserved.
    pub u8,
);

impl SupportedStates {
    /// Whether the device says that the group can be in `state`. `false` for an unknown one.
    #[must_use]
    pub const fn contains(self, state: AccessState) -> bool {
        self.0 & Self::bit(state) != 0
    }

    /// The same with `state`.
    #[must_use]
    pub const fn with(self, state: AccessState) -> Self {
        Self(self.0 | Self::bit(state))
    }

    const fn bit(state: AccessState) -> u8 {
        match state {
            AccessState::ActiveOptimized => 0x01,
            AccessState::ActiveNonOptimized => 0x02,
            AccessState::Standby => 0x04,
            AccessState::Unavailable => 0x08,
            AccessState::LogicalBlockDependent => 0x10,
            AccessState::Offline => 0x40,
            AccessState::Transitioning => 0x80,
            AccessState::Unknown(_) => 0,
        }
    }
}

/// One target port group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetPortGroup {
    /// TARGET PORT GROUP, as in the Device Identification page
    /// ([`target_port_group`](super::vpd::DeviceIdentification::target_port_group)).
    pub group: u16,
    /// ASYMMETRIC ACCESS STATE.
    pub state: AccessState,
    /// PREF: the device would have its commands come through this group.
    pub preferred: bool,
    /// The states that the group can be in.
    pub supported: SupportedStates,
    /// STATUS CODE.
    pub status: AccessStatus,
    /// RELATIVE TARGET PORT IDENTIFIERs of the ports in the group.
    pub ports: Vec<u16>,
}

/// Parameter data of REPORT TARGET PORT GROUPS, with either header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetPortGroups {
    /// The groups in the order of the device.
    pub groups: Vec<TargetPortGroup>,
    /// IMPLICIT TRANSITION TIME of the extended header in seconds: how long a transition of the
    /// device's own may take at least until somebody gives up. `None` without that header, or where
    /// the device reports none (0).
    pub implicit_transition_time: Option<u8>,
    /// RETURN DATA LENGTH, which counts bytes beyond the allocation length too.
    pub data_length: u32,
    /// The list, or the last group in it, goes on past the data: ask again with
    /// [`needed_length`](Self::needed_length).
    pub truncated: bool,
}

impl TargetPortGroups {
    /// REPORT TARGET PORT GROUPS. With `extended` the answer may begin with a header that has the
    /// transition time. A device that knows no such header refuses the command with 05/24/00: ask
    /// again without it.
    #[must_use]
    pub const fn cdb(extended: bool, allocation_length: u32) -> Cdb {
        let format = if extended { EXTENDED << 5 } else { 0 };
        maintenance(opcode::MAINTENANCE_IN, format, allocation_length)
    }

    /// Parses the parameter data. Which header it has is said by the data, since some devices
    /// ignore what they were asked for. A group that is not whole is left out; so are the ports
    /// that are missing in one, together with their group.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] for fewer than four bytes, and [`DecodeError::Scsi`] for a RETURN
    /// DATA FORMAT that no standard has.
    pub fn parse(data: &[u8]) -> Result<Self, DecodeError> {
        let data_length = be32(data, 0).ok_or_else(|| field::truncated(data, 4))?;
        let body = data.get(4..).unwrap_or(&[]);
        let claimed = usize::try_from(data_length).unwrap_or(usize::MAX);
        let (body, mut truncated) = field::clamp(body, claimed);
        let (mut rest, implicit_transition_time) = match byte(body, 0).unwrap_or(0) >> 4 & 0x07 {
            0 => (body, None),
            EXTENDED => {
                truncated |= body.len() < 4;
                let time = byte(body, 1).filter(|seconds| *seconds != 0);
                (body.get(4..).unwrap_or(&[]), time)
            }
            _ => return Err(DecodeError::Scsi { offset: 4 }),
        };
        let mut groups = Vec::new();
        while !rest.is_empty() {
            let Some((group, behind)) = split_first(rest) else {
                truncated = true;
                break;
            };
            groups.push(group);
            rest = behind;
        }
        Ok(Self {
            groups,
            implicit_transition_time,
            data_length,
            truncated,
        })
    }

    /// The allocation length that a repeated command needs for the whole list.
    #[must_use]
    pub const fn needed_length(&self) -> u32 {
        self.data_length.saturating_add(4)
    }

    /// The group with this number.
    #[must_use]
    pub fn group(&self, number: u16) -> Option<&TargetPortGroup> {
        self.groups.iter().find(|group| group.group == number)
    }

    /// The parameter data, with the extended header if there is a transition time; a group has at
    /// most 255 ports. Cut it to the allocation length.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let mut data = vec![0; 4];
        if let Some(seconds) = self.implicit_transition_time {
            data.extend_from_slice(&[EXTENDED << 4, seconds, 0, 0]);
        }
        for group in &self.groups {
            let ports = group.ports.get(..255).unwrap_or(&group.ports);
            let [high, low] = group.group.to_be_bytes();
            data.extend_from_slice(&[
                u8::from(group.preferred) << 7 | group.state.to_bits(),
                group.supported.0,
                high,
                low,
                0,
                group.status.to_byte(),
                0,
                u8::try_from(ports.len()).unwrap_or(u8::MAX),
            ]);
            for port in ports {
                let [high, low] = port.to_be_bytes();
                data.extend_from_slice(&[0, 0, high, low]);
            }
        }
        let length = u32::try_from(data.len() - 4).unwrap_or(u32::MAX);
        data[..4].copy_from_slice(&length.to_be_bytes());
        data
    }
}

/// Splits the first group off; `None` where it is not whole. Every step goes at least eight bytes
/// forward.
fn split_first(data: &[u8]) -> Option<(TargetPortGroup, &[u8])> {
    let [state, supported, high, low, _, status, _, count] = array::<DESCRIPTOR>(data, 0)?;
    let end = DESCRIPTOR + usize::from(count) * PORT;
    let ports = data.get(DESCRIPTOR..end)?;
    let group = TargetPortGroup {
        group: u16::from_be_bytes([high, low]),
        state: AccessState::from_bits(state),
        preferred: state & 0x80 != 0,
        supported: SupportedStates(supported),
        status: AccessStatus::from_byte(status),
        ports: ports
            .chunks_exact(PORT)
            .filter_map(|port| field::be16(port, 2))
            .collect(),
    };
    Some((group, data.get(end..)?))
}

const fn maintenance(opcode: u8, flags: u8, length: u32) -> Cdb {
    let mut bytes = [0; 16];
    [bytes[0], bytes[1]] = [opcode, flags | SERVICE_ACTION];
    [bytes[6], bytes[7], bytes[8], bytes[9]] = length.to_be_bytes();
    Cdb::from_bytes(bytes)
}

/// SET TARGET PORT GROUPS: the states that groups shall go to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetTargetPortGroups {
    /// Group and state; groups that are not named may change as well.
    pub groups: Vec<(u16, AccessState)>,
}

impl SetTargetPortGroups {
    /// The most groups of one command, far more than any device has.
    pub const MAX_GROUPS: usize = 1024;

    /// Whether a device may be asked for `state`: transitioning, logical block dependent and
    /// unknown states are not to be asked for (SPC-4 section 6.45).
    #[must_use]
    pub const fn allows(state: AccessState) -> bool {
        matches!(
            state,
            AccessState::ActiveOptimized
                | AccessState::ActiveNonOptimized
                | AccessState::Standby
                | AccessState::Unavailable
                | AccessState::Offline
        )
    }

    /// The command for [`emit`](Self::emit)'s parameter list of `parameter_list_length` bytes.
    #[must_use]
    pub const fn cdb(parameter_list_length: u32) -> Cdb {
        maintenance(opcode::MAINTENANCE_OUT, 0, parameter_list_length)
    }

    /// The parameter list. Nothing is checked, so that a test can send nonsense.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let mut list = vec![0; 4];
        for (group, state) in &self.groups {
            let [high, low] = group.to_be_bytes();
            list.extend_from_slice(&[state.to_bits(), 0, high, low]);
        }
        list
    }

    /// Parses a parameter list, as a target does.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] for fewer than four bytes, [`DecodeError::Scsi`] for a descriptor
    /// that is not whole.
    pub fn parse(list: &[u8]) -> Result<Self, DecodeError> {
        let descriptors = list.get(4..).ok_or_else(|| field::truncated(list, 4))?;
        let (whole, rest) = descriptors.split_at(descriptors.len() / 4 * 4);
        if !rest.is_empty() {
            let offset = u16::try_from(4 + whole.len()).unwrap_or(u16::MAX);
            return Err(DecodeError::Scsi {
                offset: offset.into(),
            });
        }
        let groups = whole
            .chunks_exact(4)
            .filter_map(|d| Some((field::be16(d, 2)?, AccessState::from_bits(byte(d, 0)?))))
            .collect();
        Ok(Self { groups })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> TargetPortGroups {
        let group = |group, state, preferred| TargetPortGroup {
            group,
            state,
            preferred,
            supported: SupportedStates::default()
                .with(AccessState::ActiveOptimized)
                .with(AccessState::Transitioning),
            status: AccessStatus::Implicit,
            ports: vec![group, 0x8206],
        };
        TargetPortGroups {
            groups: vec![
                group(1, AccessState::ActiveOptimized, true),
                group(2, AccessState::ActiveNonOptimized, false),
            ],
            implicit_transition_time: Some(60),
            data_length: 36,
            truncated: false,
        }
    }

    #[test]
    fn the_commands_are_byte_exact() {
        let plain = TargetPortGroups::cdb(false, 0x1234);
        assert_eq!(
            plain.as_bytes(),
            [0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 0, 0]
        );
        assert_eq!(TargetPortGroups::cdb(true, 8).bytes[1], 0x2a);
        let set = SetTargetPortGroups {
            groups: vec![(0x8206, AccessState::Standby), (1, AccessState::Offline)],
        };
        let list = set.emit();
        assert_eq!(list, [0, 0, 0, 0, 2, 0, 0x82, 6, 0xe, 0, 0, 1]);
        assert_eq!(
            SetTargetPortGroups::cdb(12).as_bytes(),
            [0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0]
        );
        assert_eq!(SetTargetPortGroups::parse(&list), Ok(set));
    }

    #[test]
    fn both_headers_are_told_apart_by_the_data() {
        let extended = example();
        let bytes = extended.emit();
        assert_eq!(bytes[..12], [0, 0, 0, 36, 0x10, 60, 0, 0, 0x80, 0x81, 0, 1]);
        assert_eq!(TargetPortGroups::parse(&bytes), Ok(extended.clone()));
        let plain = TargetPortGroups {
            implicit_transition_time: None,
            data_length: 32,
            ..extended
        };
        let bytes = plain.emit();
        assert_eq!(bytes[..8], [0, 0, 0, 32, 0x80, 0x81, 0, 1]);
        assert_eq!(TargetPortGroups::parse(&bytes), Ok(plain));
    }

    #[test]
    fn every_state_and_status_survives_the_round_trip() {
        for bits in 0..16 {
            assert_eq!(AccessState::from_bits(bits).to_bits(), bits);
        }
        for byte in 0..=u8::MAX {
            assert_eq!(AccessStatus::from_byte(byte).to_byte(), byte);
        }
        let known = [0x0, 0x1, 0x2, 0x3, 0x4, 0xe, 0xf].map(AccessState::from_bits);
        assert!(known.iter().all(|s| !matches!(s, AccessState::Unknown(_))));
        let active = known.iter().filter(|state| state.is_active()).count();
        assert_eq!(active, 3);
        let none = SupportedStates::default();
        assert!(known.iter().all(|state| !none.contains(*state)));
        for (index, state) in known.iter().enumerate() {
            let only = none.with(*state);
            let held = known.iter().position(|other| only.contains(*other));
            assert_eq!((held, only.0.count_ones()), (Some(index), 1));
        }
    }

    #[test]
    fn what_may_be_asked_for_excludes_what_a_device_only_reports() {
        let refused = [0x4, 0x5, 0xd, 0xf].map(AccessState::from_bits);
        assert!(refused.iter().all(|s| !SetTargetPortGroups::allows(*s)));
        let allowed = [0x0, 0x1, 0x2, 0x3, 0xe].map(AccessState::from_bits);
        assert!(allowed.iter().all(|s| SetTargetPortGroups::allows(*s)));
    }
}
