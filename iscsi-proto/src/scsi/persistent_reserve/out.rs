//! PERSISTENT RESERVE OUT: its CDB and the basic parameter list (SPC-4 sections 6.16.2 and 6.16.3).

use core::fmt;

use super::{ReservationKey, ReservationType};
use crate::{
    error::DecodeError,
    scsi::{
        cdb::{Cdb, opcode},
        field::{self, be64, byte},
    },
};

/// APTPL.
const APTPL: u8 = 0x01;

/// What PERSISTENT RESERVE OUT is to do: its service action (SPC-4 table 205).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReserveAction {
    /// REGISTER: this nexus has the new key from now on, if it had the old one; with no new key it is
    /// unregistered.
    Register,
    /// RESERVE.
    Reserve,
    /// RELEASE.
    Release,
    /// CLEAR: no registration and no reservation of anybody is left.
    Clear,
    /// PREEMPT: whoever is registered with the new key is unregistered, and loses its reservation to this
    /// nexus.
    Preempt,
    /// PREEMPT AND ABORT: the same, and all commands of those nexuses are aborted.
    PreemptAndAbort,
    /// REGISTER AND IGNORE EXISTING KEY: as REGISTER, whatever this nexus had.
    RegisterAndIgnoreExistingKey,
}

impl ReserveAction {
    /// SERVICE ACTION.
    #[must_use]
    pub const fn service_action(self) -> u8 {
        match self {
            Self::Register => 0x00,
            Self::Reserve => 0x01,
            Self::Release => 0x02,
            Self::Clear => 0x03,
            Self::Preempt => 0x04,
            Self::PreemptAndAbort => 0x05,
            Self::RegisterAndIgnoreExistingKey => 0x06,
        }
    }
}

/// A PERSISTENT RESERVE OUT command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PersistentReserveOut {
    /// What is to be done.
    pub action: ReserveAction,
    /// TYPE, for RESERVE, RELEASE and what preempts; `None` is 0.
    pub kind: Option<ReservationType>,
    /// RESERVATION KEY: what this nexus is registered with, or none yet.
    pub key: ReservationKey,
    /// SERVICE ACTION RESERVATION KEY: the new key, or whom to preempt.
    pub action_key: ReservationKey,
    /// APTPL, for what registers: whether registrations are to survive a loss of power.
    pub persist_through_power_loss: bool,
}

impl PersistentReserveOut {
    /// The length of the basic parameter list.
    pub const LIST_LEN: usize = 24;

    /// The command.
    #[must_use]
    pub const fn cdb(&self) -> Cdb {
        let mut bytes = [0; 16];
        bytes[0] = opcode::PERSISTENT_RESERVE_OUT;
        bytes[1] = self.action.service_action();
        // SCOPE 0h: the logical unit.
        bytes[2] = match self.kind {
            Some(kind) => kind.to_bits(),
            None => 0,
        };
        bytes[8] = Self::LIST_LEN as u8;
        Cdb::from_bytes(bytes)
    }

    /// The parameter list, without SPEC_I_PT and ALL_TG_PT.
    #[must_use]
    pub fn list(&self) -> [u8; Self::LIST_LEN] {
        let mut list = [0; Self::LIST_LEN];
        let (keys, rest) = list.split_at_mut(16);
        let (key, action_key) = keys.split_at_mut(8);
        key.copy_from_slice(&self.key.0.to_be_bytes());
        action_key.copy_from_slice(&self.action_key.0.to_be_bytes());
        if let Some(flags) = rest.get_mut(4) {
            *flags = if self.persist_through_power_loss {
                APTPL
            } else {
                0
            };
        }
        list
    }

    /// Reads a command and its basic parameter list, as a target does.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] for a list of fewer bytes, [`DecodeError::Scsi`] for a longer one, for
    /// another command or service action, for another SCOPE, and for SPEC_I_PT or ALL_TG_PT.
    pub fn parse(cdb: &Cdb, list: &[u8]) -> Result<Self, DecodeError> {
        const fn inconsistent(offset: u32) -> DecodeError {
            DecodeError::Scsi { offset }
        }
        let actions = [
            ReserveAction::Register,
            ReserveAction::Reserve,
            ReserveAction::Release,
            ReserveAction::Clear,
            ReserveAction::Preempt,
            ReserveAction::PreemptAndAbort,
            ReserveAction::RegisterAndIgnoreExistingKey,
        ];
        let wanted = cdb.bytes[1] & 0x1f;
        let action = actions
            .into_iter()
            .find(|action| action.service_action() == wanted);
        if cdb.opcode() != opcode::PERSISTENT_RESERVE_OUT {
            return Err(inconsistent(0));
        }
        let action = action.ok_or(inconsistent(1))?;
        let scope_type = cdb.bytes[2];
        if scope_type & 0xf0 != 0 {
            return Err(inconsistent(2));
        }
        let short = || field::truncated(list, Self::LIST_LEN as u32);
        let key = be64(list, 0).ok_or_else(short)?;
        let action_key = be64(list, 8).ok_or_else(short)?;
        let flags = byte(list, 20).ok_or_else(short)?;
        match list.len() {
            Self::LIST_LEN if flags & 0x0c == 0 => {}
            Self::LIST_LEN => return Err(inconsistent(20)),
            0..Self::LIST_LEN => return Err(short()),
            _ => return Err(inconsistent(24)),
        }
        Ok(Self {
            action,
            kind: (scope_type != 0).then(|| ReservationType::from_bits(scope_type)),
            key: ReservationKey(key),
            action_key: ReservationKey(action_key),
            persist_through_power_loss: flags & APTPL != 0,
        })
    }
}

impl fmt::Display for ReserveAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Register => "REGISTER",
            Self::Reserve => "RESERVE",
            Self::Release => "RELEASE",
            Self::Clear => "CLEAR",
            Self::Preempt => "PREEMPT",
            Self::PreemptAndAbort => "PREEMPT AND ABORT",
            Self::RegisterAndIgnoreExistingKey => "REGISTER AND IGNORE EXISTING KEY",
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    const EXAMPLE: PersistentReserveOut = PersistentReserveOut {
        action: ReserveAction::PreemptAndAbort,
        kind: Some(ReservationType::WriteExclusiveRegistrantsOnly),
        key: ReservationKey(0x0102_0304_0506_0708),
        action_key: ReservationKey(9),
        persist_through_power_loss: false,
    };

    #[test]
    fn command_and_list_are_byte_exact() {
        let cdb = EXAMPLE.cdb();
        assert_eq!(cdb.as_bytes(), [0x5f, 5, 5, 0, 0, 0, 0, 0, 24, 0]);
        let text = cdb.to_string();
        assert_eq!(text, "PERSISTENT RESERVE OUT, PREEMPT AND ABORT");
        let list = EXAMPLE.list();
        let mut expected = [0; 24];
        expected[..8].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        expected[15] = 9;
        assert_eq!(list, expected);
        let register = PersistentReserveOut {
            action: ReserveAction::Register,
            kind: None,
            persist_through_power_loss: true,
            ..EXAMPLE
        };
        assert_eq!(register.cdb().bytes[..3], [0x5f, 0, 0]);
        assert_eq!(register.list()[20], 1);
    }

    #[test]
    fn every_action_survives_the_round_trip() {
        for (code, action) in [
            (0, ReserveAction::Register),
            (1, ReserveAction::Reserve),
            (2, ReserveAction::Release),
            (3, ReserveAction::Clear),
            (4, ReserveAction::Preempt),
            (5, ReserveAction::PreemptAndAbort),
            (6, ReserveAction::RegisterAndIgnoreExistingKey),
        ] {
            assert_eq!(action.service_action(), code);
            let out = PersistentReserveOut { action, ..EXAMPLE };
            assert_eq!(
                PersistentReserveOut::parse(&out.cdb(), &out.list()),
                Ok(out)
            );
        }
    }

    #[test]
    fn what_is_not_the_basic_list_is_refused() {
        let (cdb, list) = (EXAMPLE.cdb(), EXAMPLE.list());
        for length in 0..24 {
            let error = DecodeError::Truncated { length, needed: 24 };
            let parsed = PersistentReserveOut::parse(&cdb, &list[..length as usize]);
            assert_eq!(parsed, Err(error));
        }
        let at = |offset| Err(DecodeError::Scsi { offset });
        let longer = [&list[..], &[0; 4]].concat();
        assert_eq!(PersistentReserveOut::parse(&cdb, &longer), at(24));
        for flag in [0x04, 0x08] {
            let mut list = list;
            list[20] = flag;
            assert_eq!(PersistentReserveOut::parse(&cdb, &list), at(20));
        }
        for (offset, value) in [(0, 0x5e), (1, 7), (2, 0x15)] {
            let mut other = cdb;
            other.bytes[offset] = value;
            let parsed = PersistentReserveOut::parse(&other, &list);
            assert_eq!(parsed, at(offset as u32));
        }
    }
}
