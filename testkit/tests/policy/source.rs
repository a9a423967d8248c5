//! What the libraries do not do, as far as it can be seen in their source.

use std::{hint::black_box, panic::catch_unwind};

use crate::{LIBRARIES, PUBLISHED, read, root, section, sources};

/// What a file of the protocol may be exempt from if it says why; no reason would do for the others.
const EXEMPT: [&str; 2] = ["arithmetic_side_effects", "indexing_slicing"];

/// But for the body of a fuzz target, which needs what is private there.
const FUZZED: (&str, &str) = ("iscsi-proto/src/framing/receive.rs", "expect_used");

/// `cargo clippy` with warnings denied, which `.ci/run` runs, keeps the rule itself. How many files are exempt is
/// said in the row.
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
    let mut exempt = 0;
    for (path, code) in sources("iscsi-proto") {
        assert!(!code.contains("allow("), "{path}");
        if path == "iscsi-proto/src/lib.rs" {
            continue;
        }
        // Wherever rustfmt broke the line.
        let lints = code.split("clippy::").skip(1);
        let lints = lints.filter_map(|rest| rest.split([',', ')', ' ', '\n']).next());
        let lints: Vec<&str> = lints.collect();
        assert!(
            lints
                .iter()
                .all(|lint| EXEMPT.contains(lint) || (path.as_str(), *lint) == FUZZED),
            "{path}: {lints:?}"
        );
        exempt += usize::from(!lints.is_empty());
    }
    let model = read("docs/threat-model.md");
    let row = model.lines().find(|line| line.starts_with("| K-16 |"));
    let row = row.unwrap();
    assert!(
        row.contains(&format!("; {exempt} files ")),
        "{exempt}: {row}"
    );
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
        // Cargo runs a file of this name without being told.
        let script = root().join(krate).join("build.rs");
        assert!(!script.exists(), "{krate} has a build script");
        let package = section(&manifest, "package");
        let named = package.iter().find(|line| line.starts_with("build"));
        assert_eq!(named, None, "{krate} has a build script");
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
    let manifest = read("Cargo.toml");
    for profile in ["profile.dev", "profile.test"] {
        let profile = section(&manifest, profile);
        // On unless a profile says otherwise.
        let checks = ["debug-assertions", "overflow-checks"];
        let switches = |line: &&String| checks.iter().any(|check| line.starts_with(check));
        assert_eq!(profile.iter().find(switches), None);
    }
    // The tests in a release build are those of what users run.
    if cfg!(debug_assertions) {
        let overflows = || {
            let full = black_box(u8::MAX);
            black_box(full + black_box(1))
        };
        catch_unwind(overflows).expect_err("tests are built without overflow checks");
    }
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
        "env::",
        "set_var",
        "temp_dir",
        "UnixListener",
        "UnixStream",
        "UnixDatagram",
        "TcpListener",
        "UdpSocket",
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
    // Here and nowhere else: the file that a caller names for a capture, the sockets of the runtimes and the one that
    // tells of links, which a caller opens, and the thread of `blocking::Host`, which a caller starts.
    const EXCEPTIONS: [(&str, &[&str]); 6] = [
        ("fs::", &["iscsi-client/src/tap/pcapng/mod.rs"]),
        (
            "TcpStream",
            &[
                "iscsi-client/src/runtime/smol.rs",
                "iscsi-client/src/runtime/tokio.rs",
            ],
        ),
        ("TcpSocket", &["iscsi-client/src/runtime/tokio.rs"]),
        (
            "Socket::new",
            &[
                "iscsi-client/src/links/source.rs",
                "iscsi-client/src/runtime/socket.rs",
            ],
        ),
        ("thread::Builder", &["iscsi-client/src/blocking/host.rs"]),
        ("thread::spawn", &[]),
    ];
    for library in LIBRARIES {
        for (path, code) in sources(library) {
            for word in NOT_AT_ALL {
                assert!(!code.contains(word), "{path}: {word}");
            }
            for (word, allowed) in EXCEPTIONS {
                let is_allowed = allowed.contains(&path.as_str());
                assert!(!code.contains(word) || is_allowed, "{path}: {word}");
            }
            // What is there for fuzz targets is in no user's process.
            let code = code.replace("#[cfg(fuzzing)]\nstatic ", "");
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
