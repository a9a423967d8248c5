//! What `discover` finds out: targets, and their logical units through every portal and NIC.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
};

use futures_util::{
    future::join_all,
    stream::{self, StreamExt},
};
use iscsi_client::{
    bind::Bind,
    device::{DeviceInfo, ProvisioningType},
    error::{Error, ErrorKind},
    initiator::Initiator,
    logical_unit::LogicalUnit,
};
use iscsi_proto::{name::IscsiName, portal::Portal};
use mpio::{
    JoinError,
    inventory::{Inventory, Limits, RouteSnapshot, RouteState, UnitState},
};
use serde::Serialize;

use crate::{deadlines::DeadlineArgs, failure::Failure};

/// How many portals are asked at a time: enough that one which is silent does not hold up the others.
const AT_A_TIME: usize = 8;

/// What has answered, and is nothing to read from.
const NO_DISK: &str = "not a disk";

/// Asks, from some NICs.
#[derive(Debug)]
pub struct Survey {
    initiator: Initiator,
    nics: Vec<Bind>,
    deadlines: DeadlineArgs,
    visible: bool,
}

/// All that was found. The field names are the keys of the JSON.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Found {
    /// One entry per NIC and portal that was asked.
    pub portals: Vec<PortalFound>,
    /// One entry per NIC, target and portal of the target.
    pub sessions: Vec<SessionFound>,
}

/// What one portal said through one NIC.
#[derive(Clone, Debug, Serialize)]
pub struct PortalFound {
    /// The NIC; `None` where the routing table decides.
    pub nic: Option<String>,
    /// The portal that was asked.
    pub portal: String,
    /// Why there is no answer.
    pub error: Option<String>,
    /// How many names and addresses in the answer were malformed, and left out.
    pub dropped: u32,
    /// The targets, in the order of the answer.
    pub targets: Vec<TargetFound>,
    #[serde(skip)]
    bind: usize,
    #[serde(skip)]
    parsed: Vec<(IscsiName, Vec<Portal>)>,
}

/// A target and where it listens.
#[derive(Clone, Debug, Serialize)]
pub struct TargetFound {
    /// Its name.
    pub name: String,
    /// `IP:port,tpgt`, as `iscsiadm` prints it: `-1` for a portal group that nobody told.
    pub portals: Vec<String>,
}

/// The logical units of one target through one portal and one NIC.
#[derive(Clone, Debug, Serialize)]
pub struct SessionFound {
    /// The target.
    pub target: String,
    /// The portal.
    pub portal: String,
    /// The NIC; `None` where the routing table decides.
    pub nic: Option<String>,
    /// Why there is no list.
    pub error: Option<String>,
    /// The logical units.
    pub luns: Vec<LunFound>,
}

/// One logical unit.
#[derive(Clone, Debug, Serialize)]
pub struct LunFound {
    /// Its number, or `0x` and 16 digits where the target's encoding is an unusual one.
    pub lun: String,
    /// Why nothing is known of it.
    pub error: Option<String>,
    /// What is known.
    #[serde(flatten)]
    pub disk: Option<DiskFound>,
}

/// A disk.
#[derive(Clone, Debug, Serialize)]
pub struct DiskFound {
    /// As `scsi_id` prints it.
    pub wwid: Option<String>,
    /// T10 vendor identification.
    pub vendor: String,
    /// Product identification.
    pub product: String,
    /// Product revision level.
    pub revision: String,
    /// Unit serial number.
    pub serial: Option<String>,
    /// Capacity.
    pub size_bytes: u64,
    /// Logical block.
    pub block_size: u32,
    /// Physical block.
    pub physical_block_size: u32,
    /// `thin`, `resource`, or `not reported`.
    pub provisioning: String,
    /// Blocks can be unmapped.
    pub unmap: bool,
    /// Writes are refused.
    pub read_only: bool,
    /// The target port group of the portal, where the unit tells.
    pub own_group: Option<u16>,
    /// The target port groups; none where the unit has no asymmetric access.
    pub groups: Vec<GroupFound>,
}

/// A target port group.
#[derive(Clone, Debug, Serialize)]
pub struct GroupFound {
    /// Its number.
    pub group: u16,
    /// Its asymmetric access state.
    pub state: String,
    /// The unit would have its commands come here.
    pub preferred: bool,
    /// Relative identifiers of its ports.
    pub ports: Vec<u16>,
}

/// How much of what was asked answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it.
    All,
    /// Some portals, targets or logical units did not.
    Some,
    /// No portal did.
    None,
}

impl Survey {
    /// From these NICs; with none the routing table decides.
    #[must_use]
    pub fn new(initiator: Initiator, nics: &[Bind], deadlines: DeadlineArgs) -> Self {
        let nics = match nics {
            [] => vec![Bind::Any],
            nics => nics.to_vec(),
        };
        Self {
            initiator,
            nics,
            deadlines,
            visible: io::stderr().is_terminal(),
        }
    }

    /// Asks each portal through each NIC. A failure is a line on standard error, and an entry.
    pub async fn discover(&self, portals: &[Portal]) -> Found {
        let pairs = (0..self.nics.len()).flat_map(|bind| portals.iter().map(move |p| (bind, p)));
        let asked = stream::iter(pairs).map(|(bind, portal)| self.ask(bind, portal));
        Found {
            portals: asked.buffered(AT_A_TIME).collect().await,
            sessions: Vec::new(),
        }
    }

    async fn ask(&self, bind: usize, portal: &Portal) -> PortalFound {
        let nic = &self.nics[bind];
        self.progress(format_args!("asking {portal} from {nic}"));
        let mut found = PortalFound {
            nic: shown(nic),
            portal: portal.to_string(),
            error: None,
            dropped: 0,
            targets: Vec::new(),
            bind,
            parsed: Vec::new(),
        };
        match self.initiator.discover(portal, nic).await {
            Ok(answer) => {
                found.dropped = answer.dropped;
                if answer.dropped > 0 {
                    let count = answer.dropped;
                    note(format_args!(
                        "{portal} from {nic}: {count} names or addresses left out that cannot be used"
                    ));
                }
                for target in answer.targets {
                    let portals = match target.portals.is_empty() {
                        true => vec![portal.clone()],
                        false => target.portals,
                    };
                    found.targets.push(TargetFound {
                        name: target.name.to_string(),
                        portals: portals.iter().map(tagged).collect(),
                    });
                    found.parsed.push((target.name, portals));
                }
            }
            Err(error) => {
                let error = Failure::from(error).to_string();
                note(format_args!("{portal} from {nic}: {error}"));
                found.error = Some(error);
            }
        }
        found
    }

    /// Logs in to each target through each of its portals, from each NIC that knows it, and lists the
    /// logical units. A failure is a line on standard error, and an entry.
    pub async fn list_luns(&self, found: &mut Found) {
        let nics = 0..self.nics.len();
        let listed = join_all(nics.map(|nic| self.list(nic, found))).await;
        found.sessions = listed.into_iter().flatten().collect();
    }

    /// What is behind the targets that one NIC knows.
    async fn list(&self, nic: usize, found: &Found) -> Vec<SessionFound> {
        let asked = found.portals.iter().filter(|asked| asked.bind == nic);
        let targets = asked.flat_map(|asked| &asked.parsed);
        // All that there is, since it is only to be shown.
        let limits = Limits::default()
            .with_portals(usize::MAX)
            .with_sessions(usize::MAX)
            .with_units(usize::MAX);
        let mut builder = Inventory::builder()
            .bind(self.nics[nic].clone())
            .limits(limits)
            .rescan_interval(None)
            .unit_options(self.deadlines.unit_options());
        for (name, portals) in targets {
            for portal in portals {
                self.progress(format_args!("listing {name} at {portal}"));
                builder = builder.target(name.clone(), portal.clone());
            }
        }
        // None is known, then.
        let Ok(inventory) = builder.open_spawned(&self.initiator) else {
            return Vec::new();
        };
        inventory.scanned().await;
        let snapshot = inventory.snapshot();
        let sessions = join_all(
            snapshot
                .routes
                .iter()
                .map(|route| behind(&inventory, route)),
        );
        let sessions = sessions.await;
        inventory.close().await;
        sessions
    }

    /// What is waited for, for somebody who looks.
    fn progress(&self, what: fmt::Arguments<'_>) {
        if self.visible {
            note(format_args!("{what} ..."));
        }
    }
}

/// What one session has found.
async fn behind(inventory: &Inventory, session: &RouteSnapshot) -> SessionFound {
    let route = &session.route;
    let error = match &session.state {
        RouteState::Failed(error) => Some(Failure::from(error.clone())),
        RouteState::Up => session.list_error.clone().map(Failure::from),
        other => Some(Failure::new(other)),
    };
    if let Some(error) = &error {
        let (target, portal, bind) = (&route.target, &route.portal, &route.bind);
        note(format_args!("{target} at {portal} from {bind}: {error}"));
    }
    let luns = session.units.iter().map(|(lun, unit)| async move {
        let disk = disk(inventory, unit).await;
        LunFound {
            lun: lun.to_string(),
            error: disk.as_ref().err().cloned(),
            disk: disk.ok(),
        }
    });
    SessionFound {
        target: route.target.to_string(),
        portal: tagged(&route.portal),
        nic: shown(&route.bind),
        error: error.map(|error| error.to_string()),
        luns: join_all(luns).await,
    }
}

/// What became of a unit: a disk, or why it is none.
async fn disk(inventory: &Inventory, unit: &UnitState) -> Result<DiskFound, String> {
    match unit {
        UnitState::Path { wwid, path } => {
            let device = inventory.device(wwid).await;
            let device = device.map_err(|error| error.to_string())?;
            let unit = device.path(*path).ok_or("the path is gone")?;
            access(&unit).await.map_err(|error| format!("{error:#}"))
        }
        // No path of a device, and a disk all the same.
        UnitState::Refused {
            error: JoinError::NoIdentity { .. },
            info,
        } => Ok(described(info, None, Vec::new())),
        // A kind of its own, or what tgtd and arrays have at LUN 0: something to ask for the list.
        UnitState::Unusable(error)
            if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::NoSuchUnit) =>
        {
            Err(NO_DISK.to_owned())
        }
        other => Err(other.to_string()),
    }
}

async fn access(unit: &LogicalUnit) -> Result<DiskFound, Error> {
    let groups = match unit.target_port_groups(None).await {
        Ok(groups) => groups.groups,
        // None to tell of.
        Err(error) if error.kind() == ErrorKind::Unsupported => Vec::new(),
        Err(error) => return Err(error),
    };
    let groups = groups.into_iter().map(|group| GroupFound {
        group: group.group,
        state: group.state.to_string(),
        preferred: group.preferred,
        ports: group.ports,
    });
    let own = unit.identification().target_port_group();
    Ok(described(&unit.info(), own, groups.collect()))
}

fn described(info: &DeviceInfo, own_group: Option<u16>, groups: Vec<GroupFound>) -> DiskFound {
    let identity = &info.identity;
    DiskFound {
        wwid: identity.wwid.as_deref().map(Into::into),
        vendor: identity.vendor.to_string(),
        product: identity.product.to_string(),
        revision: identity.revision.to_string(),
        serial: identity.serial.as_deref().map(Into::into),
        size_bytes: info.size,
        block_size: info.block_size,
        physical_block_size: info.physical_block_size,
        provisioning: match info.provisioning {
            ProvisioningType::Thin => "thin",
            ProvisioningType::Resource => "resource",
            _ => "not reported",
        }
        .to_owned(),
        unmap: info.unmap,
        read_only: info.read_only,
        own_group,
        groups,
    }
}

fn shown(nic: &Bind) -> Option<String> {
    match nic {
        Bind::Any => None,
        nic => Some(nic.to_string()),
    }
}

/// `IP:port,tpgt`.
fn tagged(portal: &Portal) -> String {
    match portal.tpgt {
        Some(_) => portal.to_string(),
        None => format!("{portal},-1"),
    }
}

/// To standard error, so that standard output has only results; if it is closed, a note is not worth
/// an end.
fn note(line: fmt::Arguments<'_>) {
    let _unprinted = writeln!(io::stderr(), "{line}");
}

impl Found {
    /// `IP:port,tpgt name`, as `iscsiadm -m discovery -t st` prints them; per NIC each once.
    #[must_use]
    pub fn target_lines(&self) -> Vec<String> {
        let mut lines: Vec<(usize, String)> = Vec::new();
        for asked in &self.portals {
            for target in &asked.targets {
                for portal in &target.portals {
                    let line = (asked.bind, format!("{portal} {}", target.name));
                    if !lines.contains(&line) {
                        lines.push(line);
                    }
                }
            }
        }
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// One line.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// How much answered. A LUN that is not a disk has answered.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let failed = |error: &Option<String>| error.is_some();
        if self.portals.iter().all(|portal| failed(&portal.error)) {
            return Outcome::None;
        }
        let missing = |lun: &LunFound| lun.error.as_deref().is_some_and(|e| e != NO_DISK);
        let portals = self.portals.iter().any(|portal| failed(&portal.error));
        let sessions = self.sessions.iter();
        let mut incomplete = sessions.filter(|s| failed(&s.error) || s.luns.iter().any(missing));
        match portals || incomplete.next().is_some() {
            true => Outcome::Some,
            false => Outcome::All,
        }
    }
}

impl fmt::Display for SessionFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.target, self.portal)?;
        if let Some(nic) = &self.nic {
            write!(f, " from {nic}")?;
        }
        if let Some(error) = &self.error {
            return write!(f, ": {error}");
        }
        self.luns.iter().try_for_each(|lun| write!(f, "\n{lun}"))
    }
}

impl fmt::Display for LunFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  LUN {}: ", self.lun)?;
        let Some(disk) = &self.disk else {
            return f.write_str(self.error.as_deref().unwrap_or("unknown"));
        };
        let wwid = disk.wwid.as_deref().unwrap_or("(no identity)");
        let size = disk.size_bytes;
        write!(f, "{wwid} {} {}", disk.vendor, disk.product)?;
        write!(f, ", {} ({size} bytes)", indicatif::BinaryBytes(size))?;
        write!(
            f,
            ", blocks {}/{}",
            disk.block_size, disk.physical_block_size
        )?;
        write!(f, ", provisioning {}", disk.provisioning)?;
        if disk.read_only {
            f.write_str(", read-only")?;
        }
        for group in &disk.groups {
            write!(f, "\n    group {} {}", group.group, group.state)?;
            if group.preferred {
                f.write_str(", preferred")?;
            }
            if disk.own_group == Some(group.group) {
                f.write_str(", this portal's")?;
            }
        }
        Ok(())
    }
}
