//! What a fault costs the callers of a multipath device: a load with stamped blocks, told line by line on
//! standard input which fault is caused and when it is healed, says for each how long I/Os had to wait.
//!
//! ```text
//! cargo run --release --example failover -- --destroy --nic eth0 --nic eth1 --paired \
//!     --url iscsi://10.0.1.1/iqn.2024-01.com.example:disk/0 --url iscsi://10.0.2.1/iqn.2024-01.com.example:disk/0
//! ```
//!
//! It causes no faults itself; `.ci/netns` does, between two network namespaces. The lines that it understands
//! are those of `iscsi_examples::marks`. It answers with one line of JSON for each stage that is reached
//! (`ready`, `mixed`, `noted`, `lost`, `settled`, `used`, `back`, `fenced`), one for each record (`round`), and one when standard
//! input has ended and every block was read once more (`total`).

use std::{
    future::poll_fn,
    process::ExitCode,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use clap::Parser;
use futures_util::stream::{Stream, StreamExt};
use iscsi_client::{
    bind::Bind, device::BlockDevice, runtime::Runtime, session::SessionOptions, url::TargetUrl,
};
use iscsi_examples::{
    args::{self, LoginArgs, RuntimeChoice},
    clock,
    deadlines::DeadlineArgs,
    events::Narrator,
    failure::{Failure, parse_args, say},
    marks::{self, Mark},
    paths::{self, Places},
    rounds::{self, Round, Stage},
    runtime::{Ticker, block_on, watch_links},
    stamped::{Kind, Plan, Stamped, Totals, Variety, stamp},
};
use mpio::{EventReader, MultipathDevice, core::Event};
use serde::Serialize;

/// Says what faults cost that are told on standard input. Overwrites the beginning of the LUN.
#[derive(Debug, Parser)]
#[command(name = "failover", version)]
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
    /// Bytes used, from the beginning of the LUN
    #[arg(long, value_name = "BYTES", default_value = "32m", value_parser = args::some_bytes)]
    span: u64,
    /// Bytes per I/O
    #[arg(long, value_name = "BYTES", default_value = "4k", value_parser = args::some_bytes)]
    bs: u64,
    /// I/Os under way, over all paths
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    qd: u16,
    /// How many percent read, until a line says otherwise
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(..=100))]
    mix: u8,
    /// Seconds that a fault lasts at least before `settled` is said
    #[arg(long, value_name = "S", default_value = "1", value_parser = args::seconds)]
    outage: Duration,
    /// Print what happens to the device to standard error
    #[arg(long)]
    events: bool,
    /// Do not watch the carriers of the NICs: only silence tells that one is down
    #[arg(long)]
    no_links: bool,
    /// Which async runtime to use
    #[arg(long, value_enum, default_value_t)]
    runtime: RuntimeChoice,
    #[command(flatten)]
    deadlines: DeadlineArgs,
    #[command(flatten)]
    login: LoginArgs,
}

/// How often it is looked whether a stage was reached.
const TICK: Duration = Duration::from_millis(5);

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
    block_on(args.runtime, 1, |runtime| watch(args, &places, runtime))
}

async fn watch(args: &Args, places: &Places, runtime: Arc<dyn Runtime>) -> Result<(), Failure> {
    let mut options = SessionOptions::default();
    args.deadlines.bound(&mut options);
    let (login, urls) = (&args.login, &places.urls);
    let builder = paths::initiator_builder("failover", login, urls, options, Arc::clone(&runtime))?;
    let initiator = match args.no_links {
        true => builder.build(),
        false => builder.links(watch_links(args.runtime, &*runtime)?).build(),
    };
    let device = paths::open_device(&initiator, places).await?;
    device.reconfigure(args.deadlines.forgiving_config()?);
    let outcome = under_load(args, &device, &places.urls, &runtime).await;
    device.close().await;
    outcome
}

async fn under_load(
    args: &Args,
    device: &MultipathDevice,
    urls: &[TargetUrl],
    runtime: &Arc<dyn Runtime>,
) -> Result<(), Failure> {
    let missing = device.topology().missing;
    if let Some((path, error)) = missing.first() {
        return Err(Failure::new(format_args!(
            "not all of the {} paths are there: {path}: {error}",
            urls.len()
        )));
    }
    let plan = plan(args, &**runtime);
    plan.check(device.info().size)?;
    let target: Arc<dyn BlockDevice> = Arc::new(device.clone());
    let mut watch = Watch {
        load: Stamped::new(target, Arc::clone(runtime), plan),
        events: device.events(),
        narrator: args.events.then(|| Narrator::new(device)),
        ticker: Ticker::new(&**runtime, TICK),
        round: None,
        mixed_at: None,
        outage: args.outage,
        device,
    };
    watch.load.lay().await?;
    let marks = marks::from_stdin()?;
    let paths: Vec<String> = device
        .snapshot()
        .paths()
        .map(|path| path.name.to_string())
        .collect();
    say(json(&Ready {
        event: "ready",
        paths,
    }))?;
    watch.load.start();
    let outcome = watch.run(Box::pin(marks), &**runtime).await;
    watch.load.stop();
    poll_fn(|cx| watch.load.poll(cx)).await;
    watch.load.audit().await;
    say(json(&Total {
        event: "total",
        blocks: plan.span / stamp::BLOCK as u64,
        failovers: device.snapshot().counters.failovers,
        totals: watch.load.totals(),
    }))?;
    let Totals {
        first_error,
        first_wrong,
        ..
    } = watch.load.totals();
    outcome.and_then(|()| first_wrong.or(first_error).map_or(Ok(()), Err))
}

fn plan(args: &Args, runtime: &dyn Runtime) -> Plan {
    let mut run = [0; 8];
    runtime.fill_random(&mut run);
    let run = u64::from_ne_bytes(run);
    Plan {
        run,
        span: args.span,
        block: stamp::BLOCK,
        io: usize::try_from(args.bs).unwrap_or(usize::MAX),
        depth: args.qd.into(),
        read_percent: args.mix,
        seed: run,
        variety: Variety::default(),
    }
}

struct Watch<'a> {
    device: &'a MultipathDevice,
    load: Stamped,
    events: EventReader<iscsi_client::logical_unit::LogicalUnit>,
    narrator: Option<Narrator>,
    ticker: Ticker,
    round: Option<Round>,
    /// When the share of reads was changed, until nothing is under way any more that is older.
    mixed_at: Option<Instant>,
    outage: Duration,
}

/// The first line.
#[derive(Serialize)]
struct Ready {
    event: &'static str,
    paths: Vec<String>,
}

/// A stage was reached.
#[derive(Serialize)]
struct Reached {
    event: Stage,
    ms: f64,
}

/// The last line.
#[derive(Serialize)]
struct Total {
    event: &'static str,
    /// Blocks that were read once more at the end.
    blocks: u64,
    failovers: u64,
    #[serde(flatten)]
    totals: Totals,
}

impl Watch<'_> {
    /// Until there are no more marks.
    async fn run(
        &mut self,
        mut marks: impl Stream<Item = Result<Mark, Failure>> + Unpin,
        runtime: &dyn Runtime,
    ) -> Result<(), Failure> {
        poll_fn(|cx| {
            // What they tell of has to be known before an I/O that ends because of it.
            self.hear();
            while let Poll::Ready(mark) = marks.poll_next_unpin(cx) {
                let Some(mark) = mark else {
                    return Poll::Ready(Ok(()));
                };
                mark.and_then(|mark| self.mark(mark))?;
            }
            while self.ticker.poll_tick(|| runtime.now(), cx).is_ready() {
                self.look()?;
            }
            if self.load.poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            for done in self.load.take_done() {
                if let Some(round) = &mut self.round {
                    round.done(&done);
                }
            }
            Poll::Pending
        })
        .await
    }

    fn hear(&mut self) {
        while let Some(event) = self.events.try_next() {
            let at = event.at;
            match event.event {
                Event::PathDown { .. } | Event::FenceStarted { .. } => self.load.doubt(),
                Event::FenceDone { .. } if self.device.snapshot().ghosts == 0 => self.load.trust(),
                _ => {}
            }
            if let Some(round) = &mut self.round {
                round.event(at, event.event, &self.device.snapshot());
            }
        }
        if let Some(narrator) = &mut self.narrator {
            let since = self.round.as_ref().map(|round| round.age(clock::now()));
            for line in narrator.lines(self.device) {
                let ms = rounds::ms(since.unwrap_or_default());
                eprintln!("{ms:10.2} ms  {line}");
            }
        }
    }

    fn mark(&mut self, mark: Mark) -> Result<(), Failure> {
        let now = clock::now();
        match mark {
            Mark::Mix(percent) => {
                self.load.set_read_percent(percent);
                self.mixed_at = Some(now);
            }
            Mark::Fault(fault) => {
                if self.narrator.is_some() {
                    eprintln!("fault {}", fault.name);
                }
                let snapshot = self.device.snapshot();
                let wanted = fault.victim.clone().unwrap_or_default();
                let round = Round::begin(fault, now, self.load.totals(), &snapshot);
                self.round = Some(round.ok_or_else(|| {
                    Failure::new(format_args!(
                        "no path has {wanted} in its name; `ready` says their names"
                    ))
                })?);
                let (event, ms) = (Stage::Noted, rounds::ms(clock::now() - now));
                say(json(&Reached { event, ms }))?;
            }
            Mark::Healed => {
                let snapshot = self.device.snapshot();
                self.open_round()?.heal(now, &snapshot);
            }
            Mark::End => {
                self.open_round()?;
                let under_way = self.load.under_way();
                if let Some(round) = self.round.take() {
                    say(json(&round.end(now, &self.load.totals(), &under_way)))?;
                }
            }
        }
        Ok(())
    }

    fn open_round(&mut self) -> Result<&mut Round, Failure> {
        let none = || Failure::new("no fault was told before; say fault NAME [VICTIM]");
        self.round.as_mut().ok_or_else(none)
    }

    fn look(&mut self) -> Result<(), Failure> {
        if let Some(at) = self.mixed_at {
            let now = clock::now();
            let is_of_before =
                |(kind, since): &(Kind, Instant)| *kind != Kind::Overlapping && *since < at;
            if !self.load.under_way().iter().any(is_of_before) {
                self.mixed_at = None;
                let (event, ms) = (Stage::Mixed, rounds::ms(now - at));
                say(json(&Reached { event, ms }))?;
            }
        }
        let Some(round) = &mut self.round else {
            return Ok(());
        };
        if round.rewrites() {
            self.load.rewrite();
        }
        let (under_way, snapshot) = (self.load.under_way(), self.device.snapshot());
        for (event, ms) in round.look(clock::now(), self.outage, &under_way, &snapshot) {
            say(json(&Reached { event, ms }))?;
        }
        Ok(())
    }
}

fn json(line: &impl Serialize) -> String {
    serde_json::to_string(line).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}
