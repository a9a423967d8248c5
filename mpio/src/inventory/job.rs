//! What takes time, and what comes of it.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use iscsi_client::{
    error::{Error, ErrorKind, LoginError},
    logical_unit::LogicalUnit,
    session::{Session, SessionStatus, UnitAttention},
};
use iscsi_proto::{scsi::Lun, text::send_targets::Discovered};

use super::ids::{RouteId, SourceId};
use crate::device::Found;

/// How a job ended.
pub(super) enum Report {
    Discovered(SourceId, Result<Discovered, LoginError>),
    /// A pause is over, with its number.
    AskAgain(SourceId, u64),
    LoggedIn(RouteId, Result<Session, LoginError>),
    LogInAgain(RouteId, u64),
    /// A spare that was opened on demand has been there for a while.
    SpareStayed(RouteId),
    /// With the number of the last event before it.
    Session(RouteId, u64, SessionStatus),
    Listed(RouteId, Result<Vec<Lun>, Error>),
    Examined(RouteId, Lun, Result<Found, Error>),
    Checked(RouteId, Lun, Standing),
    /// The unit says that it, or the list that it is in, is not what it was. The number of the event; `None`
    /// at the end of the unit.
    Attention(RouteId, Lun, Option<u64>),
    /// A scan of this number has had its time.
    ScanTooLong(u64),
    /// A device of this number has been without a path for long enough.
    StrandedLong(Arc<str>, u64),
    /// A device or a session is closed.
    Closed,
}

pub(super) type Job = BoxFuture<'static, Report>;

/// What a unit that is a path turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The one that it was, or nothing that could be found out now.
    Same,
    /// None.
    Gone,
    /// Another one.
    Other,
}

/// Asks a unit whether it is there, and the one that it was. A list without its number is not enough to take
/// a path away that works.
pub(super) async fn check(unit: LogicalUnit, timeout: Duration) -> Standing {
    let results = [
        unit.verify_identity(Some(timeout)).await,
        unit.test_unit_ready(Some(timeout)).await,
    ];
    let kinds = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .map(Error::kind);
    let verdicts = kinds.map(|kind| match kind {
        ErrorKind::NoSuchUnit => Standing::Gone,
        ErrorKind::WrongUnit => Standing::Other,
        _ => Standing::Same,
    });
    verdicts
        .into_iter()
        .find(|verdict| *verdict != Standing::Same)
        .unwrap_or(Standing::Same)
}

/// Waits until a unit says something after event `seen` that an inventory has to look into.
pub(super) async fn attention(unit: LogicalUnit, mut seen: u64) -> Option<u64> {
    loop {
        let event = unit.next_event(seen).await.ok()?;
        seen = event.number;
        if matches!(
            event.attention,
            UnitAttention::ReportedLunsChanged
                | UnitAttention::InquiryDataChanged
                | UnitAttention::DeviceIdentifierChanged
        ) {
            return Some(seen);
        }
    }
}
