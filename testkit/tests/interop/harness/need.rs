//! Programs that a test needs, and what happens where they are missing.

use std::{
    env,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Daemons live where an ordinary user's `PATH` does not look.
const PLACES: [&str; 6] = [
    "/usr/sbin",
    "/sbin",
    "/usr/bin",
    "/bin",
    "/usr/local/sbin",
    "/usr/local/bin",
];

/// The path of an installed program.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain(PLACES.iter().map(PathBuf::from));
    let mut files = places.map(|place| place.join(program));
    files.find(|file: &PathBuf| Path::is_file(file))
}

/// Whether all of these programs are installed; if not, the test is to return.
///
/// Panics with `ISCSI_INTEROP=require`.
pub(crate) fn have(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs
        .iter()
        .copied()
        .filter(|program| find(program).is_none())
        .collect();
    if missing.is_empty() {
        return true;
    }
    skip(&format!("not installed: {}", missing.join(", ")));
    false
}

/// Says loudly that a test does not run; panics with `ISCSI_INTEROP=require`.
pub(crate) fn skip(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    assert!(
        env::var_os("ISCSI_INTEROP").is_none_or(|value| value != "require"),
        "{test} cannot run, and ISCSI_INTEROP=require says that it must: {reason}"
    );
    // Not `eprintln!`, which the test harness shows for failed tests only.
    let line =
        format!("\n*** SKIPPED {test}: {reason} (ISCSI_INTEROP=require makes this a failure)\n");
    io::stderr()
        .write_all(line.as_bytes())
        .expect("stderr can be written to");
}
