//! iSCSI names (RFC 7143 section 4.2.7): who a node is, wherever it is.

use alloc::{string::String, sync::Arc};
use core::{borrow::Borrow, fmt, str::FromStr};

use crate::error::DecodeError;

/// An iSCSI name in its normal form: `iqn.`, `eui.` or `naa.`, lower case, at most 223 bytes.
///
/// Cloning is a reference count. Two names are equal when their normal forms are.
///
/// Only ASCII names are taken. RFC 3722 would allow more, but needs a Unicode normalisation table
/// that costs more than the rest of this crate; no target in the field is known to want it.
/// The underscore, which RFC 3722 forbids, is taken because Windows and Linux targets use it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IscsiName(Arc<str>);

impl IscsiName {
    /// The longest name, in bytes (section 4.2.7.1).
    pub const MAX_LEN: usize = 223;

    /// The normal form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not an iSCSI name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Longer than [`IscsiName::MAX_LEN`].
    #[error("iSCSI name of {0} bytes, at most 223 are allowed")]
    TooLong(usize),
    /// It begins with none of `iqn.`, `eui.`, `naa.`.
    #[error("iSCSI name must begin with iqn., eui. or naa.")]
    Type,
    /// A character other than letters, digits, `-`, `.`, `:` and `_`.
    #[error("invalid character at byte {0} of the iSCSI name")]
    Character(usize),
    /// `iqn.` is not followed by `yyyy-mm.` and a naming authority.
    #[error("iqn. must be followed by yyyy-mm. and a reversed domain name")]
    Iqn,
    /// `eui.` without 16, or `naa.` without 16 or 32, hexadecimal digits.
    #[error("eui. takes 16, naa. takes 16 or 32 hexadecimal digits")]
    Digits,
}

impl From<NameError> for DecodeError {
    fn from(_: NameError) -> Self {
        Self::Address
    }
}

fn check_iqn(rest: &[u8]) -> bool {
    let [y1, y2, y3, y4, b'-', m1, m2, b'.', authority @ ..] = rest else {
        return false;
    };
    let month = matches!((m1, m2), (b'0', b'1'..=b'9') | (b'1', b'0'..=b'2'));
    let year = [y1, y2, y3, y4].into_iter().all(u8::is_ascii_digit);
    year && month && authority.first().is_some_and(u8::is_ascii_alphanumeric)
}

impl FromStr for IscsiName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > Self::MAX_LEN {
            return Err(NameError::TooLong(text.len()));
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':' | b'_');
        if let Some(at) = text.bytes().position(|b| !allowed(b)) {
            return Err(NameError::Character(at));
        }
        let lower: String = text.to_ascii_lowercase();
        let (kind, rest) = lower.split_once('.').ok_or(NameError::Type)?;
        let hex = rest.bytes().all(|b| b.is_ascii_hexdigit());
        match kind {
            "iqn" if check_iqn(rest.as_bytes()) => {}
            "iqn" => return Err(NameError::Iqn),
            "eui" if hex && rest.len() == 16 => {}
            "naa" if hex && matches!(rest.len(), 16 | 32) => {}
            "eui" | "naa" => return Err(NameError::Digits),
            _ => return Err(NameError::Type),
        }
        Ok(Self(lower.into()))
    }
}

impl AsRef<str> for IscsiName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for IscsiName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IscsiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for IscsiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IscsiName({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::ToString};

    #[test]
    fn the_three_name_types_are_taken_and_lower_cased() {
        for (text, normal) in [
            (
                "iqn.2001-04.com.Example:Disk.1",
                "iqn.2001-04.com.example:disk.1",
            ),
            (
                "iqn.1991-05.com.microsoft:srv_1-target",
                "iqn.1991-05.com.microsoft:srv_1-target",
            ),
            ("eui.02004567A425678D", "eui.02004567a425678d"),
            ("naa.52004567BA64678D", "naa.52004567ba64678d"),
            (
                "naa.62004567BA64678D0123456789ABCDEF",
                "naa.62004567ba64678d0123456789abcdef",
            ),
        ] {
            let name: IscsiName = text.parse().unwrap();
            assert_eq!(name.to_string(), normal);
            assert_eq!(normal.parse(), Ok(name), "normal forms are fixed points");
        }
    }

    /// H37, C-88.
    #[test]
    fn what_is_no_name_is_refused_with_the_reason() {
        let long = format!("iqn.2001-04.com.example:{}", "x".repeat(200));
        for (text, why) in [
            ("", NameError::Type),
            ("iqn", NameError::Type),
            ("disk1", NameError::Type),
            ("xyz.2001-04.com.example", NameError::Type),
            ("iqn.2001-04.com.example:a\nb", NameError::Character(25)),
            ("iqn.2001-04.com.example:a\0", NameError::Character(25)),
            ("iqn.2001-04.com.example:../x", NameError::Character(26)),
            ("iqn.2001-04.com.example: x", NameError::Character(24)),
            ("iqn.2001-04.com.example:\u{e9}", NameError::Character(24)),
            ("iqn.2001-13.com.example", NameError::Iqn),
            ("iqn.2001-04.", NameError::Iqn),
            ("iqn.2001-04", NameError::Iqn),
            ("eui.02004567A425678", NameError::Digits),
            ("naa.02004567A425678g", NameError::Digits),
            (long.as_str(), NameError::TooLong(224)),
        ] {
            assert_eq!(text.parse::<IscsiName>(), Err(why), "{text:?}");
        }
    }
}
