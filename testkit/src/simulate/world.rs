//! A plan, built: the network, the target, the hosts and their devices, as a user of the crates builds
//! them.

use std::{
    future::Future,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use iscsi_client::{
    bind::Bind,
    error::LoginError,
    initiator::{Initiator, SessionTarget},
    isid::SessionSlot,
    links::{LinkMonitor, LinkState},
    logical_unit::{LogicalUnit, LogicalUnitOptions},
    runtime::Runtime,
    session::SessionOptions,
};
use iscsi_proto::{
    login::{ChapCredentials, Secret, TargetCredentials},
    name::{IscsiName, NameError},
    portal::Portal,
    scsi::Lun,
    text::{DigestOffer, OfferError, OperationalOffer},
};
use mpio::{
    ConnectError, MultipathBuilder, MultipathDevice,
    core::{Event, PathAttributes},
};

use super::{
    board::{Board, Host},
    check::Row,
    names::{chap_name, host_name, nic_address, nic_name, portal_address, portal_name},
    plan::{Fault, Plan, What},
    trace::Note,
};
use crate::{
    sim::{BitFlips, Direction, Link, SimConfig, SimHandle, SimNet, SimRuntime},
    target::{ChapConfig, DigestPolicy, Limits, LunConfig, SimTarget, TargetConfig},
};

const TARGET: &str = "iqn.2026-01.example:disk";

/// A busy loop is found soon, and the longest run needs a fifth of this.
const STEP_LIMIT: u64 = 30_000_000;

/// Between two attempts to open what cannot be opened.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) handle: SimHandle,
    pub(super) target: SimTarget,
    pub(super) board: Board,
}

/// The plan asks for something that there is not: a mistake in the plan.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    #[error("name: {0}")]
    Name(#[from] NameError),
    #[error("offer: {0}")]
    Offer(#[from] OfferError),
    #[error("target: {0}")]
    Target(#[from] io::Error),
    #[error("credentials: {0}")]
    Credentials(String),
}

pub(super) fn runtime(plan: &Plan) -> SimRuntime {
    let mut config = SimConfig::new(plan.seed);
    config.latency = plan.network.latency.clone();
    config.partial_per_mille = plan.network.partial_per_mille;
    config.pipe_capacity = plan.network.pipe_capacity;
    config.step_limit = STEP_LIMIT;
    config.brink_per_mille = plan.target.brink_per_mille;
    config.beat = plan.beat;
    config.tells_progress = plan.tells_progress;
    SimRuntime::with_config(config)
}

impl World {
    pub(super) fn build(plan: &Plan, sim: &SimRuntime) -> Result<Arc<Self>, BuildError> {
        for host in 0..plan.hosts {
            for nic in 0..plan.nics {
                let (name, address) = (nic_name(host, nic), nic_address(host, nic));
                sim.net().add_device(&name, address);
            }
        }
        for portal in 0..plan.portals.len() {
            let address = portal_address(u8::try_from(portal).unwrap_or_default());
            sim.net().add_host(&portal_name(portal), &[address.ip()]);
        }
        let target = SimTarget::start(&sim.handle(), target(plan))?;
        target.core().keep_ledger();
        for portal in 0..plan.portals.len() {
            target.core().set_delay(portal, plan.session.service_time);
        }
        target.core().set_reinstatement(plan.target.reinstatement);
        target.core().hold_writes(plan.target.hold.clone());
        // Connections that were made before their link had flips are never looked into.
        let flips = |fault: &Fault| matches!(fault.what, What::Flip { .. });
        if plan.faults.iter().any(flips) {
            for (portal, _) in (0..).zip(&plan.portals) {
                flip(&sim.net(), portal, 0);
            }
        }
        let hosts = (0..plan.hosts).map(|host| start(plan, host, &sim.handle(), 1));
        let hosts = hosts.collect::<Result<Vec<_>, _>>()?;
        let board = Board::default();
        board.with(|state| {
            let count = hosts.len() * plan.units.len();
            state.devices.resize(count, None);
            state.openings.resize(count, 0);
            state.fencing.resize(count, false);
            state.pathless.resize(count, None);
            state.remapped.resize(plan.units.len(), None);
            state.hosts = hosts;
        });
        Ok(Arc::new(Self {
            plan: plan.clone(),
            handle: sim.handle(),
            target,
            board,
        }))
    }

    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.handle.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn note(&self, note: Note) {
        let now = self.now();
        self.board.with(|state| state.ring.push(now, note));
    }

    pub(super) fn device_index(&self, host: u8, unit: u16) -> usize {
        usize::from(host) * self.plan.units.len() + usize::from(unit)
    }

    pub(super) fn host(&self, host: u8) -> Host {
        self.board
            .with(|state| state.hosts[usize::from(host)].clone())
    }

    /// Runs a task of a host: it dies with it.
    pub(super) fn spawn_on(&self, host: u8, task: impl Future<Output = ()> + Send + 'static) {
        self.host(host).process.handle().spawn(Box::pin(task));
    }

    pub(super) fn host_of(&self, device: usize) -> u8 {
        u8::try_from(device / self.plan.units.len()).unwrap_or_default()
    }

    pub(super) fn unit_seed(unit: u16) -> u64 {
        u64::from(unit) + 1
    }

    /// Opens a device, and puts it where the programs find it.
    pub(super) async fn open(self: &Arc<Self>, index: usize) -> Result<(), ConnectError> {
        let host = self.host_of(index);
        let unit = u16::try_from(index % self.plan.units.len()).unwrap_or_default();
        let opened_again = self.board.with(|state| state.openings[index] > 0);
        let builder = self.builder(host, unit, opened_again);
        let initiator = self.host(host).initiator;
        let device = builder.connect_spawned(&initiator).await?;
        let fences = opened_again && self.plan.device.fence.proves();
        self.board.with(|state| state.fencing[index] = fences);
        self.watch(index, &device);
        self.note(Note::Opened(index));
        self.board.change(|state| {
            state.pathless[index] = None;
            state.openings[index] += 1;
            state.devices[index].replace(device)
        });
        self.observe(index);
        Ok(())
    }

    /// Opens a device; what is another unit than the plan's is closed again.
    async fn open_own(self: &Arc<Self>, index: usize) -> Result<(), ConnectError> {
        self.open(index).await?;
        let unit = u16::try_from(index % self.plan.units.len()).unwrap_or_default();
        let own = LunConfig::new(unit, 512).serial;
        let is_other = |device: &&MultipathDevice| {
            device.info().identity.serial.as_deref() != Some(own.as_str())
        };
        let other = self.board.with(|state| {
            state.devices[index].as_ref().filter(is_other)?;
            state.devices[index].take()
        });
        match other {
            Some(other) => {
                other.close().await;
                Err(ConnectError::NoPath(Vec::new()))
            }
            None => Ok(()),
        }
    }

    /// The same, however often it fails, until the world has been calm for long.
    pub(super) async fn reopen(self: &Arc<Self>, index: usize) {
        let until = self.plan.calm + self.plan.patience();
        loop {
            let Err(error) = self.open_own(index).await else {
                return;
            };
            if self.handle.elapsed() > until {
                let account = format!("device {index} cannot be opened: {error}");
                self.board.with(|state| state.violate(Row::L2, account));
                return;
            }
            self.handle.sleep(RETRY).await;
        }
    }

    fn watch(self: &Arc<Self>, index: usize, device: &MultipathDevice) {
        let mut events = device.events();
        let world = Arc::clone(self);
        let opening = self.board.with(|state| state.openings[index]) + 1;
        self.spawn_on(self.host_of(index), async move {
            while let Some(event) = events.next().await {
                let now = world.now();
                world.observe(index);
                world.look_at_size(index, &event.event);
                world.look_at_readiness(index, &event.event);
                world.look_at_delivery((index, opening), &event.event);
                world.board.with(|state| {
                    state.reported.push(now / 1_000_000_000);
                    state.tallies.note(&event.event);
                    match event.event {
                        Event::AllPathsDown => state.pathless[index] = Some(now),
                        Event::Restored => state.pathless[index] = None,
                        Event::Activating { .. } => state.note_activation(index, now),
                        Event::RegistrationLost { .. } => state.book.lost(now, index),
                        Event::FormerLifeFenced { .. } => state.fencing[index] = false,
                        _ => {}
                    }
                    state.ring.push(now, Note::Device(index, event.event));
                });
            }
            world.note(Note::Closed(index));
        });
    }

    /// How a device is opened.
    fn builder(&self, host: u8, unit: u16, opened_again: bool) -> MultipathBuilder {
        let plan = &self.plan;
        let target = self.target_name();
        let mut builder = MultipathBuilder::new(target)
            .lun(Lun::new(unit))
            .config(plan.device.with(plan.planted, opened_again))
            .unit_options(self.unit_options())
            .spares(plan.device.spares);
        for portal in 0..plan.portals.len() {
            builder = builder.portal(self.portal(portal));
        }
        for nic in 0..plan.nics {
            builder = builder.bind(Bind::Device(nic_name(host, nic).into()));
        }
        if plan.paired {
            builder.paired()
        } else {
            builder
        }
    }

    fn target_name(&self) -> IscsiName {
        TARGET.parse().expect("a constant that is a name")
    }

    /// A portal as the hosts know it.
    fn portal(&self, portal: usize) -> Portal {
        let address = self.target.portal(portal);
        let name = format!("{}:{}", portal_name(portal), address.port());
        match name.parse() {
            Ok(named) if self.plan.names => named,
            _ => address.into(),
        }
    }

    fn unit_options(&self) -> LogicalUnitOptions {
        let mut options = LogicalUnitOptions::default();
        options.timeout = self.plan.session.command_timeout;
        options.open_without_access = true;
        options.fail_fast()
    }

    /// What path `path` of a host is called.
    pub(super) fn path_name(&self, host: u8, path: u8) -> String {
        let (nic, portal) = self.plan.paths()[usize::from(path)];
        let bind = Bind::Device(nic_name(host, nic).into());
        let portal = self.portal(portal.into());
        format!("{bind} -> {portal}")
    }

    /// Opens one path of a host by itself, as the builder does it.
    pub(super) async fn open_path(
        &self,
        host: u8,
        unit: u16,
        path: u8,
    ) -> Result<(PathAttributes, LogicalUnit), LoginOrUnit> {
        let (nic, portal) = self.plan.paths()[usize::from(path)];
        let slot = SessionSlot {
            bind: nic.into(),
            portal: portal.into(),
            number: 0,
        };
        let to = SessionTarget::new(self.target_name(), self.portal(portal.into()))
            .with_bind(Bind::Device(nic_name(host, nic).into()))
            .with_slot(slot);
        let session = self.host(host).initiator.session(&to).await?;
        let options = self.unit_options();
        let unit = LogicalUnit::open_with(session, Lun::new(unit), options).await?;
        Ok((PathAttributes::new(self.path_name(host, path)), unit))
    }
}

/// Why a path could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoginOrUnit {
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error(transparent)]
    Unit(#[from] iscsi_client::error::Error),
}

/// Nowhere but in secrets.
pub(super) const SECRET: &[u8] = crate::canary::OURS.as_bytes();
pub(super) const TARGET_SECRET: &[u8] = crate::canary::THEIRS.as_bytes();

fn target(plan: &Plan) -> TargetConfig {
    let session = &plan.session;
    let mut config = TargetConfig::new(TARGET).with_alua(plan.target.access.clone());
    for (portal, group) in (0..).zip(&plan.portals) {
        config = config.with_portal(portal_address(portal), *group);
    }
    for (number, blocks) in (0..).zip(&plan.units) {
        let mut unit = LunConfig::new(number, blocks * 512).with_seed(World::unit_seed(number));
        unit.volatile = plan.target.volatile;
        config = config.with_lun(unit);
    }
    if session.chap {
        let mut chap = ChapConfig::new(&chap_name(0), SECRET);
        if session.mutual {
            chap = chap.with_mutual("target", TARGET_SECRET);
        }
        config = config.with_chap(chap);
    }
    let digest = |on| {
        if on {
            DigestPolicy::Require
        } else {
            DigestPolicy::Never
        }
    };
    let limits = Limits {
        max_recv_data_segment_length: session.segment,
        max_burst_length: session.max_burst,
        first_burst_length: session.first_burst,
        initial_r2t: session.initial_r2t,
        immediate_data: session.immediate_data,
        max_outstanding_r2t: session.outstanding_r2t,
        queue_depth: session.window,
        status_in_data: session.status_in_data,
        ping_every: session.ping_every,
        time2wait: session.time2wait,
        max_transfer_length: session.max_transfer,
        ..Limits::default()
    };
    config.seed = plan.seed;
    config
        .with_digests(digest(session.header_digest), digest(session.data_digest))
        .with_limits(limits)
}

/// A host's program, which has no devices yet.
pub(super) fn start(
    plan: &Plan,
    host: u8,
    world: &SimHandle,
    life: u32,
) -> Result<Host, BuildError> {
    let process = world.process();
    let runtime: Arc<dyn Runtime> = Arc::new(process.handle());
    let (links, mut feed) = LinkMonitor::new();
    for nic in 0..plan.nics {
        feed.set(carrier(host, nic, true));
    }
    Ok(Host {
        initiator: initiator(plan, host, &runtime, links)?,
        feed: Arc::new(Mutex::new(feed)),
        process,
        is_up: true,
        life,
    })
}

/// A NIC with or without a carrier.
pub(super) fn carrier(host: u8, nic: u8, has_carrier: bool) -> LinkState {
    LinkState {
        index: u32::from(nic) + 2,
        name: nic_name(host, nic).into(),
        has_carrier,
    }
}

fn initiator(
    plan: &Plan,
    host: u8,
    runtime: &Arc<dyn Runtime>,
    links: LinkMonitor,
) -> Result<Initiator, BuildError> {
    let session = &plan.session;
    let offer = |on| {
        if on {
            DigestOffer::PreferCrc32c
        } else {
            DigestOffer::default()
        }
    };
    let mut options = SessionOptions::default();
    options.queue_depth = session.queue_depth;
    options.command_timeout = Some(session.command_timeout);
    options.connect_timeout = session.connect_timeout;
    options.core.nop_interval = Some(session.nop.0);
    options.core.acknowledge_after = plan.acknowledge_after;
    options.core.nop_timeout = session.nop.1;
    options.core.planted = plan.planted;
    options.offer = OperationalOffer::default()
        .with_header_digest(offer(session.header_digest))
        .with_data_digest(offer(session.data_digest))
        .with_max_recv_data_segment_length(session.segment)?;
    let name = host_name(host).parse()?;
    let builder = Initiator::builder(name, Arc::clone(runtime))
        .options(options)
        .links(links);
    if !session.chap {
        return Ok(builder.build());
    }
    let credentials = ChapCredentials::new(&chap_name(0), Secret::new(SECRET))
        .map_err(|error| BuildError::Credentials(error.to_string()))?;
    let credentials = if session.mutual {
        let target = TargetCredentials::new(Secret::new(TARGET_SECRET));
        target
            .and_then(|target| credentials.with_target(target))
            .map_err(|error| BuildError::Credentials(error.to_string()))?
    } else {
        credentials
    };
    Ok(builder.credentials(credentials).build())
}

/// Of the answers only: the target would hold against a host what the network has done to its requests.
pub(super) fn flip(net: &SimNet, portal: u8, per_million: u32) {
    let answers = Link::to(portal_address(portal)).only(Direction::FromPortal);
    net.flip_bits(answers, Some(BitFlips::new(per_million)));
}
