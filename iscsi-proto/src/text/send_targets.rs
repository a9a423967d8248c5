//! The answer to `SendTargets` (RFC 7143 appendix C).

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    error::DecodeError,
    name::IscsiName,
    portal::Portal,
    text::{codec::Pairs, keys::Key},
};

/// A target and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveredTarget {
    /// Its name.
    pub name: IscsiName,
    /// Its portals in the order of the answer, each once. Empty when the target sent none: then it
    /// listens on the portal that was asked.
    pub portals: Vec<Portal>,
}

/// What a target said to `SendTargets`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovered {
    /// In the order of the answer, each name once.
    pub targets: Vec<DiscoveredTarget>,
    /// How many names and addresses were left out: malformed, or portals past the cap.
    pub dropped: u32,
}

/// How many targets one answer may name.
pub const MAX_TARGETS: usize = 4096;
/// How many portals are kept of one target.
pub const MAX_PORTALS: usize = 64;
/// How long an answer may be, in bytes: for the [`Accumulator`](crate::text::codec::Accumulator).
pub const MAX_TEXT: u32 = 1 << 20;

/// Reads a complete answer.
///
/// A malformed name is left out with its addresses, a malformed address alone; keys that have no
/// business here are ignored. Errors: malformed text, an address before any name
/// ([`DecodeError::Text`]), more than [`MAX_TARGETS`] ([`DecodeError::TooManyTargets`]).
pub fn parse(text: &[u8]) -> Result<Discovered, DecodeError> {
    let mut found = Discovered::default();
    let mut index = BTreeMap::new();
    // None: no name yet. Some(None): the name was malformed.
    let mut current: Option<Option<usize>> = None;
    for pair in Pairs::new(text) {
        let (key, value) = pair?;
        match Key::from_name(key) {
            Some(Key::TargetName) => {
                let Ok(name) = value.parse::<IscsiName>() else {
                    found.dropped = found.dropped.saturating_add(1);
                    current = Some(None);
                    continue;
                };
                let at = *index.entry(name.clone()).or_insert(found.targets.len());
                if at == found.targets.len() {
                    if at == MAX_TARGETS {
                        return Err(DecodeError::TooManyTargets);
                    }
                    found.targets.push(DiscoveredTarget {
                        name,
                        portals: Vec::new(),
                    });
                }
                current = Some(Some(at));
            }
            Some(Key::TargetAddress) => {
                let target = match current {
                    None => return Err(DecodeError::Text { offset: 0 }),
                    Some(at) => at.and_then(|at| found.targets.get_mut(at)),
                };
                let (Some(target), Ok(portal)) = (target, value.parse::<Portal>()) else {
                    found.dropped = found.dropped.saturating_add(1);
                    continue;
                };
                if target.portals.contains(&portal) {
                    continue;
                }
                if target.portals.len() == MAX_PORTALS {
                    found.dropped = found.dropped.saturating_add(1);
                } else {
                    target.portals.push(portal);
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::codec::TextBuf;
    use alloc::{
        format,
        string::{String, ToString},
        vec,
    };

    fn shown(text: &[u8]) -> (Vec<(String, usize)>, u32) {
        let found = parse(text).unwrap();
        let targets = found
            .targets
            .iter()
            .map(|t| (t.name.to_string(), t.portals.len()))
            .collect();
        (targets, found.dropped)
    }

    #[test]
    fn targets_and_their_portals_are_listed_and_merged() {
        let text = b"TargetName=iqn.2001-04.com.example:a\0TargetAddress=10.0.0.1:3260,1\0\
            TargetAddress=[fe80::1]:3260,2\0TargetName=iqn.2001-04.com.example:b\0X-colour=red\0\
            TargetName=IQN.2001-04.com.example:A\0TargetAddress=10.0.0.1:3260,1\0TargetAddress=c,3\0";
        let a = ("iqn.2001-04.com.example:a".to_string(), 3);
        let b = ("iqn.2001-04.com.example:b".to_string(), 0);
        assert_eq!(shown(text), (vec![a, b], 0));
        assert_eq!(parse(b""), Ok(Discovered::default()));
    }

    /// H33, H37, H38.
    #[test]
    fn malformed_entries_are_left_out_and_counted() {
        let text =
            b"TargetName=../etc\0TargetAddress=10.0.0.1\0TargetName=iqn.2001-04.com.example:b\0\
            TargetAddress=[::\0TargetAddress=10.0.0.2:0\0TargetAddress=10.0.0.2\0";
        assert_eq!(
            shown(text),
            (vec![("iqn.2001-04.com.example:b".to_string(), 1)], 4)
        );
        assert_eq!(
            parse(b"TargetAddress=h\0"),
            Err(DecodeError::Text { offset: 0 })
        );
        assert!(parse(b"TargetName=iqn.2001-04.com.example:b").is_err());
    }

    /// H36.
    #[test]
    fn the_answer_is_bounded() {
        let mut text = TextBuf::new();
        for n in 0..=MAX_TARGETS {
            if n == MAX_TARGETS {
                assert_eq!(parse(text.as_bytes()).unwrap().targets.len(), MAX_TARGETS);
            }
            text.push("TargetName", format_args!("iqn.2001-04.com.example:{n}"));
        }
        assert_eq!(parse(text.as_bytes()), Err(DecodeError::TooManyTargets));

        let mut text = format!("TargetName={}\0", "iqn.2001-04.com.example:a");
        (1..=70).for_each(|port| text.push_str(&format!("TargetAddress=h:{port}\0")));
        assert_eq!(
            shown(text.as_bytes()),
            (vec![("iqn.2001-04.com.example:a".to_string(), 64)], 6)
        );
    }
}
