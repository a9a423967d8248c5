//! REQUEST SENSE (SPC-4 section 6.39).

use super::{Action, Sense, data};

/// `sense`: a pending unit attention, or why there is nothing to report on.
pub(in crate::target) fn request_sense(cdb: &[u8; 16], sense: Sense) -> Action {
    let bytes = if cdb[1] & 1 == 1 {
        let Sense(key, code, qualifier) = sense;
        vec![0x72, key, code, qualifier, 0, 0, 0, 0]
    } else {
        sense.to_bytes().to_vec()
    };
    data(bytes, u32::from(cdb[4]))
}
