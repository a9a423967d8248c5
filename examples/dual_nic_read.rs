//! Reads a LUN through several NICs at once, and keeps reading while a path is cut.
//!
//! Without arguments it brings its own target with two portals on the loopback, cuts one path at
//! 40 %, heals it at 70 %, and verifies every byte. With `--url` (or `--target` and `--portal`) it
//! reads real storage and cuts nothing.

use std::{io::IsTerminal, net::IpAddr, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;
use iscsi_client::{bind::Bind, runtime::Runtime, session::SessionOptions, url::TargetUrl};
use iscsi_examples::{
    args::{self, DigestChoice, LoginArgs, RuntimeChoice},
    failure::{Failure, parse_args, say},
    paths,
    progress::Progress,
    reader::{self, Plan, Readout},
    report::Report,
    runtime, usage,
    verify::Expected,
};
use iscsi_proto::{IscsiName, Portal, scsi::Lun};
use iscsi_testkit::target::{LunConfig, TargetConfig, TcpTarget};
use mpio::{MultipathBuilder, MultipathDevice};

const DEMO_TARGET: &str = "iqn.2026-11.org.example.iscsi-mpio:demo";

/// Read a LUN through several NICs at once.
#[derive(Debug, Parser)]
#[command(name = "dual_nic_read", version)]
struct Args {
    /// A portal, target and LUN as iscsi://[user[%secret]@]host[:port]/iqn/lun (repeatable: portals
    /// of one LUN)
    #[arg(long, value_name = "URL", conflicts_with_all = ["portal", "target", "lun"])]
    url: Vec<TargetUrl>,
    /// host[:port] of the target (repeatable)
    #[arg(long, value_name = "PORTAL", requires = "target")]
    portal: Vec<Portal>,
    /// The target's name
    #[arg(long, value_name = "IQN", requires = "portal")]
    target: Option<IscsiName>,
    /// The logical unit
    #[arg(long, value_name = "LUN", requires = "target")]
    lun: Option<Lun>,
    /// A network device or a local address to log in from (repeatable: one path each)
    #[arg(long, value_name = "DEVICE-or-ADDRESS", value_parser = args::nic)]
    nic: Vec<Bind>,
    /// The first NIC reaches the first portal only, the second the second, and so on
    #[arg(long)]
    paired: bool,
    #[command(flatten)]
    login: LoginArgs,
    /// Header digest
    #[arg(long, value_enum, default_value_t)]
    header_digest: DigestChoice,
    /// Data digest
    #[arg(long, value_enum, default_value_t)]
    data_digest: DigestChoice,
    /// Where to begin, in bytes
    #[arg(long, value_name = "BYTES", value_parser = args::bytes, default_value = "0")]
    offset: u64,
    /// How much to read; default: to the end
    #[arg(long, value_name = "BYTES", value_parser = args::some_bytes)]
    length: Option<u64>,
    /// Bytes of one read
    #[arg(long, value_name = "BYTES", value_parser = args::some_bytes, default_value = "1m")]
    block_size: u64,
    /// Reads under way at a time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    queue_depth: u16,
    /// Which runtime to use
    #[arg(long, value_enum, default_value_t)]
    runtime: RuntimeChoice,
    /// Compare with this image of the device
    #[arg(long, value_name = "FILE")]
    verify_file: Option<PathBuf>,
    /// Size of the demonstration's LUN
    #[arg(long, value_name = "BYTES", value_parser = args::some_bytes, default_value = "4g")]
    size: u64,
    /// Print one JSON object as the last line
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args = match parse_args::<Args>() {
        Ok(args) => args,
        Err(failure) => return failure.report(),
    };
    let choice = args.runtime;
    match runtime::block_on(choice, 2, |runtime| run(args, runtime)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(args: Args, runtime: Arc<dyn Runtime>) -> Result<(), Failure> {
    let demo = args.url.is_empty() && args.portal.is_empty();
    if demo {
        let target = Demo::start(args.size)?;
        let builder = target.builder();
        let expected = Expected::Pattern(target.seed());
        return read(&args, runtime, &builder, expected, Some(&target)).await;
    }
    let expected = match &args.verify_file {
        Some(path) => Expected::image(path)?,
        None => Expected::Unknown,
    };
    let builder = builder(&args)?;
    read(&args, runtime, &builder, expected, None).await
}

/// The device that the arguments describe.
fn builder(args: &Args) -> Result<MultipathBuilder, Failure> {
    let first = args.url.first();
    let target = first.map(|url| &url.target).or(args.target.as_ref());
    let target = target.ok_or_else(|| Failure::usage("give --url, or --target and --portal"))?;
    let lun = first.map_or_else(|| args.lun.unwrap_or_default(), |url| url.lun);
    if args
        .url
        .iter()
        .any(|url| url.target != *target || url.lun != lun)
    {
        return Err(Failure::usage(
            "all --url must name the same target and LUN: they are paths of one disk",
        ));
    }
    let mut builder = MultipathBuilder::new(target.clone()).lun(lun);
    let portals = args.url.iter().map(|url| &url.portal).chain(&args.portal);
    for portal in portals {
        builder = builder.portal(portal.clone());
    }
    for nic in &args.nic {
        builder = builder.bind(nic.clone());
    }
    Ok(if args.paired {
        builder.paired()
    } else {
        builder
    })
}

async fn read(
    args: &Args,
    runtime: Arc<dyn Runtime>,
    builder: &MultipathBuilder,
    mut expected: Expected,
    demo: Option<&Demo>,
) -> Result<(), Failure> {
    let mut options = SessionOptions::default();
    options.offer = options
        .offer
        .with_header_digest(args.header_digest.into())
        .with_data_digest(args.data_digest.into());
    let url = args.url.first();
    let initiator = paths::initiator(&args.login, url, options, Arc::clone(&runtime))?;
    let device = builder.connect_spawned(&initiator).await?;
    let plan = plan(args, &device)?;
    if !args.json {
        say(format_args!("{}", device.topology()))?;
    }
    let progress = std::io::stderr()
        .is_terminal()
        .then(|| Progress::new(&device, plan.length));
    let readout = reader::read(&device, &*runtime, &plan, &mut expected, |bytes| {
        if let Some(demo) = demo {
            demo.disturb(bytes, plan.length);
        }
        if let Some(progress) = &progress {
            progress.update(&device, bytes);
        }
    })
    .await;
    if let Some(progress) = &progress {
        progress.finish();
    }
    let report = Report::new(&device, &readout, expected.is_known());
    let topology = device.topology();
    device.close().await;
    conclude(args, &report, topology, readout)
}

fn plan(args: &Args, device: &MultipathDevice) -> Result<Plan, Failure> {
    let info = device.info();
    let block = u64::from(info.block_size);
    for (name, value) in [
        ("--offset", args.offset),
        ("--length", args.length.unwrap_or_default()),
        ("--block-size", args.block_size),
    ] {
        if value % block != 0 {
            return Err(Failure::usage(format_args!(
                "{name} {value} is not a multiple of the device's block size: use multiples of {block}"
            )));
        }
    }
    let rest = info.size.saturating_sub(args.offset);
    let length = args.length.unwrap_or(rest);
    if length == 0 || length > rest {
        return Err(Failure::usage(format_args!(
            "{length} bytes at {} do not fit a device of {} bytes: lower --offset or --length",
            args.offset, info.size
        )));
    }
    Ok(Plan {
        offset: args.offset,
        length,
        block_size: usize::try_from(args.block_size.min(length)).unwrap_or(usize::MAX),
        queue_depth: args.queue_depth.into(),
    })
}

fn conclude(
    args: &Args,
    report: &Report,
    topology: mpio::Topology,
    readout: Readout,
) -> Result<(), Failure> {
    if args.json {
        let line = serde_json::to_string(report).map_err(Failure::new)?;
        say(line)?;
    } else {
        say(report.with_topology(topology))?;
        say(format_args!("peak memory {} KiB", usage::peak_memory_kib()))?;
    }
    match readout.first_error.or(readout.mismatch) {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

/// The demonstration's own target: two portals on the loopback, one of which is cut on the way.
struct Demo {
    target: TcpTarget,
    size: u64,
    cut: std::cell::Cell<Cut>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    NotYet,
    Now,
    Healed,
}

/// The portal that is cut.
const VICTIM: usize = 1;

impl Demo {
    const ADDRESSES: [[u8; 4]; 2] = [[127, 0, 0, 1], [127, 0, 0, 2]];

    fn start(size: u64) -> Result<Self, Failure> {
        if size % 4096 != 0 {
            return Err(Failure::usage("--size must be a multiple of 4096"));
        }
        let mut config = TargetConfig::new(DEMO_TARGET).with_lun(LunConfig::new(0, size));
        for (address, tag) in Self::ADDRESSES.into_iter().zip(1..) {
            config = config.with_portal((IpAddr::from(address), 0).into(), tag);
        }
        let target = TcpTarget::start(config).map_err(|error| {
            Failure::new(format_args!(
                "cannot listen on 127.0.0.1 and 127.0.0.2: {error}; is the loopback up?"
            ))
        })?;
        Ok(Self {
            target,
            size,
            cut: std::cell::Cell::new(Cut::NotYet),
        })
    }

    fn seed(&self) -> u64 {
        self.target.core().config().luns[0].seed
    }

    /// One path from each of the two addresses to the portal there.
    fn builder(&self) -> MultipathBuilder {
        let name = DEMO_TARGET.parse().expect("a valid name");
        let mut builder = MultipathBuilder::new(name).paired();
        for (index, address) in Self::ADDRESSES.into_iter().enumerate() {
            builder = builder
                .portal(self.target.portal(index).into())
                .bind(Bind::Address(address.into()));
        }
        builder
    }

    /// Cuts one path at 40 % and heals it at 70 %.
    fn disturb(&self, bytes: u64, length: u64) {
        let percent = bytes.saturating_mul(100) / length.min(self.size);
        match self.cut.get() {
            Cut::NotYet if percent >= 40 => {
                self.target.cut(VICTIM);
                self.cut.set(Cut::Now);
            }
            Cut::Now if percent >= 70 => {
                self.target.heal(VICTIM);
                self.cut.set(Cut::Healed);
            }
            _ => {}
        }
    }
}
