//! What the kernel says of one connection (sock_diag(7), `struct tcp_info` of tcp(7)), as bytes.

use std::{net::IpAddr, time::Duration};

use super::{Connection, Progress};

/// `struct nlmsghdr`, `struct inet_diag_req_v2` and `struct inet_diag_msg`.
const HEADER: usize = 16;
const REQUEST: usize = 56;
const BODY: usize = 72;
pub(super) const REQUEST_LENGTH: usize = HEADER + REQUEST;
const NLMSG_ERROR: u16 = 2;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const INET_DIAG_INFO: u16 = 2;
/// Bits of an attribute's type that say how it is encoded.
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Where a field of `struct tcp_info` is. It grows at its end from kernel to kernel.
mod at {
    pub(super) const RETRANSMITS: usize = 2;
    pub(super) const PROBES: usize = 3;
    pub(super) const RTO: usize = 8;
    pub(super) const UNACKED: usize = 24;
    pub(super) const LAST_DATA_SENT: usize = 44;
    pub(super) const LAST_DATA_RECV: usize = 52;
    pub(super) const LAST_ACK_RECV: usize = 56;
    pub(super) const RTT: usize = 68;
    pub(super) const BYTES_ACKED: usize = 120;
    pub(super) const NOTSENT_BYTES: usize = 144;
}

/// What the kernel answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Progress(Progress),
    /// An error, as its negative number.
    Error(i32),
}

/// The question for one connection, by name: numbers are in the order of the host, ports and addresses in that of the
/// network.
pub(super) fn request(connection: &Connection) -> [u8; REQUEST_LENGTH] {
    let mut bytes = [0; REQUEST_LENGTH];
    let family = match connection.local {
        std::net::SocketAddr::V4(_) => AF_INET,
        std::net::SocketAddr::V6(_) => AF_INET6,
    };
    bytes[..4].copy_from_slice(&(REQUEST_LENGTH as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    bytes[16..19].copy_from_slice(&[family, IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1)]);
    // In any state.
    bytes[20..24].copy_from_slice(&u32::MAX.to_ne_bytes());
    bytes[24..26].copy_from_slice(&connection.local.port().to_be_bytes());
    bytes[26..28].copy_from_slice(&connection.peer.port().to_be_bytes());
    put(&mut bytes[28..44], connection.local.ip());
    put(&mut bytes[44..60], connection.peer.ip());
    bytes[60..64].copy_from_slice(&connection.device.to_ne_bytes());
    // The lower half first, whatever the order of the host.
    let (low, high) = (connection.cookie as u32, (connection.cookie >> 32) as u32);
    bytes[64..68].copy_from_slice(&low.to_ne_bytes());
    bytes[68..72].copy_from_slice(&high.to_ne_bytes());
    bytes
}

fn put(field: &mut [u8], address: IpAddr) {
    match address {
        IpAddr::V4(address) => field[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => field.copy_from_slice(&address.octets()),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_ne_bytes(field.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(field.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_ne_bytes(field.try_into().ok()?))
}

/// What a datagram says; `None` if that is not what was asked for, or is cut off.
pub(super) fn read(bytes: &[u8]) -> Option<Answer> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let body = bytes.get(..length)?.get(HEADER..)?;
    match u16_at(bytes, 4)? {
        NLMSG_ERROR => {
            let code = u32_at(body, 0)?;
            Some(Answer::Error(i32::from_ne_bytes(code.to_ne_bytes())))
        }
        SOCK_DIAG_BY_FAMILY => {
            let queued = u32_at(body, 60)?;
            let info = attribute(body.get(BODY..)?, INET_DIAG_INFO)?;
            progress(info, queued).map(Answer::Progress)
        }
        _ => None,
    }
}

fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & NLA_TYPE_MASK;
        let value = bytes.get(..length)?.get(4..)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.checked_next_multiple_of(4)?..)?;
    }
}

/// `queued`: bytes that are not acknowledged, sent or not.
fn progress(info: &[u8], queued: u32) -> Option<Progress> {
    let millis = |at| u32_at(info, at).map(|time| Duration::from_millis(time.into()));
    let micros = |at| u32_at(info, at).map(|time| Duration::from_micros(time.into()));
    let last_ack = millis(at::LAST_ACK_RECV)?;
    let retransmits = u32::from(*info.get(at::RETRANSMITS)?);
    let probes = *info.get(at::PROBES)?;
    let unacked = u32_at(info, at::UNACKED)?;
    let acked = u64_at(info, at::BYTES_ACKED)?;
    let unacknowledged_for = if unacked > 0 && retransmits > 0 {
        // What had no answer yet was sent before the first timeout, and each one doubles the next: more than half of
        // it is over. The last acknowledgement may be much older than what waits for one now.
        last_ack.min(micros(at::RTO)? / 2)
    } else if unacked > 0 {
        // A tail loss probe counts as sent, so this may be too short.
        last_ack.min(millis(at::LAST_DATA_SENT)?)
    } else if probes > 1 {
        // The window is closed, or there was nothing to do. One question may be under way just now, but here the one
        // before it was not answered either.
        last_ack
    } else {
        Duration::ZERO
    };
    Some(Progress {
        sent: acked.saturating_add(queued.into()),
        acked,
        unsent: u32_at(info, at::NOTSENT_BYTES)?.into(),
        unacknowledged_for,
        retransmits,
        rtt: micros(at::RTT)?,
        last_receive: last_ack.min(millis(at::LAST_DATA_RECV)?),
    })
}
