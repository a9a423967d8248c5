//! Asking a logical unit what it is.

use std::{sync::Arc, time::Instant};

use bytes::BytesMut;
use iscsi_proto::{
    DecodeError,
    scsi::{
        Capacity, Cdb, DiskModes, LogicalUnitIdentity, ReadCapacity10, ReadCapacity16,
        StandardInquiry,
        inquiry::{Peripheral, PeripheralDeviceType, PeripheralQualifier},
        vpd::{
            self, BlockDeviceCharacteristics, BlockLimits, DeviceIdentification,
            LogicalBlockProvisioning, RotationRate, SupportedPages, UnitSerialNumber,
        },
    },
};

use super::{
    classify::CommandClass,
    command::{Attempt, Commander, stale},
};
use crate::{
    buf::ReadBuf,
    device::{DeviceInfo, Identity},
    error::{Error, ErrorKind, Outcome},
    session::Payload,
};

/// What is asked for first. Pages are rarely longer; those that are get asked for again.
const PAGE_LENGTH: u16 = 512;
/// The longest page that is believed. Identification pages of big arrays have a few KiB.
const MAX_PAGE_LENGTH: u16 = 16 << 10;
/// How often a unit is asked who it is that becomes another one each time.
const MAX_PROBES: u32 = 8;

/// What a unit said of itself.
#[derive(Debug)]
pub(super) struct Probed {
    pub(super) inquiry: StandardInquiry,
    /// As the page with its name says it, which not all fill in as they should; without a name, as standard
    /// INQUIRY data says it.
    pub(super) peripheral: Peripheral,
    pub(super) identification: DeviceIdentification,
    pub(super) identity: Option<LogicalUnitIdentity>,
    pub(super) pages: Pages,
    /// `None` without access to the medium.
    pub(super) geometry: Option<Geometry>,
}

/// What it said of itself and does not take back.
#[derive(Debug)]
pub(super) struct Pages {
    limits: BlockLimits,
    provisioning: Option<LogicalBlockProvisioning>,
    rotation: RotationRate,
    identity: Identity,
}

/// Capacity and mode parameters: what may change while a unit is open.
#[derive(Debug)]
pub(super) struct Geometry {
    capacity: Capacity,
    physical_block: u32,
    /// LBPME, and LBPRZ of READ CAPACITY (16).
    provisioned: bool,
    reads_zeros: bool,
    modes: Option<DiskModes>,
}

pub(super) fn malformed(error: DecodeError) -> Error {
    Error::new(ErrorKind::Protocol, Outcome::Executed).with_source(error)
}

/// Whether the port is in a state in which it grants no access to the medium.
pub(super) fn is_without_access(error: &Error) -> bool {
    let sense = error.sense();
    sense.is_some_and(|sense| sense.code().is_without_access())
}

/// Whether a unit does not let this nexus look at its medium, or at what depends on it: its identity it tells all the same.
/// MODE SENSE conflicts with a reservation where this nexus is not registered (SPC-4 section 5.12.1).
pub(super) fn is_kept_out(error: &Error) -> bool {
    is_without_access(error) || error.kind() == ErrorKind::ReservationConflict
}

/// Whether a unit has merely said that it does not know a command or a page.
pub(super) fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Refused)
}

impl Commander {
    /// Asks the unit what it is, all of it again if it has become another one meanwhile: what was read
    /// before and after that would be the identity of no unit at all. Ends by the time for opening.
    pub(super) async fn probe(&self) -> Result<Probed, Error> {
        let deadline = self.deadline(Some(self.options.open_timeout));
        for _ in 0..MAX_PROBES {
            let probed = self.probe_once(deadline).await?;
            // INQUIRY reports no unit attention (SPC-4 section 6.6.1); READ CAPACITY after it does.
            if self.stale() & stale::IDENTITY == 0 {
                return Ok(probed);
            }
        }
        Err(Error::not_executed(ErrorKind::WrongUnit))
    }

    /// INQUIRY, TEST UNIT READY, the pages, the capacity. TEST UNIT READY comes early to collect the
    /// unit attentions: what is read after them is current.
    async fn probe_once(&self, deadline: Instant) -> Result<Probed, Error> {
        let inquiry = self.inquiry(deadline).await?;
        let ready = self.test_unit_ready(deadline).await;
        let ready = self.unless_without_access(ready)?;
        self.forget_stale();
        let pages = self.supported_pages(deadline).await?;
        let (peripheral, identification) = match pages.contains(vpd::DEVICE_IDENTIFICATION) {
            true => self.device_identification(deadline).await?,
            false => (inquiry.peripheral, DeviceIdentification::default()),
        };
        let identity = identification.logical_unit_identity();
        let pages = self.pages(&pages, &inquiry, identity.as_ref(), deadline);
        let pages = pages.await?;
        let geometry = match ready {
            Some(()) => self.unless_without_access(self.geometry(deadline).await)?,
            None => None,
        };
        Ok(Probed {
            inquiry,
            peripheral: match identity {
                Some(_) => peripheral,
                None => inquiry.peripheral,
            },
            identification,
            identity,
            pages,
            geometry,
        })
    }

    /// `None` if the medium cannot be accessed now and the unit is to be opened all the same.
    fn unless_without_access<T>(&self, asked: Result<T, Error>) -> Result<Option<T>, Error> {
        match asked {
            Err(error) if self.options.open_without_access && is_without_access(&error) => Ok(None),
            asked => asked.map(Some),
        }
    }

    /// The pages that any port tells, whatever its state.
    async fn pages(
        &self,
        pages: &SupportedPages,
        inquiry: &StandardInquiry,
        identity: Option<&LogicalUnitIdentity>,
        deadline: Instant,
    ) -> Result<Pages, Error> {
        let serial = match pages.contains(vpd::UNIT_SERIAL_NUMBER) {
            true => Some(self.serial(deadline).await?),
            false => None,
        };
        let limits = match pages.contains(vpd::BLOCK_LIMITS) {
            true => {
                let page = self.page(vpd::BLOCK_LIMITS, deadline).await?;
                BlockLimits::parse(&page).map_err(malformed)?
            }
            false => BlockLimits::default(),
        };
        let rotation = match pages.contains(vpd::BLOCK_DEVICE_CHARACTERISTICS) {
            true => {
                let page = self.page(vpd::BLOCK_DEVICE_CHARACTERISTICS, deadline);
                // Nothing depends on it, so a page that makes no sense is one that is not there.
                let page = BlockDeviceCharacteristics::parse(&page.await?);
                page.unwrap_or_default().rotation
            }
            false => RotationRate::default(),
        };
        let provisioning = match pages.contains(vpd::LOGICAL_BLOCK_PROVISIONING) {
            true => {
                let page = self.page(vpd::LOGICAL_BLOCK_PROVISIONING, deadline).await?;
                Some(LogicalBlockProvisioning::parse(&page).map_err(malformed)?)
            }
            false => None,
        };
        Ok(Pages {
            limits,
            provisioning,
            rotation,
            identity: Identity {
                wwid: identity.map(|name| name.to_string().into()),
                serial: serial.map(Into::into),
                vendor: inquiry.vendor.to_string().into(),
                product: inquiry.product.to_string().into(),
                revision: inquiry.revision.to_string().into(),
            },
        })
    }

    pub(super) async fn standard_inquiry(
        &self,
        deadline: Instant,
    ) -> Result<StandardInquiry, Error> {
        // 36 bytes is what every version of the standard has, and more confuses the oldest devices.
        let cdb = Cdb::inquiry(StandardInquiry::LEN as u16);
        let data = self.data_in(cdb, StandardInquiry::LEN, deadline).await?;
        StandardInquiry::parse(&data).map_err(malformed)
    }

    async fn inquiry(&self, deadline: Instant) -> Result<StandardInquiry, Error> {
        let inquiry = self.standard_inquiry(deadline).await?;
        if inquiry.peripheral.qualifier != PeripheralQualifier::Connected {
            return Err(Error::not_executed(ErrorKind::NoSuchUnit));
        }
        match inquiry.peripheral.device_type {
            PeripheralDeviceType::DirectAccessBlock
            | PeripheralDeviceType::SimplifiedDirectAccess => Ok(inquiry),
            // LUN 0 of an array without a disk there.
            PeripheralDeviceType::StorageArrayController | PeripheralDeviceType::NoDeviceType => {
                Err(Error::not_executed(ErrorKind::NoSuchUnit))
            }
            _ => Err(Error::not_executed(ErrorKind::Unsupported)),
        }
    }

    pub(super) async fn test_unit_ready(&self, deadline: Instant) -> Result<(), Error> {
        let cdb = Cdb::test_unit_ready();
        let attempt = Attempt::new(CommandClass::Query, cdb, Payload::None, deadline);
        self.query(attempt).await.0.map(drop)
    }

    async fn supported_pages(&self, deadline: Instant) -> Result<SupportedPages, Error> {
        match self.page(vpd::SUPPORTED_PAGES, deadline).await {
            Ok(page) => SupportedPages::parse(&page).map_err(malformed),
            // A device before SPC-2 has no pages at all.
            Err(error) if is_refusal(&error) => Ok(SupportedPages::default()),
            Err(error) => Err(error),
        }
    }

    /// The page, and what kind of device it says this is.
    pub(super) async fn device_identification(
        &self,
        deadline: Instant,
    ) -> Result<(Peripheral, DeviceIdentification), Error> {
        let page = self.page(vpd::DEVICE_IDENTIFICATION, deadline).await?;
        let identification = DeviceIdentification::parse(&page).map_err(malformed)?;
        // A page that is parsed has a first byte.
        let first = page.first().copied().unwrap_or_default();
        Ok((Peripheral::from_byte(first), identification))
    }

    /// The serial number, fit to be shown.
    pub(super) async fn serial(&self, deadline: Instant) -> Result<String, Error> {
        let page = self.page(vpd::UNIT_SERIAL_NUMBER, deadline).await?;
        let serial = UnitSerialNumber::parse(&page).map_err(malformed)?;
        Ok(serial.to_string())
    }

    /// A vital product data page, whole as far as it is not absurdly long.
    async fn page(&self, page: u8, deadline: Instant) -> Result<BytesMut, Error> {
        let ask = |length: u16| {
            let cdb = Cdb::inquiry_vpd(page, length);
            self.data_in(cdb, usize::from(length), deadline)
        };
        let data = ask(PAGE_LENGTH).await?;
        match vpd::needed_length(&data) {
            Some(needed) if needed > u32::from(PAGE_LENGTH) => {
                let needed = u16::try_from(needed).unwrap_or(u16::MAX);
                ask(needed.min(MAX_PAGE_LENGTH)).await
            }
            _ => Ok(data),
        }
    }

    pub(super) async fn geometry(&self, deadline: Instant) -> Result<Geometry, Error> {
        let mut geometry = self.capacity(deadline).await?;
        geometry.modes = self.disk_modes(deadline).await?;
        Ok(geometry)
    }

    /// The Caching page and the Control page, by whichever command and in whichever way the unit tells
    /// them: some know only one of the commands, some only all pages at once.
    async fn disk_modes(&self, deadline: Instant) -> Result<Option<DiskModes>, Error> {
        for page in [DiskModes::CACHING_PAGE, DiskModes::ALL_PAGES] {
            for ten in [true, false] {
                let Some(mut modes) = self.modes(ten, page, deadline).await? else {
                    continue;
                };
                if modes.control.is_none() && page == DiskModes::CACHING_PAGE {
                    let control = self.modes(ten, DiskModes::CONTROL_PAGE, deadline).await?;
                    modes.control = control.and_then(|modes| modes.control);
                }
                return Ok(Some(modes));
            }
        }
        Ok(None)
    }

    async fn capacity(&self, deadline: Instant) -> Result<Geometry, Error> {
        let geometry = |capacity| Geometry {
            capacity,
            physical_block: 0,
            provisioned: false,
            reads_zeros: false,
            modes: None,
        };
        let long = self.data_in(Cdb::read_capacity16(), ReadCapacity16::LEN, deadline);
        match long.await {
            Ok(data) => {
                let long = ReadCapacity16::parse(&data).map_err(malformed)?;
                Ok(Geometry {
                    physical_block: u32::try_from(long.physical_block_length()).unwrap_or(0),
                    provisioned: long.provisioning_enabled,
                    reads_zeros: long.unmapped_reads_zeros,
                    ..geometry(long.capacity().map_err(malformed)?)
                })
            }
            Err(error) if is_refusal(&error) => {
                let short = self.data_in(Cdb::read_capacity10(), ReadCapacity10::LEN, deadline);
                let short = ReadCapacity10::parse(&short.await?).map_err(malformed)?;
                // "More than this command can say", from a device without the longer one.
                match short.capacity().map_err(malformed)? {
                    Some(capacity) => Ok(geometry(capacity)),
                    None => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn modes(
        &self,
        ten: bool,
        page: u8,
        deadline: Instant,
    ) -> Result<Option<DiskModes>, Error> {
        const LENGTH: u8 = 252;
        let cdb = if ten {
            DiskModes::cdb10(page, LENGTH.into())
        } else {
            DiskModes::cdb(page, LENGTH)
        };
        match self.data_in(cdb, usize::from(LENGTH), deadline).await {
            // An answer that makes no sense is no reason to refuse the disk: the modes only make
            // things faster, or fail a write earlier.
            Ok(data) if ten => Ok(DiskModes::parse10(&data).ok()),
            Ok(data) => Ok(DiskModes::parse(&data).ok()),
            Err(error) if is_refusal(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A query that returns at most `len` bytes.
    pub(super) async fn data_in(
        &self,
        cdb: Cdb,
        len: usize,
        deadline: Instant,
    ) -> Result<BytesMut, Error> {
        let payload = Payload::In(ReadBuf::zeroed(len));
        let attempt = Attempt::new(CommandClass::Query, cdb, payload, deadline);
        let (result, payload) = self.query(attempt).await;
        let response = result?;
        let data = match payload {
            Payload::In(buf) => buf.into_bytes_mut().ok(),
            _ => None,
        };
        let mut data = data.unwrap_or_default();
        data.truncate(usize::try_from(response.transferred).unwrap_or(usize::MAX));
        Ok(data)
    }
}

impl Pages {
    /// Together with the geometry, once that is known. One command takes `max_transfer` bytes at most.
    pub(super) fn describe(&self, geometry: Option<&Geometry>, max_transfer: u32) -> DeviceInfo {
        let block_length = geometry.map(|geometry| geometry.capacity.block_length());
        let mut info = DeviceInfo::new(0, block_length.unwrap_or(512));
        self.apply_limits(&mut info, max_transfer);
        info.rotation = self.rotation;
        info.identity = self.identity.clone();
        if let Some(geometry) = geometry {
            geometry.apply(&mut info);
            info.unmap = geometry.provisioned
                && match &self.provisioning {
                    Some(page) => page.unmap || page.write_same_16 || page.write_same_10,
                    // Before the page was in the standard.
                    None => self.limits.maximum_unmap_lba_count.is_some(),
                };
        }
        if let Some(page) = &self.provisioning {
            info.provisioning = page.provisioning;
            info.unmapped_reads_zeros |= page.reads_zeros();
        }
        info
    }

    fn apply_limits(&self, info: &mut DeviceInfo, max_transfer: u32) {
        let bytes = |blocks: Option<std::num::NonZeroU32>| {
            blocks.map_or(0, |blocks| blocks.get().saturating_mul(info.block_size))
        };
        let theirs = bytes(self.limits.maximum_transfer_length);
        let optimal = bytes(self.limits.optimal_transfer_length);
        let max = if theirs == 0 {
            max_transfer
        } else {
            max_transfer.min(theirs)
        };
        let whole = max - max % info.block_size;
        info.max_transfer = whole.max(info.block_size);
        info.optimal_transfer = optimal.min(info.max_transfer);
    }
}

impl Geometry {
    /// The block length must not change under an open unit: addresses would get another meaning. One of which it was
    /// not known had no addresses.
    pub(super) fn fits(&self, info: &DeviceInfo) -> bool {
        info.size == 0 || self.capacity.block_length() == info.block_size
    }

    pub(super) fn apply(&self, info: &mut DeviceInfo) {
        info.size = self.capacity.size_in_bytes();
        info.unmapped_reads_zeros |= self.reads_zeros;
        info.physical_block_size = self.physical_block.max(info.block_size);
        let modes = self.modes.unwrap_or_default();
        info.read_only = modes.is_write_protected();
        info.fua = modes.dpo_fua;
        info.write_cache = modes.write_cache.unwrap_or(true);
    }
}

/// The identity as it is to be told to people.
pub(super) fn display(identity: Option<&LogicalUnitIdentity>) -> Arc<str> {
    identity.map_or_else(|| "none".into(), |identity| identity.to_string().into())
}
