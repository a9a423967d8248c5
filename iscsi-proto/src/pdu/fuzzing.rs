//! The bodies of the fuzz targets, here so that ordinary tests run and compile them too.

#![cfg_attr(
    not(test),
    expect(
        clippy::arithmetic_side_effects,
        reason = "the body of a fuzz target: its panic is what says that an oracle does not hold"
    )
)]

use alloc::string::ToString;

use super::{Bhs, Pdu, ahs, pad_len};

/// Any bytes: a header, and what follows it as additional header segments.
///
/// # Panics
///
/// Where a header that was parsed is emitted as one that says something else, or changes where the
/// next PDU begins; and where additional header segments overlap or reach beyond their bytes.
pub fn fuzz_roundtrip(bytes: &[u8]) {
    let Some((header, rest)) = bytes.split_first_chunk::<{ Bhs::LEN }>() else {
        return;
    };
    let bhs = Bhs::from(*header);
    if let Ok(pdu) = Pdu::parse(&bhs) {
        let emitted = pdu.emit();
        assert_eq!(Pdu::parse(&emitted), Ok(pdu));
        assert_eq!(emitted.opcode(), bhs.opcode());
        assert_eq!(emitted.total_ahs_length(), bhs.total_ahs_length());
        assert_eq!(emitted.data_segment_length(), bhs.data_segment_length());
        assert!(!pdu.to_string().is_empty());
    }
    let mut used = 0;
    let mut failed = false;
    for segment in ahs::parse(rest) {
        assert!(!failed, "the walk goes on after an error");
        match segment {
            Ok(ahs) => used += 3 + ahs.body.len() + pad_len(3 + ahs.body.len()),
            Err(_) => failed = true,
        }
    }
    assert!(used <= rest.len() && (failed || used == rest.len()));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// xorshift64: enough to fill headers, and the same ones in every run.
    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    #[test]
    fn random_headers_of_every_opcode_survive_the_round_trip() {
        let mut state = 0x9e37_79b9_7f4a_7c15;
        let mut parsed = 0;
        for round in 0..200_000_u32 {
            let mut bytes = [0; 80];
            for chunk in bytes.chunks_exact_mut(8) {
                chunk.copy_from_slice(&random(&mut state).to_le_bytes());
            }
            bytes[0] = bytes[0] & 0xc0 | (round % 64) as u8;
            // Most PDUs are refused with either; without this the test would hardly get past them.
            if round % 4 != 0 {
                bytes[4..8].fill(0);
            }
            // Short segments, so that several fit.
            bytes[48..50].copy_from_slice(&u16::to_be_bytes((round % 20) as u16));
            fuzz_roundtrip(&bytes);
            let header = bytes.first_chunk().copied().unwrap();
            parsed += u32::from(Pdu::parse(&Bhs::from(header)).is_ok());
        }
        assert!(parsed > 20_000, "{parsed}");
    }

    #[test]
    fn headers_cut_short_are_no_headers() {
        for len in 0..Bhs::LEN {
            fuzz_roundtrip(&[0xff; Bhs::LEN][..len]);
        }
    }
}
