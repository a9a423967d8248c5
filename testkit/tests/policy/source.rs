//! What the libraries do not do, as far as it can be seen in their source.

use std::{hint::black_box, panic::catch_unwind};

use crate::{LIBRARIES, PUBLISHED, read, section, sources};

/// `cargo clippy` with warnings denied, which `.ci/run` runs, keeps the rule itself. A file of the protocol that is
/// exempt says so on top, and why.
#[test]
fn k16_what_a_peer_sends_cannot_end_the_process() {
    let library = read("iscsi-proto/src/lib.rs");
    let denied = library.split_once("deny(").unwrap().1;
    let denied = denied.split_once(')').unwrap().0;
    for lint in [
        "arithmetic_side_effects",
        "indexing_slicing",
        "unwrap_used",
        "expect_used",
        "panic",
        "unreachable",
    ] {
        assert!(denied.contains(&format!("clippy::{lint},")), "{lint}");
    }
    assert!(
        read(".ci/run").contains("clippy --workspace --all-targets --all-features -- -D warnings")
    );
    for (path, code) in sources("iscsi-proto") {
        for line in code.lines().filter(|line| line.contains("clippy::")) {
            assert!(!line.contains("allow("), "{path}: {line}");
            // What no reason would do for.
            for lint in ["unwrap_used", "expect_used", "panic"] {
                let is_exempt =
                    line.contains("expect(") && line.contains(&format!("clippy::{lint}"));
                assert!(!is_exempt, "{path}: {line}");
            }
        }
    }
}

/// Forbidden and not only denied: nothing further down can allow it again.
#[test]
fn k17_no_published_crate_has_unsafe_code() {
    let lints = section(&read("Cargo.toml"), "workspace.lints.rust");
    assert!(
        lints.contains(&"unsafe_code = \"forbid\"".to_owned()),
        "{lints:?}"
    );
    for krate in PUBLISHED {
        let manifest = read(&format!("{krate}/Cargo.toml"));
        assert_eq!(section(&manifest, "lints"), ["workspace = true"], "{krate}");
        assert!(!manifest.contains("build ="), "{krate} has a build script");
        for (path, code) in sources(krate) {
            for word in ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"] {
                assert!(!code.contains(word), "{path}: {word}");
            }
        }
    }
}

/// A library cannot choose its users' profiles. So its arithmetic does not depend on them (K-16), and wherever
/// hostile input is tried, in tests, worlds and fuzz targets, an overflow is a failure.
#[test]
fn k19_overflows_are_failures_wherever_hostile_input_is_tried() {
    let overflows = || {
        let full = black_box(u8::MAX);
        black_box(full + black_box(1))
    };
    catch_unwind(overflows).expect_err("tests are built without overflow checks");
    let fuzz = section(&read("fuzz/Cargo.toml"), "profile.release");
    assert!(
        fuzz.contains(&"overflow-checks = true".to_owned()),
        "{fuzz:?}"
    );
}

/// Sockets of the sessions apart, which the runtime opens: no other files, sockets and processes, no environment,
/// no signals, nothing printed, no state that two users in a process would share.
#[test]
fn k20_the_libraries_leave_the_process_alone() {
    const NOT_AT_ALL: [&str; 25] = [
        "std::env",
        "env::var",
        "set_var",
        "temp_dir",
        "UnixListener",
        "UnixStream",
        "UnixDatagram",
        "TcpListener",
        "process::",
        "static mut",
        "OnceLock",
        "LazyLock",
        "OnceCell<",
        "thread_local!",
        "panic::set_hook",
        "sigaction",
        "libc::signal",
        "signalfd",
        "setuid",
        "setsockopt(",
        "umask",
        "chdir",
        "print!(",
        "println!(",
        "dbg!(",
    ];
    // Here and nowhere else: the file that a caller names for a capture, and the thread of `blocking::Host`, which
    // a caller starts.
    const EXCEPTIONS: [(&str, &str); 3] = [
        ("std::fs", "iscsi-client/src/tap/pcapng/mod.rs"),
        ("thread::Builder", "iscsi-client/src/blocking/host.rs"),
        ("thread::spawn", ""),
    ];
    for library in LIBRARIES {
        for (path, code) in sources(library) {
            for word in NOT_AT_ALL {
                assert!(!code.contains(word), "{path}: {word}");
            }
            for (word, allowed) in EXCEPTIONS {
                assert!(!code.contains(word) || path == allowed, "{path}: {word}");
            }
            // A `static` is a constant: none can be changed without one of the words above, or these.
            for line in code
                .lines()
                .filter(|line| line.contains("static ") && line.contains(": "))
            {
                for cell in ["Mutex", "RwLock", "Atomic", "Cell"] {
                    assert!(
                        !line.contains(cell)
                            || line.contains("'static ")
                            // Of `cfg(fuzzing)`: whether that process judges digests.
                            || (path == "iscsi-proto/src/digest.rs" && line.contains("KEPT")),
                        "{path}: {line}"
                    );
                }
            }
        }
    }
}

/// What programs log of reservations has no keys: events name paths and reasons. (Whoever asks for keys gets them, and
/// every initiator can read them from the target: they are no secrets, and not chosen here but by the caller.)
#[test]
fn k22_events_have_no_reservation_keys() {
    for path in [
        "mpio/src/core/event.rs",
        "mpio/src/device/events.rs",
        "iscsi-client/src/session/state.rs",
        "iscsi-client/src/session/units.rs",
        "iscsi-client/src/logical_unit/events.rs",
    ] {
        let code = read(path);
        for word in ["ReservationKey", "PathKeys", "key: u64", "keys: "] {
            assert!(!code.contains(word), "{path}: {word}");
        }
    }
}
