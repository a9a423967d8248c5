//! A mixed load on a multipath device for minutes or days, every block of which is stamped: whatever happens to the
//! paths meanwhile, no caller sees an error, no block is wrong, and the process does not grow.
//!
//! ```text
//! cargo run --release --example soak -- --destroy --for 12h --nic eth0 --nic eth1 --paired \
//!     --url iscsi://10.0.1.1/iqn.2024-01.com.example:disk/0 --url iscsi://10.0.2.1/iqn.2024-01.com.example:disk/0
//! ```
//!
//! It reads, writes and flushes: sizes from a block to a megabyte, in order and anywhere, some writes where another
//! one is under way; every few seconds depth and share of reads are other ones. It causes no faults itself;
//! `.ci/soak` does, between two network namespaces. At the end, which Ctrl-C makes come sooner, every block is read
//! once more through each path by itself, and the verdict is the exit status.

use std::{
    future::poll_fn,
    pin::Pin,
    process::ExitCode,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use clap::Parser;
use futures_util::stream::{Stream, StreamExt};
use iscsi_client::{
    bind::Bind, device::BlockDevice, runtime::Runtime, session::SessionOptions, url::TargetUrl,
};
use iscsi_examples::{
    args::{self, DigestChoice, LoginArgs, RuntimeChoice},
    clock,
    counted::Counted,
    deadlines::DeadlineArgs,
    events::Narrator,
    failure::{Failure, parse_args, say},
    interrupt,
    paths::{self, Places},
    runtime::{Ticker, block_on, sleep},
    soaked::{Begun, Intervals, Verdict},
    stamped::{Plan, Stamped, Variety, stamp},
    vigil::{Bound, Holding, Vigil},
    waits::Waits,
};
use mpio::{
    EventReader, MultipathDevice,
    core::{Event, PathSnapshot, UnknownPath},
};

/// Loads a device for a long time and judges all that it reads. Overwrites the beginning of the LUN.
#[derive(Debug, Parser)]
#[command(name = "soak", version)]
struct Args {
    /// iscsi://[user[%secret]@]host[:port]/target/lun; several are portals of one LUN
    #[arg(long, value_name = "URL", required = true)]
    url: Vec<String>,
    /// A NIC to log in through: device name, hardware address or local address
    #[arg(long, value_name = "NIC")]
    nic: Vec<Bind>,
    /// The first NIC with the first URL and so on, instead of each with each
    #[arg(long)]
    paired: bool,
    /// Yes, overwrite the range
    #[arg(long)]
    destroy: bool,
    /// How long: 90s, 30m, 12h, 3d
    #[arg(long = "for", value_name = "TIME", default_value = "1m", value_parser = args::time)]
    length: Duration,
    /// A line of progress each time
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = args::time)]
    every: Duration,
    /// Bytes used, from the beginning of the LUN
    #[arg(long, value_name = "BYTES", default_value = "128m", value_parser = args::some_bytes)]
    span: u64,
    /// Bytes of the largest I/O; the smallest one is a block
    #[arg(long, value_name = "BYTES", default_value = "1m", value_parser = args::some_bytes)]
    bs: u64,
    /// I/Os under way at most, over all paths
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    qd: u16,
    /// What is drawn: sizes, places, kinds, depths [default: other each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Header and data digest, offered as the only value
    #[arg(long, value_enum, default_value_t)]
    digest: DigestChoice,
    /// Lines of JSON
    #[arg(long)]
    json: bool,
    /// Print what happens to the device to standard error
    #[arg(long)]
    events: bool,
    /// Which async runtime to use
    #[arg(long, value_enum, default_value_t)]
    runtime: RuntimeChoice,
    #[command(flatten)]
    deadlines: DeadlineArgs,
    #[command(flatten)]
    login: LoginArgs,
}

/// How often it is looked at what has come of the load.
const TICK: Duration = Duration::from_millis(100);
/// How often the process is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long depth and share of reads stay as they are.
const PHASE: Duration = Duration::from_secs(3);
/// After the end of the load: what is under way has to come to its end, and each path back, within this. It is more
/// than a device waits for a path.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    match parse_args().and_then(|args: Args| run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    if !args.destroy {
        return Err(Failure::usage(
            "this overwrites the beginning of the LUN; say --destroy if it may",
        ));
    }
    let places = Places {
        urls: paths::parse_urls(&args.url)?,
        nics: args.nic.clone(),
        paired: args.paired,
        deadlines: args.deadlines,
    };
    block_on(args.runtime, 1, |runtime| begin(args, &places, runtime))
}

async fn begin(args: &Args, places: &Places, runtime: Arc<dyn Runtime>) -> Result<(), Failure> {
    let mut options = SessionOptions::default();
    args.deadlines.bound(&mut options);
    options.offer = options
        .offer
        .with_header_digest(args.digest.into())
        .with_data_digest(args.digest.into());
    let counted = Arc::new(Counted::new(Arc::clone(&runtime)));
    let (login, urls) = (&args.login, &places.urls);
    let beneath = Arc::clone(&counted) as Arc<dyn Runtime>;
    let initiator = paths::initiator("soak", login, urls, options, beneath)?;
    let device = paths::open_device(&initiator, places).await?;
    let outcome = under_load(args, &device, &places.urls, &runtime, &counted).await;
    device.close().await;
    let verdict = outcome?;
    let verdict = verdict.or(all_tasks_over(&*runtime, &counted).await);
    say(verdict.text(args.json))?;
    verdict.failure().map_or(Ok(()), Err)
}

/// Nothing may be left running by a device that was closed.
async fn all_tasks_over(runtime: &dyn Runtime, counted: &Counted) -> Option<Failure> {
    let end = clock::now() + Duration::from_secs(10);
    while counted.tasks() > 0 {
        if clock::now() > end {
            let tasks = counted.tasks();
            return Some(Failure::new(format_args!(
                "{tasks} tasks outlive the device that was closed"
            )));
        }
        sleep(runtime, TICK).await;
    }
    None
}

async fn under_load(
    args: &Args,
    device: &MultipathDevice,
    urls: &[TargetUrl],
    runtime: &Arc<dyn Runtime>,
    counted: &Counted,
) -> Result<Verdict, Failure> {
    let missing = device.topology().missing;
    if let Some((path, error)) = missing.first() {
        return Err(Failure::new(format_args!(
            "not all of the {} paths are there: {path}: {error}",
            urls.len()
        )));
    }
    let plan = plan(args, device, &**runtime);
    plan.check(device.info().size)?;
    let signals = interrupt::interrupts()?;
    let target: Arc<dyn BlockDevice> = Arc::new(device.clone());
    let mut load = Stamped::new(target, Arc::clone(runtime), plan);
    load.lay().await?;
    let (begun, snapshot) = (clock::now(), device.snapshot());
    let bound = Bound::for_paths(snapshot.paths().count());
    let mut soak = Soak {
        args,
        device,
        runtime,
        counted,
        load,
        begun,
        random: plan.seed | 1,
        events: device.events(),
        narrator: args.events.then(|| Narrator::new(device)),
        waits: Waits::default(),
        vigil: Vigil::new(begun, args.length, bound),
        intervals: Intervals::new(begun, &snapshot),
        ticker: Ticker::new(&**runtime, TICK),
        next: [begun; 3],
        losses: 0,
        all_down: 0,
        stopped: None,
    };
    say(Begun::new(plan.seed).text(args.json))?;
    soak.load.start();
    let stuck = soak.run(Box::pin(signals)).await?;
    let failure = match stuck {
        Some(failure) => Some(failure),
        None => soak.read_back().await,
    };
    soak.hear();
    Ok(soak.verdict(plan.seed, failure))
}

fn plan(args: &Args, device: &MultipathDevice, runtime: &dyn Runtime) -> Plan {
    let mut run = [0; 8];
    runtime.fill_random(&mut run);
    let run = u64::from_ne_bytes(run);
    let block = (device.info().block_size as usize).max(stamp::LEAST);
    Plan {
        run,
        span: args.span,
        block,
        io: usize::try_from(args.bs).unwrap_or(usize::MAX),
        depth: args.qd.into(),
        read_percent: 50,
        seed: args.seed.unwrap_or(run),
        variety: Variety {
            least: Some(block),
            sequential_percent: 30,
            overlap_percent: 5,
            flush_percent: 2,
        },
    }
}

struct Soak<'a> {
    args: &'a Args,
    device: &'a MultipathDevice,
    runtime: &'a Arc<dyn Runtime>,
    counted: &'a Counted,
    load: Stamped,
    begun: Instant,
    random: u64,
    events: EventReader<iscsi_client::logical_unit::LogicalUnit>,
    narrator: Option<Narrator>,
    waits: Waits,
    vigil: Vigil,
    intervals: Intervals,
    ticker: Ticker,
    /// When the next look at the process is due, the next phase, and the next line.
    next: [Instant; 3],
    losses: u64,
    all_down: u64,
    /// When the load was told to end.
    stopped: Option<Instant>,
}

impl Soak<'_> {
    /// Until the time is over or a signal comes, and what is under way then is done. What it gives did not come to
    /// its end.
    async fn run(
        &mut self,
        mut signals: Pin<Box<impl Stream<Item = ()>>>,
    ) -> Result<Option<Failure>, Failure> {
        poll_fn(|cx| {
            // What they tell of has to be known before an I/O that ends because of it.
            self.hear();
            if self.stopped.is_none() && signals.poll_next_unpin(cx).is_ready() {
                self.stop();
            }
            if let Poll::Ready(outcome) = self.tick(cx) {
                return Poll::Ready(outcome);
            }
            let over = self.load.poll(cx);
            for done in self.load.take_done() {
                self.waits.done(&done);
            }
            over.map(|()| Ok(None))
        })
        .await
    }

    fn stop(&mut self) {
        self.stopped = Some(clock::now());
        self.load.stop();
    }

    /// Ready with what is stuck.
    fn tick(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Failure>, Failure>> {
        let runtime = self.runtime;
        while self.ticker.poll_tick(|| runtime.now(), cx).is_ready() {
            let (now, under_way) = (clock::now(), self.load.under_way());
            self.waits.look(&under_way);
            if now >= self.next[0] {
                self.next[0] = now + LOOK;
                self.vigil.look(now, Holding::now(self.counted.tasks()));
            }
            if now >= self.next[1] && self.stopped.is_none() {
                self.next[1] = now + PHASE;
                self.change();
            }
            if now >= self.next[2] {
                self.next[2] += self.args.every;
                self.progress(now)?;
            }
            match self.stopped {
                None if now >= self.begun + self.args.length => self.stop(),
                Some(at) if now >= at + PATIENCE => {
                    let (count, paths) = (under_way.len(), self.device.paths());
                    return Poll::Ready(Ok(Some(Failure::new(format_args!(
                        "{count} I/Os did not end within {PATIENCE:?}: {paths}"
                    )))));
                }
                _ => {}
            }
        }
        Poll::Pending
    }

    /// Another depth, and another share of reads.
    fn change(&mut self) {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let doublings = u64::from(self.args.qd.ilog2()) + 1;
        let depth = self.args.qd >> (self.random % doublings);
        self.load.set_depth(depth.into());
        let percent = 20 + (self.random >> 32) % 61;
        self.load.set_read_percent(percent as u8);
    }

    fn progress(&mut self, now: Instant) -> Result<(), Failure> {
        if now < self.begun + self.args.every {
            return Ok(());
        }
        let longest = self.waits.take_longest();
        let (snapshot, held) = (self.device.snapshot(), self.vigil.held().2);
        let totals = self.load.totals();
        let line = self.intervals.next(now, &snapshot, &totals, longest, held);
        say(line.text(self.args.json))
    }

    fn hear(&mut self) {
        while let Some(event) = self.events.try_next() {
            match event.event {
                Event::PathDown { .. } => {
                    self.losses += 1;
                    self.waits.lost(event.at);
                    self.load.doubt();
                }
                Event::FenceStarted { .. } => self.load.doubt(),
                Event::FenceDone { .. } if self.device.snapshot().ghosts == 0 => self.load.trust(),
                Event::AllPathsDown => self.all_down += 1,
                _ => {}
            }
        }
        if let Some(narrator) = &mut self.narrator {
            let age = clock::now().saturating_duration_since(self.begun);
            for line in narrator.lines(self.device) {
                eprintln!("{:10.3} s  {line}", age.as_secs_f64());
            }
        }
    }

    /// Reads every block through each path by itself, and not through its spare: that may leave at any moment.
    async fn read_back(&mut self) -> Option<Failure> {
        let snapshot = self.device.snapshot();
        let principals = snapshot.paths().filter(|path| path.spare.is_none());
        for id in principals.map(|path| path.id) {
            if let Some(failure) = self.all_usable().await {
                return Some(failure);
            }
            let now = self.device.snapshot();
            let others = || now.paths().filter(|path| path.id != id);
            let is_known = |path: &&PathSnapshot, done: Result<(), UnknownPath>| match done {
                Err(error) if path.spare.is_none() => Err(error),
                Ok(()) | Err(_) => Ok(()),
            };
            let failed: Result<(), _> =
                others().try_for_each(|path| is_known(&path, self.device.fail_path(path.id)));
            self.load.audit().await;
            let again: Result<(), _> =
                others().try_for_each(|path| is_known(&path, self.device.reinstate_path(path.id)));
            if let Err(error) = failed.and(again) {
                return Some(Failure::new(error));
            }
        }
        // What the operator's hand did is no loss.
        while self.events.try_next().is_some() {}
        self.all_usable().await
    }

    async fn all_usable(&self) -> Option<Failure> {
        let end = clock::now() + PATIENCE;
        while !self.device.snapshot().paths().all(PathSnapshot::is_usable) {
            if clock::now() > end {
                let paths = self.device.paths();
                return Some(Failure::new(format_args!(
                    "not all paths are back after {PATIENCE:?}: {paths}"
                )));
            }
            sleep(&**self.runtime, TICK).await;
        }
        None
    }

    fn verdict(self, seed: u64, failure: Option<Failure>) -> Verdict {
        let totals = self.load.totals();
        let wrong = totals.first_wrong.clone();
        let wrong = wrong.or_else(|| totals.first_error.clone());
        let grown = || self.vigil.grown().map(Failure::new);
        let until = self.stopped.unwrap_or_else(clock::now);
        Verdict::new(
            seed,
            until.saturating_duration_since(self.begun),
            totals,
            &self.device.snapshot(),
            (self.losses, self.all_down),
            &self.waits,
            &self.vigil,
        )
        .or(wrong)
        .or(failure)
        .or(grown())
    }
}
