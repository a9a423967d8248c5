//! The answer to `SendTargets` (RFC 7143 appendix C).

#![expect(
    clippy::arithmetic_side_effects,
    reason = "positions in our own buffers, and counters, which memory bounds"
)]

use alloc::{
    collections::BTreeMap,
    string::{String, ToString as _},
    sync::Arc,
    vec::Vec,
};

use crate::{
    error::DecodeError,
    name::{IscsiName, NameError},
    portal::{Host, Portal, may_be_a_host},
    text::{codec::Pairs, keys::Key},
};

/// A target and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveredTarget {
    /// Its name.
    pub name: IscsiName,
    /// Its portals in the order of the answer, each once. Empty when the target sent none that can be
    /// used: then the portal that was asked is the one to try. It is that of the target for certain if
    /// [`Discovered::skipped`] has nothing of it.
    pub portals: Vec<Portal>,
}

/// What a target said to `SendTargets`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Discovered {
    /// In the order of the answer, each name once.
    pub targets: Vec<DiscoveredTarget>,
    /// What was left out and why, in the order of the answer; the first [`MAX_SKIPPED`] of them.
    pub skipped: Vec<Skipped>,
    /// How many names and addresses were left out in all; of the targets past [`MAX_TARGETS`] the names alone.
    pub dropped: u32,
    /// How many of these were names of targets past [`MAX_TARGETS`].
    pub beyond: u32,
}

/// A part of the answer that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// The target that the address was given for; `None` if it is the name that was refused.
    pub target: Option<IscsiName>,
    /// What the target sent, at most 128 bytes of it; control characters are escaped.
    pub text: Arc<str>,
    /// What is wrong with it.
    pub reason: SkipReason,
}

/// Why a part of the answer cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SkipReason {
    /// The name is none; its addresses are left out with it.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An address of a target whose name is none.
    #[error("address of a target without a valid name")]
    Nameless,
    /// The address is none.
    #[error("malformed address")]
    Address,
    /// An IPv6 link-local address without a zone, which leads nowhere on a host with several links.
    #[error("link-local address without a zone: discover through a device, or ask with a zone")]
    NoZone,
    /// No address of one host: `0.0.0.0`, `[::]`, multicast or broadcast.
    #[error("not the address of a host")]
    NotUnicast,
    /// An address of the loopback, from a portal that is elsewhere.
    #[error("an address of the loopback: only a portal that is there itself may name it")]
    Loopback,
    /// Portals past [`MAX_PORTALS`] of one target.
    #[error("more portals than are kept of one target")]
    TooMany,
    /// A target past [`MAX_TARGETS`]; its addresses are left out with it.
    #[error("more targets than are kept of one answer")]
    TooManyTargets,
}

/// How many targets are kept of one answer.
pub const MAX_TARGETS: usize = 4096;
/// How many portals are kept of one target.
pub const MAX_PORTALS: usize = 64;
/// How many entries that were left out are told.
pub const MAX_SKIPPED: usize = 64;
/// How long an answer may be, in bytes: for the [`Accumulator`](crate::text::codec::Accumulator).
pub const MAX_TEXT: u32 = 1 << 20;

/// How much is kept of a text that was left out.
const MAX_SHOWN: usize = 128;

/// Whose addresses follow.
#[derive(Clone, Copy)]
enum Named {
    At(usize),
    Malformed,
    /// Of no interest any more.
    Beyond,
}

/// Reads a complete answer. `zone` is the interface through which link-local addresses without a zone
/// of their own are meant; with `None` they are left out.
///
/// A malformed name is left out with its addresses, an address that cannot be used alone; keys that
/// have no business here are ignored. Of more than [`MAX_TARGETS`] the first ones are kept. Errors: malformed text, an
/// address before any name ([`DecodeError::Text`]).
pub fn parse(text: &[u8], zone: Option<&str>) -> Result<Discovered, DecodeError> {
    let mut found = Discovered::default();
    let mut index = BTreeMap::new();
    let mut current = None;
    for pair in Pairs::new(text) {
        let (key, value) = pair?;
        match Key::from_name(key) {
            Some(Key::TargetName) => {
                let name = match value.parse::<IscsiName>() {
                    Ok(name) => name,
                    Err(why) => {
                        found.skip(None, value, why.into());
                        current = Some(Named::Malformed);
                        continue;
                    }
                };
                let known = index.get(&name).copied();
                let at = known.unwrap_or(found.targets.len());
                current = Some(Named::At(at));
                if at == MAX_TARGETS {
                    found.skip(None, value, SkipReason::TooManyTargets);
                    found.beyond = found.beyond.saturating_add(1);
                    current = Some(Named::Beyond);
                } else if known.is_none() {
                    index.insert(name.clone(), at);
                    found.targets.push(DiscoveredTarget {
                        name,
                        portals: Vec::new(),
                    });
                }
            }
            Some(Key::TargetAddress) => match current.ok_or(DecodeError::Text { offset: 0 })? {
                Named::At(at) => found.address(Some(at), value, zone),
                Named::Malformed => found.address(None, value, zone),
                Named::Beyond => {}
            },
            _ => {}
        }
    }
    Ok(found)
}

impl Discovered {
    /// Takes an address of target `at`, or of one whose name was malformed.
    fn address(&mut self, at: Option<usize>, value: &str, zone: Option<&str>) {
        let Some(target) = at.and_then(|at| self.targets.get_mut(at)) else {
            self.skip(None, value, SkipReason::Nameless);
            return;
        };
        let reason = match portal(value, zone) {
            Ok(portal) if target.portals.contains(&portal) => return,
            Ok(portal) if target.portals.len() < MAX_PORTALS => {
                target.portals.push(portal);
                return;
            }
            Ok(_) => SkipReason::TooMany,
            Err(reason) => reason,
        };
        let name = target.name.clone();
        self.skip(Some(name), value, reason);
    }

    /// Leaves out what [is on the loopback](Host::is_loopback): it would lead to ourselves, and not to
    /// whoever was asked. They come last among those that were left out.
    #[must_use]
    pub fn without_loopback(mut self) -> Self {
        let mut left_out = Vec::new();
        for target in &mut self.targets {
            target.portals.retain(|portal| {
                let stays = !portal.host.is_loopback();
                if !stays {
                    left_out.push((target.name.clone(), portal.to_string()));
                }
                stays
            });
        }
        for (name, portal) in left_out {
            self.skip(Some(name), &portal, SkipReason::Loopback);
        }
        self
    }

    fn skip(&mut self, target: Option<IscsiName>, value: &str, reason: SkipReason) {
        self.dropped = self.dropped.saturating_add(1);
        if self.skipped.len() == MAX_SKIPPED {
            return;
        }
        let mut text = String::new();
        for piece in value.chars().map(char::escape_debug) {
            if text.len() + piece.len() > MAX_SHOWN {
                break;
            }
            text.extend(piece);
        }
        self.skipped.push(Skipped {
            target,
            text: text.into(),
            reason,
        });
    }
}

/// An address to which one can connect.
fn portal(value: &str, link: Option<&str>) -> Result<Portal, SkipReason> {
    let mut portal: Portal = value.parse().map_err(|_| SkipReason::Address)?;
    let address = portal.host.address();
    if address.is_some_and(|address| !may_be_a_host(address)) {
        return Err(SkipReason::NotUnicast);
    }
    if let Host::V6 { addr, zone } = &mut portal.host {
        if addr.is_unicast_link_local() && zone.is_none() {
            *zone = Some(link.ok_or(SkipReason::NoZone)?.into());
        }
    }
    Ok(portal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::codec::TextBuf;
    use alloc::{format, string::ToString, vec};

    fn shown(text: &[u8]) -> (Vec<(String, usize)>, u32) {
        let found = parse(text, None).unwrap();
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
            TargetAddress=[fe80::1%2]:3260,2\0TargetName=iqn.2001-04.com.example:b\0X-colour=red\0\
            TargetName=IQN.2001-04.com.example:A\0TargetAddress=10.0.0.1:3260,1\0TargetAddress=c,3\0";
        let a = ("iqn.2001-04.com.example:a".to_string(), 3);
        let b = ("iqn.2001-04.com.example:b".to_string(), 0);
        assert_eq!(shown(text), (vec![a, b], 0));
        assert_eq!(parse(b"", None), Ok(Discovered::default()));
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
            parse(b"TargetAddress=h\0", None),
            Err(DecodeError::Text { offset: 0 })
        );
        assert!(parse(b"TargetName=iqn.2001-04.com.example:b", None).is_err());
    }

    /// What users of other initiators lost whole discoveries over.
    #[test]
    fn an_address_that_leads_nowhere_is_skipped_and_the_others_are_kept() {
        let text = "TargetName=iqn.2001-04.com.example:a\0TargetAddress=[fe80::1]:3260,1\0\
            TargetAddress=0.0.0.0:3260,1\0TargetAddress=[ff02::1],1\0TargetAddress=224.0.0.1\0\
            TargetAddress=[::ffff:0.0.0.0]:3260,1\0\
            TargetAddress=[::ffff:224.0.0.1]:3260\0TargetAddress=[::ffff:255.255.255.255]:3260\0\
            TargetAddress=10.0.0.1:3260,7\0TargetAddress=a b\0TargetAddress=[fe80::2%eth1],1\0\
            TargetName=iqn.2001-04.com.example:\u{7}\0TargetAddress=10.0.0.2\0";
        let found = parse(text.as_bytes(), None).unwrap();
        let portals = found.targets[0].portals.iter().map(ToString::to_string);
        assert_eq!(
            portals.collect::<Vec<_>>(),
            ["10.0.0.1:3260,7", "[fe80::2%eth1]:3260,1"]
        );
        use SkipReason as S;
        let skipped: Vec<_> = found.skipped.iter().map(|s| (&*s.text, s.reason)).collect();
        assert_eq!(
            skipped,
            [
                ("[fe80::1]:3260,1", S::NoZone),
                ("0.0.0.0:3260,1", S::NotUnicast),
                ("[ff02::1],1", S::NotUnicast),
                ("224.0.0.1", S::NotUnicast),
                ("[::ffff:0.0.0.0]:3260,1", S::NotUnicast),
                ("[::ffff:224.0.0.1]:3260", S::NotUnicast),
                ("[::ffff:255.255.255.255]:3260", S::NotUnicast),
                ("a b", S::Address),
                (
                    "iqn.2001-04.com.example:\\u{7}",
                    S::Name(NameError::Character(24))
                ),
                ("10.0.0.2", S::Nameless),
            ]
        );
        assert_eq!(found.skipped[0].target, Some(found.targets[0].name.clone()));
        let found = parse(text.as_bytes(), Some("veth0")).unwrap();
        let first = found.targets[0].portals[0].to_string();
        assert_eq!(first, "[fe80::1%veth0]:3260,1", "the link that was asked");
        assert_eq!(found.dropped, 9);
    }

    #[test]
    fn the_loopback_is_left_out_where_the_caller_says_so() {
        let text = b"TargetName=iqn.2001-04.com.example:a\0TargetAddress=127.0.0.1:3260,1\0\
            TargetAddress=10.0.0.1:3260,1\0TargetAddress=[::1]:3260,2\0TargetAddress=localhost\0";
        let found = parse(text, None).unwrap();
        assert_eq!((found.targets[0].portals.len(), found.dropped), (4, 0));
        let found = found.without_loopback();
        assert_eq!(found.targets[0].portals.len(), 1);
        let skipped = found.skipped.iter().map(|s| (&*s.text, s.reason));
        let gone = ["127.0.0.1:3260,1", "[::1]:3260,2", "localhost:3260"];
        let gone = gone.map(|text| (text, SkipReason::Loopback));
        assert_eq!(skipped.collect::<Vec<_>>(), gone);
        assert_eq!(found.dropped, 3);
    }

    #[test]
    fn what_is_told_of_the_skipped_is_bounded() {
        let long = "x ".repeat(120);
        let mut text = String::from("TargetName=iqn.2001-04.com.example:a\0");
        (0..1000).for_each(|_| text.push_str(&format!("TargetAddress={long}\0")));
        let found = parse(text.as_bytes(), None).unwrap();
        assert_eq!((found.skipped.len(), found.dropped), (MAX_SKIPPED, 1000));
        assert!(found.skipped.iter().all(|s| s.text.len() <= MAX_SHOWN));
    }

    /// H36.
    #[test]
    fn the_answer_is_bounded() {
        let mut text = TextBuf::new();
        for n in 0..=MAX_TARGETS {
            if n == MAX_TARGETS {
                assert_eq!(
                    parse(text.as_bytes(), None).unwrap().targets.len(),
                    MAX_TARGETS
                );
            }
            text.push("TargetName", format_args!("iqn.2001-04.com.example:{n}"));
        }
        text.push("TargetAddress", format_args!("10.0.0.1:3260,1"));
        // One of those that are kept may come again.
        text.push("TargetName", format_args!("iqn.2001-04.com.example:7"));
        text.push("TargetAddress", format_args!("10.0.0.7:3260,1"));
        let found = parse(text.as_bytes(), None).unwrap();
        assert_eq!(found.targets.len(), MAX_TARGETS);
        assert_eq!((found.beyond, found.dropped), (1, 1));
        assert_eq!(found.skipped[0].reason, SkipReason::TooManyTargets);
        assert_eq!(&*found.skipped[0].text, "iqn.2001-04.com.example:4096");
        let with_portals = |target: &&DiscoveredTarget| !target.portals.is_empty();
        let with_portals: Vec<_> = found.targets.iter().filter(with_portals).collect();
        assert_eq!(with_portals.len(), 1);
        assert_eq!(with_portals[0].name.as_str(), "iqn.2001-04.com.example:7");

        let mut text = format!("TargetName={}\0", "iqn.2001-04.com.example:a");
        (1..=70).for_each(|port| text.push_str(&format!("TargetAddress=h:{port}\0")));
        assert_eq!(
            shown(text.as_bytes()),
            (vec![("iqn.2001-04.com.example:a".to_string(), 64)], 6)
        );
    }
}
