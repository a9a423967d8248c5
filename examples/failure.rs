//! How a tool ends when something went wrong: one line, and an exit status.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use iscsi_client::error::{Error, LoginError, LoginFailure};
use iscsi_proto::PeerIncompatible;

/// Something went wrong.
pub const FAILED: u8 = 1;
/// The command line cannot be used.
pub const USAGE: u8 = 2;
/// An option is not supported.
pub const UNSUPPORTED: u8 = 3;

/// Why a tool ends early. Its text is one line that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    message: String,
    status: u8,
}

impl Failure {
    /// Something went wrong while running.
    #[must_use]
    pub fn new(message: impl fmt::Display) -> Self {
        Self::with_status(message, FAILED)
    }

    /// The command line cannot be used.
    #[must_use]
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::with_status(message, USAGE)
    }

    /// With this exit status.
    #[must_use]
    pub fn with_status(message: impl fmt::Display, status: u8) -> Self {
        // What a target sent, or a name in a path, may hold line breaks; a log line must not. Nor is a
        // terminal to be spoken to by anybody else.
        let text = message.to_string();
        let words: Vec<&str> = text.split_whitespace().collect();
        let mut message = String::new();
        for letter in words.join(" ").chars() {
            if letter.is_control() {
                message.extend(letter.escape_default());
            } else {
                message.push(letter);
            }
        }
        Self { message, status }
    }

    /// The exit status.
    #[must_use]
    pub const fn status(&self) -> u8 {
        self.status
    }

    /// Prints the line to standard error and gives the status to exit with.
    pub fn report(&self) -> ExitCode {
        // Nobody is left to be told when this fails too.
        let _unprinted = writeln!(io::stderr(), "error: {self}");
        ExitCode::from(self.status)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<LoginError> for Failure {
    fn from(error: LoginError) -> Self {
        let message = format!("{error}. {}", error.advice());
        match error.failure() {
            LoginFailure::Protocol(iscsi_proto::Error::PeerIncompatible(
                PeerIncompatible::DigestRefused,
            )) => Self::with_status(message, UNSUPPORTED),
            _ => Self::new(message),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(format_args!("{error:#}"))
    }
}

/// Reads the command line. On `--help` and `--version` the text is printed and the process ends.
///
/// # Errors
///
/// What is wrong with the command line, in one line instead of clap's paragraphs.
pub fn parse_args<A: clap::Parser>() -> Result<A, Failure> {
    A::try_parse().map_err(|error| {
        if !error.use_stderr() {
            error.exit();
        }
        from_clap(&error)
    })
}

/// The first paragraph is the message, the others are the usage.
fn from_clap(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let message = text.split("\n\n").next().unwrap_or(&text);
    let message = message.strip_prefix("error: ").unwrap_or(message);
    Failure::usage(format_args!("{message}; see --help"))
}

/// Prints a line to standard output.
///
/// # Errors
///
/// If standard output is closed; `println!` would panic, as in `tool | head -1`.
pub fn say(line: impl fmt::Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| {
            Failure::new(format_args!(
                "cannot write to standard output: {error}; keep it open"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_whatever_its_cause_was() {
        let failure = Failure::new("the target said:\n  no\r\n");
        assert_eq!(failure.to_string(), "the target said: no");
        let failure = Failure::new("a name: \x1b[2J\u{9b}1m\u{7}");
        assert_eq!(failure.to_string(), "a name: \\u{1b}[2J\\u{9b}1m\\u{7}");
        assert_eq!(failure.status(), FAILED);
    }

    #[test]
    fn clap_is_cut_to_the_message() {
        let command = clap::Command::new("x").arg(clap::Arg::new("url").long("url").required(true));
        let error = command.clone().try_get_matches_from(["x"]).unwrap_err();
        let failure = from_clap(&error);
        assert_eq!(failure.status(), USAGE);
        assert_eq!(
            failure.to_string(),
            "the following required arguments were not provided: --url <url>; see --help"
        );
        let error = command.try_get_matches_from(["x", "--no"]).unwrap_err();
        assert!(!from_clap(&error).to_string().contains('\n'));
    }
}
