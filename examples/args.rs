//! Arguments that several tools take.

use std::{path::PathBuf, time::Duration};

use clap::ValueEnum;
use iscsi_proto::text::DigestOffer;

/// Which runtime everything lives on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RuntimeChoice {
    /// tokio.
    #[default]
    Tokio,
    /// smol.
    Smol,
}

impl RuntimeChoice {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tokio => "tokio",
            Self::Smol => "smol",
        }
    }
}

/// A digest, to be offered as the only value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DigestChoice {
    /// No digest.
    #[default]
    None,
    /// CRC32C.
    Crc32c,
}

impl From<DigestChoice> for DigestOffer {
    fn from(choice: DigestChoice) -> Self {
        match choice {
            DigestChoice::None => Self::None,
            DigestChoice::Crc32c => Self::RequireCrc32c,
        }
    }
}

/// A number of bytes: `4096`, `64k`, `1M`, `4g`, `1.5GiB`. The suffixes are powers of 1024.
///
/// # Errors
///
/// What a number of bytes looks like.
pub fn bytes(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let number = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &lower[number.len()..] {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err("give a number of bytes, such as 4096, 64k, 1m or 4g".into()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole
            .checked_mul(1 << shift)
            .ok_or_else(|| "at most 2^64 - 1 bytes".into());
    }
    let fraction = number.parse::<f64>().ok().filter(|n| *n >= 0.0);
    fraction
        .map(|n| n * (1_u64 << shift) as f64)
        .filter(|n| *n < u64::MAX as f64)
        .map(|n| n as u64)
        .ok_or_else(|| "give a number of bytes, such as 4096, 64k, 1m or 4g".into())
}

/// As [`bytes()`], but at least 1.
///
/// # Errors
///
/// As [`bytes()`].
pub fn some_bytes(text: &str) -> Result<u64, String> {
    bytes(text).and_then(|n| {
        if n == 0 {
            Err("must not be 0".into())
        } else {
            Ok(n)
        }
    })
}

/// Seconds: `3`, `0.5`.
///
/// # Errors
///
/// What seconds look like.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok();
    seconds
        .and_then(|s| Duration::try_from_secs_f64(s).ok())
        .filter(|d| *d <= Duration::from_secs(1_000_000))
        .ok_or_else(|| "give seconds, such as 3 or 0.5".into())
}

/// A time: `90`, `90s`, `30m`, `12h`, `3d`.
///
/// # Errors
///
/// What a time looks like.
pub fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let seconds = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => f64::NAN,
    };
    let number = number.parse::<f64>().unwrap_or(f64::NAN);
    Duration::try_from_secs_f64(number * seconds)
        .ok()
        .filter(|time| !time.is_zero() && *time <= Duration::from_secs(366 * 86400))
        .ok_or_else(|| "give a time, such as 90s, 30m, 12h or 3d, of a year at most".into())
}

/// `yes` or `no`.
///
/// # Errors
///
/// If it is neither.
pub fn yes_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("give yes or no".into()),
    }
}

/// Who we are.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct LoginArgs {
    /// Our iSCSI name; default: derived from this machine's id. Two processes of one name end each
    /// other's sessions
    #[arg(long, value_name = "IQN")]
    pub initiator_name: Option<String>,
    /// CHAP user name
    #[arg(long, value_name = "NAME", requires = "chap_secret_file")]
    pub chap_user: Option<String>,
    /// File with the CHAP secret; one line break at its end does not count
    #[arg(long, value_name = "FILE", requires = "chap_user")]
    pub chap_secret_file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_with_and_without_suffix() {
        for (text, n) in [
            ("0", 0),
            ("4096", 4096),
            ("64k", 65_536),
            ("1M", 1 << 20),
            ("4GiB", 4 << 30),
            ("1.5k", 1536),
            ("2t", 2 << 40),
        ] {
            assert_eq!(bytes(text), Ok(n), "{text}");
        }
        for text in [
            "",
            "k",
            "-1",
            "1x",
            "1kk",
            "99999999999999999999",
            "20000000t",
            "nan",
            "inf",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert!(some_bytes("0").is_err());
    }

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        for (text, seconds) in [
            ("90", 90),
            ("90s", 90),
            ("1.5m", 90),
            ("2h", 7200),
            ("3d", 259_200),
        ] {
            assert_eq!(time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "m", "0s", "-1m", "3w", "nan", "infs", "1e9d", "1m30s"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn seconds_are_positive_and_finite() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["", "-1", "nan", "inf", "1e30", "3s"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
