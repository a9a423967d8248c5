//! Sessions and logical units of the real client in the deterministic world.

use std::sync::Arc;

use iscsi_client::{
    initiator::{Initiator, SessionTarget},
    isid::SessionSlot,
    logical_unit::LogicalUnit,
    session::Session,
};
use iscsi_proto::Lun;

use crate::{failure::Failure, machine::Machine, target::Settings};

/// A world with an initiator in it.
pub(crate) struct Rig {
    pub(crate) machine: Machine,
    initiator: Initiator,
    sessions: u16,
}

impl Rig {
    pub(crate) fn new(settings: Settings) -> Result<Self, Failure> {
        let machine = Machine::new(settings);
        let name = "iqn.2026-01.example:host".parse().map_err(Failure::new)?;
        let initiator = Initiator::builder(name, Arc::new(machine.clone())).build();
        Ok(Self {
            machine,
            initiator,
            sessions: 0,
        })
    }

    /// One more session with the target.
    pub(crate) fn session(&mut self) -> Result<Session, Failure> {
        let target = "iqn.2026-01.example:disk".parse().map_err(Failure::new)?;
        let portal = "127.0.0.1:3260".parse().map_err(Failure::new)?;
        let slot = SessionSlot {
            bind: 0,
            portal: 0,
            number: self.sessions,
        };
        self.sessions += 1;
        let to = SessionTarget::new(target, portal).with_slot(slot);
        self.machine
            .block_on(self.initiator.connect_spawned(&to))
            .map_err(|failure| failure.during("login"))
    }

    /// The logical unit, over a session of its own.
    pub(crate) fn unit(&mut self) -> Result<LogicalUnit, Failure> {
        let session = self.session()?;
        self.machine
            .block_on(LogicalUnit::open(session, Lun::ZERO))
            .map_err(|failure| failure.during("opening the logical unit"))
    }
}
