//! What the fuzz targets run. Each body takes any bytes and panics where its oracle does not hold.
//!
//! Bodies that look into a crate live there, as `fuzz_*` functions; the others are here. `fuzz/` makes
//! a binary of each for libFuzzer, and the test `replay` runs each over its corpus without one.

mod chap;
mod crc;
mod digests;
mod discovery;
pub mod memory;
mod multipath;
mod names;
mod negotiate;
mod pair;
mod peer;
mod script;
mod session;

use iscsi_proto::{framing, login as log_in, pdu, scsi as structures, text as key_value};

pub use self::{
    chap::{chap, chap_with},
    crc::crc32c,
    digests::damaged,
    discovery::discovery,
    multipath::{multipath, multipath_with},
    names::names,
    negotiate::negotiate,
    pair::pair,
    script::Script,
    session::{session, session_with},
};
use memory::Meter;

/// What may be held after a body that keeps nothing: other threads of a test program are counted as well.
const SLACK: usize = 64 << 10;

/// A body, under the name of its binary and its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 12] = [
    ("chap", chap),
    ("digests", digests),
    ("discovery", discovery),
    ("login", login),
    ("multipath", multipath),
    ("names", names),
    ("negotiate", negotiate),
    ("pair", pair),
    ("pdu_stream", pdu_stream),
    ("scsi", scsi),
    ("session", session),
    ("text", text),
];

/// The body called `name`.
#[must_use]
pub fn target(name: &str) -> Option<fn(&[u8])> {
    TARGETS
        .iter()
        .find(|(of, _)| *of == name)
        .map(|(_, body)| *body)
}

/// However a stream is cut into reads, the same PDUs come out; every header reads back as written; what
/// a header announces is not allocated before it is there.
pub fn pdu_stream(input: &[u8]) {
    let meter = Meter::start();
    framing::fuzz_stream(input);
    // Three runs keep all payload, by the byte and with its place; a segment has at most 64 KiB.
    meter.took_at_most((1 << 20) + 256 * input.len());
    meter.holds_at_most(SLACK);
    input.chunks(48).for_each(pdu::fuzz_roundtrip);
    pdu::fuzz_roundtrip(input);
}

/// CRC32C itself, and that PDUs with a wrong one are not acted on.
pub fn digests(input: &[u8]) {
    match input.split_first() {
        Some((kind, rest)) if kind & 1 == 0 => crc32c(rest),
        Some((_, rest)) => damaged(rest),
        None => {}
    }
}

/// `key=value` text: what is read, written and read again is the same; discovery keeps its caps.
pub fn text(input: &[u8]) {
    key_value::fuzz_text(input);
}

/// No full feature phase without the authentication that was required, after a bounded number of
/// rounds and with bounded memory.
pub fn login(input: &[u8]) {
    let meter = Meter::start();
    log_in::fuzz_login(input);
    meter.took_at_most((4 << 20) + 64 * input.len());
    meter.holds_at_most(SLACK);
}

/// Sense data, INQUIRY, VPD pages, capacity, LUNs, port groups, modes, reservations: no panic, bounded
/// output, truncation said; what was read is written and read again unchanged.
pub fn scsi(input: &[u8]) {
    let meter = Meter::start();
    structures::fuzz_all(input);
    meter.took_at_most((64 << 10) + 256 * input.len());
    meter.holds_at_most(SLACK);
}
