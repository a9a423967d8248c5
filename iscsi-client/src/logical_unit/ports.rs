//! Asymmetric access, and sense data on request.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use iscsi_proto::{
    ApiMisuse,
    scsi::{
        AccessState, Cdb, SenseData, SenseKey, SetTargetPortGroups, TargetPortGroups, inquiry::Tpgs,
    },
};

use super::{
    LogicalUnit,
    classify::CommandClass,
    command::Attempt,
    open::{is_refusal, malformed},
};
use crate::{
    error::{Error, ErrorKind},
    session::{Payload, notice::attention_notice},
};

/// What is asked for first: sixty groups of one port.
const GROUPS_LENGTH: u32 = 1024;
/// The longest list that is believed.
const MAX_GROUPS_LENGTH: u32 = 64 << 10;
/// How often a list that has grown meanwhile is asked for again.
const TRIES: u32 = 4;

impl LogicalUnit {
    /// Asks for the target port groups and their asymmetric access states (REPORT TARGET PORT GROUPS,
    /// SPC-4 section 6.37), with the transition time where the target knows the extended header.
    /// Which group this session leads to is in
    /// [`identification`](Self::identification)'s
    /// [`target_port_group`](iscsi_proto::scsi::vpd::DeviceIdentification::target_port_group).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] from a unit without asymmetric access (TPGS 0), nothing being sent;
    /// [`ErrorKind::Protocol`] for an answer that cannot be; those of the session.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn target_port_groups(
        &self,
        timeout: Option<Duration>,
    ) -> Result<TargetPortGroups, Error> {
        self.inner.info.with(|_| Ok(()))?;
        if self.inner.inquiry.tpgs == Tpgs::None {
            return Err(Error::not_executed(ErrorKind::Unsupported));
        }
        let commander = &self.inner.commander;
        let deadline = commander.deadline(timeout);
        let plain = &self.inner.plain_port_groups;
        let mut length = GROUPS_LENGTH;
        let mut tries = 1;
        loop {
            let extended = !plain.load(Ordering::Relaxed);
            let cdb = TargetPortGroups::cdb(extended, length);
            let data = match commander.data_in(cdb, length as usize, deadline).await {
                // It will not learn the other header while it is open.
                Err(error) if extended && is_refusal(&error) => {
                    plain.store(true, Ordering::Relaxed);
                    continue;
                }
                data => data?,
            };
            let groups = TargetPortGroups::parse(&data).map_err(malformed)?;
            let needed = groups.needed_length().min(MAX_GROUPS_LENGTH);
            if !groups.truncated || needed <= length || tries == TRIES {
                return Ok(groups);
            }
            length = needed;
            tries += 1;
        }
    }

    /// Asks the target to put port groups into states (SET TARGET PORT GROUPS, SPC-4 section 6.45).
    /// It may begin the transition only, and change groups that are not named; ask with
    /// [`target_port_groups`](Self::target_port_groups) for what came of it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] with [`ApiMisuse::OutOfRange`] for an empty list, more than
    /// [`SetTargetPortGroups::MAX_GROUPS`], or a state that cannot be asked for;
    /// [`ErrorKind::Unsupported`] from a unit that changes states by itself only (TPGS), nothing
    /// being sent in either case; those of the session. After a lost connection the outcome is
    /// unknown, and the command is not repeated.
    ///
    /// # Cancel safety
    ///
    /// The command is aborted at the target; whether it was carried out is unknown.
    pub async fn set_target_port_groups(
        &self,
        groups: &[(u16, AccessState)],
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        self.inner.info.with(|_| Ok(()))?;
        let allowed = |(_, state): &(u16, AccessState)| SetTargetPortGroups::allows(*state);
        let count = 1..=SetTargetPortGroups::MAX_GROUPS;
        if !count.contains(&groups.len()) || !groups.iter().all(allowed) {
            let misuse = ApiMisuse::OutOfRange;
            return Err(Error::not_executed(ErrorKind::Protocol).with_source(misuse));
        }
        if !matches!(
            self.inner.inquiry.tpgs,
            Tpgs::Explicit | Tpgs::ImplicitAndExplicit
        ) {
            return Err(Error::not_executed(ErrorKind::Unsupported));
        }
        let commander = &self.inner.commander;
        let list = SetTargetPortGroups {
            groups: groups.to_vec(),
        };
        let list = Bytes::from(list.emit());
        // At most 4 KiB and a bit.
        let cdb = SetTargetPortGroups::cdb(list.len() as u32);
        let deadline = commander.deadline(timeout);
        let payload = Payload::Out(list.into());
        let attempt = Attempt::new(CommandClass::Configure, cdb, payload, deadline);
        commander.query(attempt).await.0.map(drop)
    }

    /// Asks the unit for sense data (REQUEST SENSE, SPC-4 section 6.39): a unit attention that is
    /// pending, which counts as reported then and is among the [`events`](Self::events), the progress
    /// of an operation, or NO SENSE.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] for an answer that is no sense data; those of the session.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; a unit attention that was under way is lost.
    pub async fn request_sense(&self, timeout: Option<Duration>) -> Result<SenseData, Error> {
        self.inner.info.with(|_| Ok(()))?;
        let commander = &self.inner.commander;
        let length = SenseData::MAX_LEN;
        let cdb = Cdb::request_sense(false, length as u8);
        let deadline = commander.deadline(timeout);
        let data = commander.data_in(cdb, length, deadline).await?;
        let sense = SenseData::parse(&data).map_err(malformed)?;
        if sense.key() == SenseKey::UnitAttention && !sense.is_deferred() {
            let notice = attention_notice(sense.code());
            commander.report(&sense, notice);
        }
        Ok(sense)
    }
}
