//! The form of what Linux says by netlink(7): numbers in the order of the host, and attributes.
//!
//! By hand, since what is asked is one question of rtnetlink(7) and one of sock_diag(7) (docs/ARCHITECTURE.md).

/// The length of a `struct nlmsghdr`: of the whole message (32 bits), what it is, flags (16 each), a sequence number and
/// a port (32 each).
pub(crate) const HEADER: usize = 16;
/// An error, or the acknowledgement that there is none; its body begins with the negative number.
pub(crate) const NLMSG_ERROR: u16 = 2;
/// Bits of an attribute's type that say how it is encoded.
const NLA_TYPE_MASK: u16 = 0x3fff;

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_ne_bytes(field.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(field.try_into().ok()?))
}

/// The number with which the body of an error, or the end of a list, begins.
pub(crate) fn code(body: &[u8]) -> Option<i32> {
    u32_at(body, 0).map(|code| i32::from_ne_bytes(code.to_ne_bytes()))
}

/// Cuts `length` bytes off, and what fills them up to a multiple of four; that may be missing at the end.
pub(crate) fn cut<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let whole = bytes.get(..length)?;
    let padded = length.checked_next_multiple_of(4)?.min(bytes.len());
    *bytes = bytes.get(padded..)?;
    Some(whole)
}

/// The body of the message at the beginning of `bytes`, which is cut off.
pub(crate) fn body<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    cut(bytes, length)?.get(HEADER..)
}

/// The value of the first attribute that is `wanted`; `None` too where one before it is none.
pub(crate) fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    while !bytes.is_empty() {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & NLA_TYPE_MASK;
        let value = cut(&mut bytes, length)?.get(4..)?;
        if kind == wanted {
            return Some(value);
        }
    }
    None
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_found_behind_padding_and_may_lack_its_own() {
        let bytes = [6, 0, 1, 0, 7, 7, 0, 0, 5, 0, 2, 0x80, 9];
        assert_eq!(attribute(&bytes, 1), Some(&[7, 7][..]));
        assert_eq!(attribute(&bytes, 2), Some(&[9][..]));
        assert_eq!(attribute(&bytes, 3), None);
        // One that is shorter than its own head, or longer than what is there, ends the search.
        for length in [0, 3, 14] {
            let mut bytes = bytes;
            bytes[0] = length;
            assert_eq!(attribute(&bytes, 2), None, "{length}");
        }
    }

    #[test]
    fn messages_are_cut_off_one_by_one() {
        let mut bytes = [0; 37];
        (bytes[0], bytes[20]) = (17, 17);
        bytes[16] = 5;
        let mut rest = &bytes[..];
        assert_eq!(body(&mut rest), Some(&[5][..]));
        assert_eq!(body(&mut rest), Some(&[0][..]));
        assert_eq!(body(&mut rest), None);
    }
}
