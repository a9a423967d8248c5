//! Data-Out: the rules of a sequence, and the bytes (RFC 7143 section 11.7).

use iscsi_proto::{Instant, TargetTransferTag, pdu::DataOut};

use super::{
    super::Violation,
    full::FullFeature,
    task::{Sequence, Work},
    wire::Wire,
};

impl FullFeature {
    pub(super) fn data_out(
        &mut self,
        wire: &mut Wire,
        now: Instant,
        pdu: &DataOut,
        data: &[u8],
    ) -> Result<(), Violation> {
        let unknown = Violation::UnknownTransfer {
            itt: pdu.itt,
            ttt: pdu.ttt.0,
        };
        let Some(index) = self.tasks.iter().position(|task| task.itt == pdu.itt) else {
            return if self.discarded.contains(&pdu.itt) {
                Ok(())
            } else {
                Err(unknown)
            };
        };
        let delay = self.core.portals[wire.portal].delay();
        let task = &mut self.tasks[index];
        let Work::Receive(write) = &mut task.work else {
            return if self.discarded.contains(&pdu.itt) {
                Ok(())
            } else {
                Err(unknown)
            };
        };
        let unsolicited = pdu.ttt == TargetTransferTag::RESERVED;
        let sequence = if unsolicited {
            write.unsolicited.as_mut()
        } else {
            // DataSequenceInOrder: R2Ts are answered in the order in which they were sent.
            write
                .r2ts
                .front_mut()
                .filter(|sequence| sequence.ttt == pdu.ttt)
        };
        let done = sequence.ok_or(unknown)?.take(pdu, data)?;
        // A command may ask for less than the initiator sends unasked; the rest is dropped.
        let start = (pdu.buffer_offset as usize).min(write.buf.len());
        let room = &mut write.buf[start..];
        let len = data.len().min(room.len());
        room[..len].copy_from_slice(&data[..len]);
        write.received += len as u32;
        if done && unsolicited {
            write.unsolicited = None;
        } else if done {
            write.r2ts.pop_front();
        }
        if write.received as usize == write.buf.len() {
            task.due = now.saturating_add(delay);
            self.hand_to_back_end(now, index);
        } else if done && !self.is_stopping(index) {
            self.solicit(wire, index);
        }
        Ok(())
    }
}

impl Sequence {
    /// Judges one PDU and moves on; true at the end of the sequence.
    fn take(&mut self, pdu: &DataOut, data: &[u8]) -> Result<bool, Violation> {
        if pdu.data_sn.0 != self.data_sn {
            return Err(Violation::DataSn {
                expected: self.data_sn,
                found: pdu.data_sn.0,
            });
        }
        if pdu.buffer_offset != self.next {
            return Err(Violation::BufferOffset {
                expected: self.next,
                found: pdu.buffer_offset,
            });
        }
        let left = self.end - self.next;
        let found = data.len() as u32;
        if found > left || pdu.is_final && found < left {
            return Err(Violation::SequenceLength {
                expected: left,
                found,
            });
        }
        if found == left && !pdu.is_final {
            return Err(Violation::FinalBit {
                opcode: DataOut::OPCODE,
            });
        }
        self.data_sn += 1;
        self.next += found;
        Ok(pdu.is_final)
    }
}
