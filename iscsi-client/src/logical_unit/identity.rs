//! Is it still the same unit?

use std::{sync::Arc, time::Instant};

use iscsi_proto::{
    planted::Bug,
    scsi::{LogicalUnitIdentity, inquiry::PeripheralDeviceType, vpd::IdentityKind},
};

use super::{LogicalUnit, open::display, planted, wrong_unit};
use crate::error::{Error, ErrorKind};

/// The source of a [`ErrorKind::WrongUnit`] error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {what} was {was}, and is {now} now")]
struct IdentityChanged {
    what: &'static str,
    was: Arc<str>,
    now: Arc<str>,
}

fn changed(what: &'static str, was: Arc<str>, now: Arc<str>) -> Error {
    wrong_unit().with_source(IdentityChanged { what, was, now })
}

/// Whether no two units have this name: NAA but for those that are assigned locally (3h), EUI-64 and UUID.
/// What a vendor makes of its own is only as unique as that was careful; clones of virtual targets
/// have the same.
fn is_unique(name: &LogicalUnitIdentity) -> bool {
    match name.kind() {
        IdentityKind::Naa => name.as_bytes().first().is_some_and(|first| first >> 4 != 3),
        IdentityKind::Eui64 | IdentityKind::Uuid => true,
        _ => false,
    }
}

impl LogicalUnit {
    /// Compares with what the unit said at opening, as far as it said it: the kind of device and the name; also the
    /// serial number, if there can be two units of that name. Not if there cannot: the serial number may be that of
    /// the controller that answers.
    pub(super) async fn compare_identity(&self, deadline: Instant) -> Result<(), Error> {
        let inner = &*self.inner;
        if planted::planted(self.session()).has(Bug::IdentityUnchecked) {
            return Ok(());
        }
        let commander = &inner.commander;
        let (peripheral, name) = if inner.identity.is_some() {
            let (peripheral, page) = commander.device_identification(deadline).await?;
            (peripheral, page.logical_unit_identity())
        } else {
            (commander.standard_inquiry(deadline).await?.peripheral, None)
        };
        // Some units fill in this field of the page as they please, but not today so and tomorrow so.
        if peripheral.qualifier != inner.peripheral.qualifier {
            return Err(Error::not_executed(ErrorKind::NoSuchUnit));
        }
        let was = inner.peripheral.device_type;
        if peripheral.device_type != was {
            let kind = |kind: PeripheralDeviceType| Arc::from(format!("{kind:?}"));
            let (was, now) = (kind(was), kind(peripheral.device_type));
            return Err(changed("device type", was, now));
        }
        if name != inner.identity {
            let (was, now) = (display(inner.identity.as_ref()), display(name.as_ref()));
            return Err(changed("identity", was, now));
        }
        if name.as_ref().is_some_and(is_unique) {
            return Ok(());
        }
        let was = inner.info.get().identity.serial.clone();
        if let Some(was) = was.filter(|was| !was.is_empty()) {
            let now: Arc<str> = match commander.serial(deadline).await {
                Ok(now) => now.into(),
                // It has no such page any more, which says nothing of who it is.
                Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(()),
                Err(error) => return Err(error),
            };
            // Blank is one that is not available now (SPC-4, Unit Serial Number VPD page).
            if !now.is_empty() && now != was {
                return Err(changed("serial number", was, now));
            }
        }
        Ok(())
    }
}
