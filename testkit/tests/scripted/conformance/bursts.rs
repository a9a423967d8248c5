//! The lengths that a login has agreed on, in use (RFC 7143 sections 13.10 to 13.14 and 13.17).

use futures_util::future::join;
use iscsi_client::{error::ErrorKind, session::SessionOptions};
use iscsi_proto::{
    pdu::{DataOut, ScsiCommand},
    scsi::ScsiStatus,
};
use iscsi_testkit::scripted::{End, Frame, Peer, Say};

use super::steps::{hear_offers, is_ended, offering};
use crate::support::{World, read, rows, write};

rows! {
    c11_immediate_and_unsolicited_data_only_where_agreed;
    c19_data_segments_are_as_long_as_the_receiver_takes;
    c19_an_undeclared_length_is_8192;
    c20_no_burst_is_longer_than_max_burst;
    c23_r2ts_beyond_the_agreed_number_end_the_connection;
}

/// Writes `len` bytes in a session with these options; the target answers the login like this, and `script` the rest.
/// The connection is kept until the write is over.
async fn write_with(
    world: &World,
    options: SessionOptions,
    keys: &[(&str, &str)],
    len: usize,
    script: impl AsyncFnOnce(&mut Peer),
) -> (Peer, Result<(), ErrorKind>) {
    let script = async {
        let mut peer = world.accept().await;
        peer.log_in(keys).await.unwrap();
        script(&mut peer).await;
        peer
    };
    let initiator = world.initiator();
    let client = async {
        let to = world.to_with(options);
        let session = initiator.connect_spawned(&to).await.unwrap();
        let data = (0..len).map(|at| at as u8).collect();
        let executed = session.execute(write(0, data)).await;
        executed.result.map(drop).map_err(|error| error.kind())
    };
    join(script, client).await
}

/// Sections 13.10, 13.11 and 13.14: data comes with the command only with ImmediateData, and unasked after it only
/// without InitialR2T; both together are FirstBurstLength at most.
async fn c11_immediate_and_unsolicited_data_only_where_agreed(world: &World) {
    // InitialR2T, ImmediateData; how many bytes come at once, and how many unasked in all.
    let cases = [
        ("Yes", "No", 0, 0),
        ("Yes", "Yes", 2048, 2048),
        ("No", "No", 0, 4096),
        ("No", "Yes", 2048, 4096),
    ];
    for (number, (initial_r2t, immediate, at_once, unasked)) in cases.into_iter().enumerate() {
        let world = world.case(number).await;
        let keys = [
            ("InitialR2T", initial_r2t),
            ("ImmediateData", immediate),
            ("FirstBurstLength", "4096"),
            ("MaxRecvDataSegmentLength", "2048"),
        ];
        let script = async |peer: &mut Peer| {
            let (command, data) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
            // FirstBurstLength bounds what comes at once too, also where nothing else comes unasked.
            assert_eq!(data.len(), at_once);
            assert_eq!(command.is_final, at_once == unasked);
            let mut heard = data.len();
            while heard < unasked {
                let (out, data) = peer.hear_pdu::<DataOut>().await.unwrap();
                assert_eq!(out.buffer_offset as usize, heard);
                heard += data.len();
                assert_eq!(out.is_final, heard == unasked);
            }
            assert_eq!(heard, unasked);
            let rest = 16_384 - unasked as u32;
            let r2t = Say::r2t(&command, 7, 0, unasked as u32, rest);
            peer.say(r2t, []).await.unwrap();
            while heard < 16_384 {
                let (out, data) = peer.hear_pdu::<DataOut>().await.unwrap();
                assert_eq!(out.buffer_offset as usize, heard);
                heard += data.len();
            }
            let good = Say::response(command.itt, ScsiStatus::Good, 1);
            peer.say(good, []).await.unwrap();
        };
        let (_, written) =
            write_with(&world, SessionOptions::default(), &keys, 16_384, script).await;
        assert_eq!(written, Ok(()));
    }
}

/// Section 13.12: each side declares what it takes. The peer judges the lengths of what it hears by what it has
/// declared; what is longer than the initiator takes ends the connection before it is read.
async fn c19_data_segments_are_as_long_as_the_receiver_takes(world: &World) {
    for (number, length) in [512, 513, 4096, 262_144].into_iter().enumerate() {
        let world = world.case(number).await;
        let core = world.core_with(|mut config| {
            config.limits.max_recv_data_segment_length = length;
            config
        });
        let script = async {
            let mut peer = world.accept_before(&core).await;
            peer.relay_to_the_end().await
        };
        let initiator = world.initiator();
        let client = async {
            let session = initiator.connect_spawned(&world.to()).await.unwrap();
            let declared = session.login().parameters.max_xmit_data_segment_length;
            assert_eq!(declared, length);
            let data = (0..65_536_u32)
                .map(|at| (at >> 4) as u8)
                .collect::<Vec<_>>();
            let written = session.execute(write(0, data.clone())).await;
            written.result.unwrap();
            session.close().await;
            data
        };
        let (_, data) = join(script, client).await;
        let mut medium = vec![0; data.len()];
        core.peek(0, 0, &mut medium);
        assert!(medium == data, "the medium has other data");
        assert_eq!(core.violations(), []);
    }
    for (number, (ours, said, fits)) in [(512, 512, true), (512, 516, false), (1024, 1020, true)]
        .into_iter()
        .enumerate()
    {
        let world = world.case(10 + number).await;
        let script = async {
            let mut peer = world.accept().await;
            let exchanges = peer.log_in(&[]).await.unwrap();
            let declared = exchanges
                .iter()
                .filter_map(|exchange| exchange.value("MaxRecvDataSegmentLength"));
            assert_eq!(declared.collect::<Vec<_>>(), [ours.to_string()]);
            let (command, _) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
            let mut data_sn = 0;
            let mut sent = 0;
            while sent < 2048 {
                let len = said.min(2048 - sent);
                let pdu = match sent + len == 2048 {
                    true => Say::last_data_in(&command, data_sn, sent),
                    false => Say::data_in(&command, data_sn, sent),
                };
                if peer.say(pdu, vec![1; len as usize]).await.is_err() {
                    break;
                }
                data_sn += 1;
                sent += len;
            }
            if !fits {
                is_ended(&mut peer).await;
            }
        };
        let options = offering(|offer| offer.with_max_recv_data_segment_length(ours).unwrap());
        let initiator = world.initiator();
        let client = async {
            let to = world.to_with(options);
            let session = initiator.connect_spawned(&to).await.unwrap();
            let executed = session.execute(read(0, 4)).await;
            match fits {
                true => drop(executed.result.unwrap()),
                false => {
                    assert_eq!(executed.result.unwrap_err().kind(), ErrorKind::Protocol);
                }
            }
        };
        join(script, client).await;
    }
}

/// Section 13.12: a target that declares nothing takes 8192 bytes.
async fn c19_an_undeclared_length_is_8192(world: &World) {
    let script = async {
        let mut peer = world.accept().await;
        let offers = hear_offers(&mut peer).await;
        let mut answers = offers.answers(&[]);
        answers.retain(|(key, _)| key != "MaxRecvDataSegmentLength");
        peer.say_login(offers.agreed(), &answers).await.unwrap();
        let (command, data) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
        assert_eq!(data.len(), 8192);
        peer.say(Say::r2t(&command, 1, 0, 8192, 24_576), [])
            .await
            .unwrap();
        for at in 1..=3 {
            let (out, data) = peer.hear_pdu::<DataOut>().await.unwrap();
            assert_eq!((out.buffer_offset, data.len()), (at * 8192, 8192));
        }
        let good = Say::response(command.itt, ScsiStatus::Good, 1);
        peer.say(good, []).await.unwrap();
    };
    let initiator = world.initiator();
    let client = async {
        let session = initiator.connect_spawned(&world.to()).await.unwrap();
        let written = session.execute(write(0, vec![7; 32_768])).await;
        written.result.unwrap();
    };
    join(script, client).await;
}

/// Section 13.13: what is asked for or sent in one sequence is MaxBurstLength at most. The strict target judges what
/// it hears; an R2T for more ends the connection, and none of it is sent.
async fn c20_no_burst_is_longer_than_max_burst(world: &World) {
    for (number, length) in [512, 1024, 65_536].into_iter().enumerate() {
        let world = world.case(number).await;
        let core = world.core_with(|mut config| {
            config.limits.max_burst_length = length;
            config.limits.first_burst_length = 512;
            config
        });
        let script = async {
            let mut peer = world.accept_before(&core).await;
            peer.relay_to_the_end().await
        };
        let initiator = world.initiator();
        let client = async {
            let session = initiator.connect_spawned(&world.to()).await.unwrap();
            assert_eq!(session.login().parameters.max_burst_length, length);
            let written = session.execute(write(0, vec![7; 131_072])).await;
            written.result.unwrap();
            session.close().await;
        };
        join(script, client).await;
        assert_eq!(core.violations(), []);
    }
    for (number, length) in [513, 1024, 2048].into_iter().enumerate() {
        let world = world.case(10 + number).await;
        let keys = [
            ("MaxBurstLength", "512"),
            ("FirstBurstLength", "512"),
            ("ImmediateData", "No"),
        ];
        let script = async |peer: &mut Peer| {
            let (command, _) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
            peer.say(Say::r2t(&command, 1, 0, 0, length), [])
                .await
                .unwrap();
            is_ended(peer).await;
        };
        let (_, written) = write_with(&world, SessionOptions::default(), &keys, 2048, script).await;
        assert_eq!(written, Err(ErrorKind::Protocol), "{length}");
    }
}

const BURST: u32 = 262_144;

/// So many R2Ts for a burst each, all at once.
async fn say_r2ts(peer: &mut Peer, command: &ScsiCommand, count: u32) {
    let mut bytes = Vec::new();
    for n in 0..count {
        let mut frame = Frame::new(Say::r2t(command, n, n, n * BURST, BURST), []);
        peer.number(&mut frame);
        bytes.extend(frame.to_bytes(peer.digests()));
    }
    peer.bytes(&bytes).await.unwrap();
}

/// Section 13.17: as many R2Ts as were agreed on are answered in their order; one more ends the connection.
async fn c23_r2ts_beyond_the_agreed_number_end_the_connection(world: &World) {
    let cases = [(1, 1), (2, 2), (4, 4), (1, 2), (2, 3), (4, 5)];
    for (number, (agreed, count)) in cases.into_iter().enumerate() {
        let world = world.case(number).await;
        let value = agreed.to_string();
        let keys = [
            ("MaxOutstandingR2T", value.as_str()),
            ("ImmediateData", "No"),
        ];
        let script = async |peer: &mut Peer| {
            let (command, _) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
            say_r2ts(peer, &command, count).await;
            if count > agreed {
                // Nothing is heard meanwhile, so that not even the first burst comes to its end.
                return;
            }
            for n in 0..count {
                let mut heard = 0;
                while heard < BURST {
                    let (out, data) = peer.hear_pdu::<DataOut>().await.unwrap();
                    assert_eq!((out.ttt.0, out.buffer_offset), (n, n * BURST + heard));
                    heard += data.len() as u32;
                    assert_eq!(out.is_final, heard == BURST);
                }
                assert_eq!(heard, BURST);
            }
            let good = Say::response(command.itt, ScsiStatus::Good, count);
            peer.say(good, []).await.unwrap();
        };
        let len = (BURST * count) as usize;
        let (mut peer, written) =
            write_with(&world, SessionOptions::default(), &keys, len, script).await;
        let expected = match count > agreed {
            true => Err(ErrorKind::Protocol),
            false => Ok(()),
        };
        assert_eq!(written, expected, "{count} of {agreed}");
        let end = peer.hear_the_end().await;
        assert!(matches!(end, End::Closed | End::Failed(_)), "{end}");
    }
}
