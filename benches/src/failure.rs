//! How a run ends when something went wrong: one line.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

/// Why a run ends early, in one line that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self(message.to_string())
    }

    /// The same, with what was being done.
    pub(crate) fn during(self, what: impl fmt::Display) -> Self {
        Self(format!("{what}: {}", self.0))
    }

    pub(crate) fn report(&self) -> ExitCode {
        // Nobody is left to be told when this fails too.
        let _unprinted = writeln!(io::stderr(), "error: {self}");
        ExitCode::FAILURE
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
