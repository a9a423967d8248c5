//! Login, CHAP, negotiation, discovery.

use std::sync::Arc;

use iscsi_proto::{
    InitiatorTaskTag, LoginStatus, TargetTransferTag,
    pdu::{Pdu, Stage, TextRequest},
    scsi::Lun,
    text::TaskReporting,
};
use iscsi_testkit::target::{
    ChapConfig, DigestPolicy, LoginConduct, Redirect, TargetConfig, TargetCore,
};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;
use sha3::Sha3_256;

use crate::script::{Direct, INITIATOR, Script, TARGET, config};

const SECURITY: Stage = Stage::SecurityNegotiation;
const OPERATIONAL: Stage = Stage::OperationalNegotiation;

fn core(config: TargetConfig) -> Arc<TargetCore> {
    let addresses: Vec<_> = config.portals.iter().map(|portal| portal.address).collect();
    TargetCore::new(config, &addresses)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.strip_prefix("0x").unwrap().as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn value<'a>(pairs: &'a [(String, String)], key: &str) -> &'a str {
    &pairs.iter().find(|(name, _)| name == key).unwrap().1
}

/// A CHAP login with `algorithm`; `tamper` changes the response.
fn chap(algorithm: &str, name: &str, secret: &str) -> LoginStatus {
    let core = core(config().with_chap(ChapConfig::new("alice", b"correct horse battery")));
    chap_with(&core, algorithm, name, secret)
}

fn chap_with(core: &Arc<TargetCore>, algorithm: &str, name: &str, secret: &str) -> LoginStatus {
    let mut script = Script::direct(core);
    let names = [
        ("InitiatorName", INITIATOR),
        ("TargetName", TARGET),
        ("AuthMethod", "CHAP,None"),
    ];
    let (_, _, answer) = script.login_step((SECURITY, None), &names);
    assert_eq!(value(&answer, "AuthMethod"), "CHAP");
    assert_eq!(value(&answer, "TargetPortalGroupTag"), "1");
    let (status, _, answer) = script.login_step((SECURITY, None), &[("CHAP_A", algorithm)]);
    if status != LoginStatus::SUCCESS {
        return status;
    }
    let identifier: u8 = value(&answer, "CHAP_I").parse().unwrap();
    let message = [
        &[identifier],
        secret.as_bytes(),
        &unhex(value(&answer, "CHAP_C")),
    ]
    .concat();
    let response = match value(&answer, "CHAP_A") {
        "5" => hex(&Md5::digest(message)),
        "6" => hex(&Sha1::digest(message)),
        "7" => hex(&Sha256::digest(message)),
        "8" => hex(&Sha3_256::digest(message)),
        other => panic!("{other}"),
    };
    let keys = [("CHAP_N", name), ("CHAP_R", &format!("0x{response}"))];
    let (status, next, _) = script.login_step((SECURITY, Some(OPERATIONAL)), &keys);
    if status == LoginStatus::SUCCESS {
        assert_eq!(next, Some(OPERATIONAL));
        let last = (OPERATIONAL, Some(Stage::FullFeature));
        assert_eq!(script.login_step(last, &[]).1, Some(Stage::FullFeature));
        assert_eq!(core.sessions(), 1);
    }
    assert_eq!(core.violations(), []);
    status
}

#[test]
fn chap_lets_in_who_has_the_secret() {
    assert_eq!(
        chap("5", "alice", "correct horse battery"),
        LoginStatus::SUCCESS
    );
    for algorithms in ["7,5", "6", "8", "9,8"] {
        assert_eq!(
            chap(algorithms, "alice", "correct horse battery"),
            LoginStatus::SUCCESS,
            "{algorithms}"
        );
    }
}

/// The whole text of a response, and that the stage does not change before its last piece.
fn whole(script: &mut Script<Direct>, (csg, nsg): (Stage, Stage), keys: &[(&str, &str)]) -> String {
    let (mut response, mut piece) = script.login_piece((csg, Some(nsg)), keys);
    let mut text = piece.clone();
    while response.cont {
        assert!(piece.len() <= 16 && !response.transit);
        (response, piece) = script.login_piece((csg, None), &[]);
        text.extend(&piece);
    }
    if csg == SECURITY {
        (response, _) = script.login_piece((csg, Some(nsg)), &[]);
        assert_eq!(response.nsg, nsg);
    }
    String::from_utf8(text).unwrap()
}

/// Section 6.2: the text of a response goes on where the C bit is set, and so do the initiator's
/// empty requests; the stage changes with the last piece.
#[test]
fn long_texts_come_in_pieces_and_announced_keys_are_answered_before_the_session() {
    let mut login = LoginConduct::default();
    login.segment = 16;
    login.alias = Some("shelf".into());
    login.announce = vec![("IFMarker".into(), "Yes".into())];
    let core = core(config().with_login(login));
    let mut script = Script::direct(&core);
    let names = [
        ("InitiatorName", INITIATOR),
        ("TargetName", TARGET),
        ("AuthMethod", "None"),
    ];
    let text = whole(&mut script, (SECURITY, OPERATIONAL), &names);
    assert_eq!(
        text,
        "AuthMethod=None\0TargetPortalGroupTag=1\0TargetAlias=shelf\0"
    );
    let last = (OPERATIONAL, Stage::FullFeature);
    let text = whole(&mut script, last, &[("MaxBurstLength", "512")]);
    assert_eq!(
        text,
        "MaxBurstLength=512\0MaxRecvDataSegmentLength=262144\0IFMarker=Yes\0"
    );
    assert_eq!(core.sessions(), 0);
    let (response, _) = script.login_piece((OPERATIONAL, Some(last.1)), &[("IFMarker", "No")]);
    assert!(response.transit);
    assert_eq!(core.sessions(), 1);
    assert_eq!(core.login_answers(), [("IFMarker".into(), "No".into())]);
    assert_eq!(core.violations(), []);
}

#[test]
fn a_redirection_says_where_and_for_how_long() {
    let core = core(config());
    for (permanent, detail) in [(false, 1), (true, 2)] {
        let to = "[2001:db8::1]:3261".to_owned();
        core.redirect_logins(0, Some(Redirect { to, permanent }));
        let mut script = Script::direct(&core);
        let names = [("InitiatorName", INITIATOR), ("TargetName", TARGET)];
        let (status, _, text) = script.login_step((OPERATIONAL, None), &names);
        assert_eq!(status, LoginStatus { class: 1, detail });
        assert_eq!(value(&text, "TargetAddress"), "[2001:db8::1]:3261");
    }
    core.redirect_logins(0, None);
    assert_eq!(Script::direct(&core).login(&[]), LoginStatus::SUCCESS);
}

#[test]
fn a_target_may_fail_everybody_for_a_while() {
    let core = core(config().with_chap(ChapConfig::new("alice", b"correct horse battery")));
    let login = || chap_with(&core, "5", "alice", "correct horse battery");
    core.fail_authentication(true);
    let failure = LoginStatus {
        class: 2,
        detail: 1,
    };
    assert_eq!(login(), failure);
    core.fail_authentication(false);
    assert_eq!(login(), LoginStatus::SUCCESS);
}

#[test]
fn chap_refuses_everybody_else() {
    let failure = LoginStatus {
        class: 2,
        detail: 1,
    };
    assert_eq!(chap("5", "alice", "wrong"), failure);
    assert_eq!(chap("7", "bob", "correct horse battery"), failure);
    assert_eq!(
        chap("9", "alice", "correct horse battery"),
        failure,
        "no algorithm in common"
    );
    let core = core(config().with_chap(ChapConfig::new("alice", b"secret")));
    assert_eq!(
        Script::direct(&core).login(&[]),
        failure,
        "the security stage was skipped"
    );
    assert_eq!(core.sessions(), 0);
}

#[test]
fn a_wrong_name_or_a_missing_one_is_refused() {
    let core = core(config());
    let stages = (OPERATIONAL, Some(Stage::FullFeature));
    let wrong = [
        ("InitiatorName", INITIATOR),
        ("TargetName", "iqn.2026-01.example:other"),
    ];
    let (status, ..) = Script::direct(&core).login_step(stages, &wrong);
    assert_eq!(
        status,
        LoginStatus {
            class: 2,
            detail: 3
        }
    );
    let (status, ..) = Script::direct(&core).login_step(stages, &[("TargetName", TARGET)]);
    assert_eq!(
        status,
        LoginStatus {
            class: 2,
            detail: 7
        }
    );
}

#[test]
fn keys_get_the_answer_of_their_rule() {
    let mut config = config().with_digests(DigestPolicy::Never, DigestPolicy::Require);
    config.limits.time2wait = 3;
    config.limits.task_reporting = TaskReporting::ResponseFence;
    config.limits.protocol_level = 2;
    let core = core(config);
    let mut script = Script::direct(&core);
    let offer = [
        ("InitiatorName", INITIATOR),
        ("TargetName", TARGET),
        ("HeaderDigest", "CRC32C,None"),
        ("DataDigest", "None,CRC32C"),
        ("MaxBurstLength", "16776192"),
        ("FirstBurstLength", "512"),
        ("InitialR2T", "Yes"),
        ("ImmediateData", "No"),
        ("MaxOutstandingR2T", "2"),
        ("MaxConnections", "8"),
        ("ErrorRecoveryLevel", "2"),
        ("DefaultTime2Wait", "1"),
        ("TaskReporting", "FastAbort,ResponseFence,RFC3720"),
        ("iSCSIProtocolLevel", "31"),
        ("IFMarker", "No"),
        ("X-com.example.unknown", "1"),
    ];
    let (_, _, answer) = script.login_step((OPERATIONAL, None), &offer);
    for (key, expected) in [
        ("HeaderDigest", "None"),
        ("DataDigest", "CRC32C"),
        ("MaxBurstLength", "1048576"),
        ("FirstBurstLength", "512"),
        ("InitialR2T", "Yes"),
        ("ImmediateData", "No"),
        ("MaxOutstandingR2T", "2"),
        ("MaxConnections", "1"),
        ("ErrorRecoveryLevel", "0"),
        ("DefaultTime2Wait", "3"),
        ("TaskReporting", "ResponseFence"),
        ("iSCSIProtocolLevel", "2"),
        ("IFMarker", "No"),
        ("X-com.example.unknown", "NotUnderstood"),
        ("MaxRecvDataSegmentLength", "262144"),
    ] {
        assert_eq!(value(&answer, key), expected, "{key}");
    }
    assert_eq!(core.violations(), []);
}

#[test]
fn send_targets_lists_every_portal_in_segments_that_the_initiator_takes() {
    let mut config = config();
    for port in 1..40 {
        config = config.with_portal(format!("10.0.0.1:{port}").parse().unwrap(), port);
    }
    let core = core(config);
    let mut script = Script::direct(&core);
    let keys = [
        ("InitiatorName", INITIATOR),
        ("SessionType", "Discovery"),
        ("MaxRecvDataSegmentLength", "512"),
    ];
    script.login_step((OPERATIONAL, Some(Stage::FullFeature)), &keys);
    let (mut text, mut ttt) = (Vec::new(), TargetTransferTag::RESERVED);
    let mut data: &[u8] = b"SendTargets=All\0";
    loop {
        let request = TextRequest {
            immediate: false,
            is_final: true,
            cont: false,
            lun: Lun::ZERO,
            itt: InitiatorTaskTag(9),
            ttt,
            cmd_sn: script.cmd_sn(),
            exp_stat_sn: script.stat_sn,
            data_segment_length: data.len() as u32,
        };
        script.send(&request.emit(), data);
        let (Pdu::TextResponse(response), segment) = script.receive().unwrap() else {
            panic!()
        };
        assert!(segment.len() <= 512);
        text.extend(segment);
        (ttt, data) = (response.ttt, &[]);
        if response.is_final {
            break;
        }
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("TargetName=iqn.2026-01.example:disk\0TargetAddress="));
    assert_eq!(text.matches("TargetAddress=").count(), 41);
    assert!(text.ends_with("TargetAddress=10.0.0.1:39,39\0"));
    assert_eq!(core.violations(), []);
}
