//! Reads a LUN through TLS, by a dialer of its own.
//!
//! iSCSI has no encryption. Where IPsec is not to be had, a gateway such as stunnel in front of the
//! target can end TLS; this is the other end of it. Without arguments it brings target and gateway:
//!
//! ```text
//! cargo run --release --example tls_dialer
//! cargo run --release --example tls_dialer -- --ca gateway.pem --server-name gateway.example \
//!     --url iscsi://10.0.1.1:3261/iqn.2024-01.com.example:disk/0
//! ```

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;
use futures_rustls::pki_types::ServerName;
use iscsi_client::{bind::Bind, runtime::Runtime, session::SessionOptions, url::TargetUrl};
use iscsi_examples::{
    args::{self, LoginArgs, RuntimeChoice},
    deadlines::DeadlineArgs,
    failure::{Failure, parse_args, say},
    paths::{self, Places},
    reader::{self, Plan},
    report::Report,
    runtime::block_on,
    tls::{Gateway, TlsDialer, read_certificates},
    verify::Expected,
};
use iscsi_proto::scsi::Lun;
use iscsi_testkit::target::{LunConfig, TargetConfig, TcpTarget};

/// Reads a LUN through TLS. Without --url it starts a target and a TLS gateway of its own on the
/// loopback and verifies every byte.
#[derive(Debug, Parser)]
#[command(name = "tls_dialer", version)]
struct Args {
    /// The LUN behind the gateway, iscsi://[user[%secret]@]gateway[:port]/target/lun; repeatable
    #[arg(long, value_name = "URL", requires = "ca")]
    url: Vec<String>,
    /// The certificates that the gateway's has to be signed by, PEM
    #[arg(long, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,
    /// The name in the gateway's certificate [default: the host of --url]
    #[arg(long, value_name = "NAME", requires = "url")]
    server_name: Option<String>,
    /// Network device, hardware address or local address to connect from; repeatable
    #[arg(long, value_name = "NIC", requires = "url")]
    nic: Vec<Bind>,
    #[command(flatten)]
    login: LoginArgs,
    /// Bytes to read, from the beginning [default: all]
    #[arg(long, value_name = "BYTES", value_parser = args::some_bytes)]
    length: Option<u64>,
    /// Which async runtime to use
    #[arg(long, value_enum, default_value_t)]
    runtime: RuntimeChoice,
    /// Print a line of JSON at the end
    #[arg(long)]
    json: bool,
}

const THREADS: usize = 2;
const DEMO_SIZE: u64 = 64 << 20;
const DEMO_TARGET: &str = "iqn.2026-01.example.iscsi-mpio:tls";
const BLOCK_SIZE: usize = 256 << 10;
const QUEUE_DEPTH: usize = 4;

fn main() -> ExitCode {
    match parse_args().and_then(|args| run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// What is in front of the demonstration's LUN, and behind it.
struct Demo {
    gateway: Gateway,
    target: TcpTarget,
    seed: u64,
}

impl Demo {
    fn start() -> Result<Self, Failure> {
        let lun = LunConfig::new(0, DEMO_SIZE);
        let seed = lun.seed;
        let config = TargetConfig::new(DEMO_TARGET)
            .with_lun(lun)
            .with_portal("127.0.0.1:0".parse().map_err(Failure::new)?, 1);
        let target = TcpTarget::start(config).map_err(Failure::new)?;
        Ok(Self {
            gateway: Gateway::start(target.portal(0))?,
            target,
            seed,
        })
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    let name = args.server_name.clone().map(ServerName::try_from);
    let name = name
        .transpose()
        .map_err(|error| Failure::usage(format_args!("--server-name: {error}")))?;
    let urls = paths::parse_urls(&args.url)?;
    let Some(ca) = &args.ca else {
        let demo = Demo::start()?;
        say(format_args!(
            "a target of our own at {}, behind a TLS gateway at {}\n",
            demo.target.portal(0),
            demo.gateway.address()
        ))?;
        let target = DEMO_TARGET.parse().map_err(Failure::new)?;
        let portal = demo.gateway.address().into();
        let urls = vec![TargetUrl::new(portal, target, Lun::default())];
        let certificate = demo.gateway.certificate().clone();
        let dialer = TlsDialer::new(&[certificate], None)?;
        return read_through(args, urls, dialer, Expected::Pattern(demo.seed));
    };
    let dialer = TlsDialer::new(&read_certificates(ca)?, name)?;
    read_through(args, urls, dialer, Expected::Unknown)
}

fn read_through(
    args: &Args,
    urls: Vec<TargetUrl>,
    dialer: TlsDialer,
    mut expected: Expected,
) -> Result<(), Failure> {
    let places = Places {
        urls,
        nics: args.nic.clone(),
        paired: false,
        deadlines: DeadlineArgs::default(),
    };
    let mut options = SessionOptions::default();
    options.dialer = Some(Arc::new(dialer));
    block_on(args.runtime, THREADS, |runtime| {
        read_device(args, &places, options, &mut expected, runtime)
    })
}

async fn read_device(
    args: &Args,
    places: &Places,
    options: SessionOptions,
    expected: &mut Expected,
    runtime: Arc<dyn Runtime>,
) -> Result<(), Failure> {
    let initiator = paths::initiator(
        "tls-dialer",
        &args.login,
        &places.urls,
        options,
        Arc::clone(&runtime),
    )?;
    let device = paths::open_device(&initiator, places).await?;
    let size = device.info().size;
    let plan = Plan {
        offset: 0,
        length: args.length.unwrap_or(size).min(size),
        block_size: BLOCK_SIZE,
        queue_depth: QUEUE_DEPTH,
    };
    let readout = reader::read(&device, &*runtime, &plan, expected, |_| {}).await;
    let report = Report::new(&device, &readout, expected.is_known());
    let said = say(&report).and_then(|()| match args.json {
        true => say(report.json()),
        false => Ok(()),
    });
    device.close().await;
    said?;
    readout.first_error.or(readout.mismatch).map_or(Ok(()), Err)
}
