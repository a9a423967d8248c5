//! Is it still the same unit?

use std::{sync::Arc, time::Instant};

use iscsi_proto::{
    planted::Bug,
    scsi::inquiry::{PeripheralDeviceType, PeripheralQualifier},
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

impl LogicalUnit {
    /// Compares with what the unit said at opening, as far as it said it: the kind of device, the name, and the
    /// serial number. The name alone would do among targets that never give two units one name; clones of a
    /// virtual target do.
    pub(super) async fn compare_identity(&self, deadline: Instant) -> Result<(), Error> {
        let inner = &*self.inner;
        if planted::planted(self.session()).has(Bug::IdentityUnchecked) {
            return Ok(());
        }
        let now = inner.commander.standard_inquiry(deadline).await?.peripheral;
        if now.qualifier != PeripheralQualifier::Connected {
            return Err(Error::not_executed(ErrorKind::NoSuchUnit));
        }
        let was = inner.inquiry.peripheral;
        if now.device_type != was.device_type {
            let kind = |kind: PeripheralDeviceType| Arc::from(format!("{kind:?}"));
            let (was, now) = (kind(was.device_type), kind(now.device_type));
            return Err(changed("device type", was, now));
        }
        if let Some(was) = &inner.identity {
            let page = inner.commander.device_identification(deadline).await?;
            let now = page.logical_unit_identity();
            if now.as_ref() != Some(was) {
                let (was, now) = (display(Some(was)), display(now.as_ref()));
                return Err(changed("identity", was, now));
            }
        }
        let was = inner.info.get().identity.serial.clone();
        if let Some(was) = was.filter(|was| !was.is_empty()) {
            let now: Arc<str> = inner.commander.serial(deadline).await?.into();
            // Blank is one that is not available now (SPC-4, Unit Serial Number VPD page).
            if !now.is_empty() && now != was {
                return Err(changed("serial number", was, now));
            }
        }
        Ok(())
    }
}
