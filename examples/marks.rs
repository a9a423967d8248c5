//! What whoever causes faults tells a running load, line by line on standard input.
//!
//! ```text
//! mix 50                      of a hundred I/Os 50 are to read; `mixed` is said when all that are under way are
//!                             drawn so
//! fault NAME [VICTIM] [overlap]
//!                             a fault is about to be caused, once `noted` is said; VICTIM is part of the name of
//!                             the path that it hits, and nothing if it hits the target; with `overlap` the places
//!                             are written again whose writes it hit
//! healed                      it is about to be healed
//! end                         the record of the fault is complete
//! ```

use std::{io, str::FromStr};

use smol::channel::{Receiver, unbounded};

use crate::failure::Failure;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// From now on so many of a hundred I/Os read.
    Mix(u8),
    /// A fault is about to be caused.
    Fault(Fault),
    /// It is about to be healed.
    Healed,
    /// The record of the fault is complete.
    End,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it is called in the record.
    pub name: String,
    /// A part of the name of the path that it hits; `None` if it hits none in particular.
    pub victim: Option<String>,
    /// Whether the places are to be written again whose writes it hit.
    pub overlap: bool,
}

impl FromStr for Mark {
    type Err = Failure;

    fn from_str(line: &str) -> Result<Self, Failure> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["mix", percent] => match percent.parse() {
                Ok(percent @ 0..=100) => Ok(Self::Mix(percent)),
                _ => Err(Failure::new(format_args!(
                    "not a percentage: {percent}; give 0 to 100"
                ))),
            },
            ["fault", name, ref more @ ..] if more.len() <= 2 => {
                let (victim, overlap) = match *more {
                    [] => (None, false),
                    ["overlap"] => (None, true),
                    [victim] => (Some(victim), false),
                    [victim, "overlap"] => (Some(victim), true),
                    _ => return Err(unknown(line)),
                };
                Ok(Self::Fault(Fault {
                    name: name.into(),
                    victim: victim.map(Into::into),
                    overlap,
                }))
            }
            ["healed"] => Ok(Self::Healed),
            ["end"] => Ok(Self::End),
            _ => Err(unknown(line)),
        }
    }
}

fn unknown(line: &str) -> Failure {
    Failure::new(format_args!(
        "not a mark: {line}; say mix PERCENT, fault NAME [VICTIM] [overlap], healed or end"
    ))
}

/// The lines of standard input; the channel closes at its end.
///
/// Read on a thread of its own, since standard input blocks on every platform. It ends with its input, or
/// with the process.
///
/// # Errors
///
/// If there can be no thread.
pub fn from_stdin() -> Result<Receiver<Result<Mark, Failure>>, Failure> {
    let (tell, told) = unbounded();
    let read = move || {
        for line in io::stdin().lines() {
            let mark = match line {
                Ok(line) if line.trim().is_empty() => continue,
                Ok(line) => line.parse(),
                Err(error) => Err(Failure::new(format_args!(
                    "cannot read standard input: {error}"
                ))),
            };
            let is_over = mark.is_err();
            if tell.send_blocking(mark).is_err() || is_over {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("marks".into())
        .spawn(read)
        .map_err(|error| Failure::new(format_args!("cannot start a thread: {error}")))?;
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(name: &str, victim: Option<&str>, overlap: bool) -> Mark {
        Mark::Fault(Fault {
            name: name.into(),
            victim: victim.map(Into::into),
            overlap,
        })
    }

    #[test]
    fn every_mark_is_understood() {
        for (line, mark) in [
            ("mix 0", Mark::Mix(0)),
            (" mix  100 ", Mark::Mix(100)),
            ("fault stop", fault("stop", None, false)),
            ("fault cut nic1", fault("cut", Some("nic1"), false)),
            ("fault cut nic1 overlap", fault("cut", Some("nic1"), true)),
            ("fault stop overlap", fault("stop", None, true)),
            ("healed", Mark::Healed),
            ("end", Mark::End),
        ] {
            assert_eq!(line.parse(), Ok(mark), "{line}");
        }
    }

    #[test]
    fn nothing_else_is() {
        for line in [
            "mix",
            "mix 101",
            "mix -1",
            "fault",
            "fault a b c",
            "fault a b overlap d",
            "healed 1",
            "stop",
        ] {
            assert!(line.parse::<Mark>().is_err(), "{line}");
        }
    }
}
