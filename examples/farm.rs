//! Many targets in a process of their own, so that what they use is not taken for what their initiator does.
//!
//! The process says where its portals are, one line of JSON for each target, and then does what it is told on standard
//! input, and says `done` when it has: `refuse` (the second half of the portals of each target drops its connections and
//! refuses logins), `silence` (the same half answers nothing any more), `heal`. It ends with its standard input.

use std::{
    io::{self, BufRead, BufReader, Lines, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use iscsi_proto::LoginStatus;
use iscsi_testkit::target::{LunConfig, TargetConfig, TcpTarget};

use crate::failure::{Failure, say};

/// Bytes of each logical unit.
pub const LUN_SIZE: u64 = 16 << 20;

/// How many of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Targets.
    pub targets: u16,
    /// Logical units of each.
    pub luns: u16,
    /// Portals of each.
    pub portals: u16,
}

/// The name of a target.
#[must_use]
pub fn name(number: usize) -> String {
    format!("iqn.2026-01.example.iscsi-mpio:farm-{number}")
}

/// Serves until standard input ends.
///
/// # Errors
///
/// If there are not so many descriptors, ports or threads to be had, and of what it is told.
pub fn serve(numbers: Numbers) -> Result<(), Failure> {
    let mut targets = Vec::new();
    for number in 0..numbers.targets.into() {
        let mut config = TargetConfig::new(&name(number));
        for _ in 0..numbers.portals {
            config = config.with_portal(SocketAddr::from(([127, 0, 0, 1], 0)), 1);
        }
        for lun in 0..numbers.luns {
            config = config.with_lun(LunConfig::new(lun, LUN_SIZE));
        }
        let target = TcpTarget::start(config).map_err(|error| {
            Failure::new(format_args!(
                "target {number} cannot be served: {error}; raise the limits of descriptors and processes (ulimit -n, -u)"
            ))
        })?;
        let portals: Vec<_> = (0..numbers.portals.into())
            .map(|portal| target.portal(portal))
            .collect();
        say(serde_json::to_string(&portals).unwrap_or_default())?;
        targets.push(target);
    }
    for line in io::stdin().lines() {
        let line = line.map_err(|error| Failure::new(format_args!("no word: {error}")))?;
        obey(&line, &targets, numbers.portals.into())?;
        say("done")?;
    }
    Ok(())
}

fn obey(word: &str, targets: &[TcpTarget], portals: usize) -> Result<(), Failure> {
    let half = portals / 2..portals;
    let unavailable = LoginStatus {
        class: 3,
        detail: 1,
    };
    for (target, portal) in targets
        .iter()
        .flat_map(|target| half.clone().map(move |portal| (target, portal)))
    {
        match word {
            "refuse" => {
                target.core().refuse_logins(portal, Some(unavailable));
                target.reset(portal);
            }
            "silence" => target.cut(portal),
            "heal" => {
                target.core().refuse_logins(portal, None);
                target.heal(portal);
            }
            _ => return Err(Failure::new(format_args!("not a word for a farm: {word}"))),
        }
    }
    Ok(())
}

/// The process. It ends when this is dropped.
#[derive(Debug)]
pub struct Farm {
    child: Child,
    words: Option<ChildStdin>,
    said: Lines<BufReader<ChildStdout>>,
    portals: Vec<Vec<SocketAddr>>,
}

impl Farm {
    /// Runs `command`, which is to [serve] so many.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn start(command: &mut Command, numbers: Numbers) -> Result<Self, Failure> {
        let cannot = |error| Failure::new(format_args!("cannot start the targets: {error}"));
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = pipes.spawn().map_err(cannot)?;
        let words = child.stdin.take();
        let out = child.stdout.take();
        let out = out.ok_or_else(|| Failure::new("the targets have no standard output"))?;
        let mut farm = Self {
            child,
            words,
            said: BufReader::new(out).lines(),
            portals: Vec::new(),
        };
        for _ in 0..numbers.targets {
            let line = farm.hear()?;
            let portals = serde_json::from_str(&line).map_err(Failure::new)?;
            farm.portals.push(portals);
        }
        Ok(farm)
    }

    /// The portals of each target.
    #[must_use]
    pub fn portals(&self) -> &[Vec<SocketAddr>] {
        &self.portals
    }

    /// Tells it a word, and waits until it has done so.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn tell(&mut self, word: &str) -> Result<(), Failure> {
        if let Some(words) = &mut self.words {
            writeln!(words, "{word}").map_err(Failure::new)?;
        }
        self.hear().map(|_done| ())
    }

    fn hear(&mut self) -> Result<String, Failure> {
        match self.said.next() {
            Some(line) => line.map_err(Failure::new),
            None => Err(Failure::new("the targets have ended; they said why")),
        }
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        // It has nothing to save, and may be stopped or stuck. An error means that it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
