//! The task of an inventory.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use futures_util::{
    StreamExt,
    future::{BoxFuture, join_all},
};
use iscsi_client::{initiator::Initiator, runtime::AsyncTimer};

use super::{
    keeper::{Keeper, Link},
    plan::Plan,
    shared::{Ending, Shared},
};

/// Rounds of a poll after which others get their turn.
const MAX_ROUNDS: u32 = 64;

/// The task that makes an [`Inventory`](super::Inventory) look: a plain future, to be spawned or polled
/// wherever the caller likes. It is ready once the inventory is closed.
///
/// No request of a device passes through it. The drivers of the sessions and of the devices are spawned on the
/// initiator's runtime.
///
/// # Dropping it
///
/// Dropping the driver ends the inventory, as dropping its last handle does.
#[must_use = "an inventory finds nothing unless its driver is polled"]
pub struct InventoryDriver {
    shared: Arc<Shared>,
    /// `None` at the end.
    keeper: Option<Keeper>,
    timer: Pin<Box<dyn AsyncTimer>>,
    /// When the timer will fire.
    armed: Option<Instant>,
    /// The last scan that was begun.
    begun: u64,
    closing: Option<BoxFuture<'static, ()>>,
}

/// What the handles want.
enum Order {
    End(Ending),
    Forget(Vec<(Arc<str>, u64)>),
    Scan { number: u64, by_program: bool },
}

impl InventoryDriver {
    pub(super) fn new(plan: Plan, initiator: Initiator, shared: Arc<Shared>) -> Self {
        let now = initiator.runtime().now();
        Self {
            timer: initiator.runtime().new_timer(now),
            armed: Some(now),
            begun: 0,
            closing: None,
            keeper: Some(Keeper::new(plan, initiator, Arc::clone(&shared))),
            shared,
        }
    }

    fn order(&self, cx: &Context<'_>) -> Option<Order> {
        let begun = self.begun;
        self.shared.orders(cx.waker(), |board| {
            if let Some(ending) = board.ending {
                return Some(Order::End(ending));
            }
            if !board.ended_devices.is_empty() {
                return Some(Order::Forget(mem::take(&mut board.ended_devices)));
            }
            (board.asked > begun).then_some(Order::Scan {
                number: board.asked,
                by_program: board.asked_by_program > begun,
            })
        })
    }

    /// Whether the time for the next scan has come; otherwise the task is woken then.
    fn is_due(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(keeper) = &self.keeper else {
            return false;
        };
        let Some(due) = keeper.next_scan else {
            return false;
        };
        if due <= keeper.now() {
            return true;
        }
        if self.armed != Some(due) {
            self.timer.as_mut().reset(due);
            self.armed = Some(due);
        }
        self.timer.as_mut().poll(cx).is_ready()
    }

    /// One round; whether anything was done.
    fn work(&mut self, cx: &mut Context<'_>) -> Result<bool, Ending> {
        let Some(keeper) = &mut self.keeper else {
            return Ok(false);
        };
        let mut worked = false;
        while let Poll::Ready(Some(report)) = keeper.jobs.poll_next_unpin(cx) {
            keeper.apply(report);
            worked = true;
        }
        if self.is_due(cx) {
            self.shared.look(|board| board.asked += 1);
        }
        match (self.order(cx), &mut self.keeper) {
            (Some(Order::End(ending)), _) => return Err(ending),
            (Some(Order::Forget(devices)), Some(keeper)) => {
                for (wwid, number) in devices {
                    keeper.device_ended(&wwid, number);
                }
                worked = true;
            }
            (Some(Order::Scan { number, by_program }), Some(keeper)) => {
                self.begun = number;
                keeper.begin_scan(number, by_program);
                worked = true;
            }
            _ => {}
        }
        Ok(worked)
    }

    /// Ends whatever is under way. Devices that the program holds go on, unless all are to be closed.
    fn begin_end(&mut self, ending: Ending) {
        let Some(keeper) = self.keeper.take() else {
            return;
        };
        let devices = self.shared.look(|board| mem::take(&mut board.devices));
        if ending == Ending::LetGo {
            drop((keeper, devices));
            return;
        }
        let Keeper { routes, disks, .. } = keeper;
        self.closing = Some(Box::pin(async move {
            drop(devices);
            join_all(disks.values().map(|disk| disk.device.close())).await;
            // Last, so that each logs out once and is seen to be gone.
            join_all(routes.values().map(|entry| async {
                if let Link::Open { session, .. } = &entry.link {
                    session.close().await;
                }
            }))
            .await;
        }));
    }

    fn end(&mut self) {
        drop(self.keeper.take());
        let devices = self.shared.tell(|board| {
            board.ended = true;
            mem::take(&mut board.devices)
        });
        // Without the lock: a device may be closed by this.
        drop(devices);
    }
}

impl Future for InventoryDriver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        for _ in 0..MAX_ROUNDS {
            if this.keeper.is_none() {
                break;
            }
            match this.work(cx) {
                Err(ending) => this.begin_end(ending),
                Ok(worked) => {
                    if let Some(keeper) = &mut this.keeper {
                        keeper.publish(None);
                    }
                    if !worked {
                        return Poll::Pending;
                    }
                }
            }
        }
        if this.keeper.is_some() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(closing) = &mut this.closing {
            if closing.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            this.closing = None;
        }
        this.end();
        Poll::Ready(())
    }
}

impl Drop for InventoryDriver {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for InventoryDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InventoryDriver")
            .field("keeper", &self.keeper)
            .finish_non_exhaustive()
    }
}
