//! Many devices in one process: what an idle path costs, and how half of all paths come back at once.
//!
//! ```text
//! cargo run --release --example scale
//! ```
//!
//! 64 targets with 4 logical units and 4 portals each, which a process of its own serves: 256 devices and 1024 paths,
//! over 256 sessions, since devices for the units of one target share them. All of it is idle first, for the memory and
//! the processor time. Then each device does small I/O, and half of the portals of each target fail and heal.

use std::{
    alloc::System,
    cell::{Cell, RefCell},
    future::Future,
    process::{Command, ExitCode},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use clap::{Parser, ValueEnum};
use futures_util::{
    future::{join, join_all},
    stream::{self, StreamExt, TryStreamExt},
};
use iscsi_client::{
    buf::ReadBuf,
    device::{ReadOptions, WriteOptions},
    initiator::Initiator,
    runtime::Runtime,
    session::SessionOptions,
};
use iscsi_examples::{
    args::{self, RuntimeChoice},
    clock,
    counted::Counted,
    failure::{Failure, parse_args, say},
    farm::{self, Farm, Numbers},
    report::round,
    rounds::ms,
    runtime::{block_on, sleep},
    usage::{self, Usage},
};
use iscsi_proto::scsi::Lun;
use mpio::{MultipathBuilder, MultipathDevice, core::PathSnapshot};
use serde::Serialize;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Opens many devices, and measures what they cost and how they recover.
#[derive(Debug, Parser)]
#[command(name = "scale", version)]
struct Args {
    /// Targets
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    targets: u16,
    /// Logical units of each, and so many devices
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    luns: u16,
    /// Portals of each, and so many paths of a device
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..=16))]
    portals: u16,
    /// How half of the portals of each target fail
    #[arg(long, value_enum, default_value_t)]
    fault: Fault,
    /// For how long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = args::time)]
    outage: Duration,
    /// How long the processor time of idle devices is measured
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = args::time)]
    idle: Duration,
    /// How long they are left alone before that: a path that is well is looked at less often after a while
    #[arg(long, value_name = "TIME", default_value = "40s", value_parser = args::time)]
    settle: Duration,
    /// Commands of a session at a time [default: the library's]
    #[arg(long, value_name = "N")]
    queue_depth: Option<u16>,
    /// Bytes of scratch of a session [default: the library's]
    #[arg(long, value_name = "BYTES", value_parser = args::some_bytes)]
    scratch: Option<u64>,
    /// Milliseconds between two I/Os of a device
    #[arg(long, value_name = "MS", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    pace: u16,
    /// Which async runtime to use
    #[arg(long, value_enum, default_value_t)]
    runtime: RuntimeChoice,
    /// Serve the targets, and do nothing else
    #[arg(long, hide = true)]
    serve: bool,
}

/// How portals fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// Connections are reset and logins refused.
    #[default]
    Refuse,
    /// Nothing is answered any more.
    Silence,
}

/// How many devices are opened at a time.
const OPENING: usize = 32;
/// How often it is looked whether all paths are there.
const TICK: Duration = Duration::from_millis(20);
/// What takes longer than this never comes.
const PATIENCE: Duration = Duration::from_secs(120);

/// The figures; the field names are the keys of the JSON.
#[derive(Debug, Default, Serialize)]
struct Figures {
    devices: usize,
    paths: usize,
    sessions: usize,
    /// Until all paths could be used.
    open_ms: f64,
    /// Growth of the resident set and of the heap by opening them, and at the end of the load.
    idle_rss_kib: i64,
    idle_heap_kib: i64,
    later_rss_kib: i64,
    later_heap_kib: i64,
    idle_heap_per_path_bytes: i64,
    idle_rss_per_path_bytes: i64,
    later_rss_per_path_bytes: i64,
    /// Tasks when idle.
    tasks: usize,
    /// Processor time when idle, of one core.
    idle_cpu_percent: f64,
    idle_wakes_per_s: f64,
    /// I/Os under the load, the ones that failed, and the longest one.
    ios: u64,
    errors: u64,
    longest_ms: f64,
    /// From the end of the fault until all paths could be used.
    back_ms: f64,
}

fn main() -> ExitCode {
    match parse_args().and_then(|args: Args| run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    let numbers = Numbers {
        targets: args.targets,
        luns: args.luns,
        portals: args.portals,
    };
    if args.serve {
        return farm::serve(numbers);
    }
    let program = std::env::current_exe().map_err(Failure::new)?;
    let mut command = Command::new(program);
    command.args(["--serve", "--targets", &args.targets.to_string()]);
    command.args(["--luns", &args.luns.to_string()]);
    command.args(["--portals", &args.portals.to_string()]);
    let mut farm = Farm::start(&mut command, numbers)?;
    let figures = block_on(args.runtime, 1, |runtime| measure(args, &mut farm, runtime))?;
    say(serde_json::to_string(&figures).unwrap_or_default())?;
    if figures.errors > 0 {
        let errors = figures.errors;
        return Err(Failure::new(format_args!("{errors} I/Os failed")));
    }
    Ok(())
}

/// Resident set and heap, in KiB.
fn memory() -> (i64, i64) {
    let stats = ALLOCATOR.stats();
    let heap = stats.bytes_allocated as i64 - stats.bytes_deallocated as i64;
    (usage::memory_kib() as i64, heap / 1024)
}

async fn measure(
    args: &Args,
    farm: &mut Farm,
    runtime: Arc<dyn Runtime>,
) -> Result<Figures, Failure> {
    let counted = Arc::new(Counted::new(Arc::clone(&runtime)));
    let name = "iqn.2026-01.example.iscsi-mpio:scale".parse();
    let name = name.map_err(Failure::new)?;
    let beneath = Arc::clone(&counted) as Arc<dyn Runtime>;
    let builder = Initiator::builder(name, beneath).options(session_options(args));
    let initiator = builder.build();
    let before = memory();
    let begun = clock::now();
    let devices = open(args, farm, &initiator).await?;
    all_usable(&devices, &*runtime).await?;
    let mut figures = Figures {
        devices: devices.len(),
        paths: devices.len() * usize::from(args.portals),
        sessions: initiator.sessions().len(),
        open_ms: ms(begun.elapsed()),
        ..Figures::default()
    };
    idle(args, &mut figures, before, &*runtime).await;
    figures.tasks = counted.tasks();
    under_load(args, farm, &devices, &runtime, &mut figures).await?;
    // What was needed for the load alone is given back when it was not needed for a while.
    sleep(&*runtime, args.idle).await;
    let after = memory();
    let paths = figures.paths as i64;
    figures.later_rss_kib = after.0 - before.0;
    figures.later_heap_kib = after.1 - before.1;
    figures.later_rss_per_path_bytes = figures.later_rss_kib * 1024 / paths;
    join_all(devices.iter().map(MultipathDevice::close)).await;
    Ok(figures)
}

fn session_options(args: &Args) -> SessionOptions {
    let mut options = SessionOptions::default();
    options.queue_depth = args.queue_depth.unwrap_or(options.queue_depth);
    if let Some(bytes) = args.scratch {
        options.core.scratch = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    options
}

async fn open(
    args: &Args,
    farm: &Farm,
    initiator: &Initiator,
) -> Result<Vec<MultipathDevice>, Failure> {
    let units = farm.portals().iter().enumerate();
    let units = units.flat_map(|unit| (0..args.luns).map(move |lun| (unit, lun)));
    stream::iter(units)
        .map(|((number, portals), lun)| async move {
            let name = farm::name(number).parse().map_err(Failure::new)?;
            let mut builder = MultipathBuilder::new(name).lun(Lun::new(lun));
            for portal in portals {
                builder = builder.portal((*portal).into());
            }
            let opened = builder.connect_spawned(initiator).await;
            opened.map_err(Failure::new)
        })
        .buffered(OPENING)
        .try_collect()
        .await
}

async fn all_usable(devices: &[MultipathDevice], runtime: &dyn Runtime) -> Result<(), Failure> {
    let end = clock::now() + PATIENCE;
    let is_whole = |device: &MultipathDevice| {
        let is_there = device.topology().missing.is_empty();
        is_there && device.snapshot().paths().all(PathSnapshot::is_usable)
    };
    // A device that was whole is looked at again only when all the others are.
    let mut rest: Vec<_> = devices.iter().collect();
    loop {
        rest.retain(|device| !is_whole(device));
        if rest.is_empty() {
            if devices.iter().all(is_whole) {
                return Ok(());
            }
            rest = devices.iter().collect();
        }
        if clock::now() > end {
            let (count, paths) = (rest.len(), rest[0].paths());
            return Err(Failure::new(format_args!(
                "{count} devices are not whole after {PATIENCE:?}: {paths}"
            )));
        }
        sleep(runtime, TICK).await;
    }
}

async fn idle(args: &Args, figures: &mut Figures, before: (i64, i64), runtime: &dyn Runtime) {
    sleep(runtime, args.settle).await;
    let used = Usage::now();
    sleep(runtime, args.idle).await;
    let used = Usage::now().since(used);
    let (after, paths) = (memory(), figures.paths as i64);
    figures.idle_rss_kib = after.0 - before.0;
    figures.idle_heap_kib = after.1 - before.1;
    figures.idle_rss_per_path_bytes = figures.idle_rss_kib * 1024 / paths;
    figures.idle_heap_per_path_bytes = figures.idle_heap_kib * 1024 / paths;
    let cpu = (used.user + used.system).as_secs_f64() / args.idle.as_secs_f64();
    figures.idle_cpu_percent = round(cpu * 100.0, 2);
    let wakes = used.voluntary_switches as f64 / args.idle.as_secs_f64();
    figures.idle_wakes_per_s = round(wakes, 1);
}

/// What the devices did under the load.
#[derive(Debug, Default)]
struct Tally {
    ios: u64,
    errors: u64,
    longest: Duration,
    first_error: Option<String>,
}

async fn under_load(
    args: &Args,
    farm: &mut Farm,
    devices: &[MultipathDevice],
    runtime: &Arc<dyn Runtime>,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let (tally, stop) = (Rc::new(RefCell::new(Tally::default())), Cell::new(false));
    let loads = devices
        .iter()
        .map(|device| load(device, args.pace, &**runtime, &tally, &stop));
    let fault = async {
        let outcome = fail_and_heal(args, farm, devices, &**runtime).await;
        stop.set(true);
        outcome
    };
    let (_, back) = join(join_all(loads), fault).await;
    figures.back_ms = ms(back?);
    let tally = tally.take();
    figures.ios = tally.ios;
    figures.errors = tally.errors;
    figures.longest_ms = ms(tally.longest);
    match tally.first_error {
        Some(error) => say(format_args!("{{\"first_error\":{error:?}}}")),
        None => Ok(()),
    }
}

/// How long it took until all paths were back.
async fn fail_and_heal(
    args: &Args,
    farm: &mut Farm,
    devices: &[MultipathDevice],
    runtime: &dyn Runtime,
) -> Result<Duration, Failure> {
    sleep(runtime, Duration::from_secs(2)).await;
    farm.tell(match args.fault {
        Fault::Refuse => "refuse",
        Fault::Silence => "silence",
    })?;
    sleep(runtime, args.outage).await;
    farm.tell("heal")?;
    let healed = clock::now();
    all_usable(devices, runtime).await?;
    Ok(clock::now() - healed)
}

/// Writes and reads in turn, each time elsewhere, so that nothing waits for a write that was lost.
async fn load(
    device: &MultipathDevice,
    pace: u16,
    runtime: &dyn Runtime,
    tally: &RefCell<Tally>,
    stop: &Cell<bool>,
) {
    const BLOCK: u64 = 4096;
    let mut number = 0;
    while !stop.get() {
        let offset = number / 2 * BLOCK % farm::LUN_SIZE;
        let buf = BytesMut::zeroed(BLOCK as usize);
        let begun = clock::now();
        let outcome = if number % 2 == 0 {
            let write = device.write(offset, buf.freeze().into(), WriteOptions::default());
            write.await.result
        } else {
            let read = device.read(offset, ReadBuf::from(buf), ReadOptions::default());
            read.await.result
        };
        note(&mut tally.borrow_mut(), begun.elapsed(), outcome.err());
        number += 1;
        pause(runtime, pace).await;
    }
}

fn note(tally: &mut Tally, took: Duration, error: Option<impl std::fmt::Display>) {
    tally.ios += 1;
    tally.longest = tally.longest.max(took);
    if let Some(error) = error {
        tally.errors += 1;
        tally
            .first_error
            .get_or_insert_with(|| format!("{error:#}"));
    }
}

fn pause(runtime: &dyn Runtime, pace: u16) -> impl Future<Output = ()> + use<'_> {
    sleep(runtime, Duration::from_millis(pace.into()))
}
