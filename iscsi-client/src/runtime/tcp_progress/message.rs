//! What the kernel says of one connection (sock_diag(7), `struct tcp_info` of tcp(7)), as bytes.

use std::{net::IpAddr, time::Duration};

use super::{Connection, Progress};
use crate::netlink::{self, HEADER, NLMSG_ERROR, u16_at, u32_at};

/// The lengths of a `struct inet_diag_req_v2` and a `struct inet_diag_msg`.
const REQUEST: usize = 56;
const BODY: usize = 72;
pub(super) const REQUEST_LENGTH: usize = HEADER + REQUEST;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const INET_DIAG_INFO: u16 = 2;

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

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_ne_bytes(field.try_into().ok()?))
}

/// What a datagram says; `None` if that is not what was asked for, or is cut off.
pub(super) fn read(mut bytes: &[u8]) -> Option<Answer> {
    let kind = u16_at(bytes, 4)?;
    let body = netlink::body(&mut bytes)?;
    match kind {
        NLMSG_ERROR => netlink::code(body).map(Answer::Error),
        SOCK_DIAG_BY_FAMILY => {
            let queued = u32_at(body, 60)?;
            let info = netlink::attribute(body.get(BODY..)?, INET_DIAG_INFO)?;
            progress(info, queued).map(Answer::Progress)
        }
        _ => None,
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

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    /// To Linux 6, over the loopback, from port 58794 to 55965.
    const ASKED: [&str; 2] = [
        "4800000014000100000000000000000002060200ffffffffe5aada9d7f0000010000000000000000000000007f000001",
        "000000000000000000000000000000001701000000000000",
    ];

    /// Its answer: of 400 bytes 100 were acknowledged, and 0.8 s later the rest is not.
    const TOLD: [&str; 9] = [
        "980100001400000000000000e11c000002010101e5aada9d7f0000010000000000000000000000007f00000100000000",
        "000000000000000000000000170100000000000018000000000000002c010000000000006a420b000500080000000000",
        "08000f00000000000c001500010000000000000006001600520000001c010200010401000107aa01c039060000000000",
        "0080000018020000010000000000000001000000010000000000000080010000000000007803000078030000ffff0000",
        "d7ff00001a0000000e000000ffffff7f01000000cbff00001200000000000000d7ff000002000000c4f3268307000000",
        "ffffffffffffffff650000000000000000000000000000000600000002000000000000000a0000000000000004000000",
        "000050c30000000000350c0000000000000000000000000000000000000000000200000000000000e803000000000000",
        "580200000000000000000000000000000000000000000100000001000100000001000100810100000000000000000000",
        "000000000000000000000000000000000000000000000000",
    ];

    fn bytes(lines: &[&str]) -> Vec<u8> {
        let digits: String = lines.concat();
        let pairs = (0..digits.len()).step_by(2);
        pairs
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect()
    }

    /// Where its `struct tcp_info` begins.
    fn info(told: &[u8]) -> usize {
        let header = [0x1c, 0x01, 0x02, 0x00];
        told.windows(4).position(|at| at == header).unwrap() + 4
    }

    fn told_with(at: usize, value: &[u8]) -> Progress {
        let mut told = bytes(&TOLD);
        let at = info(&told) + at;
        told[at..at + value.len()].copy_from_slice(value);
        let Some(Answer::Progress(progress)) = read(&told) else {
            panic!("{:?}", read(&told));
        };
        progress
    }

    fn connection() -> Connection {
        Connection {
            local: "127.0.0.1:58794".parse().unwrap(),
            peer: "127.0.0.1:55965".parse().unwrap(),
            device: 0,
            cookie: 0x117,
        }
    }

    #[test]
    fn the_question_is_the_one_that_was_answered() {
        assert_eq!(request(&connection()).to_vec(), bytes(&ASKED));
    }

    #[test]
    fn a_question_about_ipv6_and_a_device() {
        let connection = Connection {
            local: "[2001:db8::1]:1".parse().unwrap(),
            peer: "[fe80::2%5]:3260".parse().unwrap(),
            device: 5,
            cookie: 0x1_0000_0002,
        };
        let asked = request(&connection);
        assert_eq!(asked[16], AF_INET6);
        assert_eq!(asked[26..28], [0x0c, 0xbc]);
        assert_eq!(asked[28..32], [0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!((asked[44], asked[59]), (0xfe, 2));
        assert_eq!(asked[60..72], [5, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn what_linux_told() {
        let Some(Answer::Progress(progress)) = read(&bytes(&TOLD)) else {
            panic!()
        };
        let ms = Duration::from_millis;
        assert_eq!((progress.sent, progress.acked), (401, 101));
        assert_eq!((progress.in_flight(), progress.unsent), (300, 0));
        assert_eq!(progress.retransmits, 1);
        assert_eq!(
            progress.unacknowledged_for,
            ms(204),
            "the first of two timeouts is over"
        );
        assert_eq!(progress.rtt, Duration::from_micros(26));
        assert_eq!(progress.last_receive, ms(888));
    }

    #[test]
    fn before_the_first_timeout_the_last_sending_counts() {
        let progress = told_with(at::RETRANSMITS, &[0]);
        assert_eq!(progress.unacknowledged_for, Duration::from_millis(384));
    }

    #[test]
    fn one_question_to_a_closed_window_may_be_under_way() {
        for (probes, lasted) in [(0, 0), (1, 0), (2, 888)] {
            let mut told = bytes(&TOLD);
            let start = info(&told);
            told[start + at::PROBES] = probes;
            told[start + at::UNACKED] = 0;
            let Some(Answer::Progress(progress)) = read(&told) else {
                panic!()
            };
            let lasted = Duration::from_millis(lasted);
            assert_eq!(progress.unacknowledged_for, lasted, "{probes}");
        }
    }

    #[test]
    fn an_error_is_told() {
        let mut told = vec![36, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        told.extend((-2_i32).to_ne_bytes());
        told.extend([0; 16]);
        assert_eq!(read(&told), Some(Answer::Error(-2)));
    }

    /// Neither is what is cut off anywhere, nor what says of itself that it is longer or shorter than it is.
    #[test]
    fn no_answer_panics() {
        let told = bytes(&TOLD);
        for length in 0..told.len() {
            assert_eq!(read(&told[..length]), None, "{length}");
            let mut short = told[..length].to_vec();
            if let Some(own) = short.get_mut(..4) {
                own.copy_from_slice(&(length as u32).to_ne_bytes());
            }
            // What is left out at its end is not missed, if the rest says all.
            let _any = read(&short);
        }
        for at in 0..told.len() {
            for value in [0, 1, 3, 0x7f, 0xff] {
                let mut other = told.clone();
                other[at] = value;
                let _any = read(&other);
            }
        }
    }

    /// As of a kernel that tells less than is asked for, or of a connection that waits for its end.
    #[test]
    fn an_answer_without_what_was_asked_for_is_none() {
        let mut told = bytes(&TOLD);
        let start = info(&told);
        told[start - 2] = 9;
        assert_eq!(read(&told), None);
        let mut told = bytes(&TOLD);
        let length = u16::try_from(at::NOTSENT_BYTES + 4).unwrap();
        told[start - 4..start - 2].copy_from_slice(&length.to_ne_bytes());
        assert_eq!(read(&told), None);
    }
}
