//! Header digests as libiscsi and QEMU do them. Neither knows data digests.

use iscsi_testkit::target::DigestPolicy;

use crate::{
    support::{SIZE, TARGET, config, judge, serve, url},
    tool::Tool,
};

/// PDUs and bytes that the target received; `digest` is what it insists on.
fn received(digest: DigestPolicy, run: impl FnOnce(&str, &str)) -> (u64, u64) {
    let target = serve(config().with_digests(digest, DigestPolicy::Never));
    run(&target.portal(0).to_string(), &url(&target, 1));
    judge(&target);
    let counters = target.core().counters(0);
    (counters.pdus_in, counters.bytes_in)
}

/// Asserts that every PDU after the login has a digest of four bytes.
fn grew((pdus, without): (u64, u64), (again, with): (u64, u64), login_text: u64) {
    assert_eq!(pdus, again);
    // A login takes two PDUs at most.
    let least = without + 4 * (pdus - 2);
    let most = without + 4 * pdus + login_text;
    assert!(
        pdus > 4 && (least..=most).contains(&with),
        "{pdus} PDUs, {without} and {with} bytes"
    );
}

#[test]
fn libiscsi_uses_them_where_the_target_insists() {
    let Some(capacity) = Tool::libiscsi("iscsi-readcapacity16") else {
        return;
    };
    // Its tools always offer None before CRC32C.
    let sent = |digest| {
        received(digest, |_, url| {
            let said = capacity.ok(&[url]);
            assert!(said.contains(&format!("Total size:{}", SIZE[1])), "{said}");
        })
    };
    grew(sent(DigestPolicy::Accept), sent(DigestPolicy::Require), 0);
}

#[test]
fn qemu_uses_them_where_its_user_wants_them() {
    let Some(io) = Tool::qemu("qemu-io") else {
        return;
    };
    let sent = |digest: &str| {
        received(DigestPolicy::Accept, |portal, _| {
            let options = format!(
                "driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={portal},\
                 file.target={TARGET},file.lun=1,file.header-digest={digest}"
            );
            let commands = ["-c", "write -P 0x77 1M 1M", "-c", "read -P 0x77 1M 1M"];
            let mut args = vec!["--image-opts"];
            args.extend(commands);
            args.push(&options);
            let said = io.ok(&args);
            assert!(said.contains("read 1048576/1048576 bytes"), "{said}");
        })
    };
    grew(sent("none"), sent("crc32c"), 8);
}
