//! What is wrong with a run.

use std::{borrow::Cow, fmt};

use super::check::Violation;

/// Why a run is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// A rule was broken.
    Rule(Violation),
    /// Something panicked, with this message.
    Panic(String),
    /// The plan cannot be carried out.
    Plan(String),
}

impl Finding {
    /// What it is called: the row of the rule, `panic` or `plan`.
    #[must_use]
    pub fn name(&self) -> Cow<'static, str> {
        match self {
            Self::Rule(violation) => violation.row.to_string().into(),
            Self::Panic(_) => "panic".into(),
            Self::Plan(_) => "plan".into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(violation) => violation.fmt(f),
            Self::Panic(message) => write!(f, "panic: {message}"),
            Self::Plan(message) => write!(f, "a plan that cannot be carried out: {message}"),
        }
    }
}
