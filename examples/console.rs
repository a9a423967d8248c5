//! The disks behind some NICs with a prompt, as `multipathd -k` has one: what there is, what happens to it, and
//! an operator's commands, while I/O goes on.
//!
//! ```text
//! cargo run --release --example console -- --portal 10.0.1.1 --nic eth0 --nic eth1
//! multipath> show topology
//! ```

use std::{
    future::Future,
    io::{self, Write},
    iter::once,
    pin::pin,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use futures_util::future::{Either, FutureExt, pending, select, select_all};
use iscsi_client::{bind::Bind, runtime::Runtime, session::SessionOptions};
use iscsi_examples::{
    args::{LoginArgs, RuntimeChoice},
    background::Background,
    clock,
    command::{self, Command, Show},
    deadlines::DeadlineArgs,
    failure::{Failure, parse_args, say},
    paths,
    runtime::{block_on, sleep},
};
use iscsi_proto::portal::Portal;
use mpio::{
    MultipathDevice,
    core::{PathId, UnknownPath},
    inventory::{Inventory, RouteState},
};

/// Finds the targets of some portals through some NICs, logs in through each, joins the paths of each disk, and
/// takes commands from standard input, of which `help` lists all. The prompt is printed where standard input is
/// no terminal as well: it says that the answer is complete. Exit status: 0, and 1 if no session could be
/// opened or standard input cannot be read.
#[derive(Debug, Parser)]
#[command(name = "console", version)]
struct Args {
    /// A portal to ask for targets, HOST[:PORT]; repeatable
    #[arg(long, value_name = "PORTAL", required = true)]
    portal: Vec<Portal>,
    /// Network device, its hardware address, or local address to log in from; repeatable. Each is used with each portal
    #[arg(long, value_name = "DEVICE-or-ADDRESS")]
    nic: Vec<Bind>,
    #[command(flatten)]
    login: LoginArgs,
    #[command(flatten)]
    deadlines: DeadlineArgs,
    /// Which async runtime to use
    #[arg(long, value_enum, default_value_t)]
    runtime: RuntimeChoice,
}

/// One thread answers, the other one moves the bytes.
const THREADS: usize = 2;

/// How long `wait` waits.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    match parse_args().and_then(|args: Args| run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    block_on(args.runtime, THREADS, |runtime| async move {
        let mut options = SessionOptions::default();
        args.deadlines.bound(&mut options);
        let initiator =
            paths::initiator("console", &args.login, &[], options, Arc::clone(&runtime))?;
        let mut builder = Inventory::builder()
            .config(args.deadlines.device_config()?)
            .unit_options(args.deadlines.unit_options());
        for portal in &args.portal {
            builder = builder.discover(portal.clone());
        }
        for nic in &args.nic {
            builder = builder.bind(nic.clone());
        }
        let inventory = builder.open_spawned(&initiator).map_err(Failure::new)?;
        inventory.scanned().await;
        let outcome = match nothing(&inventory) {
            Some(failure) => Err(failure),
            None => Console::new(inventory.clone(), runtime).serve().await,
        };
        inventory.close().await;
        outcome
    })
}

/// Why there is not one session, if so.
fn nothing(inventory: &Inventory) -> Option<Failure> {
    let snapshot = inventory.snapshot();
    let mut routes = snapshot.routes.iter();
    if routes.any(|route| matches!(route.state, RouteState::Up)) {
        return None;
    }
    // A login knows what to do about it.
    let sources = snapshot.sources.iter().map(|source| match &source.error {
        Some(error) => {
            let (bind, portal) = (&source.bind, &source.portal);
            format!("{bind} -> {portal}: {}", Failure::from(error.clone()))
        }
        None => source.to_string(),
    });
    let routes = snapshot.routes.iter().map(|route| match &route.state {
        RouteState::Failed(error) => {
            format!("{}: {}", route.route, Failure::from(error.clone()))
        }
        _ => route.to_string(),
    });
    let tried: Vec<String> = sources.chain(routes).collect();
    Some(Failure::new(format_args!(
        "no session could be opened: {}",
        tried.join("; ")
    )))
}

struct Console {
    inventory: Inventory,
    runtime: Arc<dyn Runtime>,
    load: Vec<Background>,
}

impl Console {
    const fn new(inventory: Inventory, runtime: Arc<dyn Runtime>) -> Self {
        Self {
            inventory,
            runtime,
            load: Vec::new(),
        }
    }

    /// Answers until it is told to end, or standard input ends.
    async fn serve(mut self) -> Result<(), Failure> {
        let lines = command::lines_of_stdin()?;
        loop {
            prompt()?;
            let Ok(line) = lines.recv().await else {
                break;
            };
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            // What is wrong with one command is an answer like another.
            match line.parse() {
                Ok(Command::Quit) => break,
                Ok(command) => match self.answer(command).await {
                    Ok(text) => print(&text)?,
                    Err(failure) => say(format_args!("error: {failure}"))?,
                },
                Err(failure) => say(format_args!("error: {failure}"))?,
            }
        }
        // What is under way comes to its end before the sessions do.
        self.stop().await.map(drop)
    }

    async fn answer(&mut self, command: Command) -> Result<String, Failure> {
        match command {
            Command::Show(what) => Ok(self.show(what)),
            Command::Fail(path) => self.order(&path, MultipathDevice::fail_path),
            Command::SetMarginal(path) => self.order(&path, MultipathDevice::mark_marginal),
            Command::Reinstate(path) => self.order(&path, MultipathDevice::reinstate_path),
            Command::Rescan => {
                self.inventory.rescan().await;
                Ok(self.show(Show::Sessions))
            }
            Command::Wait(count) => self.wait(count).await,
            Command::Load => self.start(),
            Command::Stop => self.stop().await,
            Command::Help => Ok(command::HELP.to_owned()),
            Command::Quit => Ok(String::new()),
        }
    }

    fn show(&self, what: Show) -> String {
        let devices = self.inventory.devices();
        match what {
            Show::Topology => devices.iter().map(|d| d.topology().to_string()).collect(),
            Show::Paths => devices.iter().map(|d| d.paths().to_string()).collect(),
            Show::Sessions => {
                let snapshot = self.inventory.snapshot();
                snapshot.routes.iter().map(|r| format!("{r}\n")).collect()
            }
        }
    }

    /// Does something with the one path of which `part` is the `hcil`, or a part of the name.
    fn order(
        &self,
        part: &str,
        order: impl Fn(&MultipathDevice, PathId) -> Result<(), UnknownPath>,
    ) -> Result<String, Failure> {
        let devices = self.inventory.devices();
        let mut found = Vec::new();
        for device in &devices {
            let lines = device.paths().lines.into_iter();
            let named = lines.filter(|l| l.hcil() == part || l.path.name.contains(part));
            found.extend(named.map(|line| (device, line.path.id)));
        }
        let [(device, path)] = found[..] else {
            let count = found.len();
            return Err(Failure::new(format_args!(
                "{count} paths are called {part}; give the hcil of one, or a part of its name, as show paths has them"
            )));
        };
        order(device, path).map_err(Failure::new)?;
        Ok(String::from("ok\n"))
    }

    /// Waits until so many paths take I/O, in all devices together.
    async fn wait(&self, count: usize) -> Result<String, Failure> {
        let began = clock::now();
        let mut limit = pin!(sleep(&*self.runtime, PATIENCE));
        loop {
            let devices = self.inventory.devices();
            // Made before the look, so that nothing is missed in between.
            let mut device_changes: Vec<_> = devices.iter().map(MultipathDevice::events).collect();
            let mut inventory_changes = self.inventory.events();
            let usable = usable(&devices);
            if usable == count {
                let seconds = clock::now().saturating_duration_since(began).as_secs_f64();
                return Ok(format!(
                    "paths that take I/O: {usable}, after {seconds:.2} s\n"
                ));
            }
            let of_devices = device_changes
                .iter_mut()
                .map(|events| changed(events.next()).boxed());
            let of_inventory = once(changed(inventory_changes.next()).boxed());
            let changes = of_devices.chain(of_inventory);
            if let Either::Right(_) = select(select_all(changes), limit.as_mut()).await {
                let seconds = PATIENCE.as_secs();
                return Err(Failure::new(format_args!(
                    "paths that take I/O: {usable}, and not {count}, after {seconds} s; see show paths"
                )));
            }
        }
    }

    fn start(&mut self) -> Result<String, Failure> {
        if !self.load.is_empty() {
            return Err(Failure::new("a load is under way; stop ends it"));
        }
        let devices = self.inventory.devices();
        if devices.is_empty() {
            return Err(Failure::new("there is no disk; see show sessions"));
        }
        let start = |device| Background::start(device, &*self.runtime);
        self.load = devices.into_iter().map(start).collect();
        Ok(String::from("ok\n"))
    }

    async fn stop(&mut self) -> Result<String, Failure> {
        let mut text = String::new();
        for load in self.load.drain(..) {
            text += &format!("{}\n", load.stop().await?);
        }
        Ok(text)
    }
}

/// Ready when there is an event; one that is closed has none any more.
async fn changed<T>(next: impl Future<Output = Option<T>>) {
    if next.await.is_none() {
        pending::<()>().await;
    }
}

fn usable(devices: &[MultipathDevice]) -> usize {
    let of_one = |device: &MultipathDevice| {
        let snapshot = device.snapshot();
        snapshot.paths().filter(|path| path.is_usable()).count()
    };
    devices.iter().map(of_one).sum()
}

fn prompt() -> Result<(), Failure> {
    print(command::PROMPT)
}

/// To standard output, and at once.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| {
            Failure::new(format_args!(
                "cannot write to standard output: {error}; keep it open"
            ))
        })
}
