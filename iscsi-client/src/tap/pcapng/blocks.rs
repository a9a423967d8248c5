//! Blocks of a pcapng file (draft-ietf-opsawg-pcapng), in little-endian order.

/// A record of the direction that a packet took (section 4.3.1, `epb_flags`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the target.
    Inbound,
    /// To the target.
    Outbound,
}

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;

/// Raw IP: the version field tells which.
const LINKTYPE_RAW: u16 = 101;

const OPT_COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;

fn put(out: &mut Vec<u8>, value: u32) {
    out.extend(value.to_le_bytes());
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

/// An option; a value too long for its length field is cut (at a character, if it is text).
fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend(code.to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    out.extend(value);
    pad(out);
}

fn text_option(out: &mut Vec<u8>, code: u16, text: &str) {
    let mut end = text.len().min(u16::MAX.into());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    option(out, code, &text.as_bytes()[..end]);
}

/// Replaces what is in `out` by one block, whose body `fill` writes.
fn block(out: &mut Vec<u8>, kind: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    out.clear();
    put(out, kind);
    put(out, 0);
    fill(out);
    let len = out.len() as u32 + 4;
    put(out, len);
    out[4..8].copy_from_slice(&len.to_le_bytes());
}

/// The head of a file.
pub(super) fn section(out: &mut Vec<u8>, application: &str) {
    block(out, SECTION_HEADER, |out| {
        put(out, 0x1a2b_3c4d);
        // Version 1.0, section length not given.
        out.extend([1, 0, 0, 0]);
        out.extend([0xff; 8]);
        text_option(out, SHB_USERAPPL, application);
        option(out, 0, &[]);
    });
}

/// The next interface, numbered from 0 in order of appearance.
pub(super) fn interface(out: &mut Vec<u8>, name: &str, description: &str) {
    block(out, INTERFACE_DESCRIPTION, |out| {
        out.extend(LINKTYPE_RAW.to_le_bytes());
        out.extend([0, 0]);
        // No limit on the length of packets.
        put(out, 0);
        text_option(out, IF_NAME, name);
        text_option(out, IF_DESCRIPTION, description);
        // Nanoseconds.
        option(out, IF_TSRESOL, &[9]);
        option(out, 0, &[]);
    });
}

/// A packet: `emit` writes what is kept of it and returns its length on the wire.
pub(super) fn packet(
    out: &mut Vec<u8>,
    interface: u32,
    nanos: u64,
    direction: Direction,
    comment: Option<&str>,
    emit: impl FnOnce(&mut Vec<u8>) -> usize,
) {
    block(out, ENHANCED_PACKET, |out| {
        put(out, interface);
        put(out, (nanos >> 32) as u32);
        put(out, nanos as u32);
        let lengths = out.len();
        out.extend([0; 8]);
        let wire_len = emit(out) as u32;
        let captured = (out.len() - lengths - 8) as u32;
        out[lengths..lengths + 4].copy_from_slice(&captured.to_le_bytes());
        out[lengths + 4..lengths + 8].copy_from_slice(&wire_len.to_le_bytes());
        pad(out);
        let flags = match direction {
            Direction::Inbound => 1_u32,
            Direction::Outbound => 2,
        };
        option(out, EPB_FLAGS, &flags.to_le_bytes());
        if let Some(comment) = comment {
            text_option(out, OPT_COMMENT, comment);
        }
        option(out, 0, &[]);
    });
}
