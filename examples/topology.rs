//! Shows a LUN with its paths, as `multipath -ll` and `multipathd show paths` do, once or while it works.
//!
//! ```text
//! cargo run --release --example topology -- iscsi://10.0.1.1/iqn.2024-01.com.example:disk/0 \
//!     iscsi://10.0.2.1/iqn.2024-01.com.example:disk/0 --bind eth0 --bind eth1 --watch
//! ```

use std::{
    io::{self, IsTerminal},
    pin::pin,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use futures_util::future::{Either, select};
use iscsi_client::{bind::Bind, runtime::Runtime, session::SessionOptions};
use iscsi_examples::{
    args::{self, LoginArgs, RuntimeChoice},
    clock,
    deadlines::DeadlineArgs,
    events::Narrator,
    failure::{Failure, parse_args, say},
    interrupt,
    paths::{self, Places},
    runtime::{block_on, sleep},
    watch::{Load, Screen, Watch},
};
use mpio::{DeviceEvent, MultipathDevice, Topology};
use serde::Serialize;
use smol::channel::Receiver;

/// Opens a LUN through all paths that are named, and shows it as `multipath -ll` and `multipathd show paths` do.
/// It reads and writes nothing, unless `--load` is given, and ends no session but its own.
///
/// With --watch it goes on until `q`, Ctrl-C or SIGTERM: on a terminal as a screen with a line of throughput and latency for
/// each path, elsewhere as text each second.
#[derive(Debug, Parser)]
#[command(name = "topology", version)]
struct Args {
    /// A portal of the LUN, iscsi://[user[%secret]@]host[:port]/target/lun; repeatable
    #[arg(value_name = "URL", required = true)]
    url: Vec<String>,
    /// Network device, its hardware address, or local address to connect from; repeatable. Each is used with each portal
    #[arg(long, visible_alias = "nic", value_name = "DEVICE-or-ADDRESS")]
    bind: Vec<Bind>,
    /// Use the first NIC with the first portal only, the second with the second, and so on
    #[arg(long)]
    paired: bool,
    #[command(flatten)]
    login: LoginArgs,
    #[command(flatten)]
    deadlines: DeadlineArgs,
    /// Keep looking
    #[arg(long)]
    watch: bool,
    /// Print a line of JSON for each look in the place of the text
    #[arg(long)]
    json: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = some_seconds, requires = "watch")]
    interval: Duration,
    /// End after so many looks [default: never]
    #[arg(long, value_name = "N", requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Read the LUN meanwhile, so many reads of 64 KiB at a time: a load of this tool's own. Nothing is written
    #[arg(
        long,
        value_name = "N",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "4",
        requires = "watch",
        value_parser = clap::value_parser!(u16).range(1..=1024)
    )]
    load: Option<u16>,
    /// Which async runtime to use
    #[arg(long, value_enum, default_value_t)]
    runtime: RuntimeChoice,
}

fn some_seconds(text: &str) -> Result<Duration, String> {
    args::seconds(text).and_then(|time| match time < Duration::from_millis(100) {
        true => Err("must be at least 0.1".into()),
        false => Ok(time),
    })
}

/// Between two looks at the keyboard.
const KEYS: Duration = Duration::from_millis(50);

/// One for the sessions, one for the screen.
const THREADS: usize = 2;

fn main() -> ExitCode {
    match parse_args().and_then(|args| run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    let places = Places {
        urls: paths::parse_urls_of("URL", &args.url)?,
        nics: args.bind.clone(),
        paired: args.paired,
        deadlines: args.deadlines,
    };
    block_on(args.runtime, THREADS, |runtime| async move {
        let mut options = SessionOptions::default();
        args.deadlines.bound(&mut options);
        let login = &args.login;
        let clock = Arc::clone(&runtime);
        let initiator = paths::initiator("topology", login, &places.urls, options, clock)?;
        let device = paths::open_device(&initiator, &places).await?;
        let shown = show(args, &device, &runtime).await;
        device.close().await;
        shown
    })
}

async fn show(
    args: &Args,
    device: &MultipathDevice,
    runtime: &Arc<dyn Runtime>,
) -> Result<(), Failure> {
    paths::settle(device, &**runtime).await;
    let mut narrator = Narrator::new(device);
    if !args.watch {
        return print(args, device, &mut narrator);
    }
    let _load = args.load.map(|depth| Load::start(device, runtime, depth));
    let note = args.load.map(Load::describe).unwrap_or_default();
    // Whoever ends it so gets the terminal back as it was, and the target a logout.
    let signals = interrupt::interrupts()?;
    if !args.json && io::stdout().is_terminal() {
        return screen(args, device, &**runtime, narrator, note, &signals).await;
    }
    let mut looks = 0;
    loop {
        if !note.is_empty() && !args.json {
            say(&note)?;
        }
        print(args, device, &mut narrator)?;
        looks += 1;
        if args.count.is_some_and(|count| looks >= count) {
            return Ok(());
        }
        let pause = pin!(sleep(&**runtime, args.interval));
        if let Either::Right(_) = select(pause, pin!(signals.recv())).await {
            return Ok(());
        }
    }
}

/// One look.
#[derive(Serialize)]
struct Look<'a> {
    #[serde(flatten)]
    topology: &'a Topology,
    /// What happened since the look before it.
    events: &'a [DeviceEvent],
}

fn print(args: &Args, device: &MultipathDevice, narrator: &mut Narrator) -> Result<(), Failure> {
    let events = narrator.events(device);
    let topology = device.topology();
    if args.json {
        let look = Look {
            topology: &topology,
            events: &events,
        };
        return say(serde_json::to_string(&look).map_err(Failure::new)?);
    }
    for event in &events {
        let seconds = event.uptime.as_secs_f64();
        say(format_args!("{seconds:.3} {}", narrator.line(event)))?;
    }
    say(format_args!("{topology}\n{}", device.paths()))
}

async fn screen(
    args: &Args,
    device: &MultipathDevice,
    runtime: &dyn Runtime,
    mut narrator: Narrator,
    note: String,
    signals: &Receiver<()>,
) -> Result<(), Failure> {
    let mut screen = Screen::take()?;
    let mut watch = Watch::new(note);
    let (mut looks, mut next) = (0, clock::now());
    loop {
        let now = clock::now();
        for event in narrator.events(device) {
            watch.tell(&event, narrator.line(&event));
        }
        if now >= next {
            watch.observe(now, device.topology());
            // A terminal that was stopped for a while is not made up for.
            next = (next + args.interval).max(now);
            looks += 1;
        }
        screen.show(&watch)?;
        let is_left = screen.is_left()? || signals.try_recv().is_ok();
        if is_left || args.count.is_some_and(|count| looks >= count) {
            return Ok(());
        }
        sleep(runtime, KEYS).await;
    }
}
