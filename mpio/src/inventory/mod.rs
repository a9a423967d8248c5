//! From NICs to disks: which targets, portals and logical units there are, and a device for each disk.

mod builder;
mod driver;
#[cfg(all(test, feature = "serde"))]
mod each_event;
mod error;
mod event;
mod filter;
mod ids;
mod job;
mod keeper;
mod left_out;
mod limits;
mod log;
mod plan;
mod reader;
mod route;
mod routes;
mod settings;
mod shared;
mod show;
mod slots;
mod snapshot;
mod sources;
mod spares;
mod units;

use std::{fmt, sync::Arc};

pub use self::{
    builder::InventoryBuilder,
    driver::InventoryDriver,
    error::InventoryError,
    event::{InventoryEvent, InventoryEventKind, Loss, Removal},
    filter::{Filter, Rejection},
    limits::{Limit, Limits},
    reader::InventoryEvents,
    snapshot::{
        DeviceSnapshot, InventorySnapshot, RouteSnapshot, RouteState, SourceSnapshot, UnitState,
    },
};

pub use crate::rule::{Criterion, FoundUnit, Route, Rule};

use self::shared::{Ending, Shared};
use crate::device::MultipathDevice;

/// The disks that can be reached from some NICs, each as one [`MultipathDevice`] over all its paths: what
/// `iscsiadm -m discovery`, `iscsiadm -m node --login` from every iface, and multipathd do together.
///
/// ```no_run
/// # async fn f(initiator: iscsi_client::initiator::Initiator) -> Result<(), Box<dyn std::error::Error>> {
/// use mpio::inventory::{Filter, Inventory, Rule};
///
/// let inventory = Inventory::builder()
///     .bind("eth1".parse()?)
///     .bind("eth2".parse()?)
///     .discover("10.0.0.1".parse()?)
///     .filter(Filter::new().exclude(Rule::device("*", "Universal Xport")))
///     .open_spawned(&initiator)?;
/// inventory.scanned().await;
/// for disk in inventory.devices() {
///     print!("{}", disk.topology());
/// }
/// let disk = inventory.device("36001405f15c51d000000000000000000").await?;
/// # drop(disk); Ok(()) }
/// ```
///
/// A *scan* asks each portal of [`discover`](InventoryBuilder::discover) from each local end which targets there
/// are, logs in once from each local end to each portal of each target, lists the logical units behind each
/// session, asks each what it is, and joins those of one identity (VPD page 83h). It is repeated at an
/// [interval](InventoryBuilder::rescan_interval), when it is [asked for](Self::rescan), and in part when a session
/// is back or a target says that its list has changed (an asynchronous message, or a unit attention, with
/// 3F/0E), so paths and devices come and go with what is there:
///
/// * A device is there with its first path. Nobody waits for the slower ones, nor for portals that do not answer.
/// * What cannot be reached from one local end is told and tried again, every half minute at least.
/// * A path is taken away when its unit says that it is gone or another one, or when nobody tells of its portal
///   any more and its session is down. Neither happens because of a list alone.
/// * A device without a path is [kept for a while](InventoryBuilder::keep_without_path); then it is closed.
/// * A device that the program closes stays away until the program asks for a scan.
///
/// [`events`](Self::events) tells all of this with its reasons, [`snapshot`](Self::snapshot) what is known now.
///
/// Its [`InventoryDriver`] has to be polled. Clones are the same inventory. When the last one is dropped it looks
/// no further and lets go of everything: a device that the program holds goes on with the paths it has, the
/// others are closed, and sessions that nobody uses log out.
///
/// # Session identifiers
///
/// The ISID of a session is a function of the initiator's name, the local end and the portal, as RFC 7143 section
/// 4.4.3 wants it: two sessions with one target never share one, and after a restart each has the one that it had,
/// in whatever order the target lists its portals. So keep the way in which local ends are named. The
/// [session numbers](crate::MultipathBuilder::session_number) from 8000h on are the inventory's; two inventories of
/// one initiator share their sessions where they have the same options.
///
/// A former process may have used routes that are not told of any more, so a device never takes it for granted that
/// all of that process' sessions were reinstated: with [`FormerLife::Fence`](crate::core::FormerLife::Fence) it
/// waits for another proof.
#[derive(Clone)]
pub struct Inventory(Arc<Handle>);

/// What all clones share; dropped with the last of them.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared
            .ask(|board| _ = board.ending.get_or_insert(Ending::LetGo));
    }
}

impl Inventory {
    /// Describes an inventory. It needs at least one portal to ask, or one target.
    pub fn builder() -> InventoryBuilder {
        InventoryBuilder::new()
    }

    fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// The devices that are there now, by world wide identifier.
    #[must_use]
    pub fn devices(&self) -> Vec<MultipathDevice> {
        self.shared()
            .look(|board| board.devices.values().cloned().collect())
    }

    /// The device with this [world wide identifier](iscsi_client::device::Identity::wwid), as soon as it is
    /// there.
    ///
    /// # Errors
    ///
    /// [`InventoryError::NotFound`] if it is not there at the end of the scan under way, or now if none is;
    /// [`InventoryError::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn device(&self, wwid: &str) -> Result<MultipathDevice, InventoryError> {
        let asked = self.shared().look(|board| board.asked);
        let find = self.shared().until(|board| {
            if let Some(device) = board.devices.get(wwid) {
                return Some(Ok(device.clone()));
            }
            if board.ended {
                return Some(Err(InventoryError::Closed));
            }
            let wwid = wwid.into();
            (board.done >= asked).then_some(Err(InventoryError::NotFound { wwid }))
        });
        find.await
    }

    /// The same, however long it takes until there is such a device: for a disk that somebody is about to map,
    /// or a target that is starting.
    ///
    /// # Errors
    ///
    /// [`InventoryError::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn wait_for(&self, wwid: &str) -> Result<MultipathDevice, InventoryError> {
        let find = self.shared().until(|board| match board.devices.get(wwid) {
            Some(device) => Some(Ok(device.clone())),
            None => board.ended.then_some(Err(InventoryError::Closed)),
        });
        find.await
    }

    /// Waits until the first scan is over: all that answers was asked, and what does not had its time.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn scanned(&self) {
        self.until_done(1).await;
    }

    /// Asks for a scan, and waits until it is over. Devices that the program has closed are opened again by it.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the scan is asked for at the first poll, and is not taken back.
    pub async fn rescan(&self) {
        let number = self.shared().ask(|board| {
            board.asked += 1;
            board.asked_by_program = board.asked;
            board.asked
        });
        self.until_done(number).await;
    }

    async fn until_done(&self, number: u64) {
        let done = self
            .shared()
            .until(|board| (board.done >= number || board.ended).then_some(()));
        done.await;
    }

    /// What happens from now on. A reader that is made before the driver is first polled sees all.
    #[must_use]
    pub fn events(&self) -> InventoryEvents {
        InventoryEvents {
            shared: Arc::clone(&self.0.shared),
            seen: self.shared().look(|board| board.log.last()),
        }
    }

    /// What is known now: who was asked, the sessions and what is behind them, the devices.
    #[must_use]
    pub fn snapshot(&self) -> InventorySnapshot {
        let (snapshot, devices) = self
            .shared()
            .look(|board| (Arc::clone(&board.snapshot), board.devices.clone()));
        let devices = devices.into_iter().map(|(wwid, device)| DeviceSnapshot {
            wwid,
            info: device.info(),
            paths: device.snapshot().paths().count(),
        });
        InventorySnapshot {
            devices: devices.collect(),
            ..(*snapshot).clone()
        }
    }

    /// Closes the inventory and all its devices, whoever holds them: what is in flight may end, and the sessions
    /// log out. Ready when that is done.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the inventory is closed from the first poll on, what remains is done by its driver.
    pub async fn close(&self) {
        self.shared()
            .ask(|board| board.ending = Some(Ending::Close));
        self.shared().until(|board| board.ended.then_some(())).await;
    }
}

impl fmt::Debug for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (devices, scans) = self
            .shared()
            .look(|board| (board.devices.len(), board.done));
        f.debug_struct("Inventory")
            .field("devices", &devices)
            .field("scans", &scans)
            .finish_non_exhaustive()
    }
}
