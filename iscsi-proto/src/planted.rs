//! Bugs that are built in on purpose, to prove that the simulator finds such bugs.
//!
//! Not part of the API: no version of it is like the last one. Without the feature `__planted` a
//! [`Planted`] has no size, cannot hold a bug, and every question to it is the constant `false`.

/// Which bug is switched on, if any: part of the configurations of a session and of a multipath
/// device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planted {
    #[cfg(feature = "__planted")]
    bug: Option<Bug>,
}

impl Planted {
    /// No bug, as everywhere by default.
    pub const NONE: Self = Self {
        #[cfg(feature = "__planted")]
        bug: None,
    };

    /// This bug.
    #[cfg(feature = "__planted")]
    #[must_use]
    pub const fn with(bug: Bug) -> Self {
        Self { bug: Some(bug) }
    }

    /// Whether this bug is switched on.
    #[cfg(feature = "__planted")]
    #[must_use]
    #[inline]
    pub const fn has(self, bug: Bug) -> bool {
        matches!(self.bug, Some(planted) if planted as u8 == bug as u8)
    }

    /// Whether this bug is switched on: never, in this build.
    #[cfg(not(feature = "__planted"))]
    #[must_use]
    #[inline(always)]
    pub const fn has(self, _: Bug) -> bool {
        false
    }
}

macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $bug:ident = $name:literal, $row:literal;)+) => {
        /// What can be switched on. The documentation of each says which rule it breaks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Bug {
            $($(#[doc = $doc])+ $bug,)+
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$bug,)+];

            /// What it is called on command lines.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$bug => $name,)+
                }
            }

            /// The rule that it breaks, in words.
            #[must_use]
            pub fn breaks(self) -> &'static str {
                match self {
                    $(Self::$bug => concat!($($doc),+).trim_start(),)+
                }
            }

            /// The row of the invariants that should catch it.
            #[must_use]
            pub const fn row(self) -> &'static str {
                match self {
                    $(Self::$bug => $row,)+
                }
            }

            /// The bug of this name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|bug| bug.name() == name)
            }
        }
    };
}

bugs! {
    // --- the protocol core ---

    /// DataSN starts again with every sequence of Data-Out (RFC 7143 section 11.7.5).
    DataSnNotReset = "data-sn-not-reset", "I6";
    /// The data of a sequence is the data at the Buffer Offset of its R2T (section 11.8.4).
    R2tOffsetIgnored = "r2t-offset-ignored", "I2";
    /// The payload of a Data-In belongs at its Buffer Offset (section 11.7.5).
    DataInOffsetIgnored = "data-in-offset-ignored", "I3";
    /// GOOD with less data than was asked for, and without a residual count, is no success.
    ShortDataAccepted = "short-data-accepted", "I3";
    /// A residual underflow is data that is missing.
    UnderflowIgnored = "underflow-ignored", "I3";
    /// A data segment is used only if its digest is right.
    DataDigestIgnored = "data-digest-ignored", "I3";
    /// ExpStatSN acknowledges what was received, and nothing else (section 4.2.2.2).
    AcknowledgesTooMuch = "acknowledges-too-much", "I6";
    /// Nothing is sent beyond MaxCmdSN (section 4.2.2.1).
    WindowIgnored = "window-ignored", "I11";
    /// MaxCmdSN is compared by serial number arithmetic (section 4.2.2.1, RFC 1982).
    MaxCmdSnPlain = "max-cmd-sn-plain", "L1";
    /// An immediate PDU carries a CmdSN and consumes none (section 4.2.2.1).
    ImmediateTakesCmdSn = "immediate-takes-cmd-sn", "I6";
    /// Unsolicited data ends at FirstBurstLength (section 13.14).
    FirstBurstIgnored = "first-burst-ignored", "I6";
    /// No data segment is longer than the target takes (section 13.12).
    SegmentTooLong = "segment-too-long", "I6";
    /// The last Data-Out of a sequence has the F bit (section 11.7.1).
    FinalBitLost = "final-bit-lost", "I6";
    /// A task's slot is used again only after the target is done with the task.
    SlotReusedEarly = "slot-reused-early", "I6";
    /// What was sent before the connection was lost may be executed.
    SentMeansNotExecuted = "sent-means-not-executed", "I1";
    /// The memory of an abandoned write is not given back while a staged PDU names it.
    MemoryBackTooEarly = "memory-back-too-early", "I6";
    /// A command that is not answered in time is aborted, and its connection ended if need be.
    TimeoutsNeverFire = "timeouts-never-fire", "L1";
    /// A closed command window opens with whatever PDU says so (section 4.2.2.1).
    WindowNewsLost = "window-news-lost", "L1";
    /// The answer to an ABORT TASK ends a command, and does not say what it has done (section 11.6.1).
    AbortMeansNotExecuted = "abort-means-not-executed", "I2";

    /// Where the target has to prove itself, a wrong proof is the end of the login (section 12.1.3).
    TargetProofIgnored = "target-proof-ignored", "I13";

    // --- sessions and logical units ---

    /// A session is reinstated under the ISID that it had (section 6.3.5).
    ReconnectsAsAnother = "reconnects-as-another", "L1";
    /// Logins that fail follow each other at growing intervals.
    ReconnectsWithoutPause = "reconnects-without-pause", "L4";
    /// After a connection was lost, no login before Time2Wait is over (section 13.15).
    Time2WaitIgnored = "time2wait-ignored", "I6";
    /// After a login, and when the unit says that it has changed, its identity is compared.
    IdentityUnchecked = "identity-unchecked", "I7";
    /// A unit attention is told to all who use the unit; the target tells it once.
    AttentionSwallowed = "attention-swallowed", "I12";
    /// And told once.
    AttentionToldTwice = "attention-told-twice", "I12";
    /// RESERVATION CONFLICT is the answer that the caller gets (SAM-5 section 5.3.1).
    ConflictIsBusy = "conflict-is-busy", "I9";
    /// A name that cannot be resolved now may be later.
    NameNotAskedAgain = "name-not-asked-again", "L2";
    /// Whoever leaves a slot wakes the next in the line.
    LineNotWoken = "line-not-woken", "L1";
    /// Guest memory is not touched after a request was dropped.
    DroppedReadStored = "dropped-read-stored", "I5";
    /// TASK SET FULL says that a command was not executed (SAM-5 section 5.3.1).
    TaskSetFullIsSuccess = "task-set-full-is-success", "I1";
    /// A command that is answered with a unit attention was not executed (SAM-5 section 5.14).
    AttentionIsSuccess = "attention-is-success", "I1";
    /// A flush is acknowledged when the target has acknowledged it.
    FlushNotSent = "flush-not-sent", "I14";
    /// A split request succeeds if each of its pieces does.
    SplitFailureIgnored = "split-failure-ignored", "I1";

    // --- multipath ---

    /// A write that may still land holds its range back until it is dead.
    GhostForgotten = "ghost-forgotten", "I16";
    /// The quiesce time of a target runs from the abortive close to its end.
    QuietTimeSkipped = "quiet-time-skipped", "I16";
    /// A reinstating login proves something only on a target where it is a barrier.
    EveryLoginIsBarrier = "every-login-is-barrier", "I16";
    /// A login that another portal group takes reinstates nothing (section 4.4.2).
    AnotherNexusCounts = "another-nexus-counts", "I16";
    /// Nothing that modifies is sent while the writes of a former life may land.
    FormerLifeForgotten = "former-life-forgotten", "I16";
    /// The writes of a former life are dead when each nexus that it had was reinstated, not one of them.
    FirstLoginReinstatesAll = "first-login-reinstates-all", "I16";
    /// The quiesce time after a former life runs from the first login to its end.
    FormerTimeSkipped = "former-time-skipped", "I16";
    /// Where others write too, a lost write is not tried again while its ghost may land.
    SharedRepeatsAtOnce = "shared-repeats-at-once", "I1";
    /// What is preempted is the key of the lost path, and of no other (SPC-4 section 5.12.11.2).
    HealthyPathPreempted = "healthy-path-preempted", "I16";
    /// RESERVATION CONFLICT says that nothing was preempted (SPC-4 section 5.12.11.2.4).
    ConflictIsProof = "conflict-is-proof", "I16";
    /// A path is registered before it takes writes.
    WritesBeforeRegistered = "writes-before-registered", "I16";
    /// A write waits for every earlier one that it overlaps, in part too.
    PartialOverlapIgnored = "partial-overlap-ignored", "I16";
    /// Writes that waited for a ghost go on when it is dead.
    HeldNotReleased = "held-not-released", "L1";
    /// A write whose outcome was once unknown is unknown, whatever came of its later attempts.
    LastOutcomeCounts = "last-outcome-counts", "I2";
    /// Guest memory is loaded once, and every attempt sends the same bytes.
    RegionLoadedPerAttempt = "region-loaded-per-attempt", "I3";
    /// A read that was taken back has no data.
    RecalledReadIsSuccess = "recalled-read-is-success", "I3";
    /// Reads that are done twice, since their path was silent for a moment, are few.
    HedgesWithoutBudget = "hedges-without-budget", "L4";
    /// A write of which several attempts were lost is dead when all of them are.
    SecondGhostForgotten = "second-ghost-forgotten", "I16";
    /// A rung of the fencing ladder that failed has proven nothing.
    FailedRungProves = "failed-rung-proves", "I16";
    /// A write that its caller has dropped goes on until its end is known.
    DroppedMeansNotExecuted = "dropped-means-not-executed", "I1";
    /// A path whose unit answers that it stands by is given no I/O (SPC-4 section 5.15.2).
    StandbyUsed = "standby-used", "I8";
    /// A path whose carrier is back is used again.
    CarrierNeverBack = "carrier-never-back", "L2";
    /// A port group's state is asked for again when it may have changed.
    AccessNotAskedAgain = "access-not-asked-again", "L2";
    /// The best group is used again when it works again, if that is configured.
    BestGroupForgotten = "best-group-forgotten", "L5";
    /// A path that is marginal is sound again when it has stood its probation.
    MarginalNeverPromoted = "marginal-never-promoted", "L5";
    /// A marginal path takes no I/O while a sound one can.
    MarginalUsedFirst = "marginal-used-first", "L5";
    /// A spare takes no new I/O while the path that it is for takes it.
    SpareTakesItsTurn = "spare-takes-its-turn", "L5";
    /// A spare that was opened when its path had to wait is closed when that one is back.
    SpareStays = "spare-stays", "L2";
    /// After a former life the spares that it may have had log in as well, before it is taken for fenced.
    FormerSparesForgotten = "former-spares-forgotten", "I16";
    /// Paths are checked at intervals.
    ChecksWithoutPause = "checks-without-pause", "L4";
    /// The place of a write that is over is used for the next one.
    ClaimsAreKept = "claims-are-kept", "I10";
    /// A flush that failed on one path has flushed nothing.
    FlushFailureIgnored = "flush-failure-ignored", "I14";
    /// A path that is back is registered before it is used (SPC-4 section 5.12.7).
    UsedBeforeRegistered = "used-before-registered", "I17";
    /// What a path is registered with is the key that was ordered last.
    OldKeyKept = "old-key-kept", "I17";
    /// A registration that somebody else has ended is not made again.
    PreemptedComesBack = "preempted-comes-back", "I17";
    /// I/O is held while a reservation changes hands.
    NotHeldMeanwhile = "not-held-meanwhile", "I9";
    /// A device takes a smaller size only where it may, or is asked to.
    ShrinksUnasked = "shrinks-unasked", "I18";
    /// A device takes a new size only when all its paths tell it.
    OnePathTellsSize = "one-path-tells-size", "I18";
    /// A unit that does not tell its port groups is asked whether it is ready.
    RefusalIsNotReady = "refusal-is-not-ready", "L2";
    /// A network that has delivered everything is alive.
    AcknowledgedIsDead = "acknowledged-is-dead", "I19";
    /// A connection whose network is dead is ended early only if another path was heard from.
    NoWitnessNeeded = "no-witness-needed", "I19";
    /// Between two requests that a port group become active there is a pause.
    ActivatesWithoutPause = "activates-without-pause", "L4";
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;
    use crate::session::SessionConfig;

    #[test]
    fn no_bug_is_switched_on_by_default_in_any_build() {
        let planted = [
            Planted::default(),
            Planted::NONE,
            SessionConfig::default().planted,
        ];
        for &bug in Bug::ALL {
            assert!(planted.iter().all(|planted| !planted.has(bug)), "{bug:?}");
        }
    }

    #[test]
    fn names_are_unique_and_lead_back() {
        let names: BTreeSet<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        assert_eq!(names.len(), Bug::ALL.len());
        for &bug in Bug::ALL {
            assert_eq!(Bug::named(bug.name()), Some(bug));
        }
        assert_eq!(Bug::named("none"), None);
    }

    #[cfg(feature = "__planted")]
    #[test]
    fn exactly_one_bug_is_switched_on_at_a_time() {
        for &bug in Bug::ALL {
            let on = Bug::ALL
                .iter()
                .filter(|&&other| Planted::with(bug).has(other));
            assert!(on.eq([&bug]));
        }
    }

    #[cfg(not(feature = "__planted"))]
    #[test]
    fn without_the_feature_it_takes_no_room() {
        assert_eq!(size_of::<Planted>(), 0);
    }
}
