//! What a caller does.

use std::time::Duration;

use iscsi_proto::{
    Lun,
    pdu::LogoutReason,
    scsi::cdb::Cdb,
    session::{Command, DataLength, TaskManagement},
};

use super::{Asked, MAX_LENGTH, World, memory::content, reads::UNTOUCHED};
use crate::Script;

impl World {
    pub(super) fn call(&mut self, script: &mut Script<'_>) {
        match script.byte() % 16 {
            0..=7 => self.submit(script),
            8 => {
                if let Some(itt) = self.pick(script) {
                    self.session.abandon(self.now, itt);
                }
            }
            9 => {
                if let Some(itt) = self.pick(script) {
                    self.session.detach(self.now, itt);
                }
            }
            10 => {
                let deadline = self.now.saturating_add(Duration::from_secs(1));
                let itt = self
                    .session
                    .ping(self.now, Script::bit(script.byte(), 0).then_some(deadline));
                self.asks(itt, Asked::Ping);
            }
            11 => {
                let len = script.below(600);
                let text = script.bytes(len);
                let itt = self.session.text(self.now, text);
                self.asks(itt, Asked::Text);
            }
            12 | 13 => self.manage(script),
            14 => {
                let length = script.pick(&[512, 4096, 65_536, 511, 0xff_ffff]);
                let itt = self.session.renegotiate(self.now, length);
                self.asks(itt, Asked::Renegotiation);
            }
            _ => {
                let reason = LogoutReason::from_byte(script.byte() % 4);
                // What it refuses, it says.
                let _misuse = self.session.logout(self.now, reason);
            }
        }
    }

    fn asks<E>(&mut self, itt: Result<iscsi_proto::InitiatorTaskTag, E>, what: Asked) {
        if let Ok(itt) = itt {
            let before = self.asked.insert(itt, what);
            assert_eq!(before, None, "{itt:?} is in use");
        }
    }

    /// One of the commands under way.
    fn pick(&self, script: &mut Script<'_>) -> Option<iscsi_proto::InitiatorTaskTag> {
        let n = script.below(self.memory.0.len().max(1));
        self.memory.0.keys().nth(n).copied()
    }

    fn submit(&mut self, script: &mut Script<'_>) {
        let kind = script.byte();
        let len = match script.byte() {
            0 => 0,
            255 => MAX_LENGTH,
            short => u32::from(short) * 37 + u32::from(kind >> 6),
        };
        let data = match kind & 3 {
            0 => DataLength::None,
            1 | 2 if Script::bit(kind, 2) => DataLength::In(len),
            _ => DataLength::Out(len),
        };
        let mut command = Command::new(
            Lun::new(u16::from(kind >> 3 & 1)),
            Cdb::test_unit_ready(),
            data,
        );
        if Script::bit(kind, 4) {
            command.deadline = Some(self.now.saturating_add(Duration::from_secs(3)));
        }
        let itt = match Script::bit(kind, 5) {
            true => self
                .session
                .submit_extended(self.now, &command, &[0x7f; 32]),
            false => self.session.submit(self.now, &command),
        };
        let Ok(itt) = itt else {
            return;
        };
        self.asks::<()>(Ok(itt), Asked::Command(data));
        let memory = match data {
            DataLength::None => Vec::new(),
            DataLength::In(len) => {
                self.reads.begin(itt, len);
                vec![UNTOUCHED; len as usize]
            }
            DataLength::Out(len) => (0..len).map(|at| content(itt, at)).collect(),
        };
        self.memory.0.insert(itt, memory);
    }

    fn manage(&mut self, script: &mut Script<'_>) {
        use TaskManagement as T;
        let lun = Lun::new(u16::from(script.byte() & 1));
        let itt = self
            .pick(script)
            .unwrap_or(iscsi_proto::InitiatorTaskTag(0));
        let function = script.pick(&[
            T::AbortTask(itt),
            T::AbortTaskSet(lun),
            T::ClearTaskSet(lun),
            T::LogicalUnitReset(lun),
            T::TargetWarmReset,
            T::TargetColdReset,
            T::QueryTask(itt),
            T::QueryTaskSet(lun),
            T::ITNexusReset,
            T::QueryAsynchronousEvent(lun),
            T::ClearAca(lun),
            T::TaskReassign(itt),
        ]);
        let itt = self.session.task_management(self.now, function, None);
        self.asks(itt, Asked::Function);
    }
}
