//! Histories that must be refused, next to those that must not.

use super::*;

const UNIT: u16 = 0;

/// A history in the making: each step is one microsecond later.
#[derive(Default)]
struct Story {
    history: History,
    now: u64,
}

impl Story {
    fn tick(&mut self) -> u64 {
        self.now += 1_000;
        self.now
    }

    fn start(&mut self, client: u16, kind: Kind) -> OpId {
        self.start_at(client, kind, 8..9)
    }

    fn start_at(&mut self, client: u16, kind: Kind, blocks: std::ops::Range<u64>) -> OpId {
        let now = self.tick();
        self.history.invoke(
            now,
            Op {
                client,
                device: client,
                unit: UNIT,
                kind,
                blocks,
            },
        )
    }

    fn end(&mut self, id: OpId, end: End) {
        let now = self.tick();
        self.history.respond(now, id, end);
    }

    fn write(&mut self, stamp: Stamp, end: End) -> OpId {
        let id = self.start(stamp.writer(), Kind::Write { stamp });
        self.end(id, end);
        id
    }

    fn read(&mut self, stamp: Stamp) {
        let id = self.start(9, Kind::Read);
        self.end(id, End::Read(vec![Ok(stamp)]));
    }

    fn flush(&mut self) {
        let id = self.start(1, Kind::Flush);
        self.end(id, End::Flushed);
    }

    fn power_loss(&mut self) {
        let now = self.tick();
        self.history.power_loss(now, UNIT);
    }

    fn verdict(&self, rules: Rules) -> Result<Summary, Row> {
        check(&self.history, rules).map_err(|violation| violation.row)
    }

    #[track_caller]
    fn passes(&self) {
        check(&self.history, Rules::default()).unwrap();
    }

    #[track_caller]
    fn breaks(&self, row: Row) {
        assert_eq!(self.verdict(Rules::default()), Err(row));
    }
}

const A: Stamp = Stamp::new(1, 1);
const B: Stamp = Stamp::new(1, 2);
const C: Stamp = Stamp::new(1, 3);
const UNKNOWN: End = End::Failed(ExecutionKnowledge::Unknown);
const FENCED: Rules = Rules {
    ghosts: Ghosts::DeadByNextAck,
};

const GIVEN_UP: Rules = Rules {
    ghosts: Ghosts::MayLandAgain,
};

#[test]
fn what_was_given_up_after_several_attempts_may_land_more_than_once() {
    let mut story = Story::default();
    story.write(A, UNKNOWN);
    story.read(A);
    story.write(B, End::Wrote);
    story.read(B);
    story.read(A);
    story.breaks(Row::I1);
    assert!(story.verdict(GIVEN_UP).is_ok());
    // The others are judged all the same.
    story.write(C, End::Wrote);
    story.read(C);
    story.read(A);
    story.read(B);
    assert_eq!(story.verdict(GIVEN_UP), Err(Row::I1));
}

#[test]
fn what_a_register_does_passes() {
    let mut story = Story::default();
    story.read(Stamp::INITIAL);
    story.write(A, End::Wrote);
    story.read(A);
    story.write(B, End::Wrote);
    story.read(B);
    story.passes();
    let summary = story.verdict(Rules::default()).unwrap();
    assert_eq!(
        (summary.operations, summary.checked, summary.blocks),
        (5, 5, 1)
    );
    assert_eq!((summary.block_reads, summary.block_writes), (3, 2));
}

#[test]
fn a_stale_read_is_refused() {
    let mut story = Story::default();
    story.write(A, End::Wrote);
    story.write(B, End::Wrote);
    story.read(A);
    story.breaks(Row::I1);
}

#[test]
fn a_lost_write_is_refused() {
    let mut story = Story::default();
    story.write(A, End::Wrote);
    story.read(Stamp::INITIAL);
    story.breaks(Row::I1);
}

#[test]
fn a_value_that_comes_back_is_refused() {
    let mut story = Story::default();
    story.write(A, End::Wrote);
    story.read(A);
    story.write(B, End::Wrote);
    story.read(B);
    story.read(A);
    story.breaks(Row::I1);
}

#[test]
fn two_readers_must_agree_on_the_order_of_concurrent_writes() {
    let other = Stamp::new(2, 1);
    let mut story = Story::default();
    let first = story.start(1, Kind::Write { stamp: A });
    let second = story.start(2, Kind::Write { stamp: other });
    story.read(A);
    story.read(other);
    story.passes();
    story.read(A);
    story.end(first, End::Wrote);
    story.end(second, End::Wrote);
    story.breaks(Row::I1);
}

#[test]
fn a_concurrent_read_may_see_either_value() {
    for seen in [Stamp::INITIAL, A] {
        let mut story = Story::default();
        let write = story.start(1, Kind::Write { stamp: A });
        let read = story.start(2, Kind::Read);
        story.end(write, End::Wrote);
        story.end(read, End::Read(vec![Ok(seen)]));
        story.passes();
    }
}

#[test]
fn a_value_from_nowhere_and_one_from_the_future_are_refused() {
    let mut story = Story::default();
    story.read(A);
    story.breaks(Row::I3);
    story.write(A, End::Wrote);
    story.breaks(Row::I1);
}

#[test]
fn torn_and_misplaced_blocks_and_short_reads_are_refused() {
    let mixed = Torn::Mixed { stamp: A, at: 256 };
    let misplaced = Torn::Misplaced { stamp: A, block: 7 };
    for blocks in [vec![Err(mixed)], vec![Err(misplaced)], vec![]] {
        let mut story = Story::default();
        story.write(A, End::Wrote);
        let read = story.start(2, Kind::Read);
        story.end(read, End::Read(blocks));
        story.breaks(Row::I3);
    }
}

#[test]
fn blocks_of_one_write_are_judged_each_by_itself() {
    let mut story = Story::default();
    let write = story.start_at(1, Kind::Write { stamp: A }, 4..6);
    let read = story.start_at(2, Kind::Read, 4..6);
    story.end(read, End::Read(vec![Ok(A), Ok(Stamp::INITIAL)]));
    story.end(write, End::Wrote);
    story.passes();
    let read = story.start_at(2, Kind::Read, 4..6);
    story.end(read, End::Read(vec![Ok(A), Ok(Stamp::INITIAL)]));
    story.breaks(Row::I1);
}

#[test]
fn what_was_not_executed_may_not_be_seen() {
    let mut story = Story::default();
    story.write(A, End::Failed(ExecutionKnowledge::NotExecuted));
    story.read(Stamp::INITIAL);
    story.passes();
    story.read(A);
    story.breaks(Row::I2);
}

#[test]
fn a_failed_write_may_have_happened_but_not_later() {
    for knowledge in [ExecutionKnowledge::Executed, ExecutionKnowledge::Dead] {
        for seen in [Stamp::INITIAL, A] {
            let mut story = Story::default();
            story.write(A, End::Failed(knowledge));
            story.read(seen);
            story.passes();
        }
        let mut story = Story::default();
        story.write(A, End::Failed(knowledge));
        story.read(Stamp::INITIAL);
        story.read(A);
        story.breaks(Row::I1);
    }
}

#[test]
fn an_unknown_write_may_happen_until_it_is_proven_dead() {
    for end in [UNKNOWN, End::Dropped] {
        let mut story = Story::default();
        let write = story.write(A, end.clone());
        story.read(Stamp::INITIAL);
        story.read(A);
        story.passes();
        let mut story_of_a_dead = Story::default();
        let write_dead = story_of_a_dead.write(A, end);
        assert_eq!(write, write_dead);
        let now = story_of_a_dead.tick();
        story_of_a_dead.history.proven_dead(now, write_dead);
        story_of_a_dead.read(Stamp::INITIAL);
        story_of_a_dead.read(A);
        story_of_a_dead.breaks(Row::I1);
    }
}

#[test]
fn a_ghost_that_lands_on_a_newer_write_is_refused_where_it_was_to_be_fenced() {
    let mut story = Story::default();
    story.write(A, UNKNOWN);
    story.write(B, End::Wrote);
    story.read(B);
    story.read(A);
    story.passes();
    assert_eq!(story.verdict(FENCED), Err(Row::I16));
}

#[test]
fn a_ghost_that_landed_before_the_newer_write_passes_also_where_it_is_fenced() {
    let mut story = Story::default();
    story.write(A, UNKNOWN);
    story.read(Stamp::INITIAL);
    let newer = story.start(1, Kind::Write { stamp: B });
    story.read(A);
    story.end(newer, End::Wrote);
    story.read(B);
    assert!(story.verdict(FENCED).is_ok());
}

#[test]
fn another_clients_write_lays_no_ghost() {
    let mut story = Story::default();
    story.write(A, UNKNOWN);
    let other = Stamp::new(2, 1);
    story.write(other, End::Wrote);
    story.read(other);
    story.read(A);
    assert!(story.verdict(FENCED).is_ok());
}

#[test]
fn a_write_that_was_repeated_after_a_newer_one_is_refused() {
    // The ghost of A: acknowledged through another path, B after it, and A lands again.
    let mut story = Story::default();
    story.write(A, End::Wrote);
    story.write(B, End::Wrote);
    story.read(A);
    story.breaks(Row::I1);
}

#[test]
fn a_write_of_a_former_life_may_not_land_on_one_of_the_new() {
    let mut story = Story::default();
    story.start(1, Kind::Write { stamp: A });
    let now = story.tick();
    story.history.crash(now, 1);
    assert_eq!(story.history.open(), 0);
    story.write(B, End::Wrote);
    story.read(B);
    assert!(story.verdict(FENCED).is_ok());
    story.read(A);
    assert_eq!(story.verdict(FENCED), Err(Row::I16));
}

#[test]
fn a_second_end_is_refused() {
    let mut story = Story::default();
    let write = story.write(A, End::Wrote);
    story.end(write, UNKNOWN);
    story.breaks(Row::I4);
}

#[test]
fn a_flushed_write_survives_a_power_loss_or_is_refused() {
    let mut story = Story::default();
    story.write(A, End::Wrote);
    story.flush();
    story.power_loss();
    story.read(Stamp::INITIAL);
    story.breaks(Row::I14);
    let mut story = Story::default();
    story.write(A, End::Wrote);
    story.flush();
    story.power_loss();
    story.read(A);
    story.passes();
}

#[test]
fn what_was_not_flushed_may_be_lost_once() {
    let mut story = Story::default();
    story.write(A, End::Wrote);
    story.flush();
    story.write(B, End::Wrote);
    story.read(B);
    story.power_loss();
    story.read(A);
    story.passes();
    // Lost is lost: what the block had survived with stays.
    story.read(B);
    story.breaks(Row::I1);
}

#[test]
fn a_flush_covers_what_was_acknowledged_before_it_was_asked_for() {
    let mut story = Story::default();
    let flush = story.start(1, Kind::Flush);
    story.write(A, End::Wrote);
    story.end(flush, End::Flushed);
    story.power_loss();
    story.read(Stamp::INITIAL);
    story.passes();
}

#[test]
fn a_flush_after_the_loss_brings_nothing_back() {
    let mut story = Story::default();
    story.write(A, End::Wrote);
    story.power_loss();
    story.flush();
    story.read(Stamp::INITIAL);
    story.power_loss();
    story.read(Stamp::INITIAL);
    story.passes();
    story.write(B, End::Wrote);
    story.flush();
    story.power_loss();
    story.read(B);
    story.passes();
    story.read(Stamp::INITIAL);
    story.breaks(Row::I1);
}

#[test]
fn durability_is_not_forgotten_over_several_losses() {
    let mut story = Story::default();
    story.write(A, End::Wrote);
    story.flush();
    for _ in 0..3 {
        story.power_loss();
    }
    story.read(Stamp::INITIAL);
    story.breaks(Row::I14);
}

#[test]
fn within_a_period_a_block_is_still_a_register() {
    let mut story = Story::default();
    story.power_loss();
    story.write(A, End::Wrote);
    story.write(B, End::Wrote);
    story.read(A);
    story.breaks(Row::I1);
    let mut story = Story::default();
    story.power_loss();
    story.write(A, End::Wrote);
    story.read(Stamp::INITIAL);
    story.breaks(Row::I1);
}

#[test]
fn a_write_under_way_at_the_loss_may_be_lost_or_happen_later() {
    for seen in [Stamp::INITIAL, A] {
        let mut story = Story::default();
        let write = story.start(1, Kind::Write { stamp: A });
        story.power_loss();
        story.end(write, End::Wrote);
        story.read(seen);
        story.passes();
    }
}

#[test]
fn the_account_shows_the_operations_in_order_of_time() {
    let mut story = Story::default();
    story.write(A, End::Wrote);
    story.write(B, End::Wrote);
    story.read(A);
    let text = check(&story.history, Rules::default())
        .unwrap_err()
        .to_string();
    let expected = "\
I1 (each block behaves like a register for all acknowledged reads and writes): block 8 of unit 0: \
w1#1 was there before w1#2 and after it: a stale read, a lost write of w1#2, or w1#1 landed late
    * 0.000001s..0.000002s client 1 write w1#1 8..9 -> acknowledged
    * 0.000003s..0.000004s client 1 write w1#2 8..9 -> acknowledged
    * 0.000005s..0.000006s client 9 read 8..9 -> found w1#1";
    assert_eq!(text, expected);
}

#[test]
#[should_panic(expected = "one stamp")]
fn two_writes_of_one_stamp_allow_no_verdict() {
    let mut story = Story::default();
    story.write(A, End::Wrote);
    story.write(A, End::Wrote);
    story.passes();
}
