//! What a login has agreed on, as far as it changes the shape of PDUs.

use iscsi_proto::{
    LoginStatus,
    pdu::{Pdu, Stage},
    text::codec::Pairs,
};

use super::frame::{Digests, Frame};

/// What the answers of a login have agreed on so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoginTerms {
    /// MaxRecvDataSegmentLength of the target.
    pub(super) max_segment: u32,
    digests: Digests,
}

impl Default for LoginTerms {
    fn default() -> Self {
        Self {
            max_segment: 8192,
            digests: Digests::default(),
        }
    }
}

impl LoginTerms {
    /// A PDU of the target; the digests if they are in use from the next one on.
    pub(super) fn note(&mut self, frame: &Frame) -> Option<Digests> {
        let Ok(Pdu::LoginResponse(response)) = frame.pdu() else {
            return None;
        };
        for (key, value) in Pairs::new(&frame.data).map_while(Result::ok) {
            match key {
                "HeaderDigest" => self.digests.header = value == "CRC32C",
                "DataDigest" => self.digests.data = value == "CRC32C",
                "MaxRecvDataSegmentLength" => {
                    self.max_segment = value.parse().unwrap_or(self.max_segment);
                }
                _ => {}
            }
        }
        let is_over = response.transit && response.nsg == Stage::FullFeature;
        (is_over && response.status == LoginStatus::SUCCESS).then_some(self.digests)
    }
}
