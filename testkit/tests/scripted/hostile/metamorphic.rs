//! What must make no difference: reserved bits, and how TCP cuts the stream.

use std::{error::Error as _, time::Duration};

use futures_util::future::join;
use iscsi_client::{
    error::Outcome,
    initiator::Initiator,
    session::{Payload, SessionEventKind, SessionOptions},
};
use iscsi_proto::{
    pdu::{AsyncEvent, Bhs, Pdu, RejectReason, ScsiCommand, TaskManagementResponseCode},
    scsi::{AdditionalSenseCode, Lun, ScsiStatus, SenseData, SenseKey},
    session::{TaskErrorKind, TaskManagement},
};
use iscsi_testkit::scripted::{Digests, Frame, Peer, Say};

use super::framing::{DIGESTS, with_digests};
use crate::conformance::talk::{expect_error, fence, hear_function, logged_in, quiet, start};
use crate::support::{World, read, rows, test_unit_ready, write};

rows! {
    h11_reserved_bits_mean_nothing;
    h11_nor_in_what_comes_seldom;
    h17_a_stream_may_be_cut_anywhere;
    h17_a_login_may_be_cut_anywhere;
    h17_a_thousand_pdus_may_come_at_once;
}

/// The bits of this header that are reserved (RFC 7143 section 11, the layout of each PDU), as bytes and masks.
/// Those that are so only while some other field is zero are not among them, unless said.
fn reserved(bhs: &Bhs) -> Vec<(std::ops::Range<usize>, u8)> {
    let mut reserved = vec![(0..1, 0xc0)];
    reserved.extend(match bhs.opcode() {
        // NOP-In: what follows F, and the end.
        0x20 => vec![(1..2, 0x7f), (2..4, 0xff), (36..48, 0xff)],
        // SCSI Response.
        0x21 => vec![(1..2, 0x61), (8..16, 0xff)],
        // Task Management Response; at iSCSIProtocolLevel 1 also what RFC 7144 puts there.
        0x22 => vec![
            (1..2, 0x7f),
            (3..4, 0xff),
            (8..16, 0xff),
            (20..24, 0xff),
            (36..48, 0xff),
        ],
        // Login Response.
        0x23 => vec![(1..2, 0x30), (20..24, 0xff), (38..48, 0xff)],
        // Text Response.
        0x24 => vec![(1..2, 0x3f), (2..4, 0xff), (36..48, 0xff)],
        // Data-In: three bits of the flags and, without S, status, StatSN and residual count.
        0x25 => {
            let mut bits = vec![(1..2, 0x38), (2..3, 0xff)];
            if bhs.as_bytes()[1] & 1 == 0 {
                bits.extend([(3..4, 0xff), (24..28, 0xff), (44..48, 0xff)]);
            }
            bits
        }
        // Logout Response.
        0x26 => vec![
            (1..2, 0x7f),
            (3..4, 0xff),
            (8..16, 0xff),
            (20..24, 0xff),
            (36..40, 0xff),
            (44..48, 0xff),
        ],
        // R2T.
        0x31 => vec![(1..2, 0x7f), (2..4, 0xff)],
        // Asynchronous Message, but for its LUN and the tag that is always 0xffffffff.
        0x32 => vec![(1..2, 0x7f), (2..4, 0xff), (20..24, 0xff), (44..48, 0xff)],
        // Reject: DataSN is for SNACKs.
        0x3f => vec![
            (1..2, 0x7f),
            (3..4, 0xff),
            (8..16, 0xff),
            (20..24, 0xff),
            (36..48, 0xff),
        ],
        _ => vec![],
    });
    reserved
}

/// Section 11: reserved bits are sent as zeros, and are not looked at.
async fn h11_reserved_bits_mean_nothing(world: &World) {
    for (number, pattern) in [0xff, 0x55, 0xaa, 0x96].into_iter().enumerate() {
        let world = world.case(number).await;
        let core = world.core_with(|mut config| {
            config.limits.initial_r2t = true;
            config.limits.immediate_data = false;
            config
        });
        let mut opcodes = std::collections::BTreeSet::new();
        let script = async {
            let mut peer = world.accept_before(&core).await;
            while let Ok(mut held) = peer.relay_until(|said, _| said).await {
                opcodes.insert(held.frame.bhs.opcode());
                set_reserved(&mut held.frame, pattern);
                if peer.pass(held).await.is_err() {
                    break;
                }
            }
        };
        let initiator = world.initiator();
        let client = async {
            let session = initiator.connect_spawned(&world.to()).await.unwrap();
            let executed = session.execute(write(1, vec![7; 2048])).await;
            assert_eq!(executed.result.unwrap().status, ScsiStatus::Good);
            let executed = session.execute(read(1, 4)).await;
            assert_eq!(executed.result.unwrap().transferred, 2048);
            let Payload::In(buf) = executed.payload else {
                panic!("the buffer comes back");
            };
            assert_eq!(buf.as_slice(), Some(&[7; 2048][..]));
            let executed = session.execute(test_unit_ready()).await;
            assert_eq!(executed.result.unwrap().status, ScsiStatus::Good);
            session.ping().await.unwrap();
            session.send_targets().await.unwrap();
            assert_eq!(session.logins(), 1);
            session.close().await;
        };
        join(script, client).await;
        assert_eq!(core.violations(), []);
        let all = [0x20, 0x21, 0x23, 0x24, 0x25, 0x26, 0x31];
        assert!(opcodes.iter().eq(&all), "{opcodes:x?}");
    }
}

fn set_reserved(frame: &mut Frame, pattern: u8) {
    for (range, mask) in reserved(&frame.bhs) {
        for byte in &mut frame.bhs.as_bytes_mut()[range] {
            *byte |= mask & pattern;
        }
    }
}

/// The same for what a strict target has little reason to send.
async fn h11_nor_in_what_comes_seldom(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    for pattern in 0..=u8::MAX {
        let say = async |peer: &mut Peer, pdu: Pdu, data: Vec<u8>| {
            let mut frame = Frame::new(pdu, data);
            peer.number(&mut frame);
            set_reserved(&mut frame, pattern);
            peer.say_as_it_is(&frame).await.unwrap();
        };
        let code = match pattern % 2 {
            0 => TaskManagementResponseCode::FunctionComplete,
            _ => TaskManagementResponseCode::LunDoesNotExist,
        };
        let reset = TaskManagement::LogicalUnitReset(Lun::new(1));
        let reset = session.task_management(reset, None);
        let function = hear_function(&mut peer).await;
        say(&mut peer, Say::function(function.itt, code).into(), vec![]).await;
        assert_eq!(reset.await.unwrap().response, code);

        let sense = SenseData::fixed(SenseKey::UnitAttention, AdditionalSenseCode(0x2a, 0x09));
        let message = Say::asynchronous(AsyncEvent::ScsiEvent, [1, 2, 3]);
        say(&mut peer, message.into(), sense.to_data_segment()).await;
        fence(&session, &mut peer).await;
        let Some(SessionEventKind::Async {
            message: told,
            sense: Some(with),
        }) = session.events(0).pop().map(|event| event.kind)
        else {
            panic!("an event");
        };
        assert_eq!(
            (told.event, told.parameter3, with),
            (AsyncEvent::ScsiEvent, 3, sense)
        );

        let execute = start(&session, test_unit_ready());
        let command = peer.hear().await.unwrap();
        let reject = Say::reject(RejectReason::CommandNotSupported);
        say(&mut peer, reject.into(), command.bhs.as_bytes().to_vec()).await;
        let error = expect_error(execute).await;
        assert_eq!(error.outcome(), Outcome::NotExecuted);
        let source = error.source().and_then(|source| source.downcast_ref());
        let expected = TaskErrorKind::Rejected(RejectReason::CommandNotSupported);
        assert_eq!(source, Some(&expected));
    }
    fence(&session, &mut peer).await;
    assert_eq!(session.logins(), 1);
}

/// The answer to a read of a block in two PDUs, with news of the window in between.
fn answer(peer: &mut Peer, command: &ScsiCommand) -> Vec<u8> {
    let mut bytes = Vec::new();
    let data_in = Say::data_in(command, 0, 0);
    let last = Say::last_data_in(command, 1, 509);
    for mut frame in [
        Frame::new(data_in, [7; 509]),
        Frame::new(Say::nop_in(), []),
        Frame::new(last, [9; 3]),
    ] {
        peer.number(&mut frame);
        bytes.extend(frame.to_bytes(peer.digests()));
        peer.wrote(&frame);
    }
    bytes
}

/// In virtual time, until the initiator has looked at what came; over TCP the pieces have to make do with
/// whatever comes of them.
async fn let_it_read(world: &World, peer: &Peer) {
    if world.is_simulated() {
        peer.sleep(Duration::from_millis(10)).await;
    }
}

async fn reads(world: &World, initiator: &Initiator, options: SessionOptions, times: usize) {
    let session = initiator.connect_spawned(&world.to_with(options)).await;
    let session = session.unwrap();
    for _ in 0..times {
        let executed = session.execute(read(0, 1)).await;
        assert_eq!(executed.result.unwrap().transferred, 512);
        let Payload::In(buf) = executed.payload else {
            panic!("the buffer comes back");
        };
        let (most, rest) = buf.as_slice().unwrap().split_at(509);
        assert!(most == [7; 509] && rest == [9; 3]);
    }
    assert_eq!(session.logins(), 1);
}

/// Section 4.2 of RFC 793: a stream has no pieces.
async fn h17_a_stream_may_be_cut_anywhere(world: &World) {
    for (number, (options, keys)) in [
        (SessionOptions::default(), &[][..]),
        (with_digests(), DIGESTS),
    ]
    .into_iter()
    .enumerate()
    {
        let world = world.case(number).await;
        let digests = Digests {
            header: number == 1,
            data: number == 1,
        };
        let headers = if digests.header { 3 * 52 } else { 3 * 48 };
        let whole = headers + 512 + 4 + if digests.data { 8 } else { 0 };
        let script = async {
            let mut peer = world.accept().await;
            peer.log_in(keys).await.unwrap();
            for cut in 0..=whole {
                let (command, _) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
                let bytes = answer(&mut peer, &command);
                assert_eq!(bytes.len(), whole);
                peer.bytes(&bytes[..cut]).await.unwrap();
                let_it_read(&world, &peer).await;
                peer.bytes(&bytes[cut..]).await.unwrap();
            }
            // And byte by byte.
            let (command, _) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
            for byte in answer(&mut peer, &command) {
                peer.bytes(&[byte]).await.unwrap();
                let_it_read(&world, &peer).await;
            }
            peer.hear_the_end().await;
        };
        let initiator = world.initiator();
        join(script, reads(&world, &initiator, options, whole + 2)).await;
    }
}

/// The same for the responses of a login, the last of which is followed by something at once.
async fn h17_a_login_may_be_cut_anywhere(world: &World) {
    let mut cut = 0;
    let mut whole = usize::MAX;
    while cut <= whole {
        let here = world.case(cut % 200).await;
        let script = async {
            let mut peer = here.accept().await;
            for stage in 0..2 {
                let exchange = peer.hear_login().await.unwrap();
                let group = [("TargetPortalGroupTag", "1")];
                let keys = if stage == 0 { &group[..] } else { &[] };
                let mut text = String::new();
                for (key, value) in exchange.answers(keys).iter().take(3) {
                    text += &format!("{key}={value}\0");
                }
                let mut frame = Frame::new(exchange.agreed(), text);
                peer.number(&mut frame);
                peer.wrote(&frame);
                let mut bytes = frame.to_bytes(Digests::default());
                if stage == 1 {
                    let mut ping = Frame::new(Say::nop_in(), []);
                    peer.number(&mut ping);
                    bytes.extend(ping.to_bytes(Digests::default()));
                    whole = bytes.len();
                }
                let at = cut.min(bytes.len());
                peer.bytes(&bytes[..at]).await.unwrap();
                let_it_read(&here, &peer).await;
                peer.bytes(&bytes[at..]).await.unwrap();
            }
            peer.hear_the_end().await;
        };
        let initiator = here.initiator();
        let client = async {
            let session = initiator.connect_spawned(&here.to()).await.unwrap();
            assert_eq!(session.login().portal_group().map(|group| group.0), Some(1));
        };
        join(script, client).await;
        cut += 1;
    }
    assert!((96..200).contains(&whole), "{whole}");
}

/// As many PDUs as a segment takes, and the answer behind them.
async fn h17_a_thousand_pdus_may_come_at_once(world: &World) {
    let script = async {
        let mut peer = world.accept().await;
        peer.log_in(&[]).await.unwrap();
        let (command, _) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
        let mut bytes = Vec::new();
        for _ in 0..1000 {
            let mut ping = Frame::new(Say::nop_in(), []);
            peer.number(&mut ping);
            bytes.extend(ping.to_bytes(peer.digests()));
        }
        bytes.extend(answer(&mut peer, &command));
        peer.bytes(&bytes).await.unwrap();
        peer.hear_the_end().await;
    };
    let initiator = world.initiator();
    join(
        script,
        reads(world, &initiator, SessionOptions::default(), 1),
    )
    .await;
}
