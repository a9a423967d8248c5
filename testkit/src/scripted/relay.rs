//! The strict target behind a connection, with the test in between.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use iscsi_client::runtime::{Runtime, Transport};
use iscsi_proto::serial::{CmdSn, StatSn};

use super::{
    behind::Behind,
    end::End,
    frame::Frame,
    judge::Complaints,
    numbers::{consumes_stat_sn, field},
    peer::Peer,
};
use crate::target::{TargetConnection, TargetCore};

/// A PDU that was on its way between the initiator and the strict target, and is in the test's hands now.
#[derive(Debug)]
pub struct Held {
    /// Whether the target said it; else the initiator did.
    pub said: bool,
    /// The PDU, with the numbers of the connection.
    pub frame: Frame,
}

impl Peer {
    /// A connection that was accepted for portal `portal` of the strict target `core`. The target's own time
    /// begins now.
    #[must_use]
    pub fn before(
        core: &Arc<TargetCore>,
        portal: usize,
        transport: Box<dyn Transport>,
        runtime: Arc<dyn Runtime>,
        complaints: &Complaints,
    ) -> Self {
        let epoch = runtime.now();
        let behind = Behind {
            target: TargetConnection::new(core, portal, Arc::new(|| ())),
            said: Vec::new(),
            inserted: 0,
            epoch,
            timer: runtime.new_timer(epoch),
        };
        let mut peer = Self::new(transport, runtime, complaints);
        peer.behind = Some(behind);
        peer
    }

    /// Passes everything on, in both directions, until a PDU goes by that is `wanted` (its first argument says
    /// whether the target said it). That one is not passed on: see [`pass`](Self::pass).
    ///
    /// # Errors
    ///
    /// The connection ended before.
    ///
    /// # Panics
    ///
    /// If there is no target behind the connection, or not any more.
    pub async fn relay_until(
        &mut self,
        mut wanted: impl FnMut(bool, &Frame) -> bool,
    ) -> Result<Held, End> {
        loop {
            while let Some(frame) = self.said() {
                if wanted(true, &frame) {
                    return Ok(Held { said: true, frame });
                }
                self.send(&frame).await?;
            }
            if let Some(frame) = self.heard()? {
                if wanted(false, &frame) {
                    return Ok(Held { said: false, frame });
                }
                self.tell_target(&frame);
                continue;
            }
            poll_fn(|cx| self.poll_either(cx)).await?;
        }
    }

    /// Passes everything on until the connection ends, and says how it did.
    pub async fn relay_to_the_end(&mut self) -> End {
        match self.relay_until(|_, _| false).await {
            Ok(_) => unreachable!("nothing was wanted"),
            Err(end) => end,
        }
    }

    /// Passes on what was held, as it is by now. What is said is numbered as it came.
    ///
    /// # Errors
    ///
    /// Of the connection.
    pub async fn pass(&mut self, held: Held) -> Result<(), End> {
        if held.said {
            self.send(&held.frame).await
        } else {
            self.tell_target(&held.frame);
            Ok(())
        }
    }

    /// Keeps back for ever what was held. A status that is kept back leaves no hole in StatSN.
    pub fn swallow(&mut self, held: &Held) {
        if held.said && consumes_stat_sn(&held.frame) {
            if let Some(behind) = &mut self.behind {
                behind.inserted(u32::MAX);
            }
        }
    }

    /// From here on the test answers by itself; the window stays as wide as it was.
    pub fn take_over(&mut self) {
        let numbers = &mut self.numbers;
        if let Some(next) = self.judge.cmd_sn {
            numbers.exp_cmd_sn = next;
        }
        let end = numbers.max_cmd_sn.next();
        self.window = numbers.exp_cmd_sn.distance_to(end);
        self.behind = None;
    }

    fn behind(&mut self) -> &mut Behind {
        let behind = self.behind.as_mut();
        behind.expect("a connection with a target behind it")
    }

    fn target_time(&self) -> iscsi_proto::Instant {
        let epoch = self.behind.as_ref().map(|behind| behind.epoch);
        let since = epoch.map(|epoch| self.runtime().now().saturating_duration_since(epoch));
        iscsi_proto::Instant::ZERO.saturating_add(since.unwrap_or(Duration::ZERO))
    }

    /// The next PDU of the target, with the numbers that it has on this connection.
    fn said(&mut self) -> Option<Frame> {
        let (now, digests) = (self.target_time(), self.digests());
        let behind = self.behind();
        loop {
            let bytes = behind.target.poll_transmit(now);
            if bytes.is_empty() {
                break;
            }
            let len = bytes.len();
            behind.said.extend_from_slice(bytes);
            behind.target.transmitted(len);
        }
        let split = Frame::split(&behind.said, digests);
        let (mut frame, len) = split.expect("the target makes no such mistakes")?;
        behind.said.drain(..len);
        let shift = behind.inserted;
        let stat_sn = StatSn(frame.field(field::STAT_SN)).plus(shift);
        if consumes_stat_sn(&frame) || stat_sn.0 != shift {
            frame.set_field(field::STAT_SN, stat_sn.0);
        }
        self.numbers.exp_cmd_sn = CmdSn(frame.field(field::EXP_CMD_SN));
        self.numbers.max_cmd_sn = CmdSn(frame.field(field::MAX_CMD_SN));
        Some(frame)
    }

    fn tell_target(&mut self, frame: &Frame) {
        let (now, digests) = (self.target_time(), self.digests());
        let behind = self.behind();
        let mut frame = frame.clone();
        let acknowledged = StatSn(frame.field(field::EXP_STAT_SN));
        let shift = 0_u32.wrapping_sub(behind.inserted);
        frame.set_field(field::EXP_STAT_SN, acknowledged.plus(shift).0);
        let bytes = frame.to_bytes(digests);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let room = behind.target.input();
            let len = rest.len().min(room.len());
            room[..len].copy_from_slice(&rest[..len]);
            behind.target.handle_input(now, len);
            rest = &rest[len..];
        }
    }

    /// More of the initiator, or the time at which the target has something to say.
    fn poll_either(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let behind = self.behind();
        if let Some(due) = behind.target.poll_timeout() {
            let due = behind.epoch + due.saturating_duration_since(iscsi_proto::Instant::ZERO);
            behind.timer.as_mut().reset(due);
            if behind.timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_receive(cx)
    }
}
