//! Data-In: where its payload goes, and what its status says (RFC 7143 section 11.7).

#![expect(
    clippy::arithmetic_side_effects,
    reason = "sums of what was checked before, or in wider types"
)]

use super::{Session, tasks::Tasks};
use crate::{
    error::{Error, PeerMisbehaved},
    framing::Destination,
    pdu::DataIn,
    planted::Bug,
    scsi::status::ScsiStatus,
};

impl Tasks {
    /// Judges a Data-In by its header, before a byte of its payload is placed: nothing outside the
    /// command's memory is ever named.
    #[inline]
    pub(super) fn place_data_in(&mut self, data: &DataIn) -> Result<Destination, Error> {
        let planted = self.planted;
        let task = match self.get_mut(data.itt) {
            Some(task) if task.is_command() && task.begin.is_some() && !task.finished => task,
            _ => {
                self.expect_straggler(data.itt)?;
                return Ok(Destination::Discard);
            }
        };
        if task.expected_in() == 0 {
            return Err(PeerMisbehaved::UnknownTask(data.itt).into());
        }
        // A asks for a SNACK, which ErrorRecoveryLevel 0 does not have; status comes with F only, and
        // CHECK CONDITION never: its sense data needs a response of its own (section 11.7.3).
        let bad_status = match data.status {
            Some(status) => !data.is_final || status == ScsiStatus::CheckCondition,
            None => false,
        };
        if data.acknowledge || bad_status {
            return Err(PeerMisbehaved::Flags.into());
        }
        if data.data_sn != task.data_sn {
            let expected = task.data_sn.0;
            return Err(PeerMisbehaved::DataSn {
                expected,
                found: data.data_sn.0,
            }
            .into());
        }
        // DataPDUInOrder and DataSequenceInOrder are Yes: the only offset that may come is the one
        // behind the last byte, so nothing overlaps and no hole stays unseen.
        let end = u64::from(data.buffer_offset) + u64::from(data.data_segment_length);
        if data.buffer_offset != task.received || end > u64::from(task.expected_in()) {
            let (offset, length) = (data.buffer_offset, data.data_segment_length);
            return Err(PeerMisbehaved::DataInRange { offset, length }.into());
        }
        task.data_sn = task.data_sn.next();
        // It is worked on, whatever a Reject said: what becomes of it is not known any more.
        task.rejected = None;
        let destination = if task.abandoned {
            Destination::Discard
        } else {
            Destination::Task {
                itt: data.itt,
                offset: match planted.has(Bug::DataInOffsetIgnored) {
                    true => 0,
                    false => task.received,
                },
            }
        };
        task.received = u32::try_from(end).unwrap_or(u32::MAX);
        Ok(destination)
    }
}

impl Session {
    /// The payload is in place and its digest was right: if the PDU carries the status, the command
    /// is over.
    #[inline]
    pub(super) fn handle_data_in(&mut self, data: &DataIn) -> Result<(), Error> {
        let Some(status) = data.status else {
            return Ok(());
        };
        self.connection.accept_status(data.stat_sn)?;
        self.answered(data.itt, status, data.residual);
        Ok(())
    }
}
