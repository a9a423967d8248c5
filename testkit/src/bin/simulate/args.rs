//! The command line.

use std::{num::NonZeroUsize, thread};

use iscsi_testkit::simulate::{Edits, NoSuchEdit};
use lexopt::{Arg, Parser, ValueExt};

pub(crate) const HELP: &str = "\
Runs simulated worlds: the real iSCSI client and multipath device against a target, a network and programs
that fail, in virtual time, each under a seed. Exit 1 if a rule was broken, 2 for bad arguments.

simulate [--seeds N] [--from S] [--jobs J] [--check-determinism PERCENT] [--shrink] [--json]
simulate [--seeds N] [--from S] --hashes
simulate --seed X [--faults I,J,..] [--simpler NAME,..] [--shrink] [--json]

  --seeds N         how many worlds [default: 100; with --planted 10000 for each bug]
  --from S          the first seed [default: 0]
  --jobs J          worlds at a time [default: the number of processors]
  --check-determinism PERCENT
                    share of the seeds that are run twice and have to be equal, 0 to 100 [default: 1]
  --seed X          one world, with its plan and everything that happens in it
  --faults I,J,..   only these faults of its plan, counted from 0; \"none\" is none
  --simpler NAME,.. simplifications that --shrink has found
  --hashes          nothing but each seed and the hash of what happened in its world, which is the same
                    whatever the build
  --shrink          take away from the first world that breaks a rule what it breaks it without
  --planted NAME,.. bugs that are put in on purpose, or all: runs worlds until each is found; with
                    --seed that world with that bug
  --json            a line of JSON at the end";

#[derive(Debug)]
pub(crate) enum Ask {
    Help,
    Run(Args),
}

#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) seeds: u64,
    pub(crate) from: u64,
    pub(crate) jobs: usize,
    pub(crate) determinism: u64,
    pub(crate) seed: Option<u64>,
    pub(crate) edits: Edits,
    /// With `--seed` the one that is in that world; else those that are looked for.
    #[cfg(feature = "__planted")]
    pub(crate) planted: Vec<iscsi_proto::planted::Bug>,
    pub(crate) hashes: bool,
    pub(crate) shrink: bool,
    pub(crate) json: bool,
}

/// Why nothing is run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Syntax(#[from] lexopt::Error),
    #[error("--{name} must be {range}")]
    Range {
        name: &'static str,
        range: &'static str,
    },
    #[error("--faults and --simpler belong to --seed")]
    EditsWithoutSeed,
    #[error(transparent)]
    Edit(#[from] NoSuchEdit),
    #[cfg(feature = "__planted")]
    #[error("there is no planted bug {0:?}; all of them: {1}")]
    NoSuchBug(String, String),
    #[cfg(not(feature = "__planted"))]
    #[error("this program was built without planted bugs: build it with --features __planted")]
    NotPlanted,
}

impl Args {
    pub(crate) fn parse() -> Result<Ask, Failure> {
        let mut args = Self {
            seeds: 0,
            from: 0,
            jobs: thread::available_parallelism().map_or(1, NonZeroUsize::get),
            determinism: 1,
            seed: None,
            edits: Edits::default(),
            #[cfg(feature = "__planted")]
            planted: Vec::new(),
            hashes: false,
            shrink: false,
            json: false,
        };
        let mut seeds = None;
        let mut parser = Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("help") | Arg::Short('h') => return Ok(Ask::Help),
                Arg::Long("seeds") => seeds = Some(parser.value()?.parse()?),
                Arg::Long("from") => args.from = parser.value()?.parse()?,
                Arg::Long("jobs") => args.jobs = parser.value()?.parse()?,
                Arg::Long("check-determinism") => args.determinism = parser.value()?.parse()?,
                Arg::Long("seed") => args.seed = Some(parser.value()?.parse()?),
                Arg::Long("faults") => args.edits.faults = Some(faults(&mut parser)?),
                Arg::Long("simpler") => {
                    let names = parser.value()?.string()?;
                    args.edits.simpler = names.split(',').map(Into::into).collect();
                }
                Arg::Long("hashes") => args.hashes = true,
                Arg::Long("shrink") => args.shrink = true,
                Arg::Long("json") => args.json = true,
                #[cfg(feature = "__planted")]
                Arg::Long("planted") => {
                    args.planted = planted(&parser.value()?.string()?)?;
                }
                #[cfg(not(feature = "__planted"))]
                Arg::Long("planted") => {
                    parser.value()?;
                    return Err(Failure::NotPlanted);
                }
                _ => return Err(arg.unexpected().into()),
            }
        }
        args.check(seeds)
    }

    fn check(mut self, seeds: Option<u64>) -> Result<Ask, Failure> {
        let range = |name, range| Failure::Range { name, range };
        #[cfg(feature = "__planted")]
        let default = if self.planted.is_empty() { 100 } else { 10_000 };
        #[cfg(not(feature = "__planted"))]
        let default = 100;
        self.seeds = seeds.unwrap_or(default);
        if self.seeds == 0 || self.from.checked_add(self.seeds).is_none() {
            return Err(range("seeds", "from 1 on, and within 64 bits with --from"));
        }
        if self.jobs == 0 || self.jobs > 1024 {
            return Err(range("jobs", "from 1 to 1024"));
        }
        if self.determinism > 100 {
            return Err(range("check-determinism", "from 0 to 100"));
        }
        if self.seed.is_none() && self.edits != Edits::default() {
            return Err(Failure::EditsWithoutSeed);
        }
        Ok(Ask::Run(self))
    }
}

/// The names that are separated by commas, or all.
#[cfg(feature = "__planted")]
fn planted(names: &str) -> Result<Vec<iscsi_proto::planted::Bug>, Failure> {
    use iscsi_proto::planted::Bug;
    if names == "all" {
        return Ok(Bug::ALL.to_vec());
    }
    let bug = |name: &str| {
        Bug::named(name).ok_or_else(|| {
            let all: Vec<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
            Failure::NoSuchBug(name.into(), all.join(", "))
        })
    };
    names.split(',').map(bug).collect()
}

fn faults(parser: &mut Parser) -> Result<Vec<usize>, lexopt::Error> {
    let value = parser.value()?;
    if value == "none" {
        return Ok(Vec::new());
    }
    let text = value.string()?;
    text.split(',')
        .map(|index| {
            index
                .parse()
                .map_err(|_| format!("no list of faults: {text:?}").into())
        })
        .collect()
}
