//! What `console` is told on standard input.

use std::{io, str::FromStr};

use smol::channel::{Receiver, bounded};

use crate::failure::Failure;

/// Printed when the console has said all and waits.
pub const PROMPT: &str = "multipath> ";

/// All commands.
pub const HELP: &str = "\
show topology          the disks, as multipath -ll shows them
show paths             the paths, as multipathd show paths does
show sessions          the sessions, and which disk is behind which LUN
fail path PATH         takes a path out of use; PATH is its hcil, or a part of its name
setmarginal path PATH  makes it the last resort
reinstate path PATH    takes it back, and makes it a path like others
wait COUNT             waits until COUNT paths take I/O, a minute at most
load                   reads all disks, again and again, until stop
stop                   ends that, and says how it went
rescan                 looks for targets and disks now
quit                   logs out
";

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Tells something.
    Show(Show),
    /// Takes a path out of use.
    Fail(String),
    /// Makes it the last resort.
    SetMarginal(String),
    /// Takes it back from either.
    Reinstate(String),
    /// Waits until so many paths take I/O.
    Wait(usize),
    /// Begins to read.
    Load,
    /// Ends that.
    Stop,
    /// Looks for targets and disks.
    Rescan,
    /// Lists the commands.
    Help,
    /// Ends.
    Quit,
}

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// The disks.
    Topology,
    /// The paths.
    Paths,
    /// The sessions.
    Sessions,
}

impl FromStr for Command {
    type Err = Failure;

    fn from_str(line: &str) -> Result<Self, Failure> {
        let words: Vec<&str> = line.split_whitespace().collect();
        Ok(match words[..] {
            ["show", "topology"] => Self::Show(Show::Topology),
            ["show", "paths"] => Self::Show(Show::Paths),
            ["show", "sessions"] => Self::Show(Show::Sessions),
            // Names contain blanks.
            ["fail", "path", ref name @ ..] if !name.is_empty() => Self::Fail(name.join(" ")),
            ["setmarginal", "path", ref name @ ..] if !name.is_empty() => {
                Self::SetMarginal(name.join(" "))
            }
            ["reinstate", "path", ref name @ ..] if !name.is_empty() => {
                Self::Reinstate(name.join(" "))
            }
            ["wait", count] => {
                let refused = |_| Failure::new(format_args!("not a number of paths: {count}"));
                Self::Wait(count.parse().map_err(refused)?)
            }
            ["load"] => Self::Load,
            ["stop"] => Self::Stop,
            ["rescan"] => Self::Rescan,
            ["help"] => Self::Help,
            ["quit" | "exit"] => Self::Quit,
            _ => {
                return Err(Failure::new(format_args!(
                    "not a command: {line}; help lists all"
                )));
            }
        })
    }
}

/// The lines of standard input; the channel closes at its end.
///
/// Read on a thread of its own, since standard input blocks on every platform. It ends with its input, or
/// with the process.
///
/// # Errors
///
/// If there can be no thread.
pub fn lines_of_stdin() -> Result<Receiver<Result<String, Failure>>, Failure> {
    // One command is answered after the other: whoever sends more waits.
    let (tell, told) = bounded(1);
    let read = move || {
        for line in io::stdin().lines() {
            let line = line
                .map_err(|error| Failure::new(format_args!("cannot read standard input: {error}")));
            let is_over = line.is_err();
            if tell.send_blocking(line).is_err() || is_over {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("commands".into())
        .spawn(read)
        .map_err(|error| Failure::new(format_args!("cannot start a thread: {error}")))?;
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_understood() {
        for (line, command) in [
            ("show topology", Command::Show(Show::Topology)),
            (" show  paths ", Command::Show(Show::Paths)),
            ("show sessions", Command::Show(Show::Sessions)),
            ("fail path 0:0:0:1", Command::Fail("0:0:0:1".into())),
            (
                "setmarginal path 0:0:0:1",
                Command::SetMarginal("0:0:0:1".into()),
            ),
            (
                "reinstate path nic1 -> 10.0.0.1:3260",
                Command::Reinstate("nic1 -> 10.0.0.1:3260".into()),
            ),
            ("wait 2", Command::Wait(2)),
            ("load", Command::Load),
            ("stop", Command::Stop),
            ("rescan", Command::Rescan),
            ("help", Command::Help),
            ("quit", Command::Quit),
            ("exit", Command::Quit),
        ] {
            assert_eq!(line.parse(), Ok(command), "{line}");
        }
    }

    #[test]
    fn nothing_else_is_and_help_lists_what_is() {
        for line in [
            "show",
            "fail path",
            "setmarginal path",
            "wait",
            "wait -1",
            "wait x",
            "load 1",
        ] {
            assert!(line.parse::<Command>().is_err(), "{line}");
        }
        for line in HELP.lines() {
            let words: Vec<&str> = line.split("  ").next().unwrap().split(' ').collect();
            let shown = words.join(" ").replace("COUNT", "1").replace("PATH", "x");
            assert!(shown.parse::<Command>().is_ok(), "{shown}");
        }
    }
}
