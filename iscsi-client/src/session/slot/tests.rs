//! Who gets a slot, and when one is free again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Wake,
    time::Duration,
};

use super::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn waker() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count::default());
    (Arc::clone(&count), count.into())
}

fn submit(slots: &mut Slots, ticket: &mut Option<Ticket>) -> Option<OpId> {
    slots.submit(Class::Command, ticket, &mut Some(Work::Ping(None)), None)
}

fn run(slots: &mut Slots) -> Vec<OpId> {
    let mut batch = Vec::new();
    slots.take_submitted(&mut batch);
    batch.into_iter().map(|(op, _)| op).collect()
}

fn finish(slots: &mut Slots, op: OpId) -> (Vec<Waker>, Vec<Finished>) {
    let (mut wakers, mut trash) = (Vec::new(), Vec::new());
    slots.finish(
        op,
        Finished::Ping(Ok(Duration::ZERO)),
        &mut wakers,
        &mut trash,
    );
    (wakers, trash)
}

#[test]
fn slots_go_to_the_line_in_order_and_never_to_a_newcomer() {
    let mut slots = Slots::new(1);
    let first = submit(&mut slots, &mut None).unwrap();
    let (count_a, waker_a) = waker();
    let (count_b, waker_b) = waker();
    let (mut a, mut b) = (None, None);
    slots.wait(&mut a, &waker_a, None);
    slots.wait(&mut b, &waker_b, None);
    run(&mut slots);
    finish(&mut slots, first);
    let Poll::Ready((_, Some(next))) = slots.poll(first, Waker::noop()) else {
        panic!()
    };
    next.wake();
    assert_eq!(
        (
            count_a.0.load(Ordering::Relaxed),
            count_b.0.load(Ordering::Relaxed)
        ),
        (1, 0)
    );
    assert_eq!(
        submit(&mut slots, &mut None),
        None,
        "a newcomer does not overtake"
    );
    assert_eq!(submit(&mut slots, &mut b), None, "nor does the second");
    assert!(submit(&mut slots, &mut a).is_some());
    assert_eq!(a, None);
}

#[test]
fn whoever_leaves_the_line_passes_the_wake_up_on() {
    let mut slots = Slots::new(1);
    let first = submit(&mut slots, &mut None).unwrap();
    let (mut a, mut b) = (None, None);
    let (count, waker) = waker();
    slots.wait(&mut a, Waker::noop(), None);
    slots.wait(&mut b, &waker, None);
    assert!(matches!(
        slots.abandon(first),
        Abandoned::Unsent(_, Some(_))
    ));
    slots.leave(a.unwrap()).unwrap().wake();
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert!(submit(&mut slots, &mut b).is_some());
}

#[test]
fn what_the_driver_has_not_seen_leaves_no_trace() {
    let mut slots = Slots::new(2);
    let dropped = submit(&mut slots, &mut None).unwrap();
    assert!(matches!(slots.abandon(dropped), Abandoned::Unsent(..)));
    let reused = submit(&mut slots, &mut None).unwrap();
    assert_eq!(dropped.index, reused.index);
    assert_eq!(run(&mut slots), [reused], "the stale name is skipped");
}

#[test]
fn a_dropped_running_operation_frees_its_slot_when_the_driver_is_done_with_it() {
    let mut slots = Slots::new(1);
    let op = submit(&mut slots, &mut None).unwrap();
    run(&mut slots);
    assert!(matches!(slots.abandon(op), Abandoned::Running));
    assert!(!slots.has_free());
    let mut revoked = Vec::new();
    slots.take_revoked(&mut revoked);
    let then = Then::Abort;
    assert_eq!(revoked, [Revocation { op, then }]);
    let (_, trash) = finish(&mut slots, op);
    assert_eq!(trash.len(), 1, "nobody fetches it");
    assert!(slots.has_free());
    assert_eq!(
        finish(&mut slots, op).1.len(),
        1,
        "a stale result is dropped"
    );
}

#[test]
fn what_was_detached_is_not_aborted_when_its_future_is_dropped() {
    let mut slots = Slots::new(1);
    let op = submit(&mut slots, &mut None).unwrap();
    run(&mut slots);
    assert!(slots.revoke(op, Then::Leave));
    assert!(matches!(slots.abandon(op), Abandoned::Running));
    let mut revoked = Vec::new();
    slots.take_revoked(&mut revoked);
    let then = Then::Leave;
    assert_eq!(revoked, [Revocation { op, then }]);
}

#[test]
fn pings_have_slots_of_their_own() {
    let mut slots = Slots::new(1);
    submit(&mut slots, &mut None).unwrap();
    let mut ping = || slots.submit(Class::Control, &mut None, &mut Some(Work::Ping(None)), None);
    assert!((0..CONTROL_SLOTS).all(|_| ping().is_some()));
    assert_eq!(ping(), None);
}

#[test]
fn whoever_waits_too_long_is_woken_once() {
    let at = Instant::from_nanos;
    let mut slots = Slots::new(1);
    submit(&mut slots, &mut None).unwrap();
    let (count, waker) = waker();
    let (mut a, mut b) = (None, None);
    assert!(slots.wait(&mut a, &waker, Some(at(20))));
    assert!(!slots.wait(&mut b, Waker::noop(), Some(at(30))));
    assert_eq!(slots.line_due(), Some(at(20)));
    let mut wakers = Vec::new();
    slots.expire_line(at(20), &mut wakers);
    wakers.into_iter().for_each(Waker::wake);
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert_eq!(slots.line_due(), Some(at(30)), "it is not woken again");
}
