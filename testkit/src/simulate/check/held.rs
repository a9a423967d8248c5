//! How much may be held (I10).

use super::violation::{Row, Violation};

/// What a session may hold with these numbers: `scratch` is that of its configuration, in bytes.
///
/// Headers that wait to be sent are cut off past 64 KiB, in a buffer that doubles and so has 128 KiB; a task takes
/// less than 1 KiB in all tables together, and eight more than `queue_depth` can be under way. Texts and the data
/// of pings would come on top: no target of a world has long ones.
#[must_use]
pub fn session_cap(scratch: usize, queue_depth: u16) -> u64 {
    scratch as u64 + 128 * 1024 + (u64::from(queue_depth) + 8) * 1024
}

/// What a device may hold for so many programs, each of which has one request at a time: less than 1 KiB for
/// each request, and for those that were dropped while their writes may still land as much again.
#[must_use]
pub fn device_cap(programs: u16) -> u64 {
    8 * 1024 + u64::from(programs) * 2 * 1024
}

/// I10: `who` holds no more than it may.
///
/// # Errors
///
/// It does.
pub fn is_bounded(who: &str, held_bytes: u64, cap: u64) -> Result<(), Violation> {
    if held_bytes <= cap {
        return Ok(());
    }
    Err(Violation::new(
        Row::I10,
        format!("{who} held {held_bytes} bytes, and may hold {cap}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_more_is_too_much() {
        let cap = session_cap(65_536, 32);
        assert_eq!(cap, (64 + 128 + 40) * 1024);
        assert_eq!(is_bounded("a session", cap, cap), Ok(()));
        let violation = is_bounded("a session", cap + 1, cap).unwrap_err();
        assert_eq!(violation.row, Row::I10);
        assert!(violation.what.contains("237569"), "{violation}");
        assert!(device_cap(3) < device_cap(12));
    }
}
