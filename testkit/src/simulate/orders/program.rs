//! A program that gives orders, one device's.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, select};
use iscsi_proto::scsi::{ReservationKey, ReservationType};
use mpio::{MultipathDevice, RegistrationKeys, Registrations, ReserveError};

use super::{Orders, is_of};
use crate::{
    sim::Rng,
    simulate::{
        check::{
            Row,
            reserved::{Order, Span},
        },
        job::Job,
        trace::Note,
        world::World,
    },
};

/// Between two attempts to do what has failed.
const RETRY: Duration = Duration::from_millis(500);

/// An order to one device, of several that are given to it.
struct Program {
    world: Arc<World>,
    orders: Orders,
    device: usize,
    host: u8,
    rng: Rng,
    /// What the device of this opening is registered with, as far as this program knows.
    registered: Option<(u32, RegistrationKeys)>,
    /// Counts the keys of this host's unit.
    number: u32,
}

/// Starts the programs of a host, in its life `life`.
pub(in crate::simulate) fn begin(world: &Arc<World>, host: u8, life: u32) {
    let Some(orders) = world.plan.orders else {
        return;
    };
    for unit in (0_u16..).take(world.plan.units.len()) {
        let device = world.device_index(host, unit);
        let own = u64::from(life) << 32 | device as u64;
        let program = Program {
            world: Arc::clone(world),
            orders,
            device,
            host,
            rng: Rng::new(world.plan.seed.rotate_left(41) ^ own ^ 0x0bde_55e5),
            registered: None,
            number: life << 16,
        };
        let job = Job::new(world);
        world.spawn_on(host, async move {
            program.run().await;
            drop(job);
        });
    }
}

impl Program {
    async fn run(mut self) {
        loop {
            let pause = self.orders.pause.as_micros();
            let pause = self.rng.below(u64::try_from(pause).unwrap_or(1).max(1));
            let handle = self.world.handle.clone();
            handle.sleep(Duration::from_micros(pause)).await;
            if handle.elapsed() >= self.world.plan.calm {
                break;
            }
            let (opening, device) = self.device().await;
            self.order(opening, &device).await;
        }
        self.wind_up().await;
    }

    /// The device, once it is open, and which of its openings this is.
    async fn device(&self) -> (u32, MultipathDevice) {
        let index = self.device;
        let device = self.world.board.until(|state| {
            let device = state.devices.get(index)?.clone()?;
            Some((state.openings[index], device))
        });
        device.await
    }

    async fn order(&mut self, opening: u32, device: &MultipathDevice) {
        if self.registered.is_none_or(|(of, _)| of != opening) {
            // Now and then a host uses its unit without having registered.
            if self.rng.chance(800) {
                _ = self.register(opening, device).await;
            }
            return;
        }
        let kind = self.orders.kind;
        match self.rng.below(100) {
            0..35 => _ = self.give(Order::Reserve, device.reserve(kind)).await,
            35..60 => _ = self.give(Order::Release, device.release(kind)).await,
            60..75 => _ = self.register(opening, device).await,
            75..88 => self.preempt(device, kind).await,
            88..93 => {
                if self
                    .give(Order::Clear, device.clear_reservations())
                    .await
                    .is_ok()
                {
                    self.registered = None;
                }
            }
            _ => self.unregister(device).await,
        }
    }

    async fn register(
        &mut self,
        opening: u32,
        device: &MultipathDevice,
    ) -> Result<Registrations, ReserveError> {
        self.number += u32::from(self.rng.chance(300));
        let keys = self.orders.keys(self.host, self.number);
        self.note_keys(None);
        let begun = self.world.now();
        self.world
            .board
            .with(|state| state.book.wants(begun, self.device, keys));
        let result = self.give(Order::Register, device.register(keys)).await;
        if let Ok(result) = &result {
            self.registered = Some((opening, keys));
            self.note_keys(self.registered);
            let to = self.world.now();
            let during = Span { from: begun, to };
            let told = result.paths.iter().filter_map(|path| {
                let mpio::PathRegistration::Registered(key) = path.outcome else {
                    return None;
                };
                let unit = device.path(path.path)?;
                Some((unit.session().isid(), key.0))
            });
            let told: Vec<_> = told.collect();
            self.world.board.with(|state| {
                let told = told.into_iter().map(|(isid, key)| (self.device, isid, key));
                let told = told.map(|told| (told, during));
                state.registered.extend(told);
            });
        }
        result
    }

    fn note_keys(&self, keys: Option<(u32, RegistrationKeys)>) {
        self.world.board.with(|state| {
            state.keys.insert(self.device, keys);
        });
    }

    async fn unregister(&mut self, device: &MultipathDevice) {
        self.registered = None;
        self.note_keys(None);
        _ = self.give(Order::Unregister, device.unregister()).await;
    }

    /// Another host's key, if there is one.
    async fn preempt(&mut self, device: &MultipathDevice, kind: ReservationType) {
        if !self.orders.rivals {
            return;
        }
        let Ok(found) = device.reservation_keys().await else {
            return;
        };
        let is_other = |key: &ReservationKey| !is_of(self.host, key.0);
        let others: Vec<_> = found.keys.into_iter().filter(is_other).collect();
        let Some(&victim) = others.get(self.rng.below(others.len().max(1) as u64) as usize) else {
            return;
        };
        let order = Order::Preempt(victim.0);
        if self.rng.chance(250) {
            _ = self
                .give(order, device.preempt_and_abort(victim, kind))
                .await;
        } else {
            _ = self.give(order, device.preempt(victim, kind)).await;
        }
    }

    /// The programs are done: whatever is reserved is released.
    async fn wind_up(&mut self) {
        let until = self.world.plan.calm + self.world.plan.patience() * 2;
        loop {
            let (opening, device) = self.device().await;
            if self.registered.is_none_or(|(of, _)| of != opening) {
                _ = self.register(opening, &device).await;
            }
            if self.registered.is_some() {
                let kind = self.orders.kind;
                if self
                    .give(Order::Release, device.release(kind))
                    .await
                    .is_ok()
                {
                    return;
                }
            }
            if self.world.handle.elapsed() > until {
                let account = format!("device {} cannot release its unit", self.device);
                self.world
                    .board
                    .with(|state| state.violate(Row::L2, account));
                return;
            }
            self.world.handle.sleep(RETRY).await;
        }
    }

    /// Gives an order, and waits as long as one may take at most.
    async fn give<T>(
        &mut self,
        order: Order,
        result: impl Future<Output = Result<T, ReserveError>>,
    ) -> Result<T, ReserveError> {
        let (world, index) = (Arc::clone(&self.world), self.device);
        let begun = world.now();
        let number = world
            .board
            .with(|state| state.book.begin(begun, index, order));
        world.note(Note::Order(index, format!("{order:?}")));
        let bound = world.plan.patience() * 2;
        let result = pin!(result);
        let limit = pin!(world.handle.sleep(bound));
        let result = match select(result, limit).await {
            Either::Left((result, _)) => result,
            Either::Right((_, result)) => {
                let account = format!("device {index}: {order:?} has not ended after {bound:?}");
                world.board.with(|state| state.violate(Row::L1, account));
                result.await
            }
        };
        let now = world.now();
        world
            .board
            .with(|state| state.book.end(now, number, result.is_ok()));
        let said = match &result {
            Ok(_) => "done".to_owned(),
            Err(error) => error.to_string(),
        };
        world.note(Note::Order(index, format!("{order:?}: {said}")));
        match &result {
            Ok(_) => world
                .board
                .with(|state| *state.tallies.orders.entry(order.name()).or_default() += 1),
            // Whoever wants to go on has to register again.
            Err(ReserveError::Lost | ReserveError::NotRegistered) => {
                self.registered = None;
                self.note_keys(None);
            }
            Err(
                ReserveError::FenceHasKeys
                | ReserveError::NoKey
                | ReserveError::OwnKey(_)
                | ReserveError::OnePathOnly(_),
            ) => {
                let account = format!("device {index}: {order:?}: {said}");
                world.board.with(|state| state.violate(Row::I17, account));
            }
            Err(_) => {}
        }
        result
    }
}
