//! Header and data digests, both ways.

use super::*;
use crate::error::DecodeError;

fn with_digests() -> Harness {
    let parameters = Parameters {
        header_digest: Digest::Crc32c,
        data_digest: Digest::Crc32c,
        ..parameters()
    };
    Harness::with(parameters, SessionConfig::default())
}

#[test]
fn both_ways_and_at_odd_lengths() {
    for len in [512u32, 513, 514, 515] {
        let mut h = with_digests();
        let write = h.submit(
            Cdb::write16(0, 1, false),
            DataLength::Out(len),
            pattern(0, len),
        );
        let sent = h.sent();
        let data: Vec<u8> = sent.iter().flat_map(|(_, data)| data.clone()).collect();
        assert_eq!(data, pattern(0, len));
        h.good(write).unwrap();
        assert!(h.done(write).is_ok());

        let read = h.submit(
            Cdb::read16(0, 1, false),
            DataLength::In(len),
            vec![0; len as usize],
        );
        h.sent();
        let bytes = encode(h.data_in(read, 0, 0, len).emit(), &pattern(0, len), true);
        for chunk in bytes.chunks(97) {
            h.feed_bytes(chunk).unwrap();
        }
        h.good(read).unwrap();
        assert!(h.done(read).is_ok());
        assert_eq!(h.memory.0[&read.0], pattern(0, len));
    }
}

/// Rows H13, H14, H15: one flipped bit anywhere in a PDU is caught, and nothing is delivered.
#[test]
fn a_flipped_bit_is_caught_wherever_it_is() {
    let len = 61;
    let clean = {
        let mut h = with_digests();
        let itt = h.submit(
            Cdb::read16(0, 1, false),
            DataLength::In(len),
            vec![0; len as usize],
        );
        h.sent();
        let stat_sn = h.next_stat_sn();
        let status = Some(ScsiStatus::Good);
        let pdu = DataIn {
            is_final: true,
            status,
            stat_sn,
            ..h.data_in(itt, 0, 0, len)
        };
        encode(pdu.emit(), &pattern(0, len), true)
    };
    for bit in 0..clean.len() * 8 {
        let mut h = with_digests();
        h.submit(
            Cdb::read16(0, 1, false),
            DataLength::In(len),
            vec![0; len as usize],
        );
        h.sent();
        let mut bytes = clean.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let error = h.feed_bytes(&bytes).expect_err("caught");
        let want = match bit / 8 {
            4 => DecodeError::UnexpectedAhs,
            0..52 => DecodeError::HeaderDigest,
            _ => DecodeError::DataDigest,
        };
        assert_eq!(error, want.into(), "bit {bit}");
        assert!(h.events().is_empty());
    }
}
