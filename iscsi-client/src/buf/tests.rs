use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use bytes::{Bytes, BytesMut};

use super::*;

/// Memory that counts how often it was touched.
#[derive(Default)]
struct Guest {
    bytes: Mutex<Vec<u8>>,
    loads: AtomicUsize,
    stores: AtomicUsize,
}

impl Guest {
    fn new(bytes: &[u8]) -> Arc<Self> {
        Arc::new(Self {
            bytes: Mutex::new(bytes.to_vec()),
            ..Self::default()
        })
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }
}

impl MemRegion for Guest {
    fn len(&self) -> u64 {
        self.bytes.lock().unwrap().len() as u64
    }

    fn load(&self, offset: u64, dst: &mut [u8]) -> Result<(), MemError> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let bytes = self.bytes.lock().unwrap();
        let src = bytes.get(offset as usize..offset as usize + dst.len());
        dst.copy_from_slice(src.ok_or(MemError::Inaccessible { offset })?);
        Ok(())
    }

    fn store(&self, offset: u64, src: &[u8]) -> Result<(), MemError> {
        self.stores.fetch_add(1, Ordering::Relaxed);
        let mut bytes = self.bytes.lock().unwrap();
        let dst = bytes.get_mut(offset as usize..offset as usize + src.len());
        dst.ok_or(MemError::Inaccessible { offset })?
            .copy_from_slice(src);
        Ok(())
    }
}

fn collect<'a>(slices: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    slices.flatten().copied().collect()
}

#[test]
fn a_vector_is_filled_and_comes_back_in_its_own_memory() {
    let vec = vec![0; 8];
    let home = vec.as_ptr();
    let mut receive = ReadBuf::from(vec).into_receive();
    receive.copy_in(2, &[1, 2, 3]);
    let (buf, stored) = receive.finish(true);
    stored.unwrap();
    let bytes = buf.into_bytes_mut().unwrap();
    assert_eq!(bytes.as_ptr(), home);
    assert_eq!(bytes[..], [0, 0, 1, 2, 3, 0, 0, 0]);
}

#[test]
fn length_counts_and_not_capacity() {
    let mut bytes = BytesMut::with_capacity(64);
    bytes.resize(3, 9);
    let mut receive = ReadBuf::from(bytes).into_receive();
    assert_eq!(receive.slices_mut(0, 64).map(|s| s.len()).sum::<usize>(), 3);
    receive.copy_in(1, &[1, 2, 3, 4]);
    let (buf, _) = receive.finish(true);
    assert_eq!(buf.as_slice(), Some(&[9, 1, 2][..]));
}

#[test]
fn a_region_is_loaded_once_at_submission_and_the_snapshot_stays() {
    let guest = Guest::new(b"0123456789");
    let seg = WriteSeg::region(guest.clone(), 2, 4).unwrap();
    let snapshot = WriteBuf::from(seg).snapshot().unwrap();
    guest.bytes.lock().unwrap().fill(b'x');
    for _ in 0..3 {
        assert_eq!(collect(snapshot.slices(1, 2)), b"34");
    }
    assert_eq!(guest.loads.load(Ordering::Relaxed), 1);
    let again = snapshot.finish().snapshot().unwrap();
    assert_eq!(collect(again.slices(0, 4)), b"xxxx");
}

#[test]
fn a_loaded_write_never_looks_at_its_region_again() {
    let guest = Guest::new(b"abcd");
    let seg = WriteSeg::region(guest.clone(), 0, 4).unwrap();
    let buf: WriteBuf = [WriteSeg::from(Bytes::from_static(b"_")), seg]
        .into_iter()
        .collect();
    let loaded = buf.load().unwrap();
    guest.bytes.lock().unwrap().clear();
    let snapshot = loaded.snapshot().unwrap();
    assert_eq!(collect(snapshot.slices(0, 5)), b"_abcd");
    let (back, error) = *buf.snapshot().unwrap_err();
    assert_eq!(
        (back.len(), error),
        (5, MemError::Inaccessible { offset: 0 })
    );
}

#[test]
fn a_region_is_stored_only_after_success() {
    let guest = Guest::new(&[0; 8]);
    let seg = || ReadSeg::region(guest.clone(), 4, 4).unwrap();
    let mut receive = ReadBuf::from(seg()).into_receive();
    receive.copy_in(0, b"dead");
    let (_, stored) = receive.finish(false);
    stored.unwrap();
    assert_eq!(guest.stores.load(Ordering::Relaxed), 0);
    let mut receive = ReadBuf::from(seg()).into_receive();
    receive.copy_in(0, b"live");
    assert_eq!(guest.bytes(), [0; 8]);
    let (_, stored) = receive.finish(true);
    stored.unwrap();
    assert_eq!(guest.bytes(), b"\0\0\0\0live");
}

#[test]
fn a_region_that_is_gone_is_an_error_and_the_buffer_still_comes_back() {
    let guest = Guest::new(&[0; 4]);
    let buf = ReadBuf::from(ReadSeg::region(guest.clone(), 0, 4).unwrap());
    guest.bytes.lock().unwrap().clear();
    let (buf, stored) = buf.into_receive().finish(true);
    assert_eq!(stored, Err(MemError::Inaccessible { offset: 0 }));
    assert_eq!(buf.len(), 4);
}

#[test]
fn a_segment_outside_its_region_cannot_be_made() {
    let guest = Guest::new(&[0; 4]);
    assert!(ReadSeg::region(guest.clone(), 4, 0).is_ok());
    for (offset, len) in [(0, 5), (4, 1), (u64::MAX, 1)] {
        assert!(ReadSeg::region(guest.clone(), offset, len).is_err());
        assert!(WriteSeg::region(guest.clone(), offset, len).is_err());
    }
}

#[test]
fn splitting_and_joining_a_read_moves_no_byte() {
    let bytes = BytesMut::zeroed(100);
    let home = bytes.as_ptr();
    let mut rest = ReadBuf::from(bytes);
    let mut whole = ReadBuf::default();
    for n in [7, 0, 60, 100] {
        let head = rest.split_to(n);
        let (head, _) = head.into_receive().finish(true);
        whole.unsplit(head);
    }
    assert!(rest.is_empty());
    let bytes = whole.into_bytes_mut().unwrap();
    assert_eq!((bytes.as_ptr(), bytes.len()), (home, 100));
}

#[test]
fn joining_restores_exactly_the_segments_that_were_moved_in() {
    let guest = Guest::new(&[0; 16]);
    let make = || {
        let region = ReadSeg::region(guest.clone(), 1, 10).unwrap();
        let (a, b) = (BytesMut::zeroed(4), BytesMut::zeroed(6));
        ReadBuf::from_iter([a.into(), region, b.into()])
    };
    let expected = format!("{:?}", make());
    for cut in 0..=20 {
        for second in 0..=20 - cut {
            let mut tail = make();
            let mut head = tail.split_to(cut);
            let middle = tail.split_to(second);
            assert_eq!((head.len(), middle.len()), (cut, second));
            head.unsplit(middle);
            head.unsplit(tail);
            assert_eq!(format!("{head:?}"), expected, "cut at {cut}, {second}");
        }
    }
}

#[test]
fn splitting_a_write_shares_its_memory() {
    let bytes = Bytes::from(vec![5; 32]);
    let home = bytes.as_ptr();
    let mut rest = WriteBuf::from(bytes);
    let head = rest.split_to(12);
    assert_eq!((head.len(), rest.len()), (12, 20));
    let tail = rest.segments().next().and_then(WriteSeg::as_bytes).unwrap();
    assert_eq!(tail.as_ptr(), home.wrapping_add(12));
    drop(head);
    assert_eq!(rest.into_bytes_mut().unwrap().len(), 20);
}

#[test]
fn slices_agree_with_a_flat_copy_at_every_offset() {
    let parts: [&'static [u8]; 4] = [b"ab", b"", b"cdefg", b"h"];
    let segments = parts.map(|part| WriteSeg::from(Bytes::from_static(part)));
    let snapshot = WriteBuf::from_iter(segments).snapshot().unwrap();
    let flat = b"abcdefgh";
    for offset in 0..=9 {
        for len in 0..=9 {
            let from = offset.min(flat.len());
            let expected = &flat[from..(offset + len).clamp(from, flat.len())];
            let mut seen = Vec::new();
            snapshot.visit(offset, len, &mut |slice| seen.extend_from_slice(slice));
            assert_eq!(seen, expected, "{len} at {offset}");
        }
    }
}

#[test]
fn copying_into_a_buffer_crosses_segments_and_checks_its_range() {
    let guest = Guest::new(&[0; 4]);
    let region = ReadSeg::region(guest.clone(), 1, 2).unwrap();
    let mut buf = ReadBuf::from_iter([BytesMut::zeroed(2).into(), region]);
    buf.copy_in(1, b"xyz").unwrap();
    assert_eq!(guest.bytes(), b"\0yz\0");
    assert_eq!(buf.segments().next().unwrap().as_slice(), Some(&b"\0x"[..]));
    assert!(buf.copy_in(2, b"xyz").is_err());
    assert!(buf.copy_in(usize::MAX, b"x").is_err());
}
