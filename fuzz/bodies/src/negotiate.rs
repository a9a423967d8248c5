//! Two random sets of parameters, negotiated by the product and by a model of the RFC.

use iscsi_proto::{
    Error, Isid, PeerIncompatible,
    login::LoginConfig,
    text::{
        Digest, DigestOffer, Key, OperationalOffer, TaskReporting, TaskReportingOffer,
        negotiate::{self, Wish},
    },
};

use crate::{Script, peer};

/// What one side wants, in the words of RFC 7143 section 13.
#[derive(Clone, Debug)]
struct Wants {
    header_digest: &'static [&'static str],
    data_digest: &'static [&'static str],
    task_reporting: &'static [&'static str],
    initial_r2t: bool,
    immediate_data: bool,
    max_connections: u16,
    max_outstanding_r2t: u16,
    max_receive: u32,
    max_burst: u32,
    first_burst: u32,
    time2wait: u16,
    time2retain: u16,
    protocol_level: u8,
}

const DIGESTS: [DigestOffer; 4] = [
    DigestOffer::None,
    DigestOffer::PreferNone,
    DigestOffer::PreferCrc32c,
    DigestOffer::RequireCrc32c,
];
const REPORTING: [TaskReportingOffer; 3] = [
    TaskReportingOffer::Rfc3720,
    TaskReportingOffer::PreferResponseFence,
    TaskReportingOffer::PreferFastAbort,
];

/// 512 to 2^24 - 1, with the ends more likely than their share.
fn length(script: &mut Script<'_>) -> u32 {
    match script.byte() {
        0 => 512,
        1 => 0xff_ffff,
        high => (u32::from(high) << 16 | u32::from(script.u16())).clamp(512, 0xff_ffff),
    }
}

/// What is offered, and the same for the model.
fn draw(script: &mut Script<'_>) -> (OperationalOffer, Wants) {
    let flags = script.byte();
    let (header, data) = (script.pick(&DIGESTS), script.pick(&DIGESTS));
    let reporting = script.pick(&REPORTING);
    let wants = Wants {
        header_digest: header.list(),
        data_digest: data.list(),
        task_reporting: reporting.list(),
        initial_r2t: Script::bit(flags, 0),
        immediate_data: Script::bit(flags, 1),
        max_connections: script.u16().max(1),
        max_outstanding_r2t: script.u16().max(1),
        max_receive: length(script),
        max_burst: length(script),
        first_burst: length(script),
        time2wait: script.u16() % 3601,
        time2retain: script.u16() % 3601,
        protocol_level: script.byte() % 3,
    };
    let offer = OperationalOffer::default()
        .with_header_digest(header)
        .with_data_digest(data)
        .with_task_reporting(reporting)
        .with_initial_r2t(wants.initial_r2t)
        .with_immediate_data(wants.immediate_data)
        .with_max_connections(wants.max_connections)
        .and_then(|o| o.with_max_outstanding_r2t(wants.max_outstanding_r2t))
        .and_then(|o| o.with_max_recv_data_segment_length(wants.max_receive))
        .and_then(|o| o.with_max_burst_length(wants.max_burst))
        .and_then(|o| o.with_first_burst_length(wants.first_burst))
        .and_then(|o| o.with_default_time2wait(wants.time2wait))
        .and_then(|o| o.with_default_time2retain(wants.time2retain))
        .and_then(|o| o.with_protocol_level(wants.protocol_level));
    (offer.expect("all in range"), wants)
}

/// The result as section 13 has it, from both sets at once: no offer, no answer, no turns.
#[derive(Debug, PartialEq, Eq)]
struct Terms {
    header_crc: bool,
    data_crc: bool,
    reporting: &'static str,
    initial_r2t: bool,
    immediate_data: bool,
    max_connections: u16,
    max_outstanding_r2t: u16,
    /// What each side takes: ours, theirs.
    max_receive: (u32, u32),
    max_burst: u32,
    first_burst: u32,
    time2wait: u16,
    time2retain: u16,
    protocol_level: u8,
}

/// `None`: no digest that both can.
fn model(ours: &Wants, theirs: &Wants) -> Option<Terms> {
    // The first of the initiator's list that is in the target's.
    let first = |ours: &[&'static str], theirs: &[&str]| {
        ours.iter().copied().find(|one| theirs.contains(one))
    };
    // Where there is none the answer is Reject, and None holds, if the initiator can live with it.
    let crc = |ours: &[&'static str], theirs: &[&str]| match first(ours, theirs) {
        Some(one) => Some(one == "CRC32C"),
        None => ours.contains(&"None").then_some(false),
    };
    let max_burst = ours.max_burst.min(theirs.max_burst);
    Some(Terms {
        header_crc: crc(ours.header_digest, theirs.header_digest)?,
        data_crc: crc(ours.data_digest, theirs.data_digest)?,
        reporting: first(ours.task_reporting, theirs.task_reporting).unwrap_or("RFC3720"),
        initial_r2t: ours.initial_r2t || theirs.initial_r2t,
        immediate_data: ours.immediate_data && theirs.immediate_data,
        max_connections: ours.max_connections.min(theirs.max_connections),
        max_outstanding_r2t: ours.max_outstanding_r2t.min(theirs.max_outstanding_r2t),
        max_receive: (ours.max_receive, theirs.max_receive),
        max_burst,
        first_burst: ours.first_burst.min(theirs.first_burst).min(max_burst),
        time2wait: ours.time2wait.max(theirs.time2wait),
        time2retain: ours.time2retain.min(theirs.time2retain),
        protocol_level: ours.protocol_level.min(theirs.protocol_level),
    })
}

/// A target that wants `theirs` and answers with the library's own functions for the side that answers.
fn answer(theirs: &Wants, burst: &mut u32, key: Key, value: &str) -> Option<String> {
    let wish = match key {
        Key::HeaderDigest => Wish::List(theirs.header_digest),
        Key::DataDigest => Wish::List(theirs.data_digest),
        Key::TaskReporting => Wish::List(theirs.task_reporting),
        Key::InitialR2T => Wish::Boolean(theirs.initial_r2t),
        Key::ImmediateData => Wish::Boolean(theirs.immediate_data),
        Key::MaxConnections => Wish::Number(theirs.max_connections.into()),
        Key::MaxOutstandingR2T => Wish::Number(theirs.max_outstanding_r2t.into()),
        Key::MaxBurstLength => Wish::Number(theirs.max_burst),
        // Never above MaxBurstLength (section 13.14), which is offered before it.
        Key::FirstBurstLength => Wish::Number(theirs.first_burst.min(*burst)),
        Key::DefaultTime2Wait => Wish::Number(theirs.time2wait.into()),
        Key::DefaultTime2Retain => Wish::Number(theirs.time2retain.into()),
        Key::IScsiProtocolLevel => Wish::Number(theirs.protocol_level.into()),
        Key::DataPDUInOrder | Key::DataSequenceInOrder => Wish::Boolean(true),
        Key::ErrorRecoveryLevel => Wish::Number(2),
        Key::MaxRecvDataSegmentLength => return Some(theirs.max_receive.to_string()),
        other => panic!("offered: {other}"),
    };
    let result = negotiate::respond(&key.rule(), value, wish).map(|result| result.to_string());
    if key == Key::MaxBurstLength {
        let agreed = result.as_ref().and_then(|result| result.parse().ok());
        *burst = agreed.expect("a number");
    }
    Some(result.unwrap_or_else(|| "Reject".into()))
}

/// Two sets of wishes. Oracles: the side that offers (a whole login) and the side that answers come to the
/// same, which is what the model says.
///
/// # Panics
///
/// Where they do not.
pub fn negotiate(input: &[u8]) {
    let mut script = Script::new(input);
    let (offer, ours) = draw(&mut script);
    let (_, theirs) = draw(&mut script);
    let name = |text: &str| text.parse().expect("a name");
    let (host, disk) = (
        name("iqn.2026-01.example:host"),
        name("iqn.2026-01.example:disk"),
    );
    let config = LoginConfig::normal(host, disk, Isid([2; 6])).with_offer(offer);
    let mut burst = 0;
    let mut answers = Vec::new();
    let login = peer::log_in(config, 0, |name, value| {
        let key = Key::from_name(name).expect("a key of the RFC");
        let value = answer(&theirs, &mut burst, key, value);
        answers.push((key, value.clone()?));
        value
    });
    let Some(terms) = model(&ours, &theirs) else {
        let refused = Error::PeerIncompatible(PeerIncompatible::DigestRefused);
        assert_eq!(login.err(), Some(refused));
        return;
    };
    let login = login.expect("terms that both can live with");
    let p = login.parameters();
    let found = Terms {
        header_crc: p.header_digest == Digest::Crc32c,
        data_crc: p.data_digest == Digest::Crc32c,
        reporting: p.task_reporting.name(),
        initial_r2t: p.initial_r2t,
        immediate_data: p.immediate_data,
        max_connections: p.max_connections,
        max_outstanding_r2t: p.max_outstanding_r2t,
        max_receive: (
            p.max_recv_data_segment_length,
            p.max_xmit_data_segment_length,
        ),
        max_burst: p.max_burst_length,
        first_burst: p.first_burst_length,
        time2wait: p.default_time2wait,
        time2retain: p.default_time2retain,
        protocol_level: p.protocol_level,
    };
    assert_eq!(found, terms, "the initiator's side");
    assert_eq!((p.error_recovery_level, p.data_pdu_in_order), (0, true));
    let said = |key| {
        answers
            .iter()
            .find(|(of, _)| *of == key)
            .map(|(_, value)| value.as_str())
    };
    for (key, value) in [
        (Key::MaxConnections, terms.max_connections.to_string()),
        (
            Key::MaxOutstandingR2T,
            terms.max_outstanding_r2t.to_string(),
        ),
        (Key::MaxBurstLength, terms.max_burst.to_string()),
        (Key::FirstBurstLength, terms.first_burst.to_string()),
        (Key::DefaultTime2Wait, terms.time2wait.to_string()),
        (Key::DefaultTime2Retain, terms.time2retain.to_string()),
        (Key::IScsiProtocolLevel, terms.protocol_level.to_string()),
        (
            Key::InitialR2T,
            negotiate::boolean(terms.initial_r2t).into(),
        ),
        (
            Key::ImmediateData,
            negotiate::boolean(terms.immediate_data).into(),
        ),
    ] {
        assert_eq!(said(key), Some(value.as_str()), "the target's side, {key}");
    }
    let reporting = said(Key::TaskReporting).and_then(TaskReporting::from_name);
    assert_eq!(reporting.unwrap_or_default().name(), terms.reporting);
}
