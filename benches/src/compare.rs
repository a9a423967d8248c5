//! Our load generator beside other initiators', in turns, on the user's own target.
//!
//! In turns, since whatever else the machine, the network and the target do changes by the minute: what
//! is compared are runs that followed each other, and the ratio of such a pair is what counts.

mod child;
mod ours;
mod peer;
mod report;

use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, ValueEnum};

use self::{ours::Ours, peer::Peer, report::Report};
use crate::failure::Failure;

/// What is done to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(crate) enum Op {
    /// Reads, one after the other
    Read,
    /// Reads anywhere
    RandRead,
    /// Writes, one after the other; destroys what is there
    Write,
    /// Writes anywhere; destroys what is there
    RandWrite,
}

impl Op {
    const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::RandRead => "randread",
            Self::Write => "write",
            Self::RandWrite => "randwrite",
        }
    }

    const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::RandWrite)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// `iscsi://[user[%secret]@]host[:port]/target/lun`; other users of this machine see it in the list
    /// of processes, the secret included
    #[arg(long, value_name = "URL")]
    url: String,
    /// libiscsi (iscsi-perf), qemu (qemu-img bench), or NAME=COMMAND: a program that takes the options
    /// --url, --op, --bs, --qd, --secs and --warmup of `perf` and prints a line of JSON like it
    #[arg(long, value_name = "PEER", required = true)]
    with: Vec<String>,
    /// What to do. libiscsi knows read and randread, qemu read and write
    #[arg(long, value_enum, default_value = "read")]
    op: Op,
    /// Bytes per I/O, a multiple of the LUN's blocks
    #[arg(long, value_name = "BYTES", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(512..=16 << 20))]
    bs: u32,
    /// Bytes of the LUN's blocks, which libiscsi's tool counts in
    #[arg(long, value_name = "BYTES", default_value_t = 512, value_parser = clap::value_parser!(u32).range(512..=65536))]
    block: u32,
    /// I/Os in flight
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=128))]
    qd: u32,
    /// Seconds of each run
    #[arg(long, value_name = "S", default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=600))]
    secs: u32,
    /// Rounds that count, after one that does not
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Allow writes, which destroy what is on the LUN
    #[arg(long)]
    destroy_data: bool,
    /// The load generator of the examples; unless given, where
    /// `cargo build --release -p iscsi-examples --example perf` leaves it
    #[arg(long, value_name = "PROGRAM")]
    perf: Option<PathBuf>,
    /// More options for `perf` alone, such as --runtime smol
    #[arg(last = true)]
    perf_options: Vec<String>,
}

impl Compare {
    fn load(&self) -> Result<Load, Failure> {
        if self.op.writes() && !self.destroy_data {
            return Err(Failure::new(
                "writes destroy what is on the LUN; say --destroy-data if that may happen",
            ));
        }
        if self.bs % self.block != 0 {
            return Err(Failure::new("--bs must be a multiple of --block"));
        }
        Ok(Load {
            url: self.url.clone(),
            op: self.op,
            bs: self.bs,
            block: self.block,
            qd: self.qd,
            time: Duration::from_secs(self.secs.into()),
        })
    }
}

/// What each of them is to do.
#[derive(Clone, Debug)]
struct Load {
    url: String,
    op: Op,
    bs: u32,
    block: u32,
    qd: u32,
    time: Duration,
}

/// One run's result.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    iops: f64,
    /// User and system time of the whole program, login and all, divided by its I/Os.
    cpu_us_per_io: f64,
}

/// Compares, says how far it is, and prints what came of it.
pub(crate) fn compare(args: &Compare) -> Result<(), Failure> {
    let load = args.load()?;
    let ours = Ours::new(args.perf.clone(), args.perf_options.clone())?;
    let mut peers = Vec::new();
    for with in &args.with {
        peers.push(Peer::parse(with, &load)?);
    }
    let names: Vec<String> = peers.iter().map(|peer| peer.name().to_owned()).collect();
    let runs = (args.rounds + 1) * (peers.len() as u32 + 1);
    say(format_args!(
        "{} of {} bytes, {} in flight, against {}: {runs} runs, about {} s",
        load.op.name(),
        load.bs,
        load.qd,
        names.join(" and "),
        runs * args.secs
    ));
    let mut report = Report::new(&load, names);
    for round in 0..=args.rounds {
        let (us, them) = one_round(round, &ours, &mut peers, &load)?;
        if round > 0 {
            report.add(us, them);
            say(format_args!("{}", report.last_round()));
        }
    }
    print!("{report}");
    Ok(())
}

/// Everybody once; who begins changes from round to round, so that nobody is always the first to find
/// the target idle.
fn one_round(
    round: u32,
    ours: &Ours,
    peers: &mut [Peer],
    load: &Load,
) -> Result<(Sample, Vec<Sample>), Failure> {
    let show = |name: &str, sample: Sample| {
        let round = match round {
            0 => "warm-up".into(),
            n => format!("round {n}"),
        };
        say(format_args!(
            "{round}: {name} {:.0} IOPS, {:.2} us of CPU per I/O",
            sample.iops, sample.cpu_us_per_io
        ));
    };
    let run_ours = || {
        let sample = ours.run(load)?;
        show(ours::NAME, sample);
        Ok(sample)
    };
    let we_begin = round % 2 == 0;
    let first = if we_begin { Some(run_ours()?) } else { None };
    let mut them = Vec::new();
    for peer in peers {
        let sample = peer.run(load)?;
        show(peer.name(), sample);
        them.push(sample);
    }
    let us = match first {
        Some(sample) => sample,
        None => run_ours()?,
    };
    Ok((us, them))
}

fn say(line: std::fmt::Arguments<'_>) {
    // A closed standard error is no reason to stop measuring.
    let _unprinted = writeln!(io::stderr(), "{line}");
}
