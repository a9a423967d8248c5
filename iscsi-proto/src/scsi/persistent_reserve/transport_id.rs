//! TransportIDs of iSCSI (SPC-4 section 7.6.4.6).

use alloc::{format, string::String, vec::Vec};

use crate::{
    error::DecodeError,
    ids::Isid,
    scsi::field::{self, be16, byte},
};

/// PROTOCOL IDENTIFIER of iSCSI.
const ISCSI: u8 = 0x5;
/// The ISID separator, and how the ISID is written.
const SEPARATOR: &str = ",i,0x";
const HEADER: usize = 4;

/// The name of an initiator port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportId {
    /// FORMAT CODE 00b: an iSCSI initiator, whatever its ports.
    Initiator(String),
    /// FORMAT CODE 01b: an iSCSI initiator and the ISID, which together are its port.
    Port(String, Isid),
    /// Another protocol, another format, or a name that makes no sense: the bytes as they came.
    Other(Vec<u8>),
}

impl TransportId {
    /// Parses one, and says how many bytes it takes.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] where it is cut off.
    pub fn parse(data: &[u8]) -> Result<(Self, usize), DecodeError> {
        let head = byte(data, 0).ok_or_else(|| field::truncated(data, 4))?;
        if head & 0x0f != ISCSI {
            // All others have 24 bytes.
            let bytes = data.get(..24).ok_or_else(|| field::truncated(data, 24))?;
            return Ok((Self::Other(bytes.to_vec()), 24));
        }
        let length = be16(data, 2).ok_or_else(|| field::truncated(data, 4))?;
        let end = HEADER + usize::from(length);
        let text = data
            .get(HEADER..end)
            .ok_or_else(|| field::truncated(data, end as u32))?;
        let whole = || Self::Other(data.get(..end).unwrap_or_default().to_vec());
        // NUL-terminated, and padded with more of them.
        let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
        let text = core::str::from_utf8(text).ok();
        let id = match (head >> 6, text) {
            (0, Some(name)) if !name.is_empty() => Self::Initiator(name.into()),
            (1, Some(name)) => port(name).unwrap_or_else(whole),
            _ => whole(),
        };
        Ok((id, end))
    }

    /// The bytes, a multiple of four.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let (format, mut text) = match self {
            Self::Other(bytes) => return bytes.clone(),
            Self::Initiator(name) => (0x00, name.clone().into_bytes()),
            Self::Port(name, isid) => {
                let mut text = format!("{name}{SEPARATOR}").into_bytes();
                for byte in isid.0 {
                    text.extend_from_slice(format!("{byte:02x}").as_bytes());
                }
                (0x40, text)
            }
        };
        text.push(0);
        // The standard wants at least 20 bytes.
        text.resize(text.len().next_multiple_of(4).max(20), 0);
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        let mut bytes = Vec::from([format | ISCSI, 0]);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&text);
        bytes
    }
}

fn port(text: &str) -> Option<TransportId> {
    let (name, isid) = text.rsplit_once(SEPARATOR)?;
    if isid.len() != 12 || !isid.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let number = u64::from_str_radix(isid, 16).ok()?;
    let [_, _, bytes @ ..] = number.to_be_bytes();
    Some(TransportId::Port(name.into(), Isid(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "iqn.2026-01.example:host";

    #[test]
    fn a_port_is_its_name_and_isid() {
        let isid = Isid([0x80, 0, 0, 1, 0, 9]);
        let id = TransportId::Port(NAME.into(), isid);
        let bytes = id.emit();
        assert_eq!(bytes[..4], [0x45, 0, 0, 44]);
        assert_eq!(&bytes[4..45], b"iqn.2026-01.example:host,i,0x800000010009");
        assert_eq!(bytes[45..], [0, 0, 0]);
        assert_eq!(TransportId::parse(&bytes), Ok((id, 48)));
        // Targets write the ISID in either case.
        let upper = TransportId::Port(NAME.into(), Isid([0x80, 0, 0, 0xab, 0xcd, 0xef]));
        let mut bytes = upper.emit();
        bytes[33..].make_ascii_uppercase();
        assert_eq!(TransportId::parse(&bytes), Ok((upper, 48)));
    }

    #[test]
    fn an_initiator_has_no_isid_and_is_padded() {
        let id = TransportId::Initiator("iqn.a".into());
        let bytes = id.emit();
        assert_eq!(bytes[..10], *b"\x05\0\0\x14iqn.a\0");
        assert_eq!(TransportId::parse(&bytes), Ok((id, 24)));
    }

    #[test]
    fn what_makes_no_sense_is_kept_as_it_came() {
        let cases: [&[u8]; 6] = [
            b"\x45\0\0\x04abc\0",
            b"\x45\0\0\x0ciq,i,0x8000\0",
            b"\x45\0\0\x14iq,i,0xzz00000100090",
            b"\x85\0\0\x04abc\0",
            b"\x05\0\0\x04\0\0\0\0",
            b"\x05\0\0\x04\xff\xfe\0\0",
        ];
        for bytes in cases {
            let (id, taken) = TransportId::parse(bytes).unwrap();
            assert_eq!(
                (id, taken),
                (TransportId::Other(bytes.to_vec()), bytes.len())
            );
        }
        let sas = [6; 30];
        let (id, taken) = TransportId::parse(&sas).unwrap();
        assert_eq!((id, taken), (TransportId::Other([6; 24].to_vec()), 24));
    }

    #[test]
    fn no_length_is_believed_past_the_data() {
        let bytes = TransportId::Port(NAME.into(), Isid([1; 6])).emit();
        for length in 0..bytes.len() {
            assert!(TransportId::parse(&bytes[..length]).is_err(), "{length}");
        }
        assert!(TransportId::parse(&[0x45, 0, 0xff, 0xff, b'a']).is_err());
    }
}
