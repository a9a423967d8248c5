//! What is wrong with a setting.

/// A value outside its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is out of range: {range}")]
pub struct ConfigError {
    /// The field's name.
    pub field: &'static str,
    /// What it may be.
    pub range: &'static str,
}
