//! Body of the fuzz target for text, and its oracles.

use alloc::vec::Vec;

use crate::text::{
    codec::{Accumulator, Pairs, TextBuf},
    keys::{Key, Rule},
    negotiate::{self, Wish},
    send_targets,
};

/// Takes any bytes for a text. Oracles: what was read is written and read again unchanged, however
/// it is split; an answer that [`negotiate::settle`] takes is a fixed point; discovery keeps its
/// caps, and what it found survives a round trip.
pub fn fuzz_text(bytes: &[u8]) {
    let Ok(pairs) = Pairs::new(bytes).collect::<Result<Vec<_>, _>>() else {
        return;
    };
    let mut written = TextBuf::new();
    for (key, value) in &pairs {
        written.push(key, value);
    }
    let again: Result<Vec<_>, _> = Pairs::new(written.as_bytes()).collect();
    assert_eq!(again.as_ref(), Ok(&pairs));

    let mut joined = Accumulator::new(u32::MAX);
    let mut pieces = written.clone();
    let step = 1 + usize::from(bytes.first().copied().unwrap_or_default());
    while !pieces.is_empty() {
        assert!(joined.push(&pieces.take_segment(step)).is_ok());
    }
    assert_eq!(joined.take(), written.as_bytes());

    for (key, value) in &pairs {
        let Some(rule) = Key::from_name(key).map(Key::rule) else {
            continue;
        };
        let ours = match rule {
            Rule::And | Rule::Or => Wish::Boolean(bytes.len() % 2 == 0),
            Rule::List => Wish::List(&["None", "CRC32C"]),
            _ => Wish::Number(4096),
        };
        if let Ok(result) = negotiate::settle(&rule, ours, value) {
            let again = alloc::format!("{result}");
            assert_eq!(negotiate::settle(&rule, ours, &again), Ok(result));
        }
    }
    fuzz_send_targets(bytes);
}

fn fuzz_send_targets(bytes: &[u8]) {
    let Ok(found) = send_targets::parse(bytes, None) else {
        return;
    };
    assert!(found.targets.len() <= send_targets::MAX_TARGETS);
    assert!(found.skipped.len() <= send_targets::MAX_SKIPPED);
    assert!(
        found
            .skipped
            .iter()
            .all(|s| !s.text.contains(char::is_control))
    );
    let mut written = TextBuf::new();
    for target in &found.targets {
        assert!(target.portals.len() <= send_targets::MAX_PORTALS);
        written.push("TargetName", &target.name);
        target
            .portals
            .iter()
            .for_each(|portal| written.push("TargetAddress", portal));
    }
    let again = send_targets::parse(written.as_bytes(), None);
    assert_eq!(again.map(|again| again.targets), Ok(found.targets));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oracles_hold_for_whole_and_damaged_texts() {
        let text = b"HeaderDigest=None,CRC32C\0InitialR2T=No\0MaxBurstLength=0x1000\0CHAP_C=0x00\0\
            TargetName=iqn.2001-04.com.example:a\0TargetAddress=[fe80::1%eth0],1\0X-a=\0";
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut damaged = *text;
                damaged[at] ^= 1 << bit;
                fuzz_text(&damaged);
                fuzz_text(&text[..at]);
            }
        }
    }
}
