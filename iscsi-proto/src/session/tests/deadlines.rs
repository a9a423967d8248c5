//! The earliest deadline is kept and not searched for; here it is searched for and compared.

use super::*;
use crate::session::{TaskManagement, TimeoutLadder};

/// A linear congruential generator: the same sequence for the same seed, everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn deadline(&mut self, now: Instant) -> Option<Instant> {
        match self.roll(4) {
            0 => None,
            _ => Some(now.saturating_add(Duration::from_millis(self.roll(60)))),
        }
    }
}

fn harness() -> Harness {
    let ladder = TimeoutLadder {
        abort_task: Some(Duration::from_millis(40)),
        logical_unit_reset: Some(Duration::from_millis(80)),
        detached: Duration::from_millis(30),
    };
    let config = SessionConfig {
        max_tasks: 24,
        nop_interval: None,
        acknowledge_after: None,
        ladder,
        ..SessionConfig::default()
    };
    Harness::with(parameters(), config)
}

/// The earliest deadline there is, found the slow way.
fn searched(h: &Harness) -> Option<Instant> {
    h.session
        .tasks
        .iter()
        .filter_map(|task| task.deadline)
        .min()
}

/// One of the things that a caller, a target or the time can do to a session. False when it ended.
fn something_happens(
    h: &mut Harness,
    dice: &mut Dice,
    commands: &mut Vec<InitiatorTaskTag>,
    functions: &mut Vec<InitiatorTaskTag>,
) -> bool {
    let now = h.now;
    let pick = |tags: &mut Vec<InitiatorTaskTag>, dice: &mut Dice| match tags.len() {
        0 => None,
        n => Some(tags.swap_remove(dice.roll(n as u64) as usize)),
    };
    let mut go_on = Ok(());
    match dice.roll(10) {
        0..=2 => {
            let (cdb, data) = match dice.roll(2) {
                0 => (Cdb::read16(0, 2, false), DataLength::In(1024)),
                _ => (Cdb::write16(0, 4, false), DataLength::Out(2048)),
            };
            let mut command = Command::new(Lun::new(1), cdb, data);
            command.deadline = dice.deadline(now);
            if let Ok(itt) = h.session.submit(now, &command) {
                h.memory.0.insert(itt.0, pattern(0, 2048));
                commands.push(itt);
            }
        }
        3 => _ = h.session.ping(now, dice.deadline(now)),
        4 => {
            if let Some(itt) = commands.first() {
                let request = TaskManagement::QueryTask(*itt);
                let request = match dice.roll(2) {
                    0 => TaskManagement::AbortTaskSet(Lun::new(1)),
                    _ => request,
                };
                _ = h.session.task_management(now, request, dice.deadline(now));
            }
        }
        5 => {
            if let Some(itt) = commands.first() {
                match dice.roll(2) {
                    0 => h.session.detach(now, *itt),
                    _ => h.session.abandon(now, *itt),
                }
            }
        }
        6 | 7 => {
            let answers = h.sent().into_iter().filter_map(|(pdu, _)| match pdu {
                Pdu::TaskManagementRequest(request) => Some(request.itt),
                _ => None,
            });
            functions.extend(answers);
        }
        8 => {
            let sent = |h: &Harness, itt| {
                let task = h.session.tasks.get(itt);
                task.is_some_and(|task| task.begin.is_some())
            };
            if let Some(itt) = pick(commands, dice).filter(|itt| sent(h, *itt)) {
                h.max_cmd_sn = h.max_cmd_sn.wrapping_add(1);
                go_on = h.good(itt);
            } else if let Some(itt) = pick(functions, dice).filter(|itt| sent(h, *itt)) {
                let bhs = h.managed(itt, TaskManagementResponseCode::FunctionComplete);
                go_on = h.feed(bhs, &[]);
            }
        }
        _ => {
            h.advance(Duration::from_millis(dice.roll(12)));
            let now = h.now;
            if h.session.poll_timeout().is_some_and(|due| due <= now) {
                go_on = h.session.handle_timeout(now);
                if go_on.is_ok() {
                    // Whoever drives the session sleeps until then: a moment that has passed would be a
                    // loop, and what is due was done.
                    assert!(h.session.poll_timeout().is_none_or(|due| due > now));
                    assert!(searched(h).is_none_or(|due| due > now));
                }
            }
        }
    }
    go_on.is_ok()
}

#[test]
fn the_bound_never_lies_behind_the_earliest_deadline() {
    let (mut fired, mut ended) = (0, 0);
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let mut h = harness();
        let (mut commands, mut functions) = (Vec::new(), Vec::new());
        for _ in 0..400 {
            if !something_happens(&mut h, &mut dice, &mut commands, &mut functions) {
                ended += 1;
                break;
            }
            let (bound, earliest) = (h.session.deadlines.get(), searched(&h));
            if let Some(earliest) = earliest {
                assert!(bound.is_some_and(|bound| bound <= earliest), "seed {seed}");
                assert!(h.session.poll_timeout().is_some_and(|due| due <= earliest));
            }
            commands.retain(|itt| h.session.tasks.get(*itt).is_some());
            let events = h.events();
            fired += events
                .iter()
                .filter(|event| matches!(event, Event::CommandLate { .. }))
                .count();
        }
    }
    // The dice do reach the deadlines, and the last rung.
    assert!(fired > 100 && ended > 0, "{fired}, {ended}");
}

/// What keeps the scans rare: a deadline of a command that was answered in time is met once at most,
/// and then the true minimum holds.
#[test]
fn after_a_stale_deadline_the_bound_is_exact() {
    let mut h = harness();
    let mut command = Command::new(Lun::new(1), Cdb::read16(0, 1, false), DataLength::In(512));
    command.deadline = Some(Instant::from_nanos(1_000));
    let early = h.session.submit(h.now, &command).unwrap();
    command.deadline = Some(Instant::from_nanos(9_000));
    h.session.submit(h.now, &command).unwrap();
    h.memory.0.insert(early.0, vec![0; 512]);
    h.sent();
    h.feed(h.data_in(early, 0, 0, 512).emit(), &[1; 512])
        .unwrap();
    h.good(early).unwrap();
    assert_eq!(h.session.poll_timeout(), Some(Instant::from_nanos(1_000)));
    h.session
        .handle_timeout(Instant::from_nanos(1_000))
        .unwrap();
    assert_eq!(h.session.poll_timeout(), Some(Instant::from_nanos(9_000)));
}
