//! Reads a LUN through several NICs at once, and keeps reading while cables are pulled.
//!
//! Without arguments it brings its own target and pulls a cable by itself:
//!
//! ```text
//! cargo run --release --example dual_nic_read
//! cargo run --release --example dual_nic_read -- --url iscsi://10.0.1.1/iqn.2024-01.com.example:disk/0 \
//!     --nic eth0 --nic eth1
//! ```

use std::{fs::File, io::BufWriter, path::PathBuf, process::ExitCode, sync::Arc, time::Instant};

use clap::Parser;
use iscsi_client::{
    bind::Bind,
    runtime::Runtime,
    session::SessionOptions,
    tap::{PayloadCapture, PcapNg, PcapOptions, Tap},
    url::TargetUrl,
};
use iscsi_examples::{
    args::{self, DigestChoice, LoginArgs, RuntimeChoice},
    clock,
    deadlines::DeadlineArgs,
    events::Narrator,
    failure::{Failure, parse_args, say},
    faults::Demo,
    paths::{self, Places},
    progress::Bars,
    reader::{self, Plan, Readout},
    report::Report,
    runtime::block_on,
    verify::Expected,
};
use iscsi_proto::{name::IscsiName, portal::Portal, scsi::Lun, text::DigestOffer};
use mpio::MultipathDevice;

/// Reads a LUN through several NICs at once. Without --url or --portal it starts a target of its own
/// on the loopback, cuts one of two paths at 40 %, heals it at 70 % and verifies every byte; with
/// one of them it reads that storage and cuts nothing.
#[derive(Debug, Parser)]
#[command(name = "dual_nic_read", version)]
struct Args {
    /// A portal of the LUN, iscsi://[user[%secret]@]host[:port]/target/lun; repeatable
    #[arg(long, value_name = "URL", conflicts_with_all = ["portal", "target", "lun"])]
    url: Vec<String>,
    /// A portal of the target, HOST[:PORT]; repeatable
    #[arg(long, value_name = "PORTAL", requires = "target")]
    portal: Vec<Portal>,
    /// The target's iSCSI name
    #[arg(long, value_name = "IQN", requires = "portal")]
    target: Option<IscsiName>,
    /// The logical unit
    #[arg(long, value_name = "LUN", default_value = "0", requires = "portal")]
    lun: Lun,
    /// Network device, its hardware address, or local address to connect from; repeatable. Each is used with each portal
    #[arg(long, value_name = "DEVICE-or-ADDRESS")]
    nic: Vec<Bind>,
    /// Use the first NIC with the first portal only, the second with the second, and so on
    #[arg(long)]
    paired: bool,
    #[command(flatten)]
    login: LoginArgs,
    #[command(flatten)]
    deadlines: DeadlineArgs,
    /// Header digest [default: none, unless the target insists]
    #[arg(long, value_name = "DIGEST")]
    header_digest: Option<DigestChoice>,
    /// Data digest [default: none, unless the target insists]
    #[arg(long, value_name = "DIGEST")]
    data_digest: Option<DigestChoice>,
    /// First byte to read
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = args::bytes)]
    offset: u64,
    /// Bytes to read [default: to the end]
    #[arg(long, value_name = "BYTES", value_parser = args::some_bytes)]
    length: Option<u64>,
    /// Bytes per read
    #[arg(long, value_name = "BYTES", default_value = "1m", value_parser = args::some_bytes)]
    block_size: u64,
    /// Reads under way at a time, over all paths
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u16).range(1..))]
    queue_depth: u16,
    /// Compare with this file, byte for byte at the same offsets
    #[arg(long, value_name = "FILE")]
    verify_file: Option<PathBuf>,
    /// Write what is sent and received to this file, for Wireshark; CHAP responses are overwritten
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Leave the data out of --pcap: headers and text only
    #[arg(long, requires = "pcap")]
    pcap_headers_only: bool,
    /// Which async runtime to use
    #[arg(long, value_enum, default_value_t)]
    runtime: RuntimeChoice,
    /// Print a line of JSON at the end
    #[arg(long)]
    json: bool,
    /// Size of the LUN of the demonstration
    #[arg(long, value_name = "BYTES", default_value = "4g", value_parser = args::some_bytes)]
    size: u64,
}

type Capture = PcapNg<BufWriter<File>>;

/// One thread polls the reads and verifies, the other one moves the bytes.
const THREADS: usize = 2;

/// The most memory that the buffers of all reads may take.
const MAX_BUFFERS: u64 = 4 << 30;

fn main() -> ExitCode {
    match parse_args().and_then(|args| run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    if args.block_size.saturating_mul(args.queue_depth.into()) > MAX_BUFFERS {
        return Err(Failure::usage(
            "--block-size times --queue-depth is more than 4 GiB; lower one of them",
        ));
    }
    let urls = urls(args)?;
    let mut demo = if urls.is_empty() {
        Some(start_demo(args)?)
    } else {
        None
    };
    let places = match &demo {
        Some(demo) => demo.places()?,
        None => Places {
            urls,
            nics: args.nic.clone(),
            paired: args.paired,
            deadlines: args.deadlines,
        },
    };
    let mut expected = match (&args.verify_file, &demo) {
        (Some(file), _) => Expected::image(file)?,
        (None, Some(demo)) => Expected::Pattern(demo.seed()),
        (None, None) => Expected::Unknown,
    };
    block_on(args.runtime, THREADS, |runtime| {
        read_device(args, &places, demo.as_mut(), &mut expected, runtime)
    })
}

fn urls(args: &Args) -> Result<Vec<TargetUrl>, Failure> {
    if let Some(target) = &args.target {
        let url = |portal: &Portal| TargetUrl::new(portal.clone(), target.clone(), args.lun);
        return Ok(args.portal.iter().map(url).collect());
    }
    paths::parse_urls(&args.url)
}

fn start_demo(args: &Args) -> Result<Demo, Failure> {
    if !args.nic.is_empty() || args.paired || args.login.chap_user.is_some() {
        return Err(Failure::usage(
            "--nic, --paired and --chap-user are for real storage: name it with --url or --portal",
        ));
    }
    Demo::start(args.size)
}

/// An option wins over a URL, the first URL over the others: the paths of a disk are alike.
fn session_options(args: &Args, urls: &[TargetUrl]) -> SessionOptions {
    let mut options = SessionOptions::default();
    args.deadlines.bound(&mut options);
    let in_url = |digest: fn(&TargetUrl) -> Option<DigestOffer>| urls.iter().find_map(digest);
    let header = args.header_digest.map(DigestOffer::from);
    if let Some(digest) = header.or_else(|| in_url(|url| url.header_digest)) {
        options.offer = options.offer.with_header_digest(digest);
    }
    let data = args.data_digest.map(DigestOffer::from);
    if let Some(digest) = data.or_else(|| in_url(|url| url.data_digest)) {
        options.offer = options.offer.with_data_digest(digest);
    }
    options
}

async fn read_device(
    args: &Args,
    places: &Places,
    demo: Option<&mut Demo>,
    expected: &mut Expected,
    runtime: Arc<dyn Runtime>,
) -> Result<(), Failure> {
    let mut options = session_options(args, &places.urls);
    let capture = capture(args)?;
    options.tap = capture.clone().map(|capture| capture as Arc<dyn Tap>);
    let initiator = paths::initiator(
        "dual-nic-read",
        &args.login,
        &places.urls,
        options,
        Arc::clone(&runtime),
    )?;
    if demo.is_some() {
        say("a target of our own, with two portals on the loopback and one path to each:\n")?;
    }
    let device = paths::open_device(&initiator, places).await?;
    let plan = plan(args, device.info().size);
    let outcome = match plan {
        Ok(plan) => {
            say(format_args!("{}", device.topology()))?;
            let readout = observe(&device, &*runtime, &plan, expected, demo).await;
            report(args, &device, readout, expected)
        }
        Err(failure) => Err(failure),
    };
    device.close().await;
    if let Some(capture) = capture {
        // Last words of the sessions included, and not on the way of the JSON.
        eprintln!("capture: {}", capture.flush());
    }
    outcome
}

/// The file of `--pcap`, created at once so that a wrong name is told before anything is read.
fn capture(args: &Args) -> Result<Option<Arc<Capture>>, Failure> {
    let Some(file) = &args.pcap else {
        return Ok(None);
    };
    let mut options = PcapOptions::default();
    if args.pcap_headers_only {
        options.payload = PayloadCapture::HeadersOnly;
    }
    let capture = PcapNg::create_with(file, options).map_err(|error| {
        let shown = file.display();
        Failure::new(format_args!("cannot write {shown}: {error}; check --pcap"))
    })?;
    Ok(Some(Arc::new(capture)))
}

fn plan(args: &Args, size: u64) -> Result<Plan, Failure> {
    let rest = size.checked_sub(args.offset).filter(|rest| *rest > 0);
    let rest = rest.ok_or_else(|| {
        Failure::new(format_args!(
            "--offset is behind the end of the device: give less than {size}"
        ))
    })?;
    let length = args.length.unwrap_or(rest);
    if length > rest {
        return Err(Failure::new(format_args!(
            "only {rest} bytes lie behind --offset: give that as --length, or less"
        )));
    }
    Ok(Plan {
        offset: args.offset,
        length,
        block_size: args.block_size as usize,
        queue_depth: args.queue_depth.into(),
    })
}

/// Reads, draws, tells what happens, and has the cable pulled.
async fn observe(
    device: &MultipathDevice,
    runtime: &dyn Runtime,
    plan: &Plan,
    expected: &mut Expected,
    mut demo: Option<&mut Demo>,
) -> Readout {
    let mut bars = Bars::new(plan.length);
    let mut narrator = Narrator::new(device);
    let started: Instant = clock::now();
    let watch = |done: u64| {
        let fault = demo
            .as_mut()
            .and_then(|demo| demo.advance(done, plan.length));
        let at = clock::now().saturating_duration_since(started);
        for line in narrator.lines(device).chain(fault) {
            bars.note(&format!("{:8.3} s  {line}", at.as_secs_f64()));
        }
        if bars.is_due() {
            bars.draw(done, &device.snapshot());
        }
    };
    let readout = reader::read(device, runtime, plan, expected, watch).await;
    bars.draw(readout.bytes, &device.snapshot());
    bars.finish();
    readout
}

fn report(
    args: &Args,
    device: &MultipathDevice,
    readout: Readout,
    expected: &Expected,
) -> Result<(), Failure> {
    let report = Report::new(device, &readout, expected.is_known());
    say(&report)?;
    if args.json {
        say(report.json())?;
    }
    readout.first_error.or(readout.mismatch).map_or(Ok(()), Err)
}
