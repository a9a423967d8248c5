//! How many logins are under way at a time, and how fast they follow each other.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use crate::runtime::{AsyncTimer, Runtime};

/// Bounds on the logins of an [`Initiator`](crate::initiator::Initiator), over all its sessions.
///
/// A switch that restarts takes a hundred sessions with it in one moment, and all of them want back
/// at once, from every host behind it. The first few log in without any delay, as after a loss of
/// one cable; the rest follow each other at jittered intervals, first come first served. A session's
/// own back-off comes first and is never shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoginRate {
    /// Logins under way at a time, the first ones and discovery as well; from 1 on. Default 16.
    ///
    /// One that takes longer than a quarter of a second is not counted any more: it waits for somebody who does
    /// not answer, which costs nobody anything, and must not keep others from portals that do.
    pub in_flight: u16,
    /// Sessions that may log in again without a wait when all is quiet, from 1 on; half as many while others are down
    /// and ask again and again. Default 8.
    pub burst: u16,
    /// Logins per second beyond those, on average, from 1 on; the interval to the next one is drawn
    /// between half and one and a half of the average. Default 50. Only a session that was lost is
    /// held back by this and by `burst`, not one that the program asks for.
    pub per_second: u32,
}

impl Default for LoginRate {
    fn default() -> Self {
        Self {
            in_flight: 16,
            burst: 8,
            per_second: 50,
        }
    }
}

impl LoginRate {
    /// No bounds but each session's own back-off.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self {
            in_flight: u16::MAX,
            burst: u16::MAX,
            per_second: u32::MAX,
        }
    }

    /// Another number of logins under way at a time.
    #[must_use]
    pub const fn with_in_flight(mut self, in_flight: u16) -> Self {
        self.in_flight = in_flight;
        self
    }

    /// Another number of immediate logins.
    #[must_use]
    pub const fn with_burst(mut self, burst: u16) -> Self {
        self.burst = burst;
        self
    }

    /// Another rate.
    #[must_use]
    pub const fn with_per_second(mut self, per_second: u32) -> Self {
        self.per_second = per_second;
        self
    }

    fn interval(self) -> Duration {
        Duration::from_secs(1) / self.per_second.max(1)
    }
}

/// How long a login counts as under way; see [`LoginRate::in_flight`].
const COUNTS_FOR: Duration = Duration::from_millis(250);

/// Why a login is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// The program asked for it.
    Asked,
    /// A session was lost.
    Again,
    /// Nobody answered the last attempt. Those that were just lost come first, and find half of the
    /// [burst](LoginRate::burst) untouched: what stays dead must not hold up what is not.
    Repeat,
}

/// Hands out turns.
///
/// A turn is *given* to whoever is next and not taken by it: a future that nobody polls gets its turn
/// as well, which is over soon, and holds up nobody. Everyone who waits has a timer for the
/// time at which its own turn should come, and whoever wakes gives out all turns that are due.
pub(crate) struct Limiter {
    runtime: Arc<dyn Runtime>,
    rate: LoginRate,
    state: Mutex<State>,
}

struct State {
    waiting: VecDeque<Waiting>,
    /// Whose turn it is, and until when that counts.
    running: Vec<(u64, Instant)>,
    /// When the bucket would be full again: the "theoretical arrival time" of a leaky bucket.
    full_at: Instant,
    next_id: u64,
}

struct Waiting {
    id: u64,
    pace: Pace,
    waker: Waker,
}

impl Limiter {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, rate: LoginRate) -> Self {
        let now = runtime.now();
        Self {
            runtime,
            rate: LoginRate {
                in_flight: rate.in_flight.max(1),
                burst: rate.burst.max(1),
                per_second: rate.per_second.max(1),
            },
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                running: Vec::new(),
                full_at: now,
                next_id: 0,
            }),
        }
    }

    /// Waits for a turn, which lasts until the result is dropped.
    pub(crate) fn turn(self: &Arc<Self>, pace: Pace) -> Turn {
        Turn {
            place: Some(Place {
                limiter: Arc::clone(self),
                id: None,
            }),
            pace,
            timer: None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn random(&self) -> u32 {
        let mut bytes = [0; 4];
        self.runtime.fill_random(&mut bytes);
        u32::from_ne_bytes(bytes)
    }

    /// Gives out all turns that are due.
    fn give(&self, state: &mut State, now: Instant, wakers: &mut Vec<Waker>) {
        state.running.retain(|(_, until)| *until > now);
        let mut at = 0;
        while at < state.waiting.len() && state.running.len() < usize::from(self.rate.in_flight) {
            let pace = state.waiting[at].pace;
            let paced = pace != Pace::Asked;
            if paced && self.next_again(state, pace) > now {
                // Those that the program asked for may overtake: they do not wait for this.
                at += 1;
                continue;
            }
            let Some(next) = state.waiting.remove(at) else {
                break;
            };
            if paced {
                let interval = self.rate.interval();
                state.full_at = state.full_at.max(now) + interval;
                if self.next_again(state, Pace::Again) > now {
                    // The bucket is empty: the next one waits, for half of the interval and something.
                    let jitter = f64::from(self.random()) / f64::from(u32::MAX);
                    state.full_at = state.full_at - interval / 2 + interval.mul_f64(jitter);
                }
            }
            state.running.push((next.id, now + COUNTS_FOR));
            wakers.push(next.waker);
        }
    }

    /// When a lost session may log in.
    fn next_again(&self, state: &State, pace: Pace) -> Instant {
        let burst = u32::from(self.rate.burst - 1);
        let burst = match pace {
            Pace::Repeat => burst / 2,
            Pace::Asked | Pace::Again => burst,
        };
        let slack = self.rate.interval() * burst;
        // Before the clock's beginning is before now, which is all that is asked.
        state.full_at.checked_sub(slack).unwrap_or(state.full_at)
    }

    /// When the turn of whoever is at this place should come; at the latest then it looks again.
    fn estimate(&self, state: &State, place: usize, now: Instant) -> Instant {
        let first = if state.running.len() < usize::from(self.rate.in_flight) {
            let pace = state.waiting.get(place).map_or(Pace::Again, |w| w.pace);
            self.next_again(state, pace)
        } else {
            let ends = state.running.iter().map(|(_, until)| *until);
            ends.min().unwrap_or(now)
        };
        let tick = Duration::from_millis(1);
        let interval = self.rate.interval().max(tick);
        first.max(now + tick) + interval.saturating_mul(u32::try_from(place).unwrap_or(0))
    }

    fn leave(&self, id: u64) {
        let mut wakers = Vec::new();
        let now = self.runtime.now();
        let mut state = self.lock();
        state.running.retain(|(other, _)| *other != id);
        state.waiting.retain(|waiting| waiting.id != id);
        self.give(&mut state, now, &mut wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Limiter")
            .field("rate", &self.rate)
            .field("waiting", &state.waiting.len())
            .field("running", &state.running.len())
            .finish()
    }
}

/// A place in the line, or a turn; given up when dropped.
struct Place {
    limiter: Arc<Limiter>,
    id: Option<u64>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.limiter.leave(id);
        }
    }
}

/// Waits for a turn. Dropping it gives the place up.
pub(crate) struct Turn {
    /// Gone once it has become a permit.
    place: Option<Place>,
    pace: Pace,
    timer: Option<Pin<Box<dyn AsyncTimer>>>,
}

/// A turn. Over when dropped.
pub(crate) struct Permit {
    _place: Place,
}

impl Turn {
    /// `None` if the turn has come, else when to look again.
    fn look(&mut self, cx: &Context<'_>) -> Option<Instant> {
        let place = self.place.as_mut()?;
        let limiter = &*place.limiter;
        let now = limiter.runtime.now();
        let mut wakers = Vec::new();
        let mut state = limiter.lock();
        let id = *place.id.get_or_insert_with(|| {
            let id = state.next_id;
            state.next_id += 1;
            let (pace, waker) = (self.pace, cx.waker().clone());
            let repeated = |waiting: &Waiting| waiting.pace == Pace::Repeat;
            let at = match pace {
                Pace::Repeat => state.waiting.len(),
                Pace::Asked | Pace::Again => state.waiting.partition_point(|w| !repeated(w)),
            };
            state.waiting.insert(at, Waiting { id, pace, waker });
            id
        });
        limiter.give(&mut state, now, &mut wakers);
        let at = state.waiting.iter().position(|waiting| waiting.id == id);
        let next = at.map(|at| {
            state.waiting[at].waker.clone_from(cx.waker());
            limiter.estimate(&state, at, now)
        });
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        next
    }
}

impl Future for Turn {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        let this = &mut *self;
        loop {
            let Some(next) = this.look(cx) else {
                return match this.place.take() {
                    Some(place) => Poll::Ready(Permit { _place: place }),
                    None => panic!("`Turn` polled after completion"),
                };
            };
            let Some(place) = &this.place else {
                return Poll::Pending;
            };
            let timer = this
                .timer
                .get_or_insert_with(|| place.limiter.runtime.new_timer(next));
            timer.as_mut().reset(next);
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
