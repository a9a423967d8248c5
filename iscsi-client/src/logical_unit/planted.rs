//! Planted bugs in the reading of answers; see [`iscsi_proto::planted`].

use iscsi_proto::{
    planted::{Bug, Planted},
    scsi::{sense::SenseKey, status::ScsiStatus},
    session::Response,
};

use super::classify::{CommandClass, Disposition, Verdict, classify};
use crate::session::Session;

/// What is switched on in a session.
pub(super) fn planted(session: &Session) -> Planted {
    session.options().core.planted
}

/// How often a unit attention is told: once, unless a bug is switched on.
#[inline]
pub(super) fn tellings(session: &Session) -> usize {
    let planted = planted(session);
    match (
        planted.has(Bug::AttentionSwallowed),
        planted.has(Bug::AttentionToldTwice),
    ) {
        (true, _) => 0,
        (_, true) => 2,
        _ => 1,
    }
}

/// The verdict as it is, unless a bug is switched on.
#[inline]
pub(super) fn misread(planted: Planted, mut verdict: Verdict, response: &Response) -> Verdict {
    let is_attention = || {
        let sense = response.sense.as_ref();
        response.status == ScsiStatus::CheckCondition
            && sense.is_some_and(|sense| sense.key() == SenseKey::UnitAttention)
    };
    if planted.has(Bug::TaskSetFullIsSuccess) && response.status == ScsiStatus::TaskSetFull
        || planted.has(Bug::AttentionIsSuccess) && is_attention()
    {
        verdict.disposition = Disposition::Complete;
    }
    if planted.has(Bug::ConflictIsBusy) && response.status == ScsiStatus::ReservationConflict {
        return classify(ScsiStatus::Busy, None, CommandClass::Query, false);
    }
    verdict
}
