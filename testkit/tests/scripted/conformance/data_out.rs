//! Data-Out: what goes unasked, and how a sequence looks (RFC 7143 sections 4.2.5.2 and 11.7).

use iscsi_proto::{
    TargetTransferTag,
    pdu::{DataOut, ScsiCommand},
    scsi::Lun,
};
use iscsi_testkit::scripted::{Peer, Say};

use super::talk::{expect_good, fence, hear_command, logged_in, pattern, quiet, say_good, start};
use crate::support::{World, rows, write};

rows! {
    c37_unsolicited_data_within_the_first_burst;
    c38_the_tag_of_the_sequence_is_in_all_of_it;
    c41_data_out_as_long_as_the_target_declared;
    c43_final_on_the_last_pdu_of_each_sequence;
    c45_offsets_are_contiguous;
}

/// Hears a whole sequence of `len` bytes from `offset` on, for the tag `ttt`, and returns its PDUs. Each of them
/// is held to section 11.7: tags, LUN, DataSN from 0 on, contiguous offsets, F on the last one only, and no
/// segment shorter than it has to be.
pub(super) async fn hear_sequence(
    peer: &mut Peer,
    command: &ScsiCommand,
    ttt: TargetTransferTag,
    (offset, len): (u32, u32),
    longest: u32,
) -> Vec<(DataOut, Vec<u8>)> {
    let mut sequence = Vec::new();
    let mut done = 0;
    while done < len {
        let (data, bytes) = peer.hear_pdu::<DataOut>().await.unwrap();
        let expected = DataOut {
            is_final: len - done <= longest,
            lun: match ttt {
                TargetTransferTag::RESERVED => Lun::ZERO,
                _ => command.lun,
            },
            itt: command.itt,
            ttt,
            exp_stat_sn: data.exp_stat_sn,
            data_sn: iscsi_proto::serial::DataSn(sequence.len() as u32),
            buffer_offset: offset + done,
            data_segment_length: longest.min(len - done),
        };
        assert_eq!(data, expected);
        done += data.data_segment_length;
        sequence.push((data, bytes));
    }
    sequence
}

/// The bytes of a sequence.
pub(super) fn bytes_of_sequence(sequence: &[(DataOut, Vec<u8>)]) -> Vec<u8> {
    let all = sequence.iter().flat_map(|(_, bytes)| bytes);
    all.copied().collect()
}

/// Sections 4.2.5.2, 13.10, 13.11 and 13.14: immediate data only with ImmediateData=Yes, Data-Out unasked only with
/// InitialR2T=No, and both together no more than FirstBurstLength; but as much as that, since a target may take
/// less for an error (section 11.4.7.2).
async fn c37_unsolicited_data_within_the_first_burst(world: &World) {
    let terms = [("Yes", "Yes"), ("Yes", "No"), ("No", "Yes"), ("No", "No")];
    // FirstBurstLength and MaxRecvDataSegmentLength of the target.
    let sizes = [(512, 512), (1024, 512), (1536, 1024), (4096, 8192)];
    let mut number = 0;
    for (initial_r2t, immediate_data) in terms {
        for (first_burst, segment) in sizes {
            let world = world.case(number).await;
            number += 1;
            let keys = [
                ("InitialR2T", initial_r2t),
                ("ImmediateData", immediate_data),
                ("FirstBurstLength", &first_burst.to_string()),
                ("MaxRecvDataSegmentLength", &segment.to_string()),
            ];
            let (mut peer, session) = logged_in(&world, quiet(), &keys).await;
            for len in [512, first_burst, first_burst + 512, 8192] {
                let bytes = pattern(len as usize);
                let execute = start(&session, write(0, bytes.clone()));
                let (command, immediate) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
                let unasked = len.min(first_burst);
                let with_command = match immediate_data {
                    "Yes" => unasked.min(segment),
                    _ => 0,
                };
                assert_eq!(immediate, bytes[..with_command as usize]);
                let mut taken = with_command;
                if initial_r2t == "No" && unasked > with_command {
                    let range = (with_command, unasked - with_command);
                    let tag = TargetTransferTag::RESERVED;
                    let sequence = hear_sequence(&mut peer, &command, tag, range, segment).await;
                    let sent = bytes_of_sequence(&sequence);
                    assert_eq!(sent, bytes[with_command as usize..unasked as usize]);
                    taken = unasked;
                }
                // And nothing more.
                fence(&session, &mut peer).await;
                if taken < len {
                    let range = (taken, len - taken);
                    peer.say(Say::r2t(&command, 9, 0, range.0, range.1), [])
                        .await
                        .unwrap();
                    let tag = TargetTransferTag(9);
                    let sequence = hear_sequence(&mut peer, &command, tag, range, segment).await;
                    assert_eq!(bytes_of_sequence(&sequence), bytes[taken as usize..]);
                }
                say_good(&mut peer, command.itt).await;
                expect_good(execute, len).await;
            }
        }
    }
}

/// Section 11.7.4: the reserved tag in unsolicited data, the R2T's tag and the LUN in what it asked for.
async fn c38_the_tag_of_the_sequence_is_in_all_of_it(world: &World) {
    let keys = [
        ("InitialR2T", "No"),
        ("ImmediateData", "No"),
        ("FirstBurstLength", "1024"),
        ("MaxRecvDataSegmentLength", "512"),
    ];
    let (mut peer, session) = logged_in(world, quiet(), &keys).await;
    for lun in [0, 5, 300] {
        let mut request = write(0, pattern(5 * 1024));
        request.lun = Lun::new(lun);
        let execute = start(&session, request);
        let command = hear_command(&mut peer).await;
        let tag = TargetTransferTag::RESERVED;
        hear_sequence(&mut peer, &command, tag, (0, 1024), 512).await;
        for (r2t_sn, ttt) in (0_u32..).zip([0, 1, 0x8000_0000, 0xffff_fffe]) {
            let range = (1024 + r2t_sn * 1024, 1024);
            let r2t = Say::r2t(&command, ttt, r2t_sn, range.0, range.1);
            peer.say(r2t, []).await.unwrap();
            let tag = TargetTransferTag(ttt);
            hear_sequence(&mut peer, &command, tag, range, 512).await;
        }
        say_good(&mut peer, command.itt).await;
        expect_good(execute, 5 * 1024).await;
    }
}

/// Writes with one R2T for all of it, where the target takes segments of `longest` bytes.
async fn write_at_once(world: &World, longest: u32, len: u32) -> Vec<(DataOut, Vec<u8>)> {
    let keys = [
        ("ImmediateData", "No"),
        ("MaxBurstLength", "1048576"),
        ("MaxRecvDataSegmentLength", &longest.to_string()),
    ];
    let (mut peer, session) = logged_in(world, quiet(), &keys).await;
    let bytes = pattern(len as usize);
    let execute = start(&session, write(0, bytes.clone()));
    let command = hear_command(&mut peer).await;
    peer.say(Say::r2t(&command, 1, 0, 0, len), [])
        .await
        .unwrap();
    let tag = TargetTransferTag(1);
    let sequence = hear_sequence(&mut peer, &command, tag, (0, len), longest).await;
    assert_eq!(bytes_of_sequence(&sequence), bytes);
    say_good(&mut peer, command.itt).await;
    expect_good(execute, len).await;
    sequence
}

/// Sections 11.7.7 and 13.12: no segment is longer than the target's MaxRecvDataSegmentLength, and none but the
/// last is shorter.
async fn c41_data_out_as_long_as_the_target_declared(world: &World) {
    let lengths = [512, 516, 8192, 65_535, 262_144];
    for (number, longest) in lengths.into_iter().enumerate() {
        let world = world.case(number).await;
        let sequence = write_at_once(&world, longest, 524_288).await;
        assert_eq!(sequence.len() as u32, 524_288_u32.div_ceil(longest));
        for (data, bytes) in sequence {
            assert!(data.data_segment_length <= longest, "{data}");
            assert_eq!(data.data_segment_length as usize, bytes.len());
        }
    }
}

/// Section 11.7.1: F on the last PDU of a sequence, whether that is full, has one byte more than others, or is the
/// only one.
async fn c43_final_on_the_last_pdu_of_each_sequence(world: &World) {
    for (number, len) in [512, 1024, 1536, 2048, 10_240].into_iter().enumerate() {
        let world = world.case(number).await;
        let sequence = write_at_once(&world, 1023, len).await;
        let (last, others) = sequence.split_last().unwrap();
        assert!(last.0.is_final);
        assert!(others.iter().all(|(data, _)| !data.is_final));
    }
}

/// Section 11.7.6: with DataPDUInOrder=Yes each offset is that of the byte behind the last one.
async fn c45_offsets_are_contiguous(world: &World) {
    for (number, longest) in [512, 513, 1000, 4096].into_iter().enumerate() {
        let world = world.case(number).await;
        let mut next = 0;
        for (data, bytes) in write_at_once(&world, longest, 10_240).await {
            assert_eq!(data.buffer_offset, next);
            next += bytes.len() as u32;
        }
        assert_eq!(next, 10_240);
    }
}
