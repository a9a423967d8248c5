//! CRC32C (Castagnoli), the only digest of RFC 7143 (section 13.1). This is the one seam behind
//! which the implementation may change.
//!
//! With `std` it is the crate `crc32c`, which runs three streams of the CPU's own instruction side by
//! side. The shortest of many runs, on an EPYC of nominally 2.4 GHz that others used too (the order
//! was the same in nearly every run, the times were not):
//!
//! | bytes | `crc32c` 0.6.9 | `crc-fast` 1.10 |
//! |---|---|---|
//! | 48 | 11 ns | 12 ns |
//! | 4 KiB | 226 ns, 18 GB/s | 295 ns, 14 GB/s |
//! | 64 KiB | 3.0 us, 22 GB/s | 3.8 us, 17 GB/s |
//! | 256 KiB | 11.1 us, 24 GB/s | 14.4 us, 18 GB/s |
//! | 1 MiB | 45 us, 23 GB/s | 58 us, 18 GB/s |
//!
//! `crc-fast` mixes carry-less multiplications in. That pays with AVX-512, which this CPU lacks; without
//! it, it does so with 128 bits.

/// Continues the CRC32C `crc` (0 to begin) over `data`.
///
/// The result goes on the wire as RFC 7143 section 13.1 and RFC 3385 order it: little-endian bytes
/// of the reflected CRC, see [`to_wire`].
#[must_use]
pub fn crc32c(crc: u32, data: &[u8]) -> u32 {
    #[cfg(feature = "std")]
    {
        crc32c::crc32c_append(crc, data)
    }
    #[cfg(not(feature = "std"))]
    {
        table(crc, data)
    }
}

/// The four digest bytes as they follow the segment on the wire.
#[must_use]
pub const fn to_wire(crc: u32) -> [u8; 4] {
    crc.to_le_bytes()
}

/// The digest in four bytes of the wire.
#[must_use]
pub const fn from_wire(bytes: [u8; 4]) -> u32 {
    u32::from_le_bytes(bytes)
}

#[cfg(fuzzing)]
static KEPT: core::sync::atomic::AtomicBool = core::sync::atomic::AtomicBool::new(false);

/// From now on digests are judged in this process, as they are without `cfg(fuzzing)`: for targets that
/// are about them, or whose input they protect.
#[cfg(fuzzing)]
pub fn keep() {
    KEPT.store(true, core::sync::atomic::Ordering::Relaxed);
}

#[cfg(fuzzing)]
pub(crate) fn kept() -> bool {
    KEPT.load(core::sync::atomic::Ordering::Relaxed)
}

#[cfg(any(test, not(feature = "std")))]
#[expect(clippy::indexing_slicing, reason = "256 entries, an index of 8 bits")]
const TABLE: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

/// Byte-at-a-time, for builds without std (a hypervisor's firmware, say); slow but small.
#[cfg(any(test, not(feature = "std")))]
#[expect(clippy::indexing_slicing, reason = "256 entries, an index of 8 bits")]
fn table(crc: u32, data: &[u8]) -> u32 {
    !data.iter().fold(!crc, |crc, byte| {
        TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720 appendix B.4 lists these (RFC 7143 A.4 keeps them).
    #[test]
    fn the_vectors_of_the_rfc() {
        let ascending: [u8; 32] = core::array::from_fn(|i| i as u8);
        assert_eq!(to_wire(crc32c(0, &[0; 32])), [0xaa, 0x36, 0x91, 0x8a]);
        assert_eq!(to_wire(crc32c(0, &[0xff; 32])), [0x43, 0xab, 0xa8, 0x62]);
        assert_eq!(to_wire(crc32c(0, &ascending)), [0x4e, 0x79, 0xdd, 0x46]);
    }

    #[test]
    fn pieces_sum_to_the_whole_and_both_implementations_agree() {
        let data: [u8; 257] = core::array::from_fn(|i| (i * 7) as u8);
        for cut in 0..data.len() {
            let pieces = crc32c(crc32c(0, &data[..cut]), &data[cut..]);
            assert_eq!(pieces, crc32c(0, &data));
            assert_eq!(pieces, table(table(0, &data[..cut]), &data[cut..]));
        }
    }
}
