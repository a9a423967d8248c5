//! Planted bugs in the reading of answers; see [`iscsi_proto::planted`].

use iscsi_proto::{
    planted::{Bug, Planted},
    scsi::{sense::SenseKey, status::ScsiStatus},
    session::Response,
};

use super::classify::{Disposition, Verdict};

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
    verdict
}
