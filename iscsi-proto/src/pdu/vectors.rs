//! What every PDU's tests share: a header written by hand against parser and emitter.

use core::fmt::Debug;

use super::{Bhs, Pdu};
use crate::error::DecodeError;

/// `bytes` parses to `pdu` and `pdu` emits `bytes`, all 48 of them; and it still parses to `pdu`
/// with the reserved bits (byte, mask) poisoned, besides bit 7 of byte 0, which is always reserved.
pub(super) fn check<P: Clone + PartialEq + Debug + Into<Pdu>>(
    bytes: &[u8; Bhs::LEN],
    pdu: P,
    parse: fn(&Bhs) -> Result<P, DecodeError>,
    emit: fn(&P) -> Bhs,
    reserved: &[(usize, u8)],
) {
    assert_eq!(parse(&Bhs::from(*bytes)).as_ref(), Ok(&pdu));
    assert_eq!(emit(&pdu).as_bytes(), bytes);
    let mut poisoned = *bytes;
    poisoned[0] |= 0x80;
    for &(at, mask) in reserved {
        poisoned[at] = poisoned[at] & !mask | 0xa5 & mask;
    }
    assert_eq!(parse(&Bhs::from(poisoned)).as_ref(), Ok(&pdu), "reserved");
    let any: Pdu = pdu.into();
    assert_eq!(Pdu::parse(&Bhs::from(*bytes)), Ok(any));
    assert_eq!(any.emit().as_bytes(), bytes);
    assert_eq!(any.opcode(), bytes[0] & 0x3f);
}
