//! Values that no rule of RFC 7143 sections 6.2 and 13 yields, and keys by the thousand.

use futures_util::future::join;
use iscsi_client::session::SessionOptions;
use iscsi_proto::{
    DecodeError, Error, PeerIncompatible, PeerMisbehaved,
    pdu::ScsiCommand,
    scsi::ScsiStatus,
    text::{DigestOffer, OperationalOffer, Parameters},
};
use iscsi_testkit::scripted::{End, LoginExchange, Peer, Say};

use super::reaction::refused;
use crate::support::{World, rows, write};

rows! {
    h40_max_recv_data_segment_length_out_of_range;
    h41_bursts_that_cannot_be;
    h42_numbers_that_are_none;
    h43_more_than_was_offered;
    h44_words_that_are_no_choice;
    h45_a_refused_key_has_its_default;
    h45_a_key_that_cannot_be_refused;
    h46_keys_that_nobody_understands;
}

const BAD: Error = Error::PeerMisbehaved(PeerMisbehaved::BadValue);

/// The login in whose operational stage the target says this, and what is usual beside it.
async fn agreed(world: &World, options: SessionOptions, keys: &[(&str, &str)]) -> Error {
    let script = async |peer: &mut Peer| {
        let _spoiled = peer.log_in(keys).await;
    };
    refused(world, options, script).await
}

/// Each of these values of the key is refused.
async fn bad(world: &World, key: &str, values: &[&str]) {
    for value in values {
        let error = agreed(world, SessionOptions::default(), &[(key, value)]).await;
        assert_eq!(error, BAD, "{key}={value:?}");
    }
}

/// Section 13.12: 512 to 2^24 - 1.
async fn h40_max_recv_data_segment_length_out_of_range(world: &World) {
    let values = ["0", "1", "511", "16777216", "4294967295", "4294967296"];
    bad(world, "MaxRecvDataSegmentLength", &values).await;
    bad(world, "MaxRecvDataSegmentLength", &["0x0", "0x1000000", ""]).await;
}

/// Sections 13.13 and 13.14: 512 to 2^24 - 1, and the first burst is not longer than the longest.
async fn h41_bursts_that_cannot_be(world: &World) {
    for key in ["MaxBurstLength", "FirstBurstLength"] {
        bad(world, key, &["0", "1", "511", "16777216", "4294967296"]).await;
    }
    let keys = [("MaxBurstLength", "512"), ("FirstBurstLength", "513")];
    let error = agreed(world, SessionOptions::default(), &keys).await;
    assert_eq!(error, BAD);
    // The least of both, and data for many of them: nothing is cut short, and nothing wraps.
    let keys = [
        ("MaxBurstLength", "512"),
        ("FirstBurstLength", "512"),
        ("MaxRecvDataSegmentLength", "512"),
        ("InitialR2T", "No"),
    ];
    let script = async {
        let mut peer = world.accept().await;
        peer.log_in(&keys).await.unwrap();
        let (command, data) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
        assert_eq!(data.len(), 512);
        for r2t_sn in 0..3 {
            let offset = 512 * (r2t_sn + 1);
            let r2t = Say::r2t(&command, r2t_sn, r2t_sn, offset, 512);
            peer.say(r2t, []).await.unwrap();
            let (data_out, data) = peer.hear_pdu::<iscsi_proto::pdu::DataOut>().await.unwrap();
            assert!(data_out.is_final);
            assert_eq!((data_out.buffer_offset, data.len()), (offset, 512));
        }
        let answer = Say::response(command.itt, ScsiStatus::Good, 3);
        peer.say(answer, []).await.unwrap();
        peer.hear_the_end().await;
    };
    let initiator = world.initiator();
    let client = async {
        let session = initiator.connect_spawned(&world.to()).await.unwrap();
        let executed = session.execute(write(0, vec![7; 2048])).await;
        assert_eq!(executed.result.unwrap().status, ScsiStatus::Good);
        session.close().await;
    };
    join(script, client).await;
}

/// Section 6.1: decimal, or hexadecimal after `0x`; neither sign nor blank.
async fn h42_numbers_that_are_none(world: &World) {
    let none = [
        "-1",
        "+5",
        "0x",
        "1e3",
        "12345678901234567890",
        "",
        " ",
        " 512",
        "512 ",
        "5 12",
        "512.0",
        "0b1000",
        "x512",
        "0x0x200",
        "1,2",
        "512k",
        "\u{ff15}12",
    ];
    for key in [
        "MaxRecvDataSegmentLength",
        "MaxBurstLength",
        "DefaultTime2Wait",
    ] {
        bad(world, key, &none).await;
    }
    bad(world, "TargetPortalGroupTag", &["-1", "", "65536", "1 "]).await;
}

/// Section 6.2: the result of a minimum is not more than what was offered, that of a maximum not less.
async fn h43_more_than_was_offered(world: &World) {
    bad(world, "MaxConnections", &["2", "65535", "0", "65536"]).await;
    bad(world, "ErrorRecoveryLevel", &["1", "2", "3", "256"]).await;
    bad(world, "MaxOutstandingR2T", &["0", "5", "65536"]).await;
    bad(world, "MaxBurstLength", &["1048577", "16777215"]).await;
    bad(world, "FirstBurstLength", &["262145"]).await;
    bad(world, "DefaultTime2Wait", &["3601", "2147483648"]).await;
    bad(world, "DefaultTime2Retain", &["1", "3600", "2147483648"]).await;
    bad(world, "iSCSIProtocolLevel", &["3", "31", "32"]).await;
    let mut options = SessionOptions::default();
    options.offer = options.offer.with_default_time2wait(5).unwrap();
    let keys = [("DefaultTime2Wait", "4")];
    assert_eq!(agreed(world, options, &keys).await, BAD);
}

/// Section 6.2: `Yes` or `No`; of a list one entry, and one that is in it.
async fn h44_words_that_are_no_choice(world: &World) {
    let words = ["maybe", "yes", "NO", "", "Yes,No", "1", "true"];
    for key in [
        "InitialR2T",
        "ImmediateData",
        "DataPDUInOrder",
        "DataSequenceInOrder",
    ] {
        bad(world, key, &words).await;
    }
    // What was offered is one operand of OR, so that `No` is no result.
    bad(world, "DataPDUInOrder", &["No"]).await;
    bad(world, "DataSequenceInOrder", &["No"]).await;
    for key in ["HeaderDigest", "DataDigest"] {
        let choices = ["None,CRC32C", "crc32c", "CRC32", "", "none", " None"];
        bad(world, key, &choices).await;
    }
    let mut options = SessionOptions::default();
    options.offer = options.offer.with_data_digest(DigestOffer::None);
    let keys = [("DataDigest", "CRC32C")];
    assert_eq!(agreed(world, options, &keys).await, BAD, "never offered");
    for method in ["SRP,CHAP", "KRB5", "CHAP,None", "X-ours", ""] {
        let script = async |peer: &mut Peer| {
            let exchange = peer.hear_login().await.unwrap();
            let said = [("AuthMethod", method)];
            peer.say_login(exchange.agreed(), &said).await.unwrap();
        };
        let error = refused(world, SessionOptions::default(), script).await;
        // A method that is one says that credentials are wanted.
        let wanted = PeerIncompatible::CredentialsRequired.into();
        let expected = if method == "KRB5" { wanted } else { BAD };
        assert_eq!(error, expected, "{method}");
    }
}

const REFUSALS: [&str; 3] = ["Reject", "Irrelevant", "NotUnderstood"];

/// An offer in which nothing is as it is by default.
fn unusual() -> OperationalOffer {
    let offer = OperationalOffer::default()
        .with_header_digest(DigestOffer::PreferCrc32c)
        .with_data_digest(DigestOffer::PreferCrc32c)
        .with_initial_r2t(false)
        .with_immediate_data(false);
    let offer = offer.with_max_burst_length(524_288).unwrap();
    let offer = offer.with_first_burst_length(16_384).unwrap();
    let offer = offer.with_default_time2wait(5).unwrap();
    let offer = offer.with_default_time2retain(7).unwrap();
    let offer = offer.with_max_connections(3).unwrap();
    offer.with_max_outstanding_r2t(4).unwrap()
}

/// Logs in where all keys but one get the answer that agrees, and writes a block.
async fn logs_in(
    world: &World,
    answers: impl Fn(&LoginExchange) -> Vec<(String, String)>,
) -> Parameters {
    let script = async {
        let mut peer = world.accept().await;
        for _ in 0..2 {
            let exchange = peer.hear_login().await.unwrap();
            let answers = answers(&exchange);
            peer.say_login(exchange.agreed(), &answers).await.unwrap();
        }
        let (command, data) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
        let mut sequences = 0;
        if data.is_empty() {
            // Or the data comes unasked, in the same sequence as the command.
            if command.is_final {
                peer.say(Say::r2t(&command, 1, 0, 0, 512), [])
                    .await
                    .unwrap();
                sequences = 1;
            }
            let (_, data) = peer.hear_pdu::<iscsi_proto::pdu::DataOut>().await.unwrap();
            assert_eq!(data, [7; 512]);
        }
        let answer = Say::response(command.itt, ScsiStatus::Good, sequences);
        peer.say(answer, []).await.unwrap();
        let end = peer.hear_the_end().await;
        assert!(matches!(end, End::Closed | End::Failed(_)), "{end}");
    };
    let initiator = world.initiator();
    let client = async {
        let mut options = SessionOptions::default();
        options.offer = unusual();
        let to = world.to_with(options);
        let session = initiator.connect_spawned(&to).await.unwrap();
        let executed = session.execute(write(0, vec![7; 512])).await;
        assert_eq!(executed.result.unwrap().status, ScsiStatus::Good);
        let login = session.login();
        session.close().await;
        login.parameters.clone()
    };
    join(script, client).await.1
}

/// Section 6.2: after `Reject`, `Irrelevant` or `NotUnderstood` the default of the key holds, and no other
/// value than without it; commands go on working.
async fn h45_a_refused_key_has_its_default(world: &World) {
    // Every offer as it was made.
    let echo = |exchange: &LoginExchange| {
        let mut answers = Vec::new();
        for (key, value) in &exchange.keys {
            let declared = key.ends_with("Name") || key.ends_with("Type") || key.contains("Recv");
            if !declared {
                let value = value.split(',').next().unwrap_or_default();
                answers.push((key.clone(), value.to_owned()));
            }
        }
        answers
    };
    let offered = logs_in(world, echo).await;
    assert_eq!(offered.max_burst_length, 524_288);
    assert_eq!(offered.max_connections, 3);
    let defaults = Parameters::default();
    for (key, set) in TABLE {
        for word in REFUSALS {
            // That would be a demand for credentials.
            if (*key, word) == ("AuthMethod", "Reject") {
                continue;
            }
            let answers = |exchange: &LoginExchange| {
                let mut answers = echo(exchange);
                for (answered, value) in &mut answers {
                    if answered == key {
                        word.clone_into(value);
                    }
                }
                if exchange.value(key).is_some() && !answers.iter().any(|(name, _)| name == key) {
                    answers.push((key.to_string(), word.into()));
                }
                answers
            };
            let found = logs_in(world, answers).await;
            let mut expected = offered.clone();
            set(&mut expected, &defaults);
            assert_eq!(found, expected, "{key}={word}");
        }
    }
}

type Reset = fn(&mut Parameters, &Parameters);

/// What is not as it was offered when the key is refused.
const TABLE: &[(&str, Reset)] = &[
    ("AuthMethod", |_, _| ()),
    ("HeaderDigest", |p, d| p.header_digest = d.header_digest),
    ("DataDigest", |p, d| p.data_digest = d.data_digest),
    ("MaxConnections", |p, d| {
        p.max_connections = d.max_connections
    }),
    ("InitialR2T", |p, d| p.initial_r2t = d.initial_r2t),
    ("ImmediateData", |p, d| p.immediate_data = d.immediate_data),
    ("MaxRecvDataSegmentLength", |_, _| ()),
    ("MaxBurstLength", |p, d| {
        p.max_burst_length = d.max_burst_length
    }),
    ("FirstBurstLength", |p, d| {
        p.first_burst_length = d.first_burst_length
    }),
    ("DefaultTime2Wait", |p, d| {
        p.default_time2wait = d.default_time2wait
    }),
    ("DefaultTime2Retain", |p, d| {
        p.default_time2retain = d.default_time2retain
    }),
    ("MaxOutstandingR2T", |p, d| {
        p.max_outstanding_r2t = d.max_outstanding_r2t
    }),
    ("DataPDUInOrder", |_, _| ()),
    ("DataSequenceInOrder", |_, _| ()),
    ("ErrorRecoveryLevel", |_, _| ()),
    ("iSCSIProtocolLevel", |p, d| {
        p.protocol_level = d.protocol_level
    }),
];

/// What a session cannot be without: a digest that is required, an authentication method, the names.
async fn h45_a_key_that_cannot_be_refused(world: &World) {
    for word in REFUSALS {
        for key in ["HeaderDigest", "DataDigest"] {
            let mut options = SessionOptions::default();
            let require = DigestOffer::RequireCrc32c;
            options.offer = match key {
                "HeaderDigest" => options.offer.with_header_digest(require),
                _ => options.offer.with_data_digest(require),
            };
            let error = agreed(world, options, &[(key, word)]).await;
            assert_eq!(error, PeerIncompatible::DigestRefused.into(), "{word}");
        }
        for key in ["InitiatorName", "TargetName", "SessionType"] {
            let script = async |peer: &mut Peer| {
                let exchange = peer.hear_login().await.unwrap();
                let said = [(key, word)];
                peer.say_login(exchange.agreed(), &said).await.unwrap();
            };
            let error = refused(world, SessionOptions::default(), script).await;
            assert_eq!(error, PeerIncompatible::KeyRefused.into(), "{key}={word}");
        }
        // Nobody asked.
        for key in ["TargetAlias", "IFMarker", "X-org.example.colour", "CHAP_A"] {
            let error = agreed(world, SessionOptions::default(), &[(key, word)]).await;
            let chap = PeerMisbehaved::Chap;
            let expected = if key == "CHAP_A" {
                chap
            } else {
                PeerMisbehaved::DuplicateKey
            };
            assert_eq!(error, expected.into(), "{key}={word}");
        }
    }
    let script = async |peer: &mut Peer| {
        let exchange = peer.hear_login().await.unwrap();
        let said = [("AuthMethod", "Reject")];
        let mut response = exchange.agreed();
        response.transit = false;
        peer.say_login(response, &said).await.unwrap();
    };
    let error = refused(world, SessionOptions::default(), script).await;
    assert_eq!(error, PeerIncompatible::CredentialsRequired.into());
}

/// Section 6.2: each is answered with `NotUnderstood`; there is an end to it, in one text and in all of them.
async fn h46_keys_that_nobody_understands(world: &World) {
    let flood = |from: usize, count: usize| {
        let key = |number| format!("X-{number:058}=1\0");
        (from..from + count)
            .map(key)
            .collect::<String>()
            .into_bytes()
    };
    // 100 of them are answered, in as many requests as it takes.
    let script = async |peer: &mut Peer| {
        let mut exchange = peer.hear_login().await.unwrap();
        for round in 0..3 {
            let mut response = exchange.agreed();
            response.transit = false;
            peer.say(response, flood(round * 100, 100)).await.unwrap();
            exchange = peer.hear_login().await.unwrap();
            assert_eq!(exchange.keys.len(), 100);
            assert!(
                exchange
                    .keys
                    .iter()
                    .all(|(_, value)| value == "NotUnderstood")
            );
        }
        // 5000 in one text that goes on and on: 315 000 bytes.
        let text = flood(1000, 5000);
        let mut sent = 0;
        for part in text.chunks(8190) {
            let mut response = exchange.agreed();
            (response.transit, response.cont) = (false, true);
            peer.say(response, part).await.unwrap();
            sent += part.len();
            if sent > 65_536 {
                break;
            }
            exchange = peer.hear_login().await.unwrap();
            assert!(exchange.keys.is_empty(), "it is not its turn");
        }
    };
    let error = refused(world, SessionOptions::default(), script).await;
    assert!(
        matches!(
            error,
            Error::Decode(DecodeError::TextTooLong { limit: 65_536, .. })
        ),
        "{error}"
    );
    // A text that is short enough, whose answer would not be.
    let script = async |peer: &mut Peer| {
        let mut exchange = peer.hear_login().await.unwrap();
        let text = flood(0, 1000);
        let parts: Vec<&[u8]> = text.chunks(8190).collect();
        for (at, part) in parts.iter().enumerate() {
            let mut response = exchange.agreed();
            response.transit = false;
            response.cont = at + 1 < parts.len();
            peer.say(response, *part).await.unwrap();
            if response.cont {
                exchange = peer.hear_login().await.unwrap();
            }
        }
    };
    let error = refused(world, SessionOptions::default(), script).await;
    assert!(
        matches!(
            error,
            Error::Decode(DecodeError::TextTooLong { limit: 65_536, .. })
        ),
        "{error}"
    );
}
