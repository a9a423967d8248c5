//! A closed-loop load generator: keeps a number of I/Os in flight and prints one line of JSON with
//! rates, latencies and what they cost.
//!
//! ```text
//! cargo run --release --example perf -- --url iscsi://10.0.0.1/iqn.2024-01.com.example:disk/0 \
//!     --op randread --bs 4k --qd 32 --secs 3
//! ```

use std::{process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use futures_util::future::try_join_all;
use iscsi_client::{
    bind::Bind, initiator::Initiator, isid::SessionSlot, logical_unit::LogicalUnit,
    runtime::Runtime, session::SessionOptions, url::TargetUrl,
};
use iscsi_examples::{
    args::{self, DigestChoice, LoginArgs, RuntimeChoice},
    deadlines::DeadlineArgs,
    failure::{Failure, parse_args, say},
    load::{self, Backend, Limit, Load, Measured, Op, Via},
    paths,
    report::round,
    runtime::block_on,
    usage,
};
use serde::Serialize;

/// Keeps I/Os in flight against a LUN and prints one line of JSON. Writes destroy what is there.
#[derive(Debug, Parser)]
#[command(name = "perf", version)]
struct Args {
    /// iscsi://[user[%secret]@]host[:port]/target/lun; several are paths to one LUN
    #[arg(long, value_name = "URL", required = true)]
    url: Vec<String>,
    /// What to do; read and write are sequential
    #[arg(long, value_enum, default_value_t)]
    op: Op,
    /// Bytes per I/O
    #[arg(long, value_name = "BYTES", default_value = "4096", value_parser = args::some_bytes)]
    bs: u64,
    /// I/Os in flight, over all paths
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=2016))]
    qd: u16,
    /// Measured seconds
    #[arg(long, value_name = "S", default_value = "3", value_parser = args::seconds)]
    secs: Duration,
    /// A fixed number of I/Os instead, without a warm-up
    #[arg(long, value_name = "N", conflicts_with = "secs")]
    ops: Option<u64>,
    /// Seconds before the measured interval
    #[arg(long, value_name = "S", default_value = "0.3", value_parser = args::seconds)]
    warmup: Duration,
    /// Range used, from the beginning of the LUN
    #[arg(long, value_name = "BYTES", default_value = "1g", value_parser = args::some_bytes)]
    span: u64,
    /// Random seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Of mixed, how many percent read
    #[arg(long, value_name = "PERCENT", default_value_t = 70, value_parser = clap::value_parser!(u8).range(..=100))]
    mixed_read_pct: u8,
    /// Header digest, offered as the only value
    #[arg(long, value_enum, default_value_t)]
    header_digest: DigestChoice,
    /// Data digest, offered as the only value
    #[arg(long, value_enum, default_value_t)]
    data_digest: DigestChoice,
    /// Whether to offer that writes wait for R2T
    #[arg(long, value_name = "yes|no", default_value = "no", value_parser = args::yes_no, action = clap::ArgAction::Set)]
    initial_r2t: bool,
    /// Whether to offer immediate data
    #[arg(long, value_name = "yes|no", default_value = "yes", value_parser = args::yes_no, action = clap::ArgAction::Set)]
    immediate: bool,
    /// Print {"t":s,"ops":n,"errors":n} to standard error this often
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    interval_ms: Option<u64>,
    /// Which async runtime to use
    #[arg(long, value_enum, default_value_t)]
    runtime: RuntimeChoice,
    /// Run everything on the main thread; the default
    #[arg(long, conflicts_with = "threads")]
    single_thread: bool,
    /// Threads in all; with more than one the sessions have threads of their own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Through which layer; ring compares with other initiators
    #[arg(long, value_enum, default_value_t)]
    via: Via,
    #[command(flatten)]
    login: LoginArgs,
}

/// The line. Field names and units are those of the load generators that it stands beside.
#[derive(Debug, Serialize)]
struct Line {
    #[serde(rename = "impl")]
    implementation: &'static str,
    version: &'static str,
    op: &'static str,
    bs: usize,
    qd: usize,
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
    runtime: &'static str,
    threads: u16,
    via: &'static str,
    copied_bytes_per_byte: f64,
    socket_calls_per_io: f64,
    per_path_ops: Vec<u64>,
    failovers: u64,
}

/// The most memory that the buffers may take.
const MAX_BUFFERS: u64 = 4 << 30;

fn main() -> ExitCode {
    match parse_args().and_then(|args: Args| run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    if args.bs.saturating_mul(args.qd.into()) > MAX_BUFFERS {
        return Err(Failure::usage(
            "--bs times --qd is more than 4 GiB; lower one of them",
        ));
    }
    let urls = paths::parse_urls(&args.url)?;
    let threads = args.threads.into();
    block_on(args.runtime, threads, |runtime| {
        measure(args, &urls, runtime)
    })
}

async fn measure(
    args: &Args,
    urls: &[TargetUrl],
    runtime: Arc<dyn Runtime>,
) -> Result<(), Failure> {
    // Two of them at a time are usual, and of one name they would end each other's sessions.
    let tool = format!("perf-{}", std::process::id());
    let options = session_options(args);
    let initiator = paths::initiator(&tool, &args.login, urls, options, Arc::clone(&runtime))?;
    let units = open(&initiator, urls).await?;
    let backend = Arc::new(Backend::new(args.via, units, &runtime)?);
    let outcome = match load(args, &backend) {
        Ok(load) => {
            let measured = load::run(&backend, &runtime, &load).await;
            say(line(args, &backend, &load, &measured))
                .and_then(|()| measured.first_error.map_or(Ok(()), Err))
        }
        Err(failure) => Err(failure),
    };
    backend.close().await;
    outcome
}

fn session_options(args: &Args) -> SessionOptions {
    let mut options = SessionOptions::default();
    options.queue_depth = options.queue_depth.max(args.qd);
    options.offer = options
        .offer
        .with_header_digest(args.header_digest.into())
        .with_data_digest(args.data_digest.into())
        .with_initial_r2t(args.initial_r2t)
        .with_immediate_data(args.immediate);
    options
}

async fn open(initiator: &Initiator, urls: &[TargetUrl]) -> Result<Vec<LogicalUnit>, Failure> {
    let units = (0..).zip(urls).map(|(number, url)| {
        let slot = SessionSlot {
            number,
            ..SessionSlot::default()
        };
        paths::open_unit(initiator, url, Bind::Any, slot, DeadlineArgs::default())
    });
    try_join_all(units).await
}

fn load(args: &Args, backend: &Backend) -> Result<Load, Failure> {
    let info = backend.info();
    if args.bs % u64::from(info.block_size.max(1)) != 0 {
        return Err(Failure::usage(format_args!(
            "--bs must be a multiple of the LUN's blocks of {} bytes",
            info.block_size
        )));
    }
    let span = args.span.min(info.size);
    if span < args.bs {
        return Err(Failure::usage(format_args!(
            "--bs is larger than --span or the LUN ({} bytes); lower it",
            info.size
        )));
    }
    Ok(Load {
        op: args.op,
        block_size: args.bs as usize,
        queue_depth: args.qd.into(),
        mixed_read_pct: args.mixed_read_pct.into(),
        span,
        seed: args.seed,
        limit: args.ops.map_or(
            Limit::Time {
                warmup: args.warmup,
                measured: args.secs,
            },
            Limit::Ops,
        ),
        interval: args.interval_ms.map(Duration::from_millis),
    })
}

fn line(args: &Args, backend: &Backend, load: &Load, measured: &Measured) -> String {
    let seconds = measured.elapsed.as_secs_f64().max(1e-9);
    let ios = measured.ops.max(1) as f64;
    let used = measured.used.clone();
    let usage = used.as_ref().map(|used| used.usage).unwrap_or_default();
    let (user, system) = (usage.user.as_secs_f64(), usage.system.as_secs_f64());
    let micros = |time: Duration| round(time.as_secs_f64() * 1e6, 2);
    let percentile = |q| micros(measured.latencies.percentile(q));
    let ratio = |a: u64, b: u64| round(a as f64 / b.max(1) as f64, 6);
    let line = Line {
        implementation: "iscsi-mpio",
        version: env!("CARGO_PKG_VERSION"),
        op: args.op.name(),
        bs: load.block_size,
        qd: load.queue_depth,
        paths: args.url.len(),
        hd: (args.header_digest == DigestChoice::Crc32c).into(),
        dd: (args.data_digest == DigestChoice::Crc32c).into(),
        ops: measured.ops,
        errors: measured.errors,
        secs: round(seconds, 4),
        iops: round(measured.ops as f64 / seconds, 1),
        mbps: round(
            measured.ops as f64 * load.block_size as f64 / seconds / 1e6,
            2,
        ),
        p50_us: percentile(0.5),
        p99_us: percentile(0.99),
        p999_us: percentile(0.999),
        max_us: micros(measured.latencies.max()),
        user_s: round(user, 4),
        sys_s: round(system, 4),
        cpu_us_per_io: round((user + system) * 1e6 / ios, 3),
        user_us_per_io: round(user * 1e6 / ios, 3),
        nvcsw: usage.voluntary_switches,
        nivcsw: usage.involuntary_switches,
        maxrss_kib: usage::peak_memory_kib(),
        runtime: args.runtime.name(),
        threads: args.threads,
        via: args.via.name(),
        copied_bytes_per_byte: used
            .as_ref()
            .map_or(0.0, |used| ratio(used.copied, used.moved)),
        socket_calls_per_io: used
            .as_ref()
            .map_or(0.0, |used| ratio(used.socket_calls, measured.ops)),
        failovers: backend.failovers(),
        per_path_ops: used.map(|used| used.path_ops).unwrap_or_default(),
    };
    serde_json::to_string(&line).unwrap_or_default()
}
