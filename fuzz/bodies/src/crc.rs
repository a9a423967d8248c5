//! CRC32C against arithmetic of another kind.

use iscsi_proto::digest;

/// Bit by bit, as RFC 3385 defines it: no table, no instruction of the CPU.
fn slowly(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
            crc = crc >> 1 ^ carry;
        }
    }
    !crc
}

/// The first byte says how many cuts follow, two bytes each; the rest is summed. Oracles: the same sum
/// as bit by bit, however the bytes are cut; the wire form reads back.
///
/// # Panics
///
/// Where they do not hold.
pub fn crc32c(input: &[u8]) {
    let mut script = crate::Script::new(input);
    let mut cuts: Vec<usize> = (0..script.byte() % 8)
        .map(|_| usize::from(script.u16()))
        .collect();
    let bytes = script.bytes(usize::MAX);
    cuts.iter_mut().for_each(|cut| *cut %= bytes.len() + 1);
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    let pieces = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
    let sum = pieces.fold(0, digest::crc32c);
    assert_eq!(sum, slowly(bytes));
    assert_eq!(digest::crc32c(0, bytes), sum);
    assert_eq!(digest::from_wire(digest::to_wire(sum)), sum);
}
