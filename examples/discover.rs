//! Asks portals which targets they have, and the targets which logical units.
//!
//! ```text
//! cargo run --release --example discover -- --portal 10.0.1.1 --nic eth0 --nic eth1
//! ```

use std::process::ExitCode;

use clap::Parser;
use iscsi_client::{bind::Bind, session::SessionOptions};
use iscsi_examples::{
    args::{LoginArgs, RuntimeChoice},
    deadlines::DeadlineArgs,
    failure::{Failure, parse_args, say},
    paths,
    runtime::block_on,
    survey::{self, Survey},
};
use iscsi_proto::portal::Portal;

/// Asks portals which targets they have (SendTargets), and prints them as `iscsiadm -m discovery -t st`
/// does. Then logs in to every target through each of its portals, from each NIC, and lists its
/// logical units. What does not answer is reported on standard error and skipped. Exit status: 0, all
/// answered; 4, some did not; 1, none did.
#[derive(Debug, Parser)]
#[command(name = "discover", version)]
struct Args {
    /// A portal to ask, HOST[:PORT]; repeatable
    #[arg(long, value_name = "PORTAL", required = true)]
    portal: Vec<Portal>,
    /// Network device or local address to ask from; repeatable. Each is used with each portal
    #[arg(long, value_name = "DEVICE-or-ADDRESS")]
    nic: Vec<Bind>,
    #[command(flatten)]
    login: LoginArgs,
    #[command(flatten)]
    deadlines: DeadlineArgs,
    /// Only the targets: log in to none
    #[arg(long)]
    no_luns: bool,
    /// Print a line of JSON in the place of the text
    #[arg(long)]
    json: bool,
    /// Which async runtime to use
    #[arg(long, value_enum, default_value_t)]
    runtime: RuntimeChoice,
}

/// Some of what was asked did not answer.
const PARTIAL: u8 = 4;

fn main() -> ExitCode {
    match parse_args().and_then(|args| run(&args)) {
        Ok(status) => status,
        Err(failure) => failure.report(),
    }
}

fn run(args: &Args) -> Result<ExitCode, Failure> {
    let found = block_on(args.runtime, 1, |runtime| async {
        let mut options = SessionOptions::default();
        args.deadlines.bound(&mut options);
        let initiator = paths::initiator("discover", &args.login, &[], options, runtime)?;
        let survey = Survey::new(initiator, &args.nic, args.deadlines);
        let mut found = survey.discover(&args.portal).await;
        if !args.json {
            for line in found.target_lines() {
                say(line)?;
            }
        }
        if !args.no_luns {
            survey.list_luns(&mut found).await;
        }
        if args.json {
            say(found.to_json())?;
        } else if !args.no_luns {
            for session in &found.sessions {
                say(format_args!("\n{session}"))?;
            }
        }
        Ok(found)
    })?;
    Ok(match found.outcome() {
        survey::Outcome::All => ExitCode::SUCCESS,
        survey::Outcome::Some => ExitCode::from(PARTIAL),
        survey::Outcome::None => ExitCode::FAILURE,
    })
}
