//! The device as `multipath -ll` would show it.

use std::{fmt, sync::Arc};

use iscsi_client::device::DeviceInfo;

use crate::core::Snapshot;

/// What a device and its paths look like at a moment.
///
/// `Display` is in the layout of `multipath -ll`, with one line more for the row of the table of arrays,
/// for each path that could not be opened so far and for each warning.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Topology {
    /// Size, limits and identity.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::serial::device_info")
    )]
    pub info: Arc<DeviceInfo>,
    /// The [row of the table of arrays](crate::arrays::Array::name) that settings were taken from where the program has
    /// left them unset, if there is one.
    pub array: Option<Arc<str>>,
    /// The size in bytes that all paths in use tell, where the device has kept the one in `info`; see
    /// [`AutoResize`](crate::core::AutoResize).
    pub size_not_taken: Option<u64>,
    /// Groups, paths and counters.
    pub snapshot: Snapshot,
    /// Paths that could not be opened so far, and why.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::remarks"))]
    pub missing: Vec<(Arc<str>, String)>,
    /// Paths that work, and what is odd about them.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::remarks"))]
    pub warnings: Vec<(Arc<str>, Arc<str>)>,
}

impl Topology {
    /// The device's world wide identifier.
    #[must_use]
    pub fn wwid(&self) -> &str {
        self.info.identity.wwid.as_deref().unwrap_or("unknown")
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity = &self.info.identity;
        writeln!(
            f,
            "{} {},{}",
            self.wwid(),
            identity.vendor,
            identity.product
        )?;
        writeln!(
            f,
            "size={} features='{}' hwhandler='{}' wp={}",
            Size(self.info.size),
            self.snapshot.features(),
            self.snapshot.hwhandler(),
            if self.info.read_only { "ro" } else { "rw" }
        )?;
        self.snapshot.fmt(f)?;
        if let Some(array) = &self.array {
            writeln!(f, "array: {array}")?;
        }
        if let Some(told) = self.size_not_taken {
            writeln!(f, "warning: all paths tell size={}", Size(told))?;
        }
        for (path, reason) in &self.missing {
            writeln!(f, "missing: {path}: {reason}")?;
        }
        for (path, warning) in &self.warnings {
            writeln!(f, "warning: {path}: {warning}")?;
        }
        Ok(())
    }
}

/// A size as multipath-tools prints it: `500G`, `1.5T`.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut size, mut unit) = (self.0 as f64 / 1024.0, 0);
        const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
        while size >= 1024.0 && unit + 1 < UNITS.len() {
            size /= 1024.0;
            unit += 1;
        }
        let digits = usize::from(size < 10.0);
        write!(f, "{size:.digits$}{}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_like_those_of_multipath_tools() {
        let text = |bytes| Size(bytes).to_string();
        assert_eq!(text(500 << 30), "500G");
        assert_eq!(text(3 << 39), "1.5T");
        assert_eq!(text(64 << 20), "64M");
        assert_eq!(text(0), "0.0K");
    }
}
