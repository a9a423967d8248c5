//! Lists the partitions of a LUN, as `kpartx -l` does: a partition is an offset and a length, and whoever has them
//! reads and writes there through the same device.
//!
//! ```text
//! cargo run --release --example partitions -- --nic eth0 --nic eth1 \
//!     --url iscsi://10.0.1.1/iqn.2024-01.com.example:disk/0
//! ```

use std::process::ExitCode;

use clap::Parser;
use iscsi_client::{bind::Bind, session::SessionOptions};
use iscsi_examples::{
    args::{LoginArgs, RuntimeChoice},
    deadlines::DeadlineArgs,
    failure::{Failure, parse_args, say},
    partition_table::Table,
    paths::{self, Places},
    runtime::block_on,
};

/// Lists the partitions of a LUN: number, length and offset in bytes, type, and name where it has one. Reads GPT
/// (its first copy) and the four entries of an MBR. Exit status: 0; 1 if the LUN cannot be read, or has no table.
#[derive(Debug, Parser)]
#[command(name = "partitions", version)]
struct Args {
    /// iscsi://[user[%secret]@]host[:port]/target/lun; several are portals of one LUN
    #[arg(long, value_name = "URL", required = true)]
    url: Vec<String>,
    /// A NIC to log in through: device name, hardware address or local address; repeatable
    #[arg(long, value_name = "NIC")]
    nic: Vec<Bind>,
    /// The first NIC with the first URL and so on, instead of each with each
    #[arg(long)]
    paired: bool,
    /// Print a line of JSON in the place of the text
    #[arg(long)]
    json: bool,
    /// Which async runtime to use
    #[arg(long, value_enum, default_value_t)]
    runtime: RuntimeChoice,
    #[command(flatten)]
    deadlines: DeadlineArgs,
    #[command(flatten)]
    login: LoginArgs,
}

fn main() -> ExitCode {
    match parse_args().and_then(|args: Args| run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    let places = Places {
        urls: paths::parse_urls(&args.url)?,
        nics: args.nic.clone(),
        paired: args.paired,
        deadlines: args.deadlines,
    };
    block_on(args.runtime, 1, |runtime| async {
        let mut options = SessionOptions::default();
        args.deadlines.bound(&mut options);
        let (login, urls) = (&args.login, &places.urls);
        let initiator = paths::initiator("partitions", login, urls, options, runtime)?;
        let device = paths::open_device(&initiator, &places).await?;
        let table = Table::read(&device).await;
        device.close().await;
        let table = table?;
        if args.json {
            say(table.to_json())
        } else {
            say(&table)
        }
    })
}
