//! A closed-loop load generator: a fixed number of I/Os always under way, each with memory of its
//! own; prints one JSON line. It can stand beside the same program on another library.

use std::{process::ExitCode, sync::Arc, time::Duration};

use clap::{Parser, ValueEnum};
use iscsi_client::{
    initiator::Initiator, isid::SessionSlot, logical_unit::LogicalUnit, runtime::Runtime,
    session::SessionOptions, url::TargetUrl,
};
use iscsi_examples::{
    args::{self, DigestChoice, LoginArgs, RuntimeChoice},
    failure::{Failure, parse_args, say},
    load::{self, Backend, Limit, Load, Measured, Op},
    paths, runtime, usage,
};
use mpio::MultipathBuilder;
use serde::Serialize;

/// Measure reads and writes of a LUN.
#[derive(Debug, Parser)]
#[command(name = "perf", version)]
struct Args {
    /// iscsi://[user[%secret]@]host[:port]/iqn/lun (repeatable: paths of one LUN)
    #[arg(long, value_name = "URL", required = true)]
    url: Vec<TargetUrl>,
    #[command(flatten)]
    login: LoginArgs,
    /// What to do
    #[arg(long, value_enum, default_value_t)]
    op: Op,
    /// Bytes per I/O
    #[arg(long, value_name = "BYTES", value_parser = args::some_bytes, default_value = "4096")]
    bs: u64,
    /// I/Os under way, over all paths
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=2016))]
    qd: u16,
    /// Seconds to measure
    #[arg(long, value_name = "S", value_parser = args::seconds, default_value = "3")]
    secs: Duration,
    /// A number of I/Os instead of a time; no warm-up then
    #[arg(long, value_name = "N")]
    ops: Option<u64>,
    /// Seconds before measuring
    #[arg(long, value_name = "S", value_parser = args::seconds, default_value = "0.3")]
    warmup: Duration,
    /// Bytes from the beginning that are used
    #[arg(long, value_name = "BYTES", value_parser = args::some_bytes, default_value = "1g")]
    span: u64,
    /// Where random begins
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// With --op mixed, how many of a hundred read
    #[arg(long, value_name = "P", default_value_t = 70, value_parser = clap::value_parser!(u64).range(0..=100))]
    mixed_read_pct: u64,
    /// Header digest
    #[arg(long, value_enum, default_value_t)]
    header_digest: DigestChoice,
    /// Data digest
    #[arg(long, value_enum, default_value_t)]
    data_digest: DigestChoice,
    /// InitialR2T to offer
    #[arg(long, value_name = "yes|no", value_parser = args::yes_no, default_value = "no")]
    initial_r2t: bool,
    /// ImmediateData to offer
    #[arg(long, value_name = "yes|no", value_parser = args::yes_no, default_value = "yes")]
    immediate: bool,
    /// Milliseconds between lines of progress on standard error
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    interval_ms: Option<u64>,
    /// Which runtime to use
    #[arg(long, value_enum, default_value_t)]
    runtime: RuntimeChoice,
    /// Everything on one thread (the default)
    #[arg(long, conflicts_with = "threads")]
    single_thread: bool,
    /// Threads altogether
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Through which interface
    #[arg(long, value_enum, default_value_t)]
    via: Via,
}

/// Which interface of the SDK the load uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Via {
    /// A logical unit over its session.
    #[default]
    Session,
    /// A multipath device.
    Multipath,
    /// A multipath device behind `dyn BlockDevice`.
    Dyn,
}

/// The JSON line.
#[derive(Debug, Serialize)]
struct Line {
    #[serde(rename = "impl")]
    implementation: String,
    version: &'static str,
    op: &'static str,
    bs: u64,
    qd: u16,
    paths: usize,
    hd: u8,
    dd: u8,
    ops: u64,
    errors: u64,
    secs: f64,
    iops: f64,
    mbps: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
    user_s: f64,
    sys_s: f64,
    cpu_us_per_io: f64,
    user_us_per_io: f64,
    nvcsw: i64,
    nivcsw: i64,
    maxrss_kib: u64,
    copied_bytes_per_byte: f64,
    per_path_ops: Vec<u64>,
    failovers: u64,
}

fn main() -> ExitCode {
    let args = match parse_args::<Args>() {
        Ok(args) => args,
        Err(failure) => return failure.report(),
    };
    let (choice, threads) = (args.runtime, args.threads);
    match runtime::block_on(choice, threads, |runtime| run(args, runtime)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(args: Args, runtime: Arc<dyn Runtime>) -> Result<(), Failure> {
    let backend = open(&args, Arc::clone(&runtime)).await?;
    let size = backend.size();
    if args.bs > size {
        return Err(Failure::usage(format_args!(
            "--bs {} does not fit a device of {size} bytes",
            args.bs
        )));
    }
    let limit = args.ops.map_or(
        Limit::Time {
            warmup: args.warmup,
            measured: args.secs,
        },
        Limit::Ops,
    );
    let load = Load {
        op: args.op,
        block_size: usize::try_from(args.bs).map_err(Failure::usage)?,
        queue_depth: args.qd.into(),
        mixed_read_pct: args.mixed_read_pct,
        span: args.span.min(size),
        seed: args.seed,
        limit,
        interval: args.interval_ms.map(Duration::from_millis),
    };
    let measured = load::run(&backend, &*runtime, &load).await;
    let line = line(&args, &backend, &measured);
    backend.close().await;
    say(serde_json::to_string(&line).map_err(Failure::new)?)?;
    match measured.first_error {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

async fn open(args: &Args, runtime: Arc<dyn Runtime>) -> Result<Backend, Failure> {
    let mut options = SessionOptions::default();
    options.queue_depth = options.queue_depth.max(args.qd);
    options.offer = options
        .offer
        .with_header_digest(args.header_digest.into())
        .with_data_digest(args.data_digest.into())
        .with_initial_r2t(args.initial_r2t)
        .with_immediate_data(args.immediate);
    let url = args.url.first();
    let initiator = paths::initiator(&args.login, url, options.clone(), runtime)?;
    if args.via == Via::Session {
        return Ok(Backend::Session(
            units(&args.url, &options, &initiator).await?,
        ));
    }
    let url = url.ok_or_else(|| Failure::usage("give --url"))?;
    let mut builder = MultipathBuilder::new(url.target.clone()).lun(url.lun);
    for url in &args.url {
        builder = builder.portal(url.portal.clone());
    }
    let device = builder.connect_spawned(&initiator).await?;
    let sessions = paths::sessions(&device);
    Ok(match args.via {
        Via::Dyn => Backend::Dyn(Arc::new(device.clone()), device, sessions),
        Via::Session | Via::Multipath => Backend::Multipath(device, sessions),
    })
}

async fn units(
    urls: &[TargetUrl],
    options: &SessionOptions,
    initiator: &Initiator,
) -> Result<Vec<LogicalUnit>, Failure> {
    let mut units = Vec::new();
    for (portal, url) in (0..).zip(urls) {
        let slot = SessionSlot {
            portal,
            ..SessionSlot::default()
        };
        let mut to = url
            .session_target(options.clone())
            .map_err(Failure::usage)?;
        to.authentication = None;
        let session = initiator.connect_spawned(&to.with_slot(slot)).await?;
        units.push(LogicalUnit::open(session, url.lun).await?);
    }
    Ok(units)
}

fn line(args: &Args, backend: &Backend, measured: &Measured) -> Line {
    let secs = measured.elapsed.as_secs_f64();
    let per_io = |time: f64| {
        if measured.ops > 0 {
            time * 1e6 / measured.ops as f64
        } else {
            0.0
        }
    };
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let latencies = &measured.latencies;
    let used = measured.used.as_ref();
    let resources = used.map(|used| used.usage).unwrap_or_default();
    let (user, sys) = (resources.user.as_secs_f64(), resources.system.as_secs_f64());
    let iops = if secs > 0.0 {
        measured.ops as f64 / secs
    } else {
        0.0
    };
    let digest = |choice| u8::from(choice == DigestChoice::Crc32c);
    let via = args.via.to_possible_value();
    let via = via.as_ref().map_or("", |value| value.get_name());
    let share = |used: &load::Sample| used.copied as f64 / used.moved.max(1) as f64;
    Line {
        implementation: format!("iscsi-mpio-{}-{via}", args.runtime.name()),
        version: env!("CARGO_PKG_VERSION"),
        op: args.op.name(),
        bs: args.bs,
        qd: args.qd,
        paths: args.url.len(),
        hd: digest(args.header_digest),
        dd: digest(args.data_digest),
        ops: measured.ops,
        errors: measured.errors,
        secs,
        iops,
        mbps: iops * args.bs as f64 / 1e6,
        p50_us: us(latencies.percentile(0.5)),
        p99_us: us(latencies.percentile(0.99)),
        p999_us: us(latencies.percentile(0.999)),
        max_us: us(latencies.max()),
        user_s: user,
        sys_s: sys,
        cpu_us_per_io: per_io(user + sys),
        user_us_per_io: per_io(user),
        nvcsw: resources.voluntary_switches,
        nivcsw: resources.involuntary_switches,
        maxrss_kib: usage::peak_memory_kib(),
        copied_bytes_per_byte: used.map_or(0.0, share),
        per_path_ops: used.map(|used| used.path_ops.clone()).unwrap_or_default(),
        failovers: backend
            .multipath()
            .map_or(0, |device| device.snapshot().counters.failovers),
    }
}
