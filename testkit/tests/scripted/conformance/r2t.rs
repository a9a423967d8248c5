//! R2T, and the data that answers it (RFC 7143 section 11.8).

use std::collections::BTreeMap;

use iscsi_proto::{
    TargetTransferTag,
    pdu::{DataOut, ScsiCommand},
};
use iscsi_testkit::scripted::{Peer, Say};

use super::{
    data_out::{bytes_of_sequence, hear_sequence},
    talk::{expect_good, fence, hear_command, logged_in, pattern, quiet, say_good, start},
};
use crate::support::{World, rows, write};

rows! {
    c44_data_sn_starts_again_with_each_r2t;
    c46_an_r2t_is_answered_exactly;
    c47_r2ts_of_parallel_commands_are_kept_apart;
}

const TERMS: [(&str, &str); 3] = [
    ("ImmediateData", "No"),
    ("MaxRecvDataSegmentLength", "1024"),
    ("MaxOutstandingR2T", "4"),
];

async fn say_r2t(peer: &mut Peer, command: &ScsiCommand, number: u32, (offset, len): (u32, u32)) {
    let r2t = Say::r2t(command, 0x100 + number, number, offset, len);
    peer.say(r2t, []).await.unwrap();
}

/// Section 11.7.5: DataSN starts at 0 for each R2T, whether they come one after the other or all at once; and
/// those of one command are answered in their order.
async fn c44_data_sn_starts_again_with_each_r2t(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &TERMS).await;
    for at_once in [false, true] {
        let bytes = pattern(12_288);
        let execute = start(&session, write(0, bytes.clone()));
        let command = hear_command(&mut peer).await;
        let ranges = [(0, 4096), (4096, 5120), (9216, 3072)];
        let mut sent = Vec::new();
        if at_once {
            for (number, range) in (0..).zip(ranges) {
                say_r2t(&mut peer, &command, number, range).await;
            }
        }
        for (number, range) in (0..).zip(ranges) {
            if !at_once {
                say_r2t(&mut peer, &command, number, range).await;
            }
            let tag = TargetTransferTag(0x100 + number);
            let sequence = hear_sequence(&mut peer, &command, tag, range, 1024).await;
            assert_eq!(sequence[0].0.data_sn.0, 0);
            sent.extend(bytes_of_sequence(&sequence));
        }
        assert_eq!(sent, bytes);
        say_good(&mut peer, command.itt).await;
        expect_good(execute, 12_288).await;
    }
}

/// Section 11.8: as many bytes as were asked for, from where they were asked for, and not one more.
async fn c46_an_r2t_is_answered_exactly(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &TERMS).await;
    let bytes = pattern(8192);
    let execute = start(&session, write(0, bytes.clone()));
    let command = hear_command(&mut peer).await;
    let mut offset = 0;
    let odd = [1, 2, 3, 4, 5, 511, 512, 513, 1023, 1024, 1025, 2047];
    for (number, len) in (0..).zip(odd.into_iter().chain([0])) {
        // All that is left, in the end.
        let len = if len == 0 { 8192 - offset } else { len };
        say_r2t(&mut peer, &command, number, (offset, len)).await;
        let tag = TargetTransferTag(0x100 + number);
        let sequence = hear_sequence(&mut peer, &command, tag, (offset, len), 1024).await;
        let end = offset + len;
        assert_eq!(
            bytes_of_sequence(&sequence),
            bytes[offset as usize..end as usize]
        );
        fence(&session, &mut peer).await;
        offset = end;
    }
    assert_eq!(offset, 8192);
    say_good(&mut peer, command.itt).await;
    expect_good(execute, 8192).await;
}

/// What was heard for one of many commands.
struct Writing {
    command: ScsiCommand,
    bytes: Vec<u8>,
    pdus: u32,
}

/// Section 11.8: with many writes under way, each R2T is answered from the memory of its own command.
async fn c47_r2ts_of_parallel_commands_are_kept_apart(world: &World) {
    const WRITES: u32 = 16;
    const PARTS: u32 = 4;
    let (mut peer, session) = logged_in(world, quiet(), &TERMS).await;
    let bytes_of = |number: u32| {
        let mut bytes = pattern(8192);
        bytes.iter_mut().for_each(|byte| *byte ^= number as u8);
        bytes
    };
    let all: Vec<_> = (0..WRITES)
        .map(|number| start(&session, write((number * 16).into(), bytes_of(number))))
        .collect();
    let mut writings = BTreeMap::new();
    let mut tags = Vec::new();
    for _ in 0..WRITES {
        let command = hear_command(&mut peer).await;
        tags.push(command.itt);
        let writing = Writing {
            command,
            bytes: Vec::new(),
            pdus: 0,
        };
        writings.insert(command.itt.0, writing);
    }
    for part in 0..PARTS {
        // In another order each time: 3, 5, 7 and 11 have no divisor in common with 16.
        let step = [3, 5, 7, 11][part as usize];
        for number in 0..WRITES {
            let itt = tags[(number * step % WRITES) as usize];
            let writing = &writings[&itt.0];
            let r2t = Say::r2t(&writing.command, number, part, part * 2048, 2048);
            peer.say(r2t, []).await.unwrap();
        }
        for _ in 0..WRITES * 2 {
            let (data, bytes) = peer.hear_pdu::<DataOut>().await.unwrap();
            let writing = writings.get_mut(&data.itt.0).unwrap();
            let of = tags[(data.ttt.0 * step % WRITES) as usize];
            assert_eq!(data.itt, of, "the R2T was for another command");
            assert_eq!(data.buffer_offset as usize, writing.bytes.len());
            assert_eq!(data.data_sn.0, writing.pdus % 2);
            assert_eq!(data.is_final, writing.pdus % 2 == 1);
            writing.bytes.extend(bytes);
            writing.pdus += 1;
        }
    }
    fence(&session, &mut peer).await;
    for (number, itt) in (0..).zip(&tags) {
        assert_eq!(writings[&itt.0].bytes, bytes_of(number));
        say_good(&mut peer, *itt).await;
    }
    for execute in all {
        expect_good(execute, 8192).await;
    }
}
