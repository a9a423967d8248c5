//! The file of counts.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};

use super::Environment;
use crate::failure::Failure;

/// What one operation costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// User-space instructions; `None` where only allocations were counted.
    pub(crate) instructions: Option<f64>,
    /// Heap allocations, growing reallocations among them.
    pub(crate) allocations: f64,
    /// Bytes allocated.
    pub(crate) bytes: f64,
}

/// All counts, and where they were taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) environment: Environment,
    /// By name of the workload.
    pub(crate) per_operation: BTreeMap<String, Counts>,
}

impl Kept {
    /// # Errors
    ///
    /// If there is no such file, or it is something else.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(Failure::new);
        text.and_then(|text| serde_json::from_str(&text).map_err(Failure::new))
            .map_err(|failure| failure.during(path.display()))
    }

    /// # Errors
    ///
    /// If it cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        let mut text = serde_json::to_string_pretty(self).map_err(Failure::new)?;
        text.push('\n');
        fs::write(path, text).map_err(|error| Failure::new(error).during(path.display()))
    }
}
