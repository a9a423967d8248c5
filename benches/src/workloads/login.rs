//! From the first byte to full feature phase, against a target that gives the same answers each time.

use iscsi_proto::{
    Instant, Isid,
    login::{Authentication, ChapCredentials, LoggedIn, Login, LoginConfig, LoginOutcome, Secret},
};

use super::Workload;
use crate::{
    failure::Failure,
    target::{Settings, Target},
};

pub(super) const WORKLOADS: &[Workload] = &[
    Workload {
        name: "login/none",
        about: "a login without authentication",
        warm: 5,
        counted: 100,
        run: |ops| logins(&config()?, ops),
    },
    Workload {
        name: "login/chap",
        about: "a login with one-way CHAP (SHA-256)",
        warm: 5,
        counted: 100,
        run: |ops| {
            let chap = ChapCredentials::new("user", Secret::new(b"opensesame12"));
            let chap = Authentication::Chap(chap.map_err(Failure::new)?);
            logins(&config()?.with_authentication(chap), ops)
        },
    },
];

fn config() -> Result<LoginConfig, Failure> {
    let name = |text: &str| text.parse().map_err(Failure::new);
    let initiator = name("iqn.2026-01.example:host")?;
    let target = name("iqn.2026-01.example:disk")?;
    Ok(LoginConfig::normal(initiator, target, Isid([2; 6])))
}

fn logins(config: &LoginConfig, ops: u64) -> Result<(), Failure> {
    // A login that draws the same numbers says the same, so what the target once answered fits again.
    let mut target = Target::new(Settings::PLAIN);
    let mut answers = Vec::new();
    login(config.clone(), |request, room| {
        target.feed(request);
        let n = target.fill(room);
        answers.push(room[..n].to_vec());
        n
    })?;
    for _ in 0..ops {
        let mut next = answers.iter();
        login(config.clone(), |_, room| {
            let Some(answer) = next.next() else {
                return 0;
            };
            room[..answer.len()].copy_from_slice(answer);
            answer.len()
        })?;
    }
    Ok(())
}

/// One login with `target`.
pub(super) fn logged_in(target: &mut Target) -> Result<LoggedIn, Failure> {
    login(config()?, |request, room| {
        target.feed(request);
        target.fill(room)
    })
}

/// `exchange` takes a request and puts the answer into the room that there is for it.
fn login(
    config: LoginConfig,
    mut exchange: impl FnMut(&[u8], &mut [u8]) -> usize,
) -> Result<LoggedIn, Failure> {
    let mut request = Vec::with_capacity(4096);
    let mut count = 0;
    let mut entropy = |bytes: &mut [u8]| {
        for byte in bytes {
            count += 1;
            *byte = count;
        }
    };
    let mut login = Login::new(config, Instant::ZERO, &mut entropy);
    while login.is_pending() {
        request.clear();
        request.extend_from_slice(login.transmit());
        let sent = login.handle_transmitted(request.len());
        sent.map_err(Failure::new)?;
        let n = exchange(&request, login.recv_buf());
        if n == 0 {
            return Err(Failure::new("the target has no answer to a login request"));
        }
        login.handle_recv(Instant::ZERO, n).map_err(Failure::new)?;
    }
    match login.outcome() {
        LoginOutcome::Complete(logged_in) => Ok(logged_in),
        other => Err(Failure::new(format!("the login ended as {other:?}"))),
    }
}
