//! Offers and answers (RFC 7143 section 6.2), and the keys whose result is a function of both (section 13).

use iscsi_proto::{
    Error, PeerIncompatible,
    text::{DigestOffer, OperationalOffer, Parameters, TaskReportingOffer},
};

use super::steps::{BAD_VALUE, GROUP, answered, fails, hear_offers, is_ended, offering};
use crate::support::{World, rows};

rows! {
    c09_of_a_list_one_offered_value_is_accepted;
    c10_numbers_follow_their_function_and_stay_in_range;
    c11_booleans_follow_their_function;
    c13_a_refused_key_leaves_its_default;
    c21_first_burst_is_not_longer_than_max_burst;
    c22_time2wait_is_the_longer_and_time2retain_the_shorter;
    c24_error_recovery_level_is_the_lower;
}

/// Section 6.2.1: the answer to a list is one of its values, written as it was offered.
async fn c09_of_a_list_one_offered_value_is_accepted(world: &World) {
    let offer = || {
        offering(|offer| {
            offer
                .with_header_digest(DigestOffer::None)
                .with_data_digest(DigestOffer::PreferCrc32c)
                .with_task_reporting(TaskReportingOffer::PreferResponseFence)
        })
    };
    for (number, (key, value, is_offered)) in [
        ("HeaderDigest", "None", true),
        ("HeaderDigest", "CRC32C", false),
        ("HeaderDigest", "", false),
        ("DataDigest", "CRC32C", true),
        ("DataDigest", "None", true),
        ("DataDigest", "CRC32C,None", false),
        ("DataDigest", "crc32c", false),
        ("DataDigest", "none", false),
        ("DataDigest", "CRC32C ", false),
        ("TaskReporting", "ResponseFence", true),
        ("TaskReporting", "RFC3720", true),
        ("TaskReporting", "FastAbort", false),
    ]
    .into_iter()
    .enumerate()
    {
        let world = world.case(number).await;
        let answer = answered(&world, offer(), &[(key, value)]).await;
        match is_offered {
            true => assert!(answer.is_ok(), "{key}={value}"),
            false => assert_eq!(answer.unwrap_err(), BAD_VALUE, "{key}={value}"),
        }
    }
    // AuthMethod, of which None alone was offered.
    for (number, value) in ["None,CHAP", "none", "X-abc"].into_iter().enumerate() {
        let world = world.case(20 + number).await;
        let script = async {
            let mut peer = world.accept().await;
            let first = peer.hear_login().await.unwrap();
            let answer = [GROUP, ("AuthMethod", value)];
            peer.say_login(first.agreed(), &answer).await.unwrap();
            is_ended(&mut peer).await;
        };
        let error = fails(&world.initiator(), &world.to(), script).await;
        assert_eq!(error, BAD_VALUE, "{value}");
    }
}

fn number_of(p: &Parameters, key: &str) -> u32 {
    match key {
        "MaxConnections" => p.max_connections.into(),
        "MaxBurstLength" => p.max_burst_length,
        "FirstBurstLength" => p.first_burst_length,
        "DefaultTime2Wait" => p.default_time2wait.into(),
        "DefaultTime2Retain" => p.default_time2retain.into(),
        "MaxOutstandingR2T" => p.max_outstanding_r2t.into(),
        "ErrorRecoveryLevel" => p.error_recovery_level.into(),
        "iSCSIProtocolLevel" => p.protocol_level.into(),
        "MaxRecvDataSegmentLength" => p.max_xmit_data_segment_length,
        _ => unreachable!("{key}"),
    }
}

/// Logs in with each answer; it is either the result or a bad value.
async fn judge_numbers(
    world: &World,
    offer: impl Fn(OperationalOffer) -> OperationalOffer,
    others: &[(&str, &str)],
    cases: &[(&str, &str, Option<u32>)],
) {
    for (number, (key, value, result)) in cases.iter().enumerate() {
        let world = world.case(number).await;
        let mut answers = vec![(*key, *value)];
        answers.extend(others.iter().filter(|(other, _)| other != key));
        let answer = answered(&world, offering(&offer), &answers).await;
        let answer = answer.map(|login| number_of(&login.parameters, key));
        assert_eq!(answer, result.ok_or(BAD_VALUE), "{key}={value}");
    }
}

/// Section 6.2.2: a number is the minimum or the maximum of both, decimal or hexadecimal, and in the range of its
/// key.
async fn c10_numbers_follow_their_function_and_stay_in_range(world: &World) {
    // Offered: 1 MiB, 256 KiB, 1, 4, 0.
    let cases = [
        ("MaxBurstLength", "1048576", Some(1_048_576)),
        ("MaxBurstLength", "0x40000", Some(262_144)),
        ("MaxBurstLength", "0X40000", Some(262_144)),
        ("MaxBurstLength", "1048577", None),
        ("MaxBurstLength", "511", None),
        ("MaxBurstLength", "0", None),
        ("MaxBurstLength", "16777216", None),
        ("MaxBurstLength", "4294967808", None),
        ("MaxBurstLength", "", None),
        ("MaxBurstLength", "-1", None),
        ("MaxBurstLength", "+65536", None),
        ("MaxBurstLength", "65536 ", None),
        ("MaxBurstLength", "6e4", None),
        ("MaxBurstLength", "0x", None),
        ("MaxBurstLength", "65536~131072", None),
        ("FirstBurstLength", "512", Some(512)),
        ("FirstBurstLength", "262144", Some(262_144)),
        ("FirstBurstLength", "262145", None),
        ("FirstBurstLength", "511", None),
        ("MaxConnections", "1", Some(1)),
        ("MaxConnections", "2", None),
        ("MaxConnections", "0", None),
        ("MaxOutstandingR2T", "4", Some(4)),
        ("MaxOutstandingR2T", "5", None),
        ("MaxOutstandingR2T", "0", None),
        ("MaxRecvDataSegmentLength", "512", Some(512)),
        ("MaxRecvDataSegmentLength", "16777215", Some(16_777_215)),
        ("MaxRecvDataSegmentLength", "511", None),
        ("MaxRecvDataSegmentLength", "16777216", None),
    ];
    judge_numbers(world, |offer| offer, &[], &cases).await;
}

/// Section 6.2.2, 13.10, 13.11, 13.18, 13.19: AND or OR of both, and "Yes" or "No".
async fn c11_booleans_follow_their_function(world: &World) {
    let result = |p: &Parameters, key| match key {
        "InitialR2T" => p.initial_r2t,
        "ImmediateData" => p.immediate_data,
        "DataPDUInOrder" => p.data_pdu_in_order,
        _ => p.data_sequence_in_order,
    };
    let cases = [
        ("InitialR2T", false, "No", Some(false)),
        ("InitialR2T", false, "Yes", Some(true)),
        ("InitialR2T", true, "Yes", Some(true)),
        ("InitialR2T", true, "No", None),
        ("ImmediateData", true, "Yes", Some(true)),
        ("ImmediateData", true, "No", Some(false)),
        ("ImmediateData", false, "No", Some(false)),
        ("ImmediateData", false, "Yes", None),
        ("DataPDUInOrder", true, "Yes", Some(true)),
        ("DataPDUInOrder", true, "No", None),
        ("DataSequenceInOrder", true, "Yes", Some(true)),
        ("DataSequenceInOrder", true, "No", None),
        ("ImmediateData", true, "Maybe", None),
        ("ImmediateData", true, "yes", None),
        ("ImmediateData", true, "YES", None),
        ("ImmediateData", true, "1", None),
        ("InitialR2T", false, "", None),
        ("InitialR2T", false, "Yes,No", None),
    ];
    for (number, (key, ours, answer, expected)) in cases.into_iter().enumerate() {
        let world = world.case(number).await;
        let options = offering(|offer| match key {
            "InitialR2T" => offer.with_initial_r2t(ours),
            "ImmediateData" => offer.with_immediate_data(ours),
            _ => offer,
        });
        let found = answered(&world, options, &[(key, answer)]).await;
        let found = found.map(|login| result(&login.parameters, key));
        assert_eq!(found, expected.ok_or(BAD_VALUE), "{key}: {ours}, {answer}");
    }
}

/// Section 6.2: after NotUnderstood, Irrelevant or Reject the default of the key holds; and no key is ever offered
/// with one of these words as its value.
async fn c13_a_refused_key_leaves_its_default(world: &World) {
    const KEYS: [&str; 15] = [
        "HeaderDigest",
        "DataDigest",
        "MaxConnections",
        "InitialR2T",
        "ImmediateData",
        "MaxBurstLength",
        "FirstBurstLength",
        "DefaultTime2Wait",
        "DefaultTime2Retain",
        "MaxOutstandingR2T",
        "DataPDUInOrder",
        "DataSequenceInOrder",
        "ErrorRecoveryLevel",
        "TaskReporting",
        "iSCSIProtocolLevel",
    ];
    let offer = || {
        offering(|offer| {
            let offer = offer.with_task_reporting(TaskReportingOffer::PreferFastAbort);
            let offer = offer.with_header_digest(DigestOffer::PreferCrc32c);
            offer.with_max_connections(4).unwrap()
        })
    };
    let words = ["NotUnderstood", "Irrelevant", "Reject"];
    for (number, word) in words.into_iter().enumerate() {
        let world = world.case(number).await;
        let script = async {
            let mut peer = world.accept().await;
            let offers = hear_offers(&mut peer).await;
            assert!(
                offers
                    .keys
                    .iter()
                    .all(|(_, value)| !words.contains(&value.as_str()))
            );
            let refused: Vec<_> = KEYS.iter().map(|key| (*key, word)).collect();
            peer.say_login(offers.agreed(), &refused).await.unwrap();
            peer.hear_the_end().await;
        };
        let initiator = world.initiator();
        let client = async {
            let to = world.to_with(offer());
            let session = initiator.connect_spawned(&to).await.unwrap();
            let mut defaults = Parameters::default();
            defaults.max_recv_data_segment_length = 262_144;
            defaults.target_portal_group_tag = session.login().portal_group();
            assert_eq!(session.login().parameters, defaults, "{word}");
            session.close().await;
        };
        futures_util::future::join(script, client).await;
        // And one by one: that one key is not what the others hang on.
        for (at, key) in KEYS.into_iter().enumerate() {
            let world = world.case(10 + 20 * number + at).await;
            let login = answered(&world, offer(), &[(key, word)]).await;
            assert!(login.is_ok(), "{key}={word}");
        }
    }
    // Unless there is no default that the initiator could do with.
    let options = offering(|offer| offer.with_header_digest(DigestOffer::RequireCrc32c));
    let refused = answered(world, options, &[("HeaderDigest", "Reject")]).await;
    let expected = Error::from(PeerIncompatible::DigestRefused);
    assert_eq!(refused.unwrap_err(), expected);
}

/// Section 13.14: FirstBurstLength must not exceed MaxBurstLength, neither in an offer nor in the result.
async fn c21_first_burst_is_not_longer_than_max_burst(world: &World) {
    for (number, (first, most)) in [
        (65_536, 262_144),
        (262_144, 512),
        (0xff_ffff, 512),
        (512, 512),
        (512, 0xff_ffff),
        (0xff_ffff, 0xff_ffff),
    ]
    .into_iter()
    .enumerate()
    {
        let world = world.case(number).await;
        let options = offering(|offer| {
            let offer = offer.with_first_burst_length(first).unwrap();
            offer.with_max_burst_length(most).unwrap()
        });
        let script = async {
            let mut peer = world.accept().await;
            let offers = hear_offers(&mut peer).await;
            let length = |key| offers.value(key).unwrap().parse::<u32>().unwrap();
            assert_eq!(length("MaxBurstLength"), most);
            assert_eq!(length("FirstBurstLength"), first.min(most));
            // 513 is longer than what the target makes of MaxBurstLength.
            let answers = offers.answers(&[
                ("MaxBurstLength", "512"),
                (
                    "FirstBurstLength",
                    if first.min(most) > 512 { "513" } else { "512" },
                ),
                ("InitialR2T", "No"),
            ]);
            peer.say_login(offers.agreed(), &answers).await.unwrap();
            peer.hear_the_end().await;
        };
        let initiator = world.initiator();
        let to = world.to_with(options);
        if first.min(most) > 512 {
            assert_eq!(fails(&initiator, &to, script).await, BAD_VALUE);
            continue;
        }
        let client = async {
            let session = initiator.connect_spawned(&to).await.unwrap();
            let login = session.login();
            assert_eq!(login.parameters.first_burst_length, 512);
            session.close().await;
        };
        futures_util::future::join(script, client).await;
    }
}

/// Sections 13.15 and 13.16.
async fn c22_time2wait_is_the_longer_and_time2retain_the_shorter(world: &World) {
    let cases = [
        ("DefaultTime2Wait", "10", Some(10)),
        ("DefaultTime2Wait", "11", Some(11)),
        ("DefaultTime2Wait", "3600", Some(3600)),
        ("DefaultTime2Wait", "9", None),
        ("DefaultTime2Wait", "0", None),
        ("DefaultTime2Wait", "3601", None),
        ("DefaultTime2Retain", "30", Some(30)),
        ("DefaultTime2Retain", "0", Some(0)),
        ("DefaultTime2Retain", "31", None),
        ("DefaultTime2Retain", "3601", None),
    ];
    let offer = |offer: OperationalOffer| {
        let offer = offer.with_default_time2wait(10).unwrap();
        offer.with_default_time2retain(30).unwrap()
    };
    judge_numbers(world, offer, &[("DefaultTime2Wait", "10")], &cases).await;
}

/// Section 13.20: level 0 is offered, so nothing else can come of it.
async fn c24_error_recovery_level_is_the_lower(world: &World) {
    let cases = [
        ("ErrorRecoveryLevel", "0", Some(0)),
        ("ErrorRecoveryLevel", "1", None),
        ("ErrorRecoveryLevel", "2", None),
        ("ErrorRecoveryLevel", "3", None),
    ];
    judge_numbers(world, |offer| offer, &[], &cases).await;
}
