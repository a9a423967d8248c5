//! Body of the fuzz target for logins, and its oracles.

#![cfg_attr(
    not(test),
    expect(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        reason = "the body of a fuzz target: its panic is what says that an oracle does not hold"
    )
)]

use alloc::vec::Vec;
use core::time::Duration;

use crate::{
    ids::Isid,
    login::{
        Authentication, ChapCredentials, Login, LoginConfig, LoginLimits, LoginOutcome, Secret,
        TargetCredentials,
    },
    pdu::{Bhs, pad_len},
    time::Instant,
};

fn config(kind: u8) -> Option<LoginConfig> {
    let name = |text: &str| text.parse().ok();
    let initiator = name("iqn.2001-04.com.example:host")?;
    let mut config = match name("iqn.2001-04.com.example:disk") {
        Some(target) if kind & 1 == 0 => LoginConfig::normal(initiator, target, Isid([2; 6])),
        _ => LoginConfig::discovery(initiator, Isid([2; 6])),
    };
    if kind & 2 != 0 {
        let mut chap = ChapCredentials::new("user", Secret::new(b"opensesame12")).ok()?;
        if kind & 8 != 0 {
            let target = TargetCredentials::new(Secret::new(b"the target's own")).ok()?;
            chap = chap.with_target(target).ok()?;
        }
        config = config
            .with_authentication(Authentication::Chap(chap))
            .with_require_chap(kind & 4 == 0);
    }
    Some(config)
}

/// Takes any bytes for what a target sends: the first chooses the configuration, the second the
/// size of the reads, the others are the stream.
///
/// Our serial numbers and tags start at zero here, so that a fuzzer does not have to guess them.
///
/// Oracles: full feature phase is never reached without the required CHAP, and only after a
/// CHAP_R went out; with mutual CHAP only after the target's proof; what was agreed is in range; the number of requests is bounded; every error is
/// final; the outcome does not depend on how the
/// stream was cut.
pub fn fuzz_login(bytes: &[u8]) {
    let [kind, step, stream @ ..] = bytes else {
        return;
    };
    let Some(config) = config(*kind) else {
        return;
    };
    let whole = run(&config, stream, usize::MAX);
    let cut = run(&config, stream, 1 + usize::from(*step));
    assert_eq!(whole, cut, "the outcome depends on how the stream was cut");
}

/// What is compared between runs.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Pending,
    Redirect,
    Complete,
    Failed(crate::Error),
}

fn run(config: &LoginConfig, mut stream: &[u8], step: usize) -> Ended {
    let mut login = Login::new(config.clone(), Instant::ZERO, &mut |buf| buf.fill(0));
    let mut sent: Vec<u8> = Vec::new();
    let mut requests = 0;
    while !stream.is_empty() && login.is_pending() {
        if !login.transmit().is_empty() {
            requests += 1;
            sent.extend_from_slice(login.transmit());
            let n = login.transmit().len();
            assert!(login.handle_transmitted(n).is_ok());
        }
        let (turn, later) = stream.split_at(turn(stream));
        stream = later;
        feed(&mut login, turn, step);
    }
    assert!(requests <= LoginLimits::default().max_rounds + 1);
    check(config, login, &sent)
}

/// Feeds one turn of the target in pieces of at most `step` bytes.
fn feed(login: &mut Login, mut turn: &[u8], step: usize) {
    while !turn.is_empty() && login.is_pending() {
        let room = login.recv_buf();
        let n = turn.len().min(room.len()).min(step);
        let (now, later) = turn.split_at(n);
        assert!(n > 0, "a pending login has room");
        room[..n].copy_from_slice(now);
        turn = later;
        if let Err(error) = login.handle_recv(Instant::ZERO, n) {
            assert!(login.transmit().is_empty() && login.poll_timeout().is_none());
            assert_eq!(login.handle_timeout(Instant::ZERO), Err(error));
        }
    }
}

/// The bytes up to the end of the PDU that begins here, which is what a target may send before our
/// next request. Behind a broken header, everything.
fn turn(rest: &[u8]) -> usize {
    let Some(header) = rest.first_chunk::<48>() else {
        return rest.len();
    };
    let length = Bhs::from(*header).data_segment_length() as usize;
    rest.len().min(Bhs::LEN + length + pad_len(length))
}

fn check(config: &LoginConfig, login: Login, sent: &[u8]) -> Ended {
    match login.outcome() {
        LoginOutcome::Pending(login) => {
            let deadline = login.poll_timeout();
            assert!(
                deadline
                    .is_some_and(|d| d <= Instant::ZERO.saturating_add(Duration::from_secs(15)))
            );
            Ended::Pending
        }
        LoginOutcome::Redirect { portal, .. } => {
            let shown = alloc::format!("{portal}");
            assert_eq!(shown.parse(), Ok(portal));
            Ended::Redirect
        }
        LoginOutcome::Failed(error) => Ended::Failed(error),
        LoginOutcome::Complete(logged_in) => {
            let answered = sent.windows(7).any(|w| w == b"CHAP_R=");
            assert_eq!(logged_in.is_authenticated(), answered);
            if let Authentication::Chap(chap) = &config.authentication {
                assert!(logged_in.is_authenticated() || !(config.require_chap || chap.is_mutual()));
                assert_eq!(logged_in.is_target_authenticated(), chap.is_mutual());
            }
            let p = logged_in.parameters();
            assert!((512..=0xff_ffff).contains(&p.max_xmit_data_segment_length));
            assert!((512..=0xff_ffff).contains(&p.max_burst_length));
            assert!((512..=p.max_burst_length).contains(&p.first_burst_length));
            assert!(p.protocol_level <= 2);
            assert!(p.max_outstanding_r2t >= 1 && p.error_recovery_level == 0);
            assert!(logged_in.tsih().0 != 0);
            Ended::Complete
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{InitiatorTaskTag, LoginStatus, Tsih},
        pdu::{LoginResponse, Stage},
        serial::{CmdSn, StatSn},
    };

    /// An obliging target's whole stream for configuration `kind`.
    fn honest(kind: u8) -> Vec<u8> {
        let challenge = b"CHAP_A=7\0CHAP_I=1\0CHAP_C=0x000102030405060708090a0b0c0d0e0f\0";
        // SHA-256 of a zero identifier, the target's secret and a challenge of zeros.
        let proof = b"CHAP_N=t\0CHAP_R=0xec87c2ab2c06a074ce42e831c50a213c\
            af8ebb697bcbbe93e0e445b03816bf1b\0";
        let security: &[&[u8]] = match kind & 10 {
            0 => &[b"AuthMethod=None\0"],
            2 => &[b"AuthMethod=CHAP\0", challenge, b""],
            _ => &[b"AuthMethod=CHAP\0", challenge, proof],
        };
        let operational = [&b"MaxBurstLength=65536\0HeaderDigest=None\0"[..]];
        let texts = security.iter().chain(&operational);
        let mut stream = Vec::from([kind, 5]);
        for (n, text) in texts.enumerate() {
            let last = n == security.len();
            let stage = |op| {
                if op {
                    Stage::OperationalNegotiation
                } else {
                    Stage::SecurityNegotiation
                }
            };
            let header = LoginResponse {
                transit: last || n + 1 == security.len(),
                cont: false,
                csg: stage(last),
                nsg: if last {
                    Stage::FullFeature
                } else {
                    stage(true)
                },
                version_max: 0,
                version_active: 0,
                data_segment_length: text.len() as u32,
                isid: Isid([2; 6]),
                tsih: Tsih(last.into()),
                itt: InitiatorTaskTag(0),
                stat_sn: StatSn(n as u32),
                exp_cmd_sn: CmdSn(0),
                max_cmd_sn: CmdSn(7),
                status: LoginStatus::SUCCESS,
            };
            stream.extend_from_slice(header.emit().as_bytes());
            stream.extend_from_slice(text);
            stream.resize(stream.len() + pad_len(text.len()), 0);
        }
        stream
    }

    #[test]
    fn the_oracles_hold_for_honest_and_damaged_streams() {
        for kind in [0, 2, 6, 10, 14] {
            let stream = honest(kind);
            let config = config(kind).unwrap();
            assert_eq!(
                run(&config, &stream[2..], usize::MAX),
                Ended::Complete,
                "kind {kind}"
            );
            for at in 0..stream.len() {
                fuzz_login(&stream[..at]);
                for bit in 0..8 {
                    let mut damaged = stream.clone();
                    damaged[at] ^= 1 << bit;
                    fuzz_login(&damaged);
                }
            }
        }
    }
}
