//! H45, C-13: for each of our keys, what holds when the target refuses it or does not answer.

use crate::support::{Script, normal, operational};
use iscsi_proto::{
    Error, PeerIncompatible,
    login::LoginConfig,
    text::{Digest, DigestOffer, OperationalOffer, Parameters, TaskReporting, TaskReportingOffer},
};

const WORDS: [&str; 3] = ["NotUnderstood", "Irrelevant", "Reject"];

/// Far from every default, so that a default shows.
fn config() -> LoginConfig {
    let offer = OperationalOffer::default()
        .with_header_digest(DigestOffer::PreferCrc32c)
        .with_data_digest(DigestOffer::PreferCrc32c)
        .with_immediate_data(false)
        .with_task_reporting(TaskReportingOffer::PreferFastAbort)
        .with_max_connections(9)
        .and_then(|o| o.with_max_burst_length(1024))
        .and_then(|o| o.with_first_burst_length(1024))
        .and_then(|o| o.with_default_time2wait(99))
        .and_then(|o| o.with_default_time2retain(99))
        .and_then(|o| o.with_max_outstanding_r2t(99));
    normal().with_offer(offer.unwrap())
}

fn agreed(script: Script) -> Parameters {
    script.complete().parameters().clone()
}

#[test]
fn after_a_refusal_the_default_holds() {
    let keys = [
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
        "MaxRecvDataSegmentLength",
        "InitiatorAlias",
    ];
    for word in WORDS {
        let mut script = operational(config());
        let all: String = keys.map(|key| format!("{key}={word} ")).concat();
        script.answer(&all).unwrap();
        let mut p = agreed(script);
        assert_eq!(p.max_recv_data_segment_length, 262_144, "ours to declare");
        p.max_recv_data_segment_length = 8192;
        assert_eq!(p, Parameters::default());
    }
}

/// The strictest of offer and default is safe with both.
#[test]
fn without_an_answer_the_stricter_of_offer_and_default_holds() {
    let mut script = operational(config());
    script.answer("").unwrap();
    let p = agreed(script);
    assert_eq!(
        (p.header_digest, p.data_digest),
        (Digest::None, Digest::None)
    );
    assert_eq!((p.max_connections, p.max_outstanding_r2t), (1, 1));
    assert!(p.initial_r2t && !p.immediate_data);
    assert_eq!((p.max_burst_length, p.first_burst_length), (1024, 1024));
    assert_eq!((p.default_time2wait, p.default_time2retain), (99, 20));
    assert_eq!(p.max_xmit_data_segment_length, 8192);
    assert_eq!(
        (p.task_reporting, p.protocol_level),
        (TaskReporting::Rfc3720, 1)
    );
}

#[test]
fn a_required_digest_that_is_refused_ends_the_login() {
    let offer = OperationalOffer::default().with_data_digest(DigestOffer::RequireCrc32c);
    let refused = Err(Error::from(PeerIncompatible::DigestRefused));
    for word in WORDS {
        let mut script = operational(normal().with_offer(offer));
        assert_eq!(script.answer(&format!("DataDigest={word}")), refused);
    }
    let mut script = operational(normal().with_offer(offer));
    assert_eq!(
        script.answer("HeaderDigest=None"),
        refused,
        "not answered at all"
    );
}

#[test]
fn names_that_are_refused_end_the_login() {
    for key in ["InitiatorName", "TargetName", "SessionType"] {
        for word in WORDS {
            let mut script = Script::new(normal());
            let error = Err(PeerIncompatible::KeyRefused.into());
            assert_eq!(script.answer(&format!("{key}={word}")), error);
        }
    }
}

/// A default that is larger than the other value must not break the relation between the two.
#[test]
fn first_burst_never_exceeds_max_burst() {
    let mut script = operational(normal());
    script
        .answer("MaxBurstLength=512 FirstBurstLength=Irrelevant")
        .unwrap();
    assert_eq!(agreed(script).first_burst_length, 512);
}
