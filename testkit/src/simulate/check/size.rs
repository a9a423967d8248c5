//! I18: a device has a size that all its paths in use told, and takes a new one as it is configured.

use mpio::core::AutoResize;

use super::violation::{Row, Violation};

/// A new size that a device has told of, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resized {
    /// The device.
    pub device: String,
    /// What it may take by itself.
    pub policy: AutoResize,
    /// It is being asked to take whatever its paths tell.
    pub is_asked: bool,
    /// The size before.
    pub from: u64,
    /// The new one.
    pub to: u64,
    /// What its paths in use tell at this moment, by their names.
    pub told: Vec<(String, u64)>,
}

/// I18, of one change.
///
/// # Errors
///
/// The device was not to take the size, or a path in use tells another one.
pub fn is_taken_as_configured(resized: &Resized) -> Result<(), Violation> {
    let (device, from, to) = (&resized.device, resized.from, resized.to);
    let may = match resized.policy {
        AutoResize::Never => resized.is_asked,
        AutoResize::GrowOnly => resized.is_asked || to > from,
        _ => true,
    };
    if !may {
        let policy = resized.policy;
        let what = format!("{device} went from {from} to {to} bytes by itself, with {policy:?}");
        return Err(Violation::new(Row::I18, what));
    }
    match resized.told.iter().find(|(_, told)| *told != to) {
        None => Ok(()),
        Some((path, told)) => {
            let what = format!("{device} went to {to} bytes while {path} tells {told}");
            Err(Violation::new(Row::I18, what))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_taken_as_configured_and_when_all_paths_tell_it() {
        let judge = |policy, is_asked, to, told| {
            let judged = is_taken_as_configured(&Resized {
                device: "d".into(),
                policy,
                is_asked,
                from: 100,
                to,
                told: vec![("p".into(), to), ("q".into(), told)],
            });
            judged.err().map(|violation| violation.row)
        };
        use AutoResize::{GrowOnly, GrowShrink, Never};
        for (policy, is_asked, to, told, expected) in [
            (Never, false, 200, 200, Some(Row::I18)),
            (Never, true, 50, 50, None),
            (GrowOnly, false, 200, 200, None),
            (GrowOnly, false, 50, 50, Some(Row::I18)),
            (GrowOnly, true, 50, 50, None),
            (GrowShrink, false, 50, 50, None),
            (GrowShrink, false, 200, 100, Some(Row::I18)),
        ] {
            assert_eq!(
                judge(policy, is_asked, to, told),
                expected,
                "{policy:?} {to}"
            );
        }
    }
}
