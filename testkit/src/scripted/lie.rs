//! The strict target behind a connection, and other answers to SCSI commands than its own.

use std::{collections::BTreeMap, convert::Infallible};

use iscsi_proto::pdu::{Pdu, Residual, ScsiCommand};
use iscsi_proto::scsi::ScsiStatus;

use super::{end::End, frame::Frame, numbers::field, peer::Peer, relay::Held, say::Say};

/// What a command is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// GOOD with these bytes, cut to what the initiator expects; the residual count is right. As one Data-In, so no
    /// more than a data segment of the initiator's takes.
    Data(Vec<u8>),
    /// This status, without data and without sense data.
    Status(ScsiStatus),
    /// CHECK CONDITION with this sense key, additional sense code and qualifier.
    Sense(u8, u8, u8),
}

impl Told {
    /// The answer to `command`, with the numbers of the one that it stands for.
    fn frame(self, command: &ScsiCommand, instead: &Frame) -> Frame {
        let mut frame = match self {
            Self::Data(bytes) if command.read => data_in(command, bytes),
            Self::Data(_) => Frame::new(Say::response(command.itt, ScsiStatus::Good, 0), []),
            Self::Status(status) => {
                let mut response = Say::response(command.itt, status, 0);
                response.residual = none_of(command);
                Frame::new(response, [])
            }
            Self::Sense(key, asc, ascq) => {
                let mut response = Say::response(command.itt, ScsiStatus::CheckCondition, 0);
                response.residual = none_of(command);
                // SenseLength, and the fixed format (SPC-4 section 4.5.3).
                let mut sense = vec![0; 20];
                (sense[1], sense[2], sense[4], sense[9]) = (18, 0x70, key, 10);
                (sense[14], sense[15]) = (asc, ascq);
                Frame::new(response, sense)
            }
        };
        for at in [field::STAT_SN, field::EXP_CMD_SN, field::MAX_CMD_SN] {
            frame.set_field(at, instead.field(at));
        }
        frame
    }
}

/// Nothing was transferred.
const fn none_of(command: &ScsiCommand) -> Residual {
    match command.expected_data_transfer_length {
        0 => Residual::None,
        len => Residual::Underflow(len),
    }
}

fn data_in(command: &ScsiCommand, mut bytes: Vec<u8>) -> Frame {
    let expected = command.expected_data_transfer_length as usize;
    let residual = match (expected.checked_sub(bytes.len()), bytes.len()) {
        (Some(0), _) => Residual::None,
        (Some(missing), _) => Residual::Underflow(missing as u32),
        (None, len) => Residual::Overflow((len - expected) as u32),
    };
    bytes.truncate(expected);
    if bytes.is_empty() {
        let mut response = Say::response(command.itt, ScsiStatus::Good, 0);
        response.residual = residual;
        return Frame::new(response, []);
    }
    let mut data = Say::last_data_in(command, 0, 0);
    data.residual = residual;
    Frame::new(data, bytes)
}

/// A command, and what the target has said to it so far.
struct Task {
    command: ScsiCommand,
    held: Vec<Held>,
    truth: Vec<u8>,
}

impl Peer {
    /// Passes everything on until the connection ends, but for the answers that `lie` changes: it is asked with
    /// each command and the data that the target has answered it with, and `None` leaves the answer as it is. The
    /// target has carried the command out in any case.
    ///
    /// # Panics
    ///
    /// If there is no target behind the connection.
    pub async fn relay_lying(
        &mut self,
        mut lie: impl FnMut(&ScsiCommand, &[u8]) -> Option<Told>,
    ) -> End {
        match self.lie_for_ever(&mut lie).await {
            Err(end) => end,
        }
    }

    async fn lie_for_ever(
        &mut self,
        lie: &mut impl FnMut(&ScsiCommand, &[u8]) -> Option<Told>,
    ) -> Result<Infallible, End> {
        let mut tasks: BTreeMap<u32, Task> = BTreeMap::new();
        loop {
            let answers = |said: bool, frame: &Frame| match frame.pdu() {
                Ok(Pdu::ScsiCommand(command)) if !said => {
                    let (held, truth) = Default::default();
                    let task = Task {
                        command,
                        held,
                        truth,
                    };
                    tasks.insert(command.itt.0, task);
                    false
                }
                Ok(Pdu::DataIn(pdu)) => said && tasks.contains_key(&pdu.itt.0),
                Ok(Pdu::ScsiResponse(pdu)) => said && tasks.contains_key(&pdu.itt.0),
                _ => false,
            };
            let held = self.relay_until(answers).await?;
            let (itt, is_last) = match held.frame.pdu() {
                Ok(Pdu::DataIn(pdu)) => (pdu.itt, pdu.status.is_some()),
                Ok(Pdu::ScsiResponse(pdu)) => (pdu.itt, true),
                _ => unreachable!("nothing else was wanted"),
            };
            let Some(task) = tasks.get_mut(&itt.0) else {
                unreachable!("it was there before")
            };
            if matches!(held.frame.pdu(), Ok(Pdu::DataIn(_))) {
                task.truth.extend_from_slice(&held.frame.data);
            }
            task.held.push(held);
            if !is_last {
                continue;
            }
            let Some(mut task) = tasks.remove(&itt.0) else {
                unreachable!("it was there before")
            };
            if let Some(told) = lie(&task.command, &task.truth) {
                let last = task.held.pop();
                let last = last.unwrap_or_else(|| unreachable!("it was put there"));
                let frame = told.frame(&task.command, &last.frame);
                task.held = vec![Held { said: true, frame }];
            }
            for held in task.held {
                self.pass(held).await?;
            }
        }
    }
}
