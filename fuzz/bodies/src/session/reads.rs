//! What the target has sent of each read.

use std::collections::BTreeMap;

use iscsi_proto::{
    InitiatorTaskTag,
    pdu::{Bhs, DataIn, Pdu},
};

/// The bytes of a read that came, whether or not we took them.
#[derive(Default)]
pub(super) struct Reads(BTreeMap<InitiatorTaskTag, Vec<Option<u8>>>);

impl Reads {
    pub(super) fn begin(&mut self, itt: InitiatorTaskTag, len: u32) {
        self.0.insert(itt, vec![None; len as usize]);
    }

    /// The target is about to send this PDU.
    pub(super) fn hear(&mut self, bhs: &Bhs, data: &[u8]) {
        let Ok(Pdu::DataIn(DataIn {
            itt, buffer_offset, ..
        })) = Pdu::parse(bhs)
        else {
            return;
        };
        let Some(read) = self.0.get_mut(&itt) else {
            return;
        };
        for (byte, at) in data.iter().zip(buffer_offset as usize..) {
            if let Some(place) = read.get_mut(at) {
                *place = Some(*byte);
            }
        }
    }

    /// A read is over, and its first `n` bytes are said to be good (I3).
    pub(super) fn judge(&mut self, itt: InitiatorTaskTag, good: Option<u32>, memory: &[u8]) {
        let came = self.0.remove(&itt).expect("a read that was begun");
        let n = good.unwrap_or_default() as usize;
        assert!(n <= memory.len(), "more than the memory");
        for at in 0..n {
            assert_eq!(
                came[at],
                Some(memory[at]),
                "byte {at} of {n} is not this command's"
            );
        }
        // Bytes that nobody sent are as they were.
        for at in 0..memory.len() {
            assert!(
                came[at].is_some() || memory[at] == UNTOUCHED,
                "byte {at} was written by nobody"
            );
        }
    }
}

/// What the memory of a read is filled with.
pub(super) const UNTOUCHED: u8 = 0xa5;
