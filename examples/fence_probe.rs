//! Finds out whether a target has finished, or dropped, everything of a session when it answers the
//! login that reinstates it: whether *reinstatement is a barrier*.
//!
//! ```text
//! cargo run --release --example fence_probe -- --destroy iscsi://10.0.0.1/iqn.2024-01.com.example:disk/0
//! ```

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use iscsi_client::session::SessionOptions;
use iscsi_examples::{
    args::{self, LoginArgs, RuntimeChoice},
    failure::{Failure, parse_args, say},
    paths,
    probe::{Probe, Settings},
    runtime::block_on,
};

/// Finds out whether session reinstatement is a barrier with a target, that is, whether no write of the
/// old session lands after the login that replaces it was answered. Each round sends writes, cuts the
/// connection in their midst, logs in again with the same ISID at once, writes newer data over half of the
/// range, and watches for the old data. It can show that reinstatement is *not* a barrier; that it is one
/// it cannot show, only fail to disprove: what is slow in the field (a full cache, a mirror, a failover)
/// has to be slow while it runs. Exit status: 0, a verdict; 4, no write was under way at any cut, so
/// nothing was found out; 1, something went wrong.
#[derive(Debug, Parser)]
#[command(name = "fence_probe", version)]
struct Args {
    /// iscsi://[user[%secret]@]host[:port]/target/lun; each is probed by itself
    #[arg(value_name = "URL", required = true)]
    url: Vec<String>,
    /// Yes, destroy what is in the range
    #[arg(long)]
    destroy: bool,
    /// Where the range begins
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = args::bytes)]
    offset: u64,
    /// Bytes per write
    #[arg(long, value_name = "BYTES", default_value = "4k", value_parser = args::some_bytes)]
    bs: u64,
    /// Writes at a time, beside each other; the range is as long as all of them
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    writes: u16,
    /// Rounds
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// How long old data is watched for in each round, in seconds; longer than the back end may take
    #[arg(long, value_name = "S", default_value = "10", value_parser = args::seconds)]
    watch: Duration,
    /// The longest time from sending to the cut, in seconds. The rounds go from a thousandth of it up
    #[arg(long, value_name = "S", default_value = "1", value_parser = args::seconds)]
    longest_cut: Duration,
    #[command(flatten)]
    login: LoginArgs,
    /// Which async runtime to use
    #[arg(long, value_enum, default_value_t)]
    runtime: RuntimeChoice,
}

/// Nothing was under way at any cut.
const INCONCLUSIVE: u8 = 4;

fn main() -> ExitCode {
    match parse_args().and_then(|args| run(&args)) {
        Ok(status) => status,
        Err(failure) => failure.report(),
    }
}

fn run(args: &Args) -> Result<ExitCode, Failure> {
    if !args.destroy {
        return Err(Failure::usage(
            "this overwrites a range of the LUN; say so with --destroy, and where with --offset",
        ));
    }
    let urls = paths::parse_urls(&args.url)?;
    let settings = Settings {
        offset: args.offset,
        bs: args.bs,
        writes: args.writes,
        rounds: args.rounds,
        watch: args.watch,
        longest_cut: args.longest_cut,
    };
    let (urls, settings) = (&urls, &settings);
    let conclusive = block_on(args.runtime, 2, |runtime| async move {
        let mut conclusive = true;
        for url in urls {
            let options = SessionOptions::default();
            let known = std::slice::from_ref(url);
            let runtime = runtime.clone();
            let initiator = paths::initiator("fence-probe", &args.login, known, options, runtime)?;
            say(format_args!("{url}"))?;
            let mut probe = Probe::open(&initiator, url, settings).await?;
            let finding = probe.run(|line| say(format_args!("  {line}"))).await;
            probe.close().await;
            let finding = finding?;
            for line in finding.lines(settings) {
                say(line)?;
            }
            conclusive &= finding.under_way > 0;
        }
        Ok(conclusive)
    })?;
    Ok(if conclusive {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(INCONCLUSIVE)
    })
}
