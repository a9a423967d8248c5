//! The paths of a device as `multipathd show paths` would list them.

use std::{fmt, time::Duration};

use iscsi_proto::scsi::Lun;

use crate::core::PathSnapshot;

/// One line of [`Paths`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PathLine {
    /// The logical unit's number on this path, if it has one.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::serial::text_or_none")
    )]
    pub lun: Option<Lun>,
    /// The path.
    pub path: PathSnapshot,
}

impl PathLine {
    /// Host, channel, id and LUN: as with the kernel each session is a host of its own, with one target.
    #[must_use]
    pub fn hcil(&self) -> String {
        match self.lun {
            Some(lun) => format!("{}:0:0:{lun}", self.path.id.index()),
            None => format!("{}:0:0:-", self.path.id.index()),
        }
    }
}

/// The paths of a device, in the order of its groups.
///
/// `Display` is in the layout of `multipathd show paths`: a heading, then a line for each path, with its priority,
/// what the device, the checker and the connection say, and how far it is to the next check. Where a path is marginal,
/// a column more tells which, and where there are spares, one tells what they do.
///
/// Columns are separated by blanks, and no column but the last one has any, so that `awk` finds them: in names ` -> ` is
/// written `->`, and other blanks, control characters and backslashes are in octal, as in `/proc/mounts` (`\\040`). The
/// names themselves are in the [lines](Self::lines).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Paths {
    /// The lines.
    pub lines: Vec<PathLine>,
}

const HEADING: [&str; 9] = [
    "hcil",
    "dev",
    "pri",
    "dm_st",
    "chk_st",
    "dev_st",
    "next_check",
    "marginal_st",
    "spare_st",
];

impl fmt::Display for Paths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |line: &PathLine| {
            let path = &line.path;
            [
                line.hcil(),
                column(&path.name),
                path.priority.to_string(),
                path.dm_state().to_owned(),
                path.checker_state().to_string(),
                path.device_state().to_owned(),
                countdown(path.next_check, path.check_interval),
                path.marginal_state().to_owned(),
                path.spare_state().to_owned(),
            ]
        };
        let heading = HEADING.map(str::to_owned);
        let rows: Vec<_> = std::iter::once(heading)
            .chain(self.lines.iter().map(row))
            .collect();
        let width = |column: usize| {
            let lengths = rows.iter().map(|row| row[column].chars().count());
            lengths.max().unwrap_or(0)
        };
        // As there, these are not among the usual columns.
        let is_any = |what: fn(&PathSnapshot) -> bool| self.lines.iter().any(|l| what(&l.path));
        let mut is_shown = [true; 9];
        is_shown[7] = is_any(|path| path.marginal.is_some());
        is_shown[8] = is_any(|path| path.spare.is_some());
        let widths: [usize; 9] = std::array::from_fn(width);
        for row in &rows {
            let mut line = String::new();
            let columns = row.iter().zip(widths).zip(is_shown);
            for ((text, width), _) in columns.filter(|(_, is_shown)| *is_shown) {
                line.push_str(&format!("{text:width$} "));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A name without blanks.
fn column(name: &str) -> String {
    if name.is_empty() {
        return "-".to_owned();
    }
    let mut column = String::with_capacity(name.len());
    for c in name.replace(" -> ", "->").chars() {
        if c.is_whitespace() || c.is_control() || c == '\\' {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                column.push_str(&format!("\\{byte:03o}"));
            }
        } else {
            column.push(c);
        }
    }
    column
}

/// `XXX....... 7/20`: of the ten letters as many are crosses as there are tenths of the interval left, in seconds.
fn countdown(left: Option<Duration>, interval: Duration) -> String {
    let Some(left) = left else {
        return "-".to_owned();
    };
    let left = left.min(interval);
    let tenths = match interval.as_millis() {
        0 => 0,
        whole => left.as_millis() * 10 / whole,
    };
    let bar: String = (0..10)
        .map(|at| if at < tenths { 'X' } else { '.' })
        .collect();
    format!("{bar} {}/{}", left.as_secs(), interval.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_column_whatever_is_in_it() {
        assert_eq!(column("eth0 -> 10.0.0.1:3260"), "eth0->10.0.0.1:3260");
        assert_eq!(column("left\tNIC\n\\x"), "left\\011NIC\\012\\134x");
        assert_eq!(column("a\u{a0}b"), "a\\302\\240b");
        assert_eq!(column(""), "-");
        for name in ["", " ", "a b", " -> ", "\u{2003}x"] {
            assert_eq!(column(name).split_whitespace().count(), 1, "{name:?}");
        }
    }

    #[test]
    fn the_bar_counts_down_in_tenths() {
        let secs = Duration::from_secs;
        assert_eq!(countdown(Some(secs(14)), secs(20)), "XXXXXXX... 14/20");
        assert_eq!(countdown(Some(secs(0)), secs(5)), ".......... 0/5");
        assert_eq!(countdown(Some(secs(9)), secs(5)), "XXXXXXXXXX 5/5");
        assert_eq!(countdown(None, secs(5)), "-");
    }
}
