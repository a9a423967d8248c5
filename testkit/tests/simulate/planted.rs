//! Planted bugs are found, each by a seed that is known to find it and that finds nothing without it.
//!
//! `simulate --planted all` finds the seeds anew when worlds are drawn in another way, or differ after the
//! same draws since the product does.

use iscsi_proto::planted::{Bug, Planted};
use iscsi_testkit::simulate::{Plan, run};

#[track_caller]
fn finds(bug: Bug, seed: u64) {
    let mut plan = Plan::draw(seed);
    let clean = run(&plan);
    assert!(clean.findings.is_empty(), "without the bug: {clean}");
    plan.planted = Planted::with(bug);
    assert!(
        !run(&plan).findings.is_empty(),
        "seed {seed} no longer finds {0}: if worlds are drawn in another way, or differ after the same draws, \
         `simulate --planted {0}` names another (it needs the feature __planted)",
        bug.name()
    );
}

macro_rules! found {
    ($($test:ident: $bug:ident by $seed:literal;)+) => {
        $(
            #[test]
            fn $test() {
                finds(Bug::$bug, $seed);
            }
        )+
    };
}

found! {
    data_sn_not_reset: DataSnNotReset by 0;
    r2t_offset_ignored: R2tOffsetIgnored by 0;
    data_in_offset_ignored: DataInOffsetIgnored by 0;
    short_data_accepted: ShortDataAccepted by 18;
    underflow_ignored: UnderflowIgnored by 57;
    data_digest_ignored: DataDigestIgnored by 44;
    acknowledges_too_much: AcknowledgesTooMuch by 0;
    window_ignored: WindowIgnored by 2;
    max_cmd_sn_plain: MaxCmdSnPlain by 2;
    immediate_takes_cmd_sn: ImmediateTakesCmdSn by 0;
    first_burst_ignored: FirstBurstIgnored by 0;
    segment_too_long: SegmentTooLong by 5;
    final_bit_lost: FinalBitLost by 0;
    slot_reused_early: SlotReusedEarly by 481;
    sent_means_not_executed: SentMeansNotExecuted by 2;
    memory_back_too_early: MemoryBackTooEarly by 84;
    abort_means_not_executed: AbortMeansNotExecuted by 1196;
    timeouts_never_fire: TimeoutsNeverFire by 47;
    reconnects_as_another: ReconnectsAsAnother by 56;
    line_not_woken: LineNotWoken by 3;
    dropped_read_stored: DroppedReadStored by 1;
    task_set_full_is_success: TaskSetFullIsSuccess by 159;
    attention_is_success: AttentionIsSuccess by 2;
    flush_not_sent: FlushNotSent by 1;
    split_failure_ignored: SplitFailureIgnored by 177;
    ghost_forgotten: GhostForgotten by 6;
    quiet_time_skipped: QuietTimeSkipped by 60;
    every_login_is_barrier: EveryLoginIsBarrier by 300;
    another_nexus_counts: AnotherNexusCounts by 558;
    healthy_path_preempted: HealthyPathPreempted by 676;
    conflict_is_proof: ConflictIsProof by 9402;
    writes_before_registered: WritesBeforeRegistered by 23;
    partial_overlap_ignored: PartialOverlapIgnored by 1;
    held_not_released: HeldNotReleased by 2;
    last_outcome_counts: LastOutcomeCounts by 51;
    region_loaded_per_attempt: RegionLoadedPerAttempt by 0;
    recalled_read_is_success: RecalledReadIsSuccess by 0;
    window_news_lost: WindowNewsLost by 2;
    reconnects_without_pause: ReconnectsWithoutPause by 20;
    time2wait_ignored: Time2WaitIgnored by 2;
    identity_unchecked: IdentityUnchecked by 8;
    attention_swallowed: AttentionSwallowed by 0;
    attention_told_twice: AttentionToldTwice by 0;
    conflict_is_busy: ConflictIsBusy by 2;
    dropped_means_not_executed: DroppedMeansNotExecuted by 44;
    standby_used: StandbyUsed by 4;
    best_group_forgotten: BestGroupForgotten by 16;
    checks_without_pause: ChecksWithoutPause by 0;
    target_proof_ignored: TargetProofIgnored by 25;
    hedges_without_budget: HedgesWithoutBudget by 11;
    second_ghost_forgotten: SecondGhostForgotten by 2327;
    failed_rung_proves: FailedRungProves by 403;
    flush_failure_ignored: FlushFailureIgnored by 622;
    claims_are_kept: ClaimsAreKept by 1;
    former_life_forgotten: FormerLifeForgotten by 1;
    first_login_reinstates_all: FirstLoginReinstatesAll by 1350;
    former_time_skipped: FormerTimeSkipped by 1;
    shared_repeats_at_once: SharedRepeatsAtOnce by 2666;
    access_not_asked_again: AccessNotAskedAgain by 4;
    name_not_asked_again: NameNotAskedAgain by 24;
    carrier_never_back: CarrierNeverBack by 9;
    marginal_never_promoted: MarginalNeverPromoted by 28;
    marginal_used_first: MarginalUsedFirst by 28;
    spare_takes_its_turn: SpareTakesItsTurn by 17;
    spare_stays: SpareStays by 0;
    used_before_registered: UsedBeforeRegistered by 13;
    old_key_kept: OldKeyKept by 14;
    preempted_comes_back: PreemptedComesBack by 5;
    not_held_meanwhile: NotHeldMeanwhile by 613;
    shrinks_unasked: ShrinksUnasked by 4;
    one_path_tells_size: OnePathTellsSize by 11;
    refusal_is_not_ready: RefusalIsNotReady by 164;
    acknowledged_is_dead: AcknowledgedIsDead by 0;
    no_witness_needed: NoWitnessNeeded by 57;
    activates_without_pause: ActivatesWithoutPause by 10;
}
