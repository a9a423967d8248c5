//! What a SCSI answer means for the command that it answers: one table, so that no caller has to
//! look at sense data to decide what to do.
//!
//! The rows follow Linux's `scsi_error.c`, `scsi_dh_alua.c` and `blk_types.h`, as far as they are
//! sound in user space: a condition of resources never counts against a path, and a command that is
//! repeated keeps to a small bound of its own.

use std::time::Duration;

use iscsi_proto::scsi::{
    sense::{SenseData, SenseKey},
    sense_code::AdditionalSenseCode,
    status::ScsiStatus,
};

use crate::{
    error::{ErrorKind, Outcome, Retry},
    session::notice::{Notice, attention_notice},
};

/// What kind of command was answered. All of them but [`Reserve`](Self::Reserve) may be repeated at will once
/// the earlier one is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommandClass {
    /// Reads the medium.
    Read,
    /// Writes to it.
    Write,
    /// SYNCHRONIZE CACHE.
    Flush,
    /// Changes how the unit is accessed, and not what is on it: SET TARGET PORT GROUPS.
    Configure,
    /// PERSISTENT RESERVE OUT: a second execution is another one, so it is repeated only if the first was
    /// none.
    Reserve,
    /// Asks about the unit: INQUIRY, READ CAPACITY, TEST UNIT READY and their like.
    Query,
}

impl CommandClass {
    /// Whether a second execution may do harm after others came between.
    pub(super) const fn changes_something(self) -> bool {
        matches!(self, Self::Write | Self::Configure | Self::Reserve)
    }

    /// Whether it may be repeated once an earlier one, which may have been executed, is dead.
    pub(super) const fn is_repeatable(self) -> bool {
        !matches!(self, Self::Reserve)
    }
}

/// What to do next with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disposition {
    /// It has done what it should.
    Complete,
    /// Send it again at once while the budget lasts; then fail.
    Again { budget: Budget, then: Failure },
    /// Send it again after a pause, until its time is over; then fail.
    Later { pause: Duration, then: Failure },
    /// It has failed.
    Fail(Failure),
}

/// How often a command is repeated for one kind of reason. Each has its own, so that the unit
/// attentions after a login do not use up what an aborted command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Budget {
    /// Unit attentions. They are queued per nexus: after a login there may be one for the reset and
    /// one each for changed LUNs, capacity, mode parameters, access states and the medium. The
    /// bound is for a unit that has nothing else to say.
    Attention,
    /// Aborted commands and recoverable errors. The five of `scsi_error.c` would let a sick disk
    /// with a recovery time of its own hold a request for minutes.
    Retry,
    /// What is likely to be the same again.
    Once,
    /// Lost connections, where the session waits for its re-login.
    Reconnect,
}

impl Budget {
    pub(super) const KINDS: usize = 4;

    pub(super) const fn limit(self) -> u8 {
        match self {
            Self::Attention => 8,
            Self::Retry => 2,
            Self::Once => 1,
            Self::Reconnect => 3,
        }
    }
}

/// How it has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: ErrorKind,
    pub(super) outcome: Outcome,
    pub(super) retry: Retry,
}

impl Failure {
    /// The same, not to be tried again before `delay` has passed.
    pub(super) fn not_before(mut self, delay: Duration) -> Self {
        if let Retry::After(least) = self.retry {
            self.retry = Retry::After(least.max(delay));
        }
        self
    }
}

/// A disposition and a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) disposition: Disposition,
    pub(super) notice: Notice,
}

/// First pause after BUSY and TASK SET FULL: about one service time of a loaded target.
const BUSY_PAUSE: Duration = Duration::from_millis(4);
/// First pause while a unit changes its state, which takes it seconds.
const STATE_PAUSE: Duration = Duration::from_millis(200);

impl From<Disposition> for Verdict {
    fn from(disposition: Disposition) -> Self {
        Self {
            disposition,
            notice: Notice::default(),
        }
    }
}

impl Verdict {
    const fn with_capacity(mut self) -> Self {
        self.notice.capacity = true;
        self
    }
}

const fn failure(kind: ErrorKind, outcome: Outcome, retry: Retry) -> Failure {
    Failure {
        kind,
        outcome,
        retry,
    }
}

/// Refused before anything was done.
const fn refused(kind: ErrorKind, retry: Retry) -> Failure {
    failure(kind, Outcome::NotExecuted, retry)
}

/// Failed while it was carried out.
const fn failed(kind: ErrorKind, retry: Retry) -> Failure {
    failure(kind, Outcome::Executed, retry)
}

/// The table. `short`: the data is less than was asked for.
pub(super) fn classify(
    status: ScsiStatus,
    sense: Option<&SenseData>,
    class: CommandClass,
    short: bool,
) -> Verdict {
    let mut verdict = usual(status, sense, class, short);
    match verdict.disposition {
        Disposition::Again { then, .. }
            if !class.is_repeatable() && then.outcome != Outcome::NotExecuted =>
        {
            let retry = Retry::Never;
            verdict.disposition = Disposition::Fail(Failure { retry, ..then });
        }
        _ => {}
    }
    verdict
}

/// The same for commands that may be repeated.
fn usual(
    status: ScsiStatus,
    sense: Option<&SenseData>,
    class: CommandClass,
    short: bool,
) -> Verdict {
    match (status, sense) {
        (ScsiStatus::Good | ScsiStatus::ConditionMet, _) => complete(short).into(),
        (ScsiStatus::Busy | ScsiStatus::TaskSetFull | ScsiStatus::AcaActive, _) => later(
            BUSY_PAUSE,
            refused(ErrorKind::Busy, Retry::After(BUSY_PAUSE * 8)),
        )
        .into(),
        // We abort only what nobody waits for any more, so this was somebody else.
        (ScsiStatus::TaskAborted, _) => {
            Disposition::Fail(failed(ErrorKind::Aborted, Retry::OtherPath)).into()
        }
        // A conflict is an answer of a healthy path. Elsewhere it would be the same.
        (ScsiStatus::ReservationConflict, _) => {
            Disposition::Fail(refused(ErrorKind::ReservationConflict, Retry::Never)).into()
        }
        (ScsiStatus::CheckCondition, Some(sense)) => check_condition(sense, class, short),
        (ScsiStatus::CheckCondition, None) => {
            again(Budget::Once, failed(ErrorKind::Refused, Retry::OtherPath)).into()
        }
        (_, _) => Disposition::Fail(failed(ErrorKind::Refused, Retry::OtherPath)).into(),
    }
}

/// GOOD with less data than asked for is a lie about a transfer of blocks; a query may be short.
const fn complete(short: bool) -> Disposition {
    if short {
        again(Budget::Once, failed(ErrorKind::Protocol, Retry::OtherPath))
    } else {
        Disposition::Complete
    }
}

const fn again(budget: Budget, then: Failure) -> Disposition {
    Disposition::Again { budget, then }
}

const fn later(pause: Duration, then: Failure) -> Disposition {
    Disposition::Later { pause, then }
}

fn check_condition(sense: &SenseData, class: CommandClass, short: bool) -> Verdict {
    use Disposition::Fail;
    // It reports an earlier command; this one was not carried out (SPC-4 section 4.5.5).
    if sense.is_deferred() {
        return again(Budget::Retry, refused(ErrorKind::Refused, Retry::SamePath)).into();
    }
    let AdditionalSenseCode(asc, ascq) = sense.code();
    match (sense.key(), asc, ascq) {
        (SenseKey::NoSense | SenseKey::RecoveredError | SenseKey::Completed, ..) => {
            complete(short).into()
        }
        (SenseKey::NotReady, ..) => not_ready(sense.code()).into(),
        (SenseKey::UnitAttention, 0x04, 0x0a) => not_ready(sense.code()).into(),
        (SenseKey::UnitAttention, ..) => unit_attention(sense.code(), class),
        (SenseKey::IllegalRequest, 0x20..=0x26, _) => illegal_request(sense.code()),
        (SenseKey::DataProtect, 0x27, 0x07) => {
            Fail(refused(ErrorKind::NoSpace, Retry::Never)).into()
        }
        (SenseKey::DataProtect, ..) if class == CommandClass::Write => {
            Fail(refused(ErrorKind::ReadOnly, Retry::Never)).into()
        }
        (SenseKey::DataProtect, ..) => Fail(refused(ErrorKind::Refused, Retry::Never)).into(),
        (SenseKey::MediumError, 0x11 | 0x13 | 0x14, _) => {
            Fail(failed(ErrorKind::Medium, Retry::Never)).into()
        }
        (SenseKey::MediumError, ..) => {
            again(Budget::Retry, failed(ErrorKind::Medium, Retry::Never)).into()
        }
        // 44/00 and its like are often one controller of two.
        (SenseKey::HardwareError, ..) => Fail(failed(ErrorKind::Hardware, Retry::OtherPath)).into(),
        (SenseKey::AbortedCommand | SenseKey::IllegalRequest, 0x10, _) => {
            Fail(failed(ErrorKind::Protection, Retry::Never)).into()
        }
        (SenseKey::AbortedCommand, 0x2e, _) => {
            Fail(failed(ErrorKind::Timeout, Retry::Never)).into()
        }
        (SenseKey::AbortedCommand, ..) => {
            again(Budget::Retry, failed(ErrorKind::Aborted, Retry::OtherPath)).into()
        }
        (SenseKey::VendorSpecific | SenseKey::Unknown(_), ..) => {
            again(Budget::Once, failed(ErrorKind::Refused, Retry::OtherPath)).into()
        }
        // ILLEGAL REQUEST of another kind, MISCOMPARE, BLANK CHECK, VOLUME OVERFLOW, COPY ABORTED.
        _ => Fail(failed(ErrorKind::Refused, Retry::Never)).into(),
    }
}

const fn not_ready(code: AdditionalSenseCode) -> Disposition {
    const fn not_ready(retry: Retry) -> Failure {
        refused(ErrorKind::NotReady, retry)
    }
    match code {
        AdditionalSenseCode::BECOMING_READY => {
            later(STATE_PAUSE, not_ready(Retry::After(STATE_PAUSE)))
        }
        // Another group of ports may be accessible now; alone, we wait for the end of it.
        AdditionalSenseCode::ASYMMETRIC_ACCESS_STATE_TRANSITION => {
            later(STATE_PAUSE, not_ready(Retry::OtherPath))
        }
        _ => Disposition::Fail(not_ready(Retry::OtherPath)),
    }
}

fn unit_attention(code: AdditionalSenseCode, class: CommandClass) -> Verdict {
    let retry = again(
        Budget::Attention,
        // A nexus that has nothing else to say may be the only one.
        refused(ErrorKind::Refused, Retry::OtherPath),
    );
    let disposition = match (code.0, code.1) {
        (0x2a, 0x03 | 0x05) if class == CommandClass::Write => {
            Disposition::Fail(refused(ErrorKind::ReservationConflict, Retry::Never))
        }
        _ => retry,
    };
    Verdict {
        disposition,
        notice: attention_notice(code),
    }
}

fn illegal_request(code: AdditionalSenseCode) -> Verdict {
    use Disposition::Fail;
    match code {
        AdditionalSenseCode::LOGICAL_UNIT_NOT_SUPPORTED => {
            Fail(refused(ErrorKind::NoSuchUnit, Retry::OtherPath)).into()
        }
        // It was in range by the capacity that we know, so that is no longer true.
        AdditionalSenseCode::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE => {
            Verdict::from(Fail(refused(ErrorKind::Refused, Retry::Never))).with_capacity()
        }
        _ => Fail(refused(ErrorKind::Unsupported, Retry::Never)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(key: SenseKey, asc: u8, ascq: u8, class: CommandClass) -> Verdict {
        let sense = SenseData::fixed(key, AdditionalSenseCode(asc, ascq));
        classify(ScsiStatus::CheckCondition, Some(&sense), class, false)
    }

    fn fails(key: SenseKey, asc: u8, ascq: u8) -> Failure {
        match verdict(key, asc, ascq, CommandClass::Write).disposition {
            Disposition::Fail(failure) => failure,
            other => panic!("{key} {asc:02x}/{ascq:02x}: {other:?}"),
        }
    }

    fn status(status: ScsiStatus) -> Disposition {
        classify(status, None, CommandClass::Read, false).disposition
    }

    #[test]
    fn good_completes_unless_data_is_missing() {
        assert_eq!(status(ScsiStatus::Good), Disposition::Complete);
        let short = classify(ScsiStatus::Good, None, CommandClass::Read, true);
        assert!(matches!(
            short.disposition,
            Disposition::Again {
                budget: Budget::Once,
                ..
            }
        ));
    }

    #[test]
    fn a_target_without_resources_is_waited_for_and_no_path_is_blamed() {
        for busy in [ScsiStatus::Busy, ScsiStatus::TaskSetFull] {
            let Disposition::Later { then, .. } = status(busy) else {
                panic!("{busy}")
            };
            assert_eq!(then.kind, ErrorKind::Busy);
            assert_eq!(then.outcome, Outcome::NotExecuted);
            assert!(matches!(then.retry, Retry::After(_)));
        }
    }

    #[test]
    fn a_reservation_conflict_is_the_same_on_every_path() {
        let Disposition::Fail(failure) = status(ScsiStatus::ReservationConflict) else {
            panic!()
        };
        assert_eq!(failure.kind, ErrorKind::ReservationConflict);
        assert_eq!(failure.retry, Retry::Never);
        let class = CommandClass::Write;
        let preempted = verdict(SenseKey::UnitAttention, 0x2a, 0x03, class);
        assert_eq!(preempted.disposition, Disposition::Fail(failure));
    }

    #[test]
    fn an_order_that_may_have_been_executed_is_not_repeated() {
        let of = |key, asc, ascq| verdict(key, asc, ascq, CommandClass::Reserve).disposition;
        let attention = of(SenseKey::UnitAttention, 0x2a, 0x05);
        assert!(matches!(attention, Disposition::Again { .. }));
        for disposition in [
            of(SenseKey::AbortedCommand, 0x00, 0x00),
            of(SenseKey::VendorSpecific, 0x80, 0x00),
            classify(
                ScsiStatus::CheckCondition,
                None,
                CommandClass::Reserve,
                false,
            )
            .disposition,
        ] {
            let Disposition::Fail(failure) = disposition else {
                panic!("{disposition:?}")
            };
            assert_eq!(failure.retry, Retry::Never);
            assert_eq!(failure.outcome, Outcome::Executed);
        }
    }

    #[test]
    fn only_what_is_a_matter_of_the_path_goes_to_another_one() {
        use SenseKey::{
            AbortedCommand, DataProtect, HardwareError, IllegalRequest, MediumError, NotReady,
        };
        let elsewhere = [
            (NotReady, 0x04, 0x0b, ErrorKind::NotReady),
            (NotReady, 0x04, 0x0c, ErrorKind::NotReady),
            (NotReady, 0x3a, 0x00, ErrorKind::NotReady),
            (IllegalRequest, 0x25, 0x00, ErrorKind::NoSuchUnit),
            (HardwareError, 0x44, 0x00, ErrorKind::Hardware),
        ];
        for (key, asc, ascq, kind) in elsewhere {
            let failure = fails(key, asc, ascq);
            assert_eq!((failure.kind, failure.retry), (kind, Retry::OtherPath));
        }
        let nowhere = [
            (IllegalRequest, 0x20, 0x00, ErrorKind::Unsupported),
            (IllegalRequest, 0x24, 0x00, ErrorKind::Unsupported),
            (DataProtect, 0x27, 0x07, ErrorKind::NoSpace),
            (DataProtect, 0x27, 0x00, ErrorKind::ReadOnly),
            (MediumError, 0x11, 0x00, ErrorKind::Medium),
            (AbortedCommand, 0x10, 0x01, ErrorKind::Protection),
            (AbortedCommand, 0x2e, 0x01, ErrorKind::Timeout),
            (SenseKey::Miscompare, 0x1d, 0x00, ErrorKind::Refused),
        ];
        for (key, asc, ascq, kind) in nowhere {
            let failure = fails(key, asc, ascq);
            assert_eq!((failure.kind, failure.retry), (kind, Retry::Never));
        }
    }

    #[test]
    fn unit_attentions_are_retried_and_say_what_has_changed() {
        let notice = |asc, ascq| {
            let verdict = verdict(SenseKey::UnitAttention, asc, ascq, CommandClass::Write);
            let Disposition::Again { budget, then } = verdict.disposition else {
                panic!("{verdict:?}")
            };
            assert_eq!(
                (budget, then.outcome),
                (Budget::Attention, Outcome::NotExecuted)
            );
            (verdict.notice.capacity, verdict.notice.identity)
        };
        assert_eq!(notice(0x2a, 0x09), (true, false));
        assert_eq!(notice(0x29, 0x07), (true, true));
        assert_eq!(notice(0x3f, 0x0e), (true, true));
        assert_eq!(notice(0x2a, 0x06), (false, false));
        assert_eq!(notice(0x2f, 0x00), (false, false));
        assert_eq!(notice(0x2a, 0x01), (true, false));
        assert_eq!(notice(0x28, 0x00), (true, false));
        assert_eq!(notice(0x3f, 0x01), (true, true));
        assert_eq!(notice(0x3f, 0x03), (true, true));
        assert_eq!(notice(0x3f, 0x05), (true, true));
        assert_eq!(notice(0x2a, 0x07), (false, false));
        assert_eq!(notice(0x38, 0x07), (false, false));
    }

    #[test]
    fn a_unit_that_changes_its_state_is_waited_for() {
        for (key, ascq) in [
            (SenseKey::NotReady, 0x01),
            (SenseKey::NotReady, 0x0a),
            (SenseKey::UnitAttention, 0x0a),
        ] {
            let verdict = verdict(key, 0x04, ascq, CommandClass::Read);
            assert!(matches!(verdict.disposition, Disposition::Later { .. }));
        }
    }

    #[test]
    fn deferred_sense_repeats_the_command_that_it_interrupted() {
        let code = AdditionalSenseCode(0x11, 0);
        let sense = SenseData::fixed(SenseKey::MediumError, code).into_deferred();
        let class = CommandClass::Write;
        let verdict = classify(ScsiStatus::CheckCondition, Some(&sense), class, false);
        assert!(matches!(verdict.disposition, Disposition::Again { .. }));
    }

    #[test]
    fn no_sense_whatever_completes_a_command_that_was_refused() {
        for key in 0..16 {
            for asc in 0..=u8::MAX {
                for ascq in [0, 1, 7, 0x0a, 0x0e, 0xff] {
                    let key = SenseKey::from_byte(key);
                    let verdict = verdict(key, asc, ascq, CommandClass::Flush);
                    let complete = verdict.disposition == Disposition::Complete;
                    let benign = matches!(
                        key,
                        SenseKey::NoSense | SenseKey::RecoveredError | SenseKey::Completed
                    );
                    assert_eq!(complete, benign, "{key} {asc:02x}/{ascq:02x}");
                }
            }
        }
    }
}
