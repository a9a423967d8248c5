//! CHAP as libiscsi and QEMU do it.

use iscsi_proto::login::{ChapCredentials, Secret};
use iscsi_testkit::target::{ChapConfig, TcpTarget};

use crate::{
    support::{SIZE, TARGET, config, judge, read, serve},
    tool::Tool,
};

const SECRET: &str = iscsi_testkit::canary::OURS;
const TARGET_SECRET: &str = iscsi_testkit::canary::THEIRS;

fn guarded(mutual: bool) -> TcpTarget {
    let mut chap = ChapConfig::new("alice", SECRET.as_bytes());
    if mutual {
        chap.mutual = Some(("the-disk".into(), TARGET_SECRET.as_bytes().to_vec()));
    }
    serve(config().with_chap(chap))
}

fn url(target: &TcpTarget, user: &str, secret: &str, arguments: &str) -> String {
    format!(
        "iscsi://{user}%{secret}@{}/{TARGET}/0{arguments}",
        target.portal(0)
    )
}

#[test]
fn libiscsi_logs_in_with_the_right_secret_and_with_no_other() {
    let Some(capacity) = Tool::libiscsi("iscsi-readcapacity16") else {
        return;
    };
    let target = guarded(false);
    let said = capacity.ok(&[&url(&target, "alice", SECRET, "")]);
    assert!(said.contains(&format!("Total size:{}", SIZE[0])), "{said}");
    let before = target.core().counters(0);
    for (user, secret) in [("alice", "sixteen-bytes-ok"), ("bob", SECRET)] {
        capacity.fails(&[&url(&target, user, secret, "")]);
    }
    let anonymous = format!("iscsi://{}/{TARGET}/0", target.portal(0));
    capacity.fails(&[&anonymous]);
    let after = target.core().counters(0);
    assert_eq!(after.logins, before.logins, "nobody else comes in");
    assert!(
        after.login_failures >= before.login_failures + 3,
        "{after:?}"
    );
    judge(&target);
}

#[test]
fn libiscsi_discovers_with_chap() {
    let Some(ls) = Tool::libiscsi("iscsi-ls") else {
        return;
    };
    let target = guarded(false);
    let portal = target.portal(0);
    let said = ls.ok(&[&format!("iscsi://alice%{SECRET}@{portal}")]);
    let line = format!("Target:{TARGET} Portal:{portal},1");
    assert!(said.lines().any(|other| other == line), "{said}");
    judge(&target);
}

#[test]
fn libiscsi_demands_that_the_target_proves_itself() {
    let Some(capacity) = Tool::libiscsi("iscsi-readcapacity16") else {
        return;
    };
    let target = guarded(true);
    let mutual = |secret: &str| {
        let arguments = format!("?target_user=the-disk&target_password={secret}");
        url(&target, "alice", SECRET, &arguments)
    };
    let said = capacity.ok(&[&mutual(TARGET_SECRET)]);
    assert!(said.contains(&format!("Total size:{}", SIZE[0])), "{said}");
    capacity.fails(&[&mutual("a-wrong-one.....")]);
    judge(&target);
}

#[test]
fn qemu_logs_in_with_chap_and_our_client_sees_what_it_wrote() {
    let Some(io) = Tool::qemu("qemu-io") else {
        return;
    };
    let target = guarded(false);
    let url = url(&target, "alice", SECRET, "");
    let said = io.ok(&["-f", "raw", "-c", "write -P 0x5a 1M 64k", &url]);
    assert!(
        said.contains("wrote 65536/65536 bytes at offset 1048576"),
        "{said}"
    );
    let credentials = ChapCredentials::new("alice", Secret::new(SECRET.as_bytes())).unwrap();
    assert_eq!(
        read(&target, Some(credentials), 0, 1 << 20, 65_536),
        [0x5a; 65_536]
    );
    judge(&target);
}
