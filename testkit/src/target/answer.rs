//! Answers that a test puts in the target's mouth.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use super::{core::lock, scsi::Action, scsi::Sense};

/// What a command gets instead of what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A SCSI status without sense data: 08h BUSY, 28h TASK SET FULL, 18h RESERVATION CONFLICT.
    Status(u8),
    /// The same with a status qualifier, which goes out on sessions with iSCSIProtocolLevel 2.
    Qualified(u8, u16),
    /// CHECK CONDITION with this sense key, additional sense code and qualifier.
    Sense(u8, u8, u8),
    /// GOOD with these bytes, cut to what the initiator expects.
    Data(Vec<u8>),
    /// GOOD with these bytes, as if they were all that was asked for: no residual count says that there are
    /// fewer, which section 11.4.5.1 of RFC 7143 forbids.
    Truncated(Vec<u8>),
    /// None. The command is not carried out either, and stays until it is aborted.
    Nothing,
}

#[derive(Debug)]
struct Prepared {
    lun: u16,
    cdb: Vec<u8>,
    answer: Answer,
    times: u32,
}

/// The answers that are prepared, in the order in which they are used up.
#[derive(Debug, Default)]
pub(super) struct Answers {
    prepared: Mutex<Vec<Prepared>>,
    /// Commands of a target without any look at no lock.
    any: AtomicBool,
}

impl Answers {
    pub(super) fn prepare(&self, lun: u16, cdb: &[u8], answer: Answer, times: u32) {
        let mut prepared = lock(&self.prepared);
        prepared.retain(|old| (old.lun, old.cdb.as_slice()) != (lun, cdb));
        if times > 0 {
            let cdb = cdb.to_vec();
            prepared.push(Prepared {
                lun,
                cdb,
                answer,
                times,
            });
        }
        self.any.store(!prepared.is_empty(), Ordering::Release);
    }

    /// What is to be done, and the status qualifier.
    pub(super) fn take(&self, lun: u16, cdb: &[u8; 16]) -> Option<(Action, u16)> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut prepared = lock(&self.prepared);
        let matches = |one: &Prepared| one.lun == lun && cdb.starts_with(&one.cdb);
        let index = prepared.iter().position(matches)?;
        let one = &mut prepared[index];
        one.times -= 1;
        let action = match &one.answer {
            Answer::Status(status) => (Action::Status(*status), 0),
            Answer::Qualified(status, qualifier) => (Action::Status(*status), *qualifier),
            Answer::Sense(key, asc, ascq) => (Action::Fail(Sense(*key, *asc, *ascq)), 0),
            Answer::Data(bytes) => (Action::Data(bytes.clone()), 0),
            Answer::Truncated(bytes) => (Action::Truncated(bytes.clone()), 0),
            Answer::Nothing => (Action::Never, 0),
        };
        if one.times == 0 {
            prepared.remove(index);
            self.any.store(!prepared.is_empty(), Ordering::Release);
        }
        Some(action)
    }
}
