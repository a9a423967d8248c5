//! Capacity, and what is written is what is read, at both block sizes and all lengths.

use iscsi_client::{device::WriteOptions, session::SessionOptions};

use crate::harness::{Image, Kind, On, Peer, Setup, block_on, open};

each_peer!(
    the_capacity_is_that_of_the_file,
    of_512_bytes,
    of_4096_bytes,
    of_512_bytes_under_smol,
    written_with_force_unit_access,
);

fn the_capacity_is_that_of_the_file(kind: Kind) {
    for (block, size) in [(512, 3 << 20), (4096, 80 << 20), (512, 5 << 40)] {
        let setup = Setup {
            block,
            size,
            ..Setup::default()
        };
        let Some(peer) = Peer::start(kind, setup) else {
            return;
        };
        block_on(On::Tokio, |runtime| {
            let peer = &peer;
            async move {
                let (session, unit) = open(&runtime, peer, 1, SessionOptions::default()).await;
                let info = unit.info();
                assert_eq!((info.size, info.block_size), (size, block));
                assert!(info.identity.wwid.is_some(), "it has a name");
                session.close().await;
            }
        });
    }
}

/// One block to several MiB, and one block more or less than a segment, a burst and a command carry.
fn lengths(block: u32) -> Vec<usize> {
    let mut lengths = vec![1, 2, 3, 7, 8, 9, 15, 16, 17];
    for bytes in [64 << 10, 256 << 10, 1 << 20, 4 << 20] {
        let blocks = bytes / block as usize;
        lengths.extend([blocks - 1, blocks, blocks + 1]);
    }
    lengths.push((6 << 20) / block as usize + 5);
    lengths
}

fn write_and_read_back(kind: Kind, block: u32, on: On) {
    const SIZE: u64 = 16 << 20;
    let setup = Setup {
        block,
        size: SIZE,
        ..Setup::default()
    };
    let Some(peer) = Peer::start(kind, setup) else {
        return;
    };
    block_on(on, |runtime| {
        let peer = &peer;
        async move {
            let (session, unit) = open(&runtime, peer, 0, SessionOptions::default()).await;
            let mut image = Image::new(block, SIZE);
            let all = usize::try_from(SIZE / u64::from(block)).expect("fits");
            for (step, blocks) in lengths(block).into_iter().enumerate() {
                // Elsewhere each time, and overlapping what was there.
                let at = (step * 1237 + 1) % (all - blocks);
                image.write(&unit, at, blocks).await;
            }
            image.write(&unit, 0, 1).await;
            image.write(&unit, all - 1, 1).await;
            image.verify(&unit, &peer.backing()).await;
            assert_eq!(session.logins(), 1);
            session.close().await;
        }
    });
}

fn of_512_bytes(kind: Kind) {
    write_and_read_back(kind, 512, On::Tokio);
}

fn of_4096_bytes(kind: Kind) {
    write_and_read_back(kind, 4096, On::Tokio);
}

fn of_512_bytes_under_smol(kind: Kind) {
    write_and_read_back(kind, 512, On::Smol);
}

/// Durable without a flush: the file has it when the write is answered.
fn written_with_force_unit_access(kind: Kind) {
    let Some(peer) = Peer::start(kind, Setup::default()) else {
        return;
    };
    block_on(On::Tokio, |runtime| {
        let peer = &peer;
        async move {
            let (session, unit) = open(&runtime, peer, 0, SessionOptions::default()).await;
            let bytes = bytes::Bytes::from(vec![0xa5; 4096]);
            let fua = WriteOptions::default().with_fua();
            let written = unit.write(8192, bytes.clone().into(), fua).await;
            written.into_result().expect("a write");
            let file = std::fs::read(peer.backing()).expect("the backing file");
            assert!(file[8192..12_288] == bytes[..]);
            session.close().await;
        }
    });
}
