//! Which logical units a target has for us.

use std::time::{Duration, Instant};

use iscsi_proto::scsi::{
    Cdb, Lun, ReportLuns, StandardInquiry,
    inquiry::{Peripheral, PeripheralDeviceType, PeripheralQualifier},
};

use super::{
    command::Commander,
    open::{is_refusal, malformed},
    options::LogicalUnitOptions,
};
use crate::{
    error::{Error, ErrorKind},
    session::Session,
};

/// What is asked for first: five hundred logical units.
const LIST_LENGTH: u32 = 8 + 8 * 512;
/// How often a list that has grown meanwhile is asked for again.
const TRIES: u32 = 4;
/// How many LUNs of a target without REPORT LUNS are looked at.
const MAX_SCAN: u16 = 256;

impl Session {
    /// The logical units of the target that this initiator may use, in the target's order and
    /// encoding (REPORT LUNS, SPC-4 section 6.33), whatever kind of device each is. At most 16384; a
    /// list of any length is asked for until it is whole.
    ///
    /// Asked of LUN 0; where there is none, of the well-known logical unit. A target that knows no
    /// REPORT LUNS is asked LUN by LUN from 0 on, up to the first one that is not there.
    ///
    /// `timeout` is for all of it; default 30 s.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] for a list that cannot be; those of the session.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing but queries is sent.
    pub async fn report_luns(&self, timeout: Option<Duration>) -> Result<Vec<Lun>, Error> {
        let at = |lun| Commander::new(self.clone(), lun, LogicalUnitOptions::default());
        let zero = at(Lun::ZERO);
        let deadline = zero.deadline(timeout);
        for commander in [&zero, &at(Lun::REPORT_LUNS)] {
            match commander.lun_list(deadline).await {
                Err(error) if is_refusal(&error) || error.kind() == ErrorKind::NoSuchUnit => {}
                list => return list,
            }
        }
        let mut luns = Vec::new();
        for number in 0..MAX_SCAN {
            let lun = Lun::new(number);
            if !at(lun).is_there(deadline).await? {
                break;
            }
            luns.push(lun);
        }
        Ok(luns)
    }
}

impl Commander {
    async fn lun_list(&self, deadline: Instant) -> Result<Vec<Lun>, Error> {
        let mut length = LIST_LENGTH;
        let mut tries = 1;
        loop {
            let data = self.data_in(Cdb::report_luns(length), length as usize, deadline);
            let list = ReportLuns::parse(&data.await?).map_err(malformed)?;
            let needed = list.needed_length();
            if !list.truncated || needed <= length || tries == TRIES {
                return Ok(list.luns);
            }
            // Parsing has bounded it: 128 KiB at most.
            length = needed;
            tries += 1;
        }
    }

    /// Whether INQUIRY finds something at this LUN.
    async fn is_there(&self, deadline: Instant) -> Result<bool, Error> {
        let cdb = Cdb::inquiry(StandardInquiry::LEN as u16);
        match self.data_in(cdb, StandardInquiry::LEN, deadline).await {
            Ok(data) => {
                let Peripheral {
                    qualifier,
                    device_type,
                } = StandardInquiry::parse(&data).map_err(malformed)?.peripheral;
                Ok(qualifier == PeripheralQualifier::Connected
                    && device_type != PeripheralDeviceType::NoDeviceType)
            }
            Err(error) if is_refusal(&error) || error.kind() == ErrorKind::NoSuchUnit => Ok(false),
            Err(error) => Err(error),
        }
    }
}
