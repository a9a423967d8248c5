//! What the kernel says of its links (rtnetlink(7)), as bytes.

use std::{ffi::CStr, sync::Arc};

use super::LinkState;
use crate::netlink::{self, HEADER, NLMSG_ERROR, u16_at, u32_at};

/// The length of a `struct ifinfomsg`.
const INFO: usize = 16;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
/// One of several, which are a list.
const NLM_F_MULTI: u16 = 0x2;
/// Something changed while the list was made.
const NLM_F_DUMP_INTR: u16 = 0x10;
/// `NLM_F_REQUEST`, and `NLM_F_DUMP`: all links.
const DUMP: u16 = 0x301;
const IFLA_IFNAME: u16 = 3;
/// `IFF_UP`, `IFF_RUNNING`, `IFF_LOWER_UP`: set up, operational, and with a carrier. Each is told late in some cases.
const CARRIES: u32 = 0x1 | 0x40 | 0x1_0000;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A link is there, or has changed.
    Link(LinkState),
    /// The link of this index is gone.
    Gone(u32),
    /// The end of a list, and the error that ended it; 0 if none did.
    Done(i32),
    /// An answer of the kernel's: an error, or 0.
    Error(i32),
    /// Something that does not concern us.
    Other,
}

pub(super) const DUMP_LENGTH: usize = HEADER + INFO;

/// A message, and how it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) message: Message,
    /// It is part of a list; what is not is news.
    pub(super) is_listed: bool,
    /// Something changed while the list was made that it is of.
    pub(super) is_disturbed: bool,
}

/// A request for the list of all links.
pub(super) fn dump(sequence: u32) -> [u8; DUMP_LENGTH] {
    let mut bytes = [0; DUMP_LENGTH];
    bytes[..4].copy_from_slice(&(DUMP_LENGTH as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&RTM_GETLINK.to_ne_bytes());
    bytes[6..8].copy_from_slice(&DUMP.to_ne_bytes());
    bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
    bytes
}

/// The messages of a datagram; `None` for what is none, after which nothing follows.
pub(super) struct Messages<'a>(pub(super) &'a [u8]);

impl Iterator for Messages<'_> {
    type Item = Option<Told>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let message = read(&mut self.0);
        if message.is_none() {
            self.0 = &[];
        }
        Some(message)
    }
}

fn read(bytes: &mut &[u8]) -> Option<Told> {
    let (kind, flags) = (u16_at(bytes, 4)?, u16_at(bytes, 6)?);
    let body = netlink::body(bytes)?;
    let message = match kind {
        RTM_NEWLINK | RTM_DELLINK => link(kind, body)?,
        // The oldest kernels leave the code away.
        NLMSG_DONE => Message::Done(netlink::code(body).unwrap_or(0)),
        NLMSG_ERROR => Message::Error(netlink::code(body)?),
        _ => Message::Other,
    };
    Some(Told {
        message,
        is_listed: flags & NLM_F_MULTI != 0,
        is_disturbed: flags & NLM_F_DUMP_INTR != 0,
    })
}

fn link(kind: u16, body: &[u8]) -> Option<Message> {
    let family = body.first()?;
    let (index, flags) = (u32_at(body, 4)?, u32_at(body, 8)?);
    let attributes = body.get(INFO..)?;
    // What a bridge says of its ports: one that leaves it is "deleted".
    if *family != 0 {
        return Some(Message::Other);
    }
    if kind == RTM_DELLINK {
        return Some(Message::Gone(index));
    }
    Some(Message::Link(LinkState {
        index,
        name: name(attributes)?,
        has_carrier: flags & CARRIES == CARRIES,
    }))
}

fn name(attributes: &[u8]) -> Option<Arc<str>> {
    let name = netlink::attribute(attributes, IFLA_IFNAME)?;
    let name = CStr::from_bytes_until_nul(name).ok()?;
    Some(name.to_string_lossy().into())
}

#[cfg(all(test, target_endian = "little"))]
pub(super) mod tests {
    //! With what Linux 6 said when the far end of a veth pair was set down and up, the near end was set down,
    //! a port left its bridge, and the pair was deleted; on a little-endian machine.

    use super::*;

    pub(in crate::links) const NO_CARRIER: &[u8] = include_bytes!("captured/no_carrier.bin");
    pub(in crate::links) const CARRIER: &[u8] = include_bytes!("captured/carrier.bin");
    const SET_DOWN: &[u8] = include_bytes!("captured/set_down.bin");
    const LEFT_BRIDGE: &[u8] = include_bytes!("captured/left_bridge.bin");
    const GONE: &[u8] = include_bytes!("captured/gone.bin");

    /// All links, and the end of the list.
    pub(in crate::links) fn dumped() -> Vec<u8> {
        include_bytes!("captured/list.bin").to_vec()
    }

    /// The end of a list, with these flags.
    pub(in crate::links) fn end(flags: u8) -> Vec<u8> {
        let mut bytes = dumped();
        let mut end = bytes.split_off(bytes.len() - 20);
        end[6] |= flags;
        end
    }

    fn only(bytes: &[u8]) -> Option<Told> {
        let mut messages = Messages(bytes);
        let first = messages.next().unwrap();
        assert_eq!(messages.next(), None);
        first
    }

    fn news(message: Message) -> Told {
        Told {
            message,
            is_listed: false,
            is_disturbed: false,
        }
    }

    fn link(index: u32, name: &str, has_carrier: bool) -> Message {
        Message::Link(LinkState {
            index,
            name: name.into(),
            has_carrier,
        })
    }

    #[test]
    fn a_carrier_that_is_lost_or_back_and_a_nic_that_is_set_down_are_told_apart_from_nothing_else()
    {
        for (bytes, has_carrier) in [(NO_CARRIER, false), (CARRIER, true), (SET_DOWN, false)] {
            assert_eq!(only(bytes).unwrap(), news(link(3, "nic1", has_carrier)));
        }
    }

    #[test]
    fn a_device_that_is_gone_is_told_from_a_port_that_left_its_bridge() {
        assert_eq!(only(GONE).unwrap(), news(Message::Gone(3)));
        assert_eq!(only(LEFT_BRIDGE).unwrap(), news(Message::Other));
    }

    #[test]
    fn a_list_is_links_and_an_end() {
        let bytes = dumped();
        let messages: Option<Vec<_>> = Messages(&bytes).collect();
        let messages = messages.unwrap();
        assert!(messages.iter().all(|told| told.is_listed));
        let messages: Vec<_> = messages.into_iter().map(|told| told.message).collect();
        let expected = [
            link(1, "lo", false),
            link(2, "far1", false),
            link(3, "nic1", false),
            Message::Done(0),
        ];
        assert_eq!(messages, expected);
        assert!(only(&end(0x10)).unwrap().is_disturbed);
    }

    #[test]
    fn what_is_cut_off_anywhere_is_nothing_and_no_panic() {
        for bytes in [NO_CARRIER, GONE, LEFT_BRIDGE] {
            for length in 1..bytes.len() {
                assert_eq!(only(&bytes[..length]), None, "{length}");
            }
        }
    }

    #[test]
    fn lengths_that_lie_are_no_panic_and_no_endless_loop() {
        for at in 0..NO_CARRIER.len() - 4 {
            for value in [0, 1, 3, 17, 0x7fff_ffff, u32::MAX] {
                let mut bytes = NO_CARRIER.to_vec();
                bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
                assert!(Messages(&bytes).count() < 200);
            }
        }
    }

    #[test]
    fn a_request_for_the_list_is_what_iproute2_sends() {
        let bytes = dump(7);
        assert_eq!(bytes[..8], [32, 0, 0, 0, 18, 0, 1, 3]);
        assert_eq!(bytes[8..], {
            let mut rest = [0; 24];
            rest[0] = 7;
            rest
        });
    }
}
