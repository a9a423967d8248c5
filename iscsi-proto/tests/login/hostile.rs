//! Targets that are broken or worse: each ends the login with a typed error, at once.

use core::time::Duration;

use crate::support::{CHALLENGE, Script, normal, operational, with_chap};
use iscsi_proto::{
    ApiMisuse, DecodeError, Error, Instant, Isid, LoginStatus, PeerIncompatible, PeerMisbehaved,
    Tsih,
    error::{Consequence, TimedOut},
    login::{LoginLimits, LoginOutcome, explain},
    pdu::{LoginResponse, Stage},
    serial::{CmdSn, StatSn},
};

/// The login failed with `error`, stays failed, and has nothing more to say.
fn dead(mut script: Script, error: impl Into<Error>) {
    let error = error.into();
    assert!(script.login.transmit().is_empty() && script.login.recv_buf().is_empty());
    assert_eq!(script.login.poll_timeout(), None);
    assert_eq!(script.login.handle_recv(Instant::ZERO, 0), Err(error));
    assert_eq!(script.login.handle_timeout(Instant::ZERO), Err(error));
    assert!(!explain(&error).is_empty());
    assert!(matches!(script.login.outcome(), LoginOutcome::Failed(e) if e == error));
}

fn fails(mut script: Script, pairs: &str, error: impl Into<Error>) {
    let error = error.into();
    assert_eq!(script.answer(pairs), Err(error), "{pairs}");
    dead(script, error);
}

type Edit = fn(&mut LoginResponse);

/// H25, H26, H28, H29, C-03, H69.
#[test]
fn headers_that_do_not_answer_the_request() {
    use PeerMisbehaved as P;
    let cases: &[(Edit, Error)] = &[
        (|h| h.itt.0 ^= 1, P::LoginMismatch.into()),
        (|h| h.isid = Isid([9; 6]), P::LoginMismatch.into()),
        (|h| h.tsih = Tsih(0), P::LoginMismatch.into()),
        (
            |h| h.csg = Stage::SecurityNegotiation,
            P::LoginMismatch.into(),
        ),
        (|h| h.csg = Stage::FullFeature, P::LoginMismatch.into()),
        (
            |h| h.nsg = Stage::OperationalNegotiation,
            P::LoginMismatch.into(),
        ),
        (
            |h| h.nsg = Stage::SecurityNegotiation,
            P::LoginMismatch.into(),
        ),
        (|h| h.cont = true, P::Flags.into()),
        (|h| h.version_active = 1, PeerIncompatible::Version.into()),
        (|h| h.exp_cmd_sn = h.exp_cmd_sn.next(), P::ExpCmdSn.into()),
        (
            |h| h.stat_sn = StatSn(2),
            P::StatSn {
                expected: 1,
                found: 2,
            }
            .into(),
        ),
        (
            |h| h.stat_sn = StatSn(0),
            P::StatSn {
                expected: 1,
                found: 0,
            }
            .into(),
        ),
        (
            |h| h.stat_sn = StatSn(0x8000_0001),
            P::StatSn {
                expected: 1,
                found: 0x8000_0001,
            }
            .into(),
        ),
    ];
    for (n, (edit, error)) in cases.iter().enumerate() {
        let mut script = operational(normal());
        assert_eq!(script.answer_with("", edit), Err(*error), "case {n}");
        dead(script, *error);
    }
}

/// H26: the short cut past the operational stage.
#[test]
fn the_operational_stage_cannot_be_skipped() {
    let mut script = Script::new(normal());
    let result = script.answer_with("AuthMethod=None", |h| {
        (h.nsg, h.tsih) = (Stage::FullFeature, Tsih(1));
    });
    assert_eq!(result, Err(PeerMisbehaved::LoginMismatch.into()));
}

/// H59, K-05. Not one byte that depends on the secret was sent.
#[test]
fn a_target_that_avoids_chap_gets_no_further() {
    let skipped = || Error::from(PeerIncompatible::AuthenticationSkipped);
    for pairs in ["AuthMethod=None", "", "AuthMethod=Irrelevant", "X-a=b"] {
        fails(Script::new(with_chap(normal())), pairs, skipped());
    }
    let edits: &[Edit] = &[
        |h| (h.transit, h.nsg) = (true, Stage::OperationalNegotiation),
        |h| (h.transit, h.nsg) = (true, Stage::FullFeature),
        |h| h.csg = Stage::OperationalNegotiation,
        |h| {
            (h.csg, h.nsg) = (Stage::OperationalNegotiation, Stage::FullFeature);
            (h.transit, h.tsih) = (true, Tsih(1));
        },
    ];
    for edit in edits {
        let mut script = Script::new(with_chap(normal()));
        assert_eq!(script.answer_with("AuthMethod=CHAP", edit), Err(skipped()));
        dead(script, skipped());
    }
    // And when the algorithms are on the table already.
    let mut script = Script::new(with_chap(normal()));
    script.answer("AuthMethod=CHAP").unwrap();
    let transit: Edit = |h| (h.transit, h.nsg) = (true, Stage::OperationalNegotiation);
    assert_eq!(script.answer_with("", transit), Err(skipped()));
}

#[test]
fn without_a_common_method_the_error_says_which_side_lacks_it() {
    fails(
        Script::new(normal()),
        "AuthMethod=CHAP",
        PeerIncompatible::CredentialsRequired,
    );
    fails(
        Script::new(normal()),
        "AuthMethod=Reject",
        PeerIncompatible::CredentialsRequired,
    );
    fails(
        Script::new(normal()),
        "AuthMethod=Magic",
        PeerMisbehaved::BadValue,
    );
    let chap = || Script::new(with_chap(normal()));
    fails(
        chap(),
        "AuthMethod=Reject",
        PeerIncompatible::NoCommonAuthMethod,
    );
    fails(chap(), "AuthMethod=KRB5", PeerMisbehaved::BadValue);
    let mut script = chap();
    script.answer("AuthMethod=CHAP").unwrap();
    fails(
        script,
        "CHAP_A=Reject",
        PeerIncompatible::NoCommonAuthMethod,
    );
}

/// H51, H52, H54, H60, H61, C-77, C-78.
#[test]
fn chap_out_of_order_or_malformed() {
    let challenged = || {
        let mut script = Script::new(with_chap(normal()));
        script.answer("AuthMethod=CHAP").unwrap();
        script
    };
    let all = format!("CHAP_A=5 CHAP_I=1 CHAP_C={CHALLENGE}");
    for pairs in [
        "".into(),
        "CHAP_A=5".into(),
        "CHAP_A=5 CHAP_I=1".into(),
        format!("CHAP_I=1 CHAP_C={CHALLENGE}"),
        format!("CHAP_A=9 CHAP_I=1 CHAP_C={CHALLENGE}"),
        format!("CHAP_A=5,7 CHAP_I=1 CHAP_C={CHALLENGE}"),
        format!("{all} CHAP_A=5"),
        format!("{all} CHAP_C=0x00"),
        format!("{all} CHAP_N=target CHAP_R=0x00"),
        "CHAP_A=5 CHAP_I=1 CHAP_C=0x".into(),
        format!("CHAP_A=5 CHAP_I=1 CHAP_C=0x{}", "00".repeat(1025)),
        format!("CHAP_A=5 CHAP_I=256 CHAP_C={CHALLENGE}"),
    ] {
        fails(challenged(), &pairs, PeerMisbehaved::Chap);
    }
    let weak = "CHAP_A=5 CHAP_I=1 CHAP_C=0x00010203040506";
    fails(challenged(), weak, PeerMisbehaved::WeakChallenge);

    fails(Script::new(with_chap(normal())), &all, PeerMisbehaved::Chap);
    fails(
        Script::new(normal()),
        &format!("AuthMethod=None {all}"),
        PeerMisbehaved::Chap,
    );
    fails(operational(normal()), &all, PeerMisbehaved::Chap);
    let mut answered = challenged();
    answered.answer(&all).unwrap();
    fails(answered, &all, PeerMisbehaved::Chap);
    let mut answered = challenged();
    answered.answer(&all).unwrap();
    fails(answered, "AuthMethod=None", PeerMisbehaved::DuplicateKey);
}

/// H30, C-29: every status, whatever else the header says.
#[test]
fn every_refusal_is_a_typed_rejection() {
    for class in 1..=255 {
        for detail in 0..=255 {
            if matches!((class, detail), (1, 1 | 2)) {
                continue;
            }
            let status = LoginStatus { class, detail };
            let error = Error::LoginRejected(status);
            let mut script = Script::new(normal());
            let mut header = script.header();
            (header.status, header.stat_sn) = (status, StatSn(0xdead));
            (header.exp_cmd_sn, header.max_cmd_sn) = (CmdSn(1), CmdSn(0));
            (header.version_active, header.isid) = (7, Isid([0; 6]));
            assert_eq!(script.feed(&Script::pdu(header, b"")), Err(error));
            let last = matches!(error.consequence(), Consequence::GiveUp);
            assert_eq!(
                last,
                class != 1 && class != 3 && !matches!((class, detail), (2, 3 | 6 | 10))
            );
        }
    }
}

/// H33.
#[test]
fn a_redirection_without_a_usable_address() {
    let long = format!("TargetAddress={}", "h".repeat(10_000));
    for (pairs, error) in [
        ("", DecodeError::Address),
        (
            "TargetName=iqn.2001-04.com.example:disk",
            DecodeError::Address,
        ),
        ("TargetAddress=[::", DecodeError::Address),
        ("TargetAddress=host:0", DecodeError::Address),
        ("TargetAddress=host:99999", DecodeError::Address),
        ("TargetAddress=host,65536", DecodeError::Address),
        ("TargetAddress=a\u{7}b", DecodeError::Address),
        (
            &long[..5000],
            DecodeError::TextTooLong {
                length: 4986,
                limit: 255,
            },
        ),
    ] {
        let mut script = Script::new(normal());
        let moved: Edit = |h| {
            h.status = LoginStatus {
                class: 1,
                detail: 1,
            }
        };
        assert_eq!(
            script.answer_with(pairs, moved),
            Err(error.into()),
            "{pairs:.40}"
        );
        dead(script, error);
    }
}

/// H22, C-07: in one response or in two, equal or not.
#[test]
fn a_key_is_said_once() {
    let twice = PeerMisbehaved::DuplicateKey;
    fails(
        operational(normal()),
        "ImmediateData=Yes ImmediateData=Yes",
        twice,
    );
    fails(operational(normal()), "TargetAlias=a TargetAlias=b", twice);
    let mut script = operational(normal());
    script
        .answer_with("ImmediateData=Yes", |h| h.transit = false)
        .unwrap();
    fails(script, "ImmediateData=No", twice);
    fails(
        Script::new(normal()),
        "AuthMethod=None AuthMethod=None",
        twice,
    );
    fails(operational(normal()), "AuthMethod=None", twice);
    for out_of_turn in [
        "InitiatorName=x",
        "SessionType=Normal",
        "SendTargets=All",
        "X-a=NotUnderstood",
    ] {
        fails(operational(normal()), out_of_turn, twice);
    }
    // It wants an answer and goes on without one.
    fails(operational(normal()), "TaskReporting=RFC3720", twice);
}

/// H40 to H44 as they reach the login; the functions have their own tables.
#[test]
fn values_that_no_rule_could_yield() {
    for pairs in [
        "MaxRecvDataSegmentLength=0",
        "MaxRecvDataSegmentLength=511",
        "MaxRecvDataSegmentLength=16777216",
        "MaxBurstLength=0",
        "FirstBurstLength=0",
        "MaxBurstLength=512 FirstBurstLength=1024",
        "MaxConnections=2",
        "ErrorRecoveryLevel=1",
        "MaxOutstandingR2T=0",
        "DefaultTime2Wait=2147483648",
        "ImmediateData=maybe",
        "HeaderDigest=CRC32C,None",
        "HeaderDigest=MD5",
        "TargetPortalGroupTag=65536",
        "TargetPortalGroupTag=-1",
        "DataPDUInOrder=No",
    ] {
        fails(operational(normal()), pairs, PeerMisbehaved::BadValue);
    }
}

/// H19 to H21, H23.
#[test]
fn text_that_is_none_or_never_ends() {
    let broken = |data: &[u8], error: DecodeError| {
        let mut script = operational(normal());
        let pdu = Script::pdu(script.header(), data);
        assert_eq!(script.feed(&pdu), Err(error.into()));
        dead(script, error);
    };
    broken(b"A=1", DecodeError::Text { offset: 0 });
    broken(b"=1\0", DecodeError::Text { offset: 0 });
    broken(b"A\0", DecodeError::Text { offset: 0 });
    broken(&[b'k'; 8192], DecodeError::Text { offset: 0 });

    let mut script = operational(normal());
    let mut rounds = 0;
    let error = loop {
        let mut header = script.header();
        (header.cont, header.transit) = (true, false);
        script.stat_sn = script.stat_sn.next();
        if let Err(error) = script.feed(&Script::pdu(header, &[b'x'; 8192])) {
            break error;
        }
        rounds += 1;
    };
    assert_eq!(rounds, 8);
    assert_eq!(
        error,
        DecodeError::TextTooLong {
            length: 73_728,
            limit: 65_536
        }
        .into()
    );
}

/// H46: what we answer is bounded too.
#[test]
fn a_flood_of_unknown_keys_is_not_answered_without_end() {
    let mut script = operational(normal());
    let keys = "a= ".repeat(2700);
    let error = (0..).find_map(|_| {
        let mut header = script.header();
        (header.cont, header.transit) = (true, false);
        let last = script.stat_sn.0 == 6;
        header.cont = !last;
        script.stat_sn = script.stat_sn.next();
        script
            .feed(&Script::pdu(header, &crate::support::text(&keys)))
            .err()
    });
    assert!(matches!(
        error,
        Some(Error::Decode(DecodeError::TextTooLong {
            limit: 65_536,
            ..
        }))
    ));
}

/// H24.
#[test]
fn a_login_without_progress_ends_after_the_rounds() {
    let mut script = operational(normal());
    let mut rounds = 1;
    let error = loop {
        if let Err(error) = script.answer_with("", |h| h.transit = false) {
            break error;
        }
        rounds += 1;
    };
    assert_eq!((rounds, error), (32, PeerMisbehaved::Stalled(32).into()));
}

/// H02.
#[test]
fn a_login_ends_at_its_deadline_and_not_before() {
    let mut limits = LoginLimits::default();
    limits.timeout = Duration::from_secs(3);
    let mut script = Script::new(normal().with_limits(limits));
    let deadline = script.login.poll_timeout().unwrap();
    assert_eq!(deadline, Instant::from_nanos(3_000_000_000));
    let before = Instant::from_nanos(deadline.as_nanos() - 1);
    assert_eq!(script.login.handle_timeout(before), Ok(()));
    script.login.recv_buf()[0] = 0x23;
    assert_eq!(
        script.login.handle_recv(before, 1),
        Ok(()),
        "one byte a second does not help"
    );
    let late = Err(TimedOut::Login.into());
    assert_eq!(script.login.handle_recv(deadline, 1), late);
    dead(script, TimedOut::Login);
}

/// H01: the stream ends within a PDU.
#[test]
fn the_end_of_the_stream_is_no_success() {
    for cut in 0..52 {
        let mut script = operational(normal());
        let pdu = Script::pdu(script.header(), &crate::support::text("A=1"));
        script.feed(&pdu[..cut.min(pdu.len() - 1)]).unwrap();
        assert_eq!(
            script.login.handle_recv(Instant::ZERO, 0),
            Err(Error::Closed)
        );
        dead(script, Error::Closed);
    }
}

/// H03, H07, H10, C-14, H29.
#[test]
fn pdus_that_have_no_place_in_a_login() {
    let raw = |edit: fn(&mut Vec<u8>), error: Error| {
        let mut script = operational(normal());
        let mut pdu = Script::pdu(script.header(), b"");
        edit(&mut pdu);
        assert_eq!(script.feed(&pdu), Err(error));
        dead(script, error);
    };
    raw(|p| p[0] = 0x21, PeerMisbehaved::Phase.into());
    raw(|p| p[0] = 0x20, PeerMisbehaved::Phase.into());
    raw(|p| p[0] = 0x03, DecodeError::Opcode(0x03).into());
    raw(|p| p[0] = 0x3c, DecodeError::Opcode(0x3c).into());
    raw(
        |p| (p[0], p[2]) = (0x3f, 4),
        PeerMisbehaved::Rejected(4).into(),
    );
    raw(|p| p[4] = 255, DecodeError::UnexpectedAhs.into());
    raw(|p| p[1] = 0x82, DecodeError::Field { offset: 1 }.into());
    let long = |length| {
        DecodeError::DataSegmentTooLong {
            length,
            limit: 8192,
        }
        .into()
    };
    raw(|p| p[5..8].fill(0xff), long(0xff_ffff));
    raw(|p| p[5..8].copy_from_slice(&[0, 0x20, 1]), long(8193));
}

#[test]
fn a_response_before_its_request_is_refused() {
    let mut script = Script::new(normal());
    let first = Script::pdu(script.header(), &crate::support::text("AuthMethod=None"));
    let pdus = [first.clone(), first].concat();
    assert_eq!(script.feed(&pdus), Err(PeerMisbehaved::Phase.into()));
}

/// C-28: while our text goes on, the target has nothing to say.
#[test]
fn a_target_that_interrupts_our_text_is_refused() {
    let edits: &[(Edit, &str)] = &[(|h| h.cont = true, ""), (|_| {}, "A=1")];
    for (edit, pairs) in edits {
        let mut script = operational(normal());
        let unknown: String = (0..500).map(|n| format!("X-{n}=v ")).collect();
        script.answer_with(&unknown, |h| h.transit = false).unwrap();
        assert!(script.request.cont);
        assert_eq!(
            script.answer_with(pairs, edit),
            Err(PeerMisbehaved::Phase.into())
        );
    }
}

#[test]
fn reporting_more_than_was_planned_is_our_callers_fault_and_changes_nothing() {
    let mut script = Script::new(normal());
    let overrun = Err(Error::from(ApiMisuse::PlanOverrun));
    let room = script.login.recv_buf().len();
    assert_eq!(script.login.handle_recv(Instant::ZERO, room + 1), overrun);
    assert_eq!(script.login.handle_transmitted(1), overrun);
    script.answer("AuthMethod=None").unwrap();
}
