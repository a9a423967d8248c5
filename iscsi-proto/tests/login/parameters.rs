//! What holds after a login: what both sides said, and the stricter of offer and default where the target was
//! silent.

use iscsi_proto::{
    ApiMisuse, DecodeError, Error, Instant, PeerMisbehaved,
    login::{LoginLimits, LoginOutcome},
    text::{Digest, DigestOffer, OperationalOffer, Parameters},
};

use crate::support::{Script, normal, operational};

fn agreed(offer: OperationalOffer, answer: &str) -> Result<Parameters, Error> {
    let mut script = operational(normal().with_offer(offer));
    script.answer(answer)?;
    Ok(script.complete().parameters().clone())
}

/// Other than the defaults of the standard, key by key.
fn generous() -> OperationalOffer {
    OperationalOffer::default()
        .with_header_digest(DigestOffer::PreferCrc32c)
        .with_data_digest(DigestOffer::PreferCrc32c)
        .with_initial_r2t(false)
        .with_immediate_data(true)
        .with_max_connections(4)
        .and_then(|offer| offer.with_max_burst_length(1 << 20))
        .and_then(|offer| offer.with_first_burst_length(1 << 18))
        .and_then(|offer| offer.with_default_time2wait(0))
        .and_then(|offer| offer.with_default_time2retain(60))
        .and_then(|offer| offer.with_max_outstanding_r2t(8))
        .unwrap()
}

#[test]
fn each_answer_takes_effect() {
    type Holds = fn(&Parameters) -> bool;
    let answers: [(&str, Holds); 10] = [
        ("HeaderDigest=CRC32C", |p| {
            (p.header_digest, p.data_digest) == (Digest::Crc32c, Digest::None)
        }),
        ("DataDigest=CRC32C", |p| {
            (p.header_digest, p.data_digest) == (Digest::None, Digest::Crc32c)
        }),
        ("MaxConnections=3", |p| p.max_connections == 3),
        ("InitialR2T=No", |p| !p.initial_r2t),
        ("ImmediateData=No", |p| !p.immediate_data),
        ("MaxBurstLength=4096", |p| p.max_burst_length == 4096),
        ("FirstBurstLength=1024", |p| p.first_burst_length == 1024),
        ("DefaultTime2Wait=5", |p| p.default_time2wait == 5),
        ("DefaultTime2Retain=7", |p| p.default_time2retain == 7),
        ("MaxOutstandingR2T=3", |p| p.max_outstanding_r2t == 3),
    ];
    for (answer, holds) in answers {
        let parameters = agreed(generous(), answer).unwrap();
        assert!(holds(&parameters), "{answer}: {parameters:?}");
    }
}

#[test]
fn silence_leaves_the_stricter_of_offer_and_default() {
    let p = agreed(generous(), "").unwrap();
    assert_eq!((p.max_connections, p.max_outstanding_r2t), (1, 1));
    assert!(p.initial_r2t && p.immediate_data);
    assert_eq!(
        (p.max_burst_length, p.first_burst_length),
        (262_144, 65_536)
    );
    assert_eq!((p.default_time2wait, p.default_time2retain), (2, 20));
    let strict = OperationalOffer::default()
        .with_initial_r2t(true)
        .with_immediate_data(false)
        .with_max_burst_length(8192)
        .and_then(|offer| offer.with_first_burst_length(4096))
        .and_then(|offer| offer.with_default_time2wait(5))
        .and_then(|offer| offer.with_default_time2retain(0))
        .and_then(|offer| offer.with_protocol_level(0))
        .unwrap();
    let p = agreed(strict, "").unwrap();
    assert!(p.initial_r2t && !p.immediate_data);
    assert_eq!((p.max_burst_length, p.first_burst_length), (8192, 4096));
    assert_eq!((p.default_time2wait, p.default_time2retain), (5, 0));
    assert_eq!(p.protocol_level, 0);
}

/// RFC 7143 section 13.14: a first burst that is longer than a burst, unless there is no such thing.
#[test]
fn a_first_burst_is_no_longer_than_a_burst_where_there_is_one() {
    let answer = |r2t: &str, data: &str, first: u32, most: u32| {
        let answer = format!(
            "InitialR2T={r2t} ImmediateData={data} FirstBurstLength={first} MaxBurstLength={most}"
        );
        agreed(generous(), &answer)
    };
    let wrong = Err(PeerMisbehaved::BadValue.into());
    for (r2t, data) in [("No", "No"), ("Yes", "Yes"), ("No", "Yes")] {
        assert_eq!(answer(r2t, data, 8192, 4096), wrong, "{r2t} {data}");
        assert!(answer(r2t, data, 4096, 4096).is_ok());
    }
    let none = answer("Yes", "No", 8192, 4096).unwrap();
    assert_eq!(none.first_burst_length, 4096);
}

#[test]
fn an_alias_is_kept_if_it_can_be_shown_and_an_address_is_of_no_interest() {
    for (alias, kept) in [("shelf", Some("shelf")), ("", None)] {
        let answer = format!("TargetAlias={alias} TargetAddress=10.0.0.9:3260,1");
        let parameters = agreed(OperationalOffer::default(), &answer).unwrap();
        assert_eq!(parameters.target_alias.as_deref(), kept);
    }
}

#[test]
fn our_answers_to_unknown_keys_may_be_as_long_as_the_limit() {
    let unknown = "AuthMethod=None X-a=1 X-b=1 X-c=1";
    let length = 3 * "X-a=NotUnderstood\0".len() as u32;
    let said = |limit: u32| {
        let mut limits = LoginLimits::default();
        limits.max_text = limit;
        Script::new(normal().with_limits(limits)).answer(unknown)
    };
    assert_eq!(said(length), Ok(()));
    let limit = length - 1;
    assert_eq!(
        said(limit),
        Err(DecodeError::TextTooLong { length, limit }.into())
    );
}

#[test]
fn the_end_of_the_stream_is_the_end_of_a_login_and_not_of_one_that_is_over() {
    let mut script = Script::new(normal());
    assert!(format!("{:?}", script.login).contains("SecurityNegotiation"));
    let ended = script.login.handle_recv(Instant::ZERO, 0);
    assert_eq!(ended, Err(Error::Closed));
    assert!(!script.login.is_pending());
    assert!(matches!(
        script.login.outcome(),
        LoginOutcome::Failed(Error::Closed)
    ));
    let mut script = operational(normal());
    script.answer("").unwrap();
    assert_eq!(script.login.handle_recv(Instant::ZERO, 0), Ok(()));
    let more = script.login.handle_recv(Instant::ZERO, 1);
    assert_eq!(more, Err(ApiMisuse::PlanOverrun.into()));
}
