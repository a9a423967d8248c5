//! What was ordered of which device, and what followed from it.

use iscsi_proto::scsi::ReservationKey;
use mpio::RegistrationKeys;

use crate::simulate::check::reserved::{Order, Span};

/// An order that was given.
#[derive(Clone, Debug)]
pub(in crate::simulate) struct Given {
    pub(super) device: usize,
    pub(super) order: Order,
    pub(super) begun: u64,
    /// And whether it was carried out. `None` while it is under way, and for ever if its host has died.
    pub(super) ended: Option<(u64, bool)>,
}

/// All of a world.
#[derive(Clone, Debug, Default)]
pub(in crate::simulate) struct Book {
    given: Vec<Given>,
    /// What each device was registered with, and since when.
    wanted: Vec<(usize, u64, RegistrationKeys)>,
    /// When a device told that its registration is lost.
    lost: Vec<(usize, u64)>,
    /// When it was closed, or died with its host.
    ends: Vec<(usize, u64)>,
}

impl Book {
    pub(super) fn begin(&mut self, now: u64, device: usize, order: Order) -> usize {
        self.given.push(Given {
            device,
            order,
            begun: now,
            ended: None,
        });
        self.given.len() - 1
    }

    /// A device is to be registered with these keys.
    pub(super) fn wants(&mut self, now: u64, device: usize, keys: RegistrationKeys) {
        self.wanted.push((device, now, keys));
    }

    /// Whether a key is known, at a time, as one of the device that is there. One that was closed before tells the next
    /// one nothing of its keys, and what was given up is anybody's; of a path that was away then it was not: `remained`
    /// tells whether a nexus of the host had this key at a time.
    pub(super) fn knew(
        &self,
        device: usize,
        at: u64,
        key: ReservationKey,
        remained: impl Fn(u64) -> bool,
    ) -> bool {
        let closed = self.ends.iter().filter(|(of, _)| *of == device);
        let closed = closed.map(|(_, end)| *end);
        let given_up = self.done(device).filter_map(|(order, span)| {
            let is_over = match order {
                Order::Unregister => !remained(span.to),
                order => order == Order::Clear,
            };
            is_over.then_some(span.to)
        });
        let since = closed.chain(given_up).filter(|end| *end <= at).max();
        let since = since.unwrap_or(0)..=at;
        let mut wanted = self.wanted.iter();
        wanted.any(|(of, at, keys)| *of == device && since.contains(at) && keys.owns(key))
    }

    pub(super) fn end(&mut self, now: u64, number: usize, done: bool) {
        if let Some(given) = self.given.get_mut(number) {
            given.ended = Some((now, done));
        }
    }

    /// A device has told that somebody has ended its registration.
    pub(in crate::simulate) fn lost(&mut self, now: u64, device: usize) {
        self.lost.push((device, now));
    }

    /// A device is there no more.
    pub(in crate::simulate) fn ends(&mut self, now: u64, device: usize) {
        self.ends.push((device, now));
    }

    pub(super) fn was_lost(&self, device: usize) -> bool {
        self.lost.iter().any(|(of, _)| *of == device)
    }

    /// From when to when the registration of a device stood; `others`: when somebody else ended any of it.
    pub(super) fn stood(&self, device: usize, others: &[u64]) -> Vec<Span> {
        let own = |of: &&(usize, u64)| of.0 == device;
        let (lost, ends) = (self.lost.iter().filter(own), self.ends.iter().filter(own));
        let mut ends: Vec<u64> = lost.chain(ends).map(|(_, at)| *at).collect();
        ends.extend(others);
        let mut made = Vec::new();
        for given in self.given.iter().filter(|given| given.device == device) {
            match (given.order, given.ended) {
                (Order::Register, Some((at, true))) => made.push((given.begun, at)),
                (Order::Register | Order::Unregister | Order::Clear, _) => ends.push(given.begun),
                _ => {}
            }
        }
        ends.sort_unstable();
        let mut spans: Vec<Span> = Vec::new();
        for (begun, from) in made {
            let after = ends.partition_point(|end| *end < begun);
            let to = ends.get(after).copied().unwrap_or(u64::MAX);
            let goes_on = spans.last().is_some_and(|last| from <= last.to);
            if from < to && !goes_on {
                spans.push(Span { from, to });
            }
        }
        spans
    }

    /// From when to when a device was being registered, as its program wanted.
    pub(in crate::simulate) fn registering(&self, device: usize) -> Vec<Span> {
        let is_it = |given: &&Given| given.device == device && given.order == Order::Register;
        let given = self.given.iter().filter(is_it);
        let span = |given: &Given| Span {
            from: given.begun,
            to: given.ended.map_or(u64::MAX, |(at, _)| at),
        };
        given.map(span).collect()
    }

    /// All orders of a device, and when each may have been carried out: one that has failed perhaps later.
    pub(super) fn given(&self, device: usize) -> impl Iterator<Item = (Order, Span)> + '_ {
        let own = self
            .given
            .iter()
            .filter(move |given| given.device == device);
        own.map(|given| {
            let to = given.ended.filter(|(_, done)| *done);
            let (from, to) = (given.begun, to.map_or(u64::MAX, |(at, _)| at));
            (given.order, Span { from, to })
        })
    }

    /// All orders of a device that were carried out, and when.
    pub(in crate::simulate) fn done(
        &self,
        device: usize,
    ) -> impl Iterator<Item = (Order, Span)> + '_ {
        let own = self
            .given
            .iter()
            .filter(move |given| given.device == device);
        own.filter_map(|given| {
            let (to, true) = given.ended? else {
                return None;
            };
            let from = given.begun;
            Some((given.order, Span { from, to }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_remains_somewhere_is_not_given_up() {
        let key = ReservationKey(7);
        let mut book = Book::default();
        book.wants(10, 0, key.into());
        assert!(book.knew(0, 15, key, |_| false));
        for (order, remains, known) in [
            (Order::Unregister, false, false),
            (Order::Unregister, true, true),
            (Order::Clear, true, false),
        ] {
            let mut book = book.clone();
            let number = book.begin(20, 0, order);
            book.end(30, number, true);
            assert_eq!(book.knew(0, 40, key, |_| remains), known, "{order:?}");
        }
    }

    #[test]
    fn an_order_that_has_failed_may_be_carried_out_later() {
        let mut book = Book::default();
        for done in [true, false] {
            let number = book.begin(20, 0, Order::Clear);
            book.end(30, number, done);
        }
        let ends: Vec<u64> = book.given(0).map(|(_, span)| span.to).collect();
        assert_eq!(ends, [30, u64::MAX]);
    }
}
