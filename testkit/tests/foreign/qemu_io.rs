//! qemu-io writes patterns, reads them back, and punches holes.

use crate::{
    support::{config, judge, read, serve, url},
    tool::{Tool, text},
};

/// Runs commands of qemu-io, one after the other.
fn run(io: &Tool, url: &str, commands: &[&str]) -> (bool, String) {
    let mut args = vec!["-f", "raw"];
    for command in commands {
        args.extend(["-c", command]);
    }
    args.push(url);
    let output = io.run(&args);
    let said = text(&output.stdout) + &text(&output.stderr);
    let wrong = ["failed", "error", "Invalid"]
        .iter()
        .any(|word| said.contains(word));
    (output.status.success() && !wrong, said)
}

#[test]
fn patterns_are_written_and_read_back() {
    let Some(io) = Tool::qemu("qemu-io") else {
        return;
    };
    for lun in [0, 1] {
        let target = serve(config());
        let url = url(&target, lun);
        let commands = [
            "write -P 0xa1 0 4k",
            "write -P 0xa2 1M 3M",
            // Not whole blocks: QEMU reads, changes and writes them back.
            "write -P 0xa3 8195 1000",
            "write -f -P 0xa4 8M 64k", // FUA
            "aio_write -P 0xa5 16M 1M",
            "aio_write -P 0xa6 20M 1M",
            "aio_flush",
            "flush",
            "read -P 0xa1 0 4k",
            "read -P 0xa2 1M 3M",
            "read -P 0xa3 8195 1000",
            "read -P 0xa4 8M 64k",
            "read -P 0xa5 16M 1M",
            "read -P 0xa6 20M 1M",
        ];
        let (fine, said) = run(&io, &url, &commands);
        assert!(fine, "{said}");
        for (byte, offset, len) in [
            (0xa1, 0, 4096),
            (0xa2, 1 << 20, 3 << 20),
            (0xa4, 8 << 20, 65_536),
            (0xa5, 16 << 20, 1 << 20),
            (0xa6, 20 << 20, 1 << 20),
        ] {
            let found = read(&target, None, lun, offset, len);
            assert!(found.iter().all(|other| *other == byte), "{byte:#x}");
        }
        let block = read(&target, None, lun, 8192, 4096);
        assert_eq!(block[3..1003], [0xa3; 1000]);
        // What it did not write is still there.
        let mut medium = vec![0; 4096];
        iscsi_testkit::pattern::fill(u64::from(lun) + 1, 8192, &mut medium);
        assert_eq!(
            (&block[..3], &block[1003..]),
            (&medium[..3], &medium[1003..])
        );
        judge(&target);
    }
}

#[test]
fn a_pattern_that_is_not_there_is_not_found() {
    let Some(io) = Tool::qemu("qemu-io") else {
        return;
    };
    let target = serve(config());
    let (fine, said) = run(&io, &url(&target, 0), &["read -P 0x11 0 4k"]);
    assert!(
        !fine && said.contains("Pattern verification failed"),
        "{said}"
    );
    judge(&target);
}

#[test]
fn holes_read_as_zeros() {
    let Some(io) = Tool::qemu("qemu-io") else {
        return;
    };
    let target = serve(config());
    let url = url(&target, 0);
    let commands = [
        "write -P 0xb1 0 4M",
        "discard 1M 1M",
        "write -z 2M 64k",
        "write -z -u 3M 64k",
        "read -P 0xb1 0 1M",
        "read -P 0 1M 1M",
        "read -P 0 2M 64k",
        "read -P 0 3M 64k",
        "read -P 0xb1 3211264 64k",
    ];
    let (fine, said) = run(&io, &url, &commands);
    assert!(fine, "{said}");
    let mut expected = vec![0xb1; 4 << 20];
    for (at, len) in [(1 << 20, 1 << 20), (2 << 20, 65_536), (3 << 20, 65_536)] {
        expected[at..at + len].fill(0);
    }
    assert!(read(&target, None, 0, 0, 4 << 20) == expected);
    judge(&target);
}
