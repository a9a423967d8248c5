//! Logins that succeed, and what goes over the wire on the way.

use crate::support::{CHALLENGE, Script, discovery, normal, operational, with_chap};
use iscsi_proto::{
    Error, Instant, LoginStatus, PeerIncompatible, PeerMisbehaved, TargetPortalGroupTag, Tsih,
    login::{ChapAlgorithm, LoginOutcome},
    pdu::Stage,
    serial::StatSn,
    text::{Digest, DigestOffer, OperationalOffer, SessionType, TaskReporting, TaskReportingOffer},
};

/// What a target with narrower limits than ours answers.
const ANSWERS: &str = "HeaderDigest=None DataDigest=None MaxConnections=1 InitialR2T=Yes \
    ImmediateData=Yes MaxRecvDataSegmentLength=65536 MaxBurstLength=262144 \
    FirstBurstLength=65536 DefaultTime2Wait=2 DefaultTime2Retain=0 MaxOutstandingR2T=1 \
    DataPDUInOrder=Yes DataSequenceInOrder=Yes ErrorRecoveryLevel=0";

/// C-01, C-17, C-21, C-26.
#[test]
fn without_credentials_both_stages_are_passed_and_every_key_is_explicit() {
    let mut script = Script::new(normal().with_initiator_alias("vm one\n"));
    let first = script.request;
    assert_eq!(
        (first.csg, first.nsg),
        (Stage::SecurityNegotiation, Stage::OperationalNegotiation)
    );
    assert!(first.transit && !first.cont);
    assert_eq!(
        (first.tsih, first.version_max, first.version_min),
        (Tsih(0), 0, 0)
    );
    assert_eq!(
        script.said,
        "InitiatorName=iqn.2001-04.com.example:host InitiatorAlias=vm one \
         TargetName=iqn.2001-04.com.example:disk SessionType=Normal AuthMethod=None "
    );
    script
        .answer("AuthMethod=None TargetPortalGroupTag=3 TargetAlias=shelf")
        .unwrap();
    assert_eq!(
        (
            script.request.csg,
            script.request.nsg,
            script.request.transit
        ),
        (Stage::OperationalNegotiation, Stage::FullFeature, true)
    );
    assert_eq!(
        script.said,
        "MaxRecvDataSegmentLength=262144 HeaderDigest=None,CRC32C DataDigest=None,CRC32C \
         MaxConnections=1 InitialR2T=No ImmediateData=Yes MaxBurstLength=1048576 \
         FirstBurstLength=262144 DefaultTime2Wait=0 DefaultTime2Retain=0 MaxOutstandingR2T=4 \
         DataPDUInOrder=Yes DataSequenceInOrder=Yes ErrorRecoveryLevel=0 iSCSIProtocolLevel=2 "
    );
    let cmd_sn = script.cmd_sn();
    script.answer(ANSWERS).unwrap();
    assert!(!script.login.is_pending() && script.login.poll_timeout().is_none());
    assert!(script.login.recv_buf().is_empty());

    let logged_in = script.complete();
    for name in [logged_in.target_name(), normal().target_name()] {
        let name = name.map(|name| name.as_str());
        assert_eq!(name, Some("iqn.2001-04.com.example:disk"));
    }
    assert_eq!(
        (logged_in.tsih(), logged_in.cmd_sn()),
        (Tsih(0x4711), cmd_sn)
    );
    assert_eq!(
        (logged_in.exp_cmd_sn(), logged_in.max_cmd_sn()),
        (cmd_sn, cmd_sn.plus(31))
    );
    assert_eq!(logged_in.exp_stat_sn(), StatSn(2));
    assert!(!logged_in.is_authenticated() && logged_in.read_ahead().is_empty());
    assert_eq!(logged_in.session_type(), SessionType::Normal);
    let p = logged_in.parameters();
    assert_eq!(p.target_portal_group_tag, Some(TargetPortalGroupTag(3)));
    assert_eq!(p.target_alias.as_deref(), Some("shelf"));
    assert_eq!(
        (
            p.max_recv_data_segment_length,
            p.max_xmit_data_segment_length
        ),
        (262_144, 65_536),
        "each side declares its own (C-19)"
    );
    assert_eq!(
        (p.max_burst_length, p.first_burst_length),
        (262_144, 65_536)
    );
    assert!(p.initial_r2t && p.immediate_data);
    assert_eq!(
        (
            p.max_outstanding_r2t,
            p.default_time2wait,
            p.default_time2retain
        ),
        (1, 2, 0)
    );
}

/// C-77, C-78. The responses come from another implementation of the hashes (Python's hashlib).
#[test]
fn chap_answers_the_challenge_with_each_algorithm() {
    for (number, response) in [
        ("5", "0xef910a2d1d35c138582e5a4a0ed5b759"),
        ("6", "0x08fb48f951481c9d694d7970ed546cd008312bfa"),
        (
            "7",
            "0xd6988c0cf7016578a04b9f8cbb157e191c4940978c65b3002eddfaf5e4f12524",
        ),
        (
            "8",
            "0x281b880ee9b3cc70e78da13dc2cb9385c49a38e416235961de133041ba032417",
        ),
    ] {
        let mut script = Script::new(with_chap(normal()));
        assert_eq!(
            script.value("AuthMethod"),
            Some("CHAP"),
            "no way around it is offered (K-05)"
        );
        assert!(!script.request.transit);
        script
            .answer("AuthMethod=CHAP TargetPortalGroupTag=1")
            .unwrap();
        assert_eq!(
            (script.said.as_str(), script.request.transit),
            ("CHAP_A=8,7,6,5 ", false)
        );
        script
            .answer(&format!("CHAP_A={number} CHAP_I=90 CHAP_C={CHALLENGE}"))
            .unwrap();
        assert_eq!(script.said, format!("CHAP_N=user CHAP_R={response} "));
        assert!(script.request.transit);
        script.answer("").unwrap();
        assert_eq!(script.request.csg, Stage::OperationalNegotiation);
        script.answer(ANSWERS).unwrap();
        assert!(script.complete().is_authenticated());
    }
}

#[test]
fn the_algorithms_are_offered_in_the_given_order() {
    let config = with_chap(normal()).with_chap_algorithms(&[ChapAlgorithm::Md5]);
    let mut script = Script::new(config);
    script.answer("AuthMethod=CHAP").unwrap();
    assert_eq!(script.said, "CHAP_A=5 ");
}

#[test]
fn after_a_refused_list_of_algorithms_md5_is_tried_alone_and_once() {
    let refused = |detail| Error::LoginRejected(LoginStatus { class: 2, detail });
    let first = with_chap(normal());
    let second = first.narrowed_after(&refused(0)).unwrap();
    assert!(second.narrowed_after(&refused(0)).is_none());
    let mut script = Script::new(second);
    script.answer("AuthMethod=CHAP").unwrap();
    assert_eq!(script.said, "CHAP_A=5 ");
    assert!(
        first.narrowed_after(&refused(3)).is_none(),
        "not for what it cannot cure"
    );
    for cause in [
        PeerIncompatible::NoCommonAuthMethod.into(),
        PeerMisbehaved::Chap.into(),
    ] {
        assert!(first.narrowed_after(&cause).is_some(), "{cause}");
    }
    let two = [ChapAlgorithm::Sha1, ChapAlgorithm::Md5];
    let two = first.clone().with_chap_algorithms(&two);
    let alone = two.narrowed_after(&refused(0)).unwrap();
    assert_eq!(alone.chap_algorithms(), [ChapAlgorithm::Md5]);
    assert!(first.narrowed_after(&Error::Closed).is_none());
    assert!(normal().narrowed_after(&refused(1)).is_none());
    let strict = first.with_chap_algorithms(&[ChapAlgorithm::Sha256]);
    assert!(
        strict.narrowed_after(&refused(1)).is_none(),
        "never what was not offered"
    );
}

/// Each algorithm alone, the most widespread first, and never MD5.
#[test]
fn a_refused_list_without_md5_never_leads_to_md5() {
    let refused = Error::LoginRejected(LoginStatus {
        class: 2,
        detail: 1,
    });
    let mut config = with_chap(normal()).with_chap_algorithms(ChapAlgorithm::WITHOUT_MD5);
    let mut offers = Vec::new();
    loop {
        let mut script = Script::new(config.clone());
        script.answer("AuthMethod=CHAP").unwrap();
        offers.push(script.said.trim_end().to_owned());
        let md5 = format!("CHAP_A=5 CHAP_I=1 CHAP_C={CHALLENGE}");
        assert_eq!(script.answer(&md5), Err(PeerMisbehaved::Chap.into()));
        match config.narrowed_after(&refused) {
            Some(narrower) => config = narrower,
            None => break,
        }
    }
    assert_eq!(offers, ["CHAP_A=8,7,6", "CHAP_A=7", "CHAP_A=6", "CHAP_A=8"]);
}

/// 255 bytes, or less where that would cut a character.
#[test]
fn a_long_alias_is_cut_between_two_characters() {
    for (alias, kept) in [
        ("a".repeat(300), "a".repeat(255)),
        (format!("{}\u{e9}x", "a".repeat(254)), "a".repeat(254)),
    ] {
        let script = Script::new(normal().with_initiator_alias(&alias));
        let said = format!("InitiatorAlias={kept} TargetName=");
        assert!(script.said.contains(&said), "{}", script.said);
    }
}

#[test]
fn an_algorithm_counts_once() {
    let twice = [ChapAlgorithm::Sha1, ChapAlgorithm::Md5, ChapAlgorithm::Sha1];
    let config = with_chap(normal())
        .with_chap_algorithms(&twice)
        .with_chap_algorithms(&[]);
    assert_eq!(
        config.chap_algorithms(),
        [ChapAlgorithm::Sha1, ChapAlgorithm::Md5]
    );
}

#[test]
fn where_chap_is_not_required_the_target_may_do_without() {
    let mut script = Script::new(with_chap(normal()).with_require_chap(false));
    assert_eq!(script.value("AuthMethod"), Some("CHAP,None"));
    script.answer("AuthMethod=None").unwrap();
    assert!(script.request.transit && script.said.is_empty());
    script.answer("").unwrap();
    script.answer(ANSWERS).unwrap();
    assert!(!script.complete().is_authenticated());
}

/// C-25: and none of the keys that mean nothing there; digests are not even offered.
#[test]
fn a_discovery_session_offers_what_matters_there() {
    let mut script = Script::new(discovery());
    assert_eq!(script.value("SessionType"), Some("Discovery"));
    assert_eq!(script.value("TargetName"), None);
    script.answer("AuthMethod=None").unwrap();
    assert_eq!(
        script.said,
        "MaxRecvDataSegmentLength=262144 HeaderDigest=None DataDigest=None DefaultTime2Wait=0 \
         DefaultTime2Retain=0 ErrorRecoveryLevel=0 "
    );
    script
        .answer_with("MaxBurstLength=512 HeaderDigest=None", |h| {
            h.transit = false
        })
        .unwrap();
    assert_eq!(script.said, "MaxBurstLength=Irrelevant ");
    script.answer("").unwrap();
    let logged_in = script.complete();
    assert_eq!(
        (logged_in.session_type(), logged_in.target_name()),
        (SessionType::Discovery, None)
    );
}

#[test]
fn digests_are_what_both_sides_want() {
    let offer = OperationalOffer::default()
        .with_header_digest(DigestOffer::RequireCrc32c)
        .with_data_digest(DigestOffer::PreferCrc32c);
    let mut script = operational(normal().with_offer(offer));
    assert_eq!(script.value("HeaderDigest"), Some("CRC32C"));
    assert_eq!(script.value("DataDigest"), Some("CRC32C,None"));
    script
        .answer("HeaderDigest=CRC32C DataDigest=None")
        .unwrap();
    let logged_in = script.complete();
    let p = logged_in.parameters();
    assert_eq!(
        (p.header_digest, p.data_digest),
        (Digest::Crc32c, Digest::None)
    );
}

/// C-04.
#[test]
fn a_target_may_hold_the_transition_in_both_stages() {
    let mut script = Script::new(with_chap(normal()));
    script.answer("AuthMethod=CHAP").unwrap();
    script
        .answer(&format!("CHAP_A=5 CHAP_I=0 CHAP_C={CHALLENGE}"))
        .unwrap();
    for _ in 0..3 {
        script.answer_with("", |h| h.transit = false).unwrap();
        assert!(script.said.is_empty() && script.request.transit);
    }
    script.answer("").unwrap();
    script.answer_with(ANSWERS, |h| h.transit = false).unwrap();
    for _ in 0..3 {
        assert!(script.said.is_empty() && script.request.transit);
        script.answer_with("", |h| h.transit = false).unwrap();
    }
    script.answer("").unwrap();
    assert!(script.complete().is_authenticated());
}

/// C-28: a text cut in three, in the middle of pairs.
#[test]
fn a_text_of_the_target_may_come_in_pieces() {
    let mut script = operational(normal());
    let text = crate::support::text(ANSWERS);
    for piece in [&text[..5], &text[5..100]] {
        let mut header = script.header();
        (header.cont, header.transit) = (true, false);
        script.stat_sn = script.stat_sn.next();
        script.feed(&Script::pdu(header, piece)).unwrap();
        assert!(script.said.is_empty() && !script.request.transit && !script.request.cont);
    }
    let header = script.header();
    script.stat_sn = script.stat_sn.next();
    script.feed(&Script::pdu(header, &text[100..])).unwrap();
    assert!(script.request.transit);
    script.answer("").unwrap();
    assert_eq!(
        script.complete().parameters().max_xmit_data_segment_length,
        65_536
    );
}

/// C-12, C-28: what we have to say does not fit into one PDU.
#[test]
fn a_long_text_of_ours_goes_out_in_pieces() {
    let mut script = operational(normal());
    let unknown: String = (0..500).map(|n| format!("X-{n}=v ")).collect();
    script.answer_with(&unknown, |h| h.transit = false).unwrap();
    let mut said = String::new();
    while script.request.cont {
        assert!(!script.request.transit);
        said.push_str(&script.said);
        script.answer("").unwrap();
    }
    said.push_str(&script.said);
    assert!(script.request.transit && said.len() > 8192);
    let want: String = (0..500).map(|n| format!("X-{n}=NotUnderstood ")).collect();
    assert_eq!(said, want);
    script.answer(ANSWERS).unwrap();
    script.complete();
}

/// C-19: during login the default limit holds, or less where the target declared less.
#[test]
fn our_text_respects_a_small_limit_of_the_target() {
    let mut script = Script::new(normal());
    script
        .answer("AuthMethod=None MaxRecvDataSegmentLength=512")
        .unwrap();
    let unknown: String = (0..30).map(|n| format!("X-{n}=v ")).collect();
    assert!(script.request.data_segment_length <= 512);
    script.answer_with(&unknown, |h| h.transit = false).unwrap();
    assert_eq!(
        (script.request.data_segment_length, script.request.cont),
        (512, true)
    );
}

/// C-08, C-12, C-18.
#[test]
fn keys_that_the_target_brings_up_are_answered() {
    let mut script = operational(normal());
    let keys = "IFMarker=Yes OFMarkInt=2048 headerdigest=None X-foo=1 \
        TaskReporting=FastAbort,RFC3720";
    script.answer_with(keys, |h| h.transit = false).unwrap();
    assert_eq!(
        script.said,
        "IFMarker=No OFMarkInt=Reject headerdigest=NotUnderstood X-foo=NotUnderstood \
         TaskReporting=RFC3720 "
    );
    script.answer(ANSWERS).unwrap();
    script.complete();
}

#[test]
fn a_key_that_the_target_settles_early_is_not_offered_again() {
    let mut script = Script::new(normal());
    script
        .answer("AuthMethod=None MaxBurstLength=65536")
        .unwrap();
    assert!(
        script
            .said
            .starts_with("MaxBurstLength=65536 MaxRecvDataSegmentLength=")
    );
    assert_eq!(script.said.matches("MaxBurstLength").count(), 1);
    script.answer("").unwrap();
    assert_eq!(script.complete().parameters().max_burst_length, 65_536);
}

/// RFC 7143 section 13.23 and RFC 7144 section 7.1.1.
#[test]
fn task_reporting_and_protocol_level_are_what_both_sides_want() {
    use TaskReportingOffer as Offer;
    for (offer, sent, answer, agreed) in [
        (
            Offer::PreferFastAbort,
            Some("FastAbort,ResponseFence,RFC3720"),
            "TaskReporting=ResponseFence iSCSIProtocolLevel=2",
            (TaskReporting::ResponseFence, 2),
        ),
        (
            Offer::PreferFastAbort,
            Some("FastAbort,ResponseFence,RFC3720"),
            "TaskReporting=FastAbort iSCSIProtocolLevel=0",
            (TaskReporting::FastAbort, 0),
        ),
        (
            Offer::PreferResponseFence,
            Some("ResponseFence,RFC3720"),
            "TaskReporting=NotUnderstood iSCSIProtocolLevel=NotUnderstood",
            (TaskReporting::Rfc3720, 1),
        ),
        (
            Offer::Rfc3720,
            Some("RFC3720"),
            "TaskReporting=Reject iSCSIProtocolLevel=1",
            (TaskReporting::Rfc3720, 1),
        ),
        (Offer::Silent, None, "", (TaskReporting::Rfc3720, 1)),
    ] {
        let offer = OperationalOffer::default().with_task_reporting(offer);
        let mut script = operational(normal().with_offer(offer));
        assert_eq!(script.value("TaskReporting"), sent);
        assert_eq!(script.value("iSCSIProtocolLevel"), Some("2"));
        script.answer(answer).unwrap();
        let p = script.complete().parameters().clone();
        assert_eq!((p.task_reporting, p.protocol_level), agreed, "{answer}");
    }
    let modest = OperationalOffer::default().with_protocol_level(1).unwrap();
    let mut script = operational(normal().with_offer(modest));
    let more = script.answer("iSCSIProtocolLevel=2");
    assert_eq!(more, Err(PeerMisbehaved::BadValue.into()));
    let mut script = operational(normal());
    let more = script.answer("TaskReporting=RFC3720,FastAbort");
    assert_eq!(more, Err(PeerMisbehaved::DuplicateKey.into()));
    let error = OperationalOffer::default().with_protocol_level(3);
    assert_eq!(
        error.unwrap_err().to_string(),
        "iSCSIProtocolLevel must be between 0 and 2, not 3"
    );
}

/// C-05, C-06.
#[test]
fn stat_sn_begins_anywhere_and_wraps() {
    for start in [0, 1, 0x7fff_ffff, 0xffff_ffff] {
        let mut script = Script::new(normal());
        script.stat_sn = StatSn(start);
        script.answer("AuthMethod=None").unwrap();
        assert_eq!(script.request.exp_stat_sn, StatSn(start).plus(1));
        script.answer(ANSWERS).unwrap();
        assert_eq!(script.complete().exp_stat_sn(), StatSn(start).plus(2));
    }
}

/// H17.
#[test]
fn the_stream_may_be_cut_anywhere_and_what_follows_is_handed_on() {
    for step in [1, 7, 48, usize::MAX] {
        let mut script = Script::new(normal());
        script.step = step;
        script.answer("AuthMethod=None").unwrap();
        let mut last = Script::pdu(script.header(), &crate::support::text(ANSWERS));
        script.feed(&last[..last.len() - 1]).unwrap();
        assert!(script.login.is_pending());
        let tail = [last.pop().unwrap(), 1, 2, 3];
        script.step = usize::MAX;
        script.feed(&tail).unwrap();
        let logged_in = script.complete();
        assert_eq!(logged_in.read_ahead(), [1, 2, 3]);
        assert_eq!(logged_in.into_parts().1, [1, 2, 3]);
    }
}

#[test]
fn a_redirection_names_the_other_portal() {
    for (detail, permanent) in [(1, false), (2, true)] {
        let mut script = Script::new(with_chap(normal()));
        let address = "TargetAddress=[2001:db8::7]:860";
        // C-29: the other fields mean nothing then.
        script
            .answer_with(address, |h| {
                h.status = LoginStatus { class: 1, detail };
                h.stat_sn = StatSn(77);
                h.isid = Default::default();
            })
            .unwrap();
        match script.login.outcome() {
            LoginOutcome::Redirect {
                portal,
                permanent: kind,
                status,
            } => {
                assert_eq!(portal.to_string(), "[2001:db8::7]:860");
                assert_eq!((kind, status.detail), (permanent, detail));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// K-01, K-02.
#[test]
fn nothing_that_can_be_printed_shows_the_secret() {
    let mut script = Script::new(with_chap(normal()));
    script.answer("AuthMethod=CHAP").unwrap();
    script
        .answer(&format!("CHAP_A=5 CHAP_I=90 CHAP_C={CHALLENGE}"))
        .unwrap();
    let shown = format!("{:?} {:?}", with_chap(normal()), script.login);
    assert!(
        !shown.contains("opensesame") && !shown.contains("ef910a2d"),
        "{shown}"
    );
    assert!(!shown.contains("[111, 112, 101"), "{shown}");
    assert_eq!(
        script.login.poll_timeout(),
        Some(Instant::from_nanos(15_000_000_000))
    );
}
