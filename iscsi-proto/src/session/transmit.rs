//! What is staged next, and how.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "parts of a whole, and counters, which the task bounds"
)]

use alloc::vec::Vec;

use super::{
    Logout, Session, data_out, no_command,
    tasks::{Kind, after},
};
use crate::{
    connection::{Burst, Payload},
    framing::{DataRef, DataStore},
    ids::{InitiatorTaskTag, TargetTransferTag},
    pdu::{DataOut, LogoutRequest, NopOut, ScsiCommand, TextRequest},
    planted::Bug,
    scsi::lun::Lun,
    serial::DataSn,
    text::Parameters,
    time::Instant,
};

impl Session {
    /// Whether there is anything that might be staged: the one question of a poll that finds nothing.
    pub(super) fn wants_to_send(&self) -> bool {
        !self.queue.is_empty() || self.is_urgent() || self.logout.is_some()
    }

    /// Whether anything goes before the next command. One look at all that is rare, instead of one
    /// after the other per command.
    fn is_urgent(&self) -> bool {
        !(self.ping_replies.is_empty()
            && self.aborts.is_empty()
            && self.functions.is_empty()
            && self.requests.is_empty()
            && self.connection.bursts.is_empty())
    }

    /// Stages PDUs until about `max_bytes` wait to be written.
    #[inline(never)]
    pub(super) fn stage_up_to(&mut self, max_bytes: u64, now: Instant, store: &impl DataStore) {
        // Section 11.14: nothing new behind a Logout Request.
        while !self.is_logging_out() && self.connection.plan.pending() < max_bytes {
            if !self.stage_next(now, max_bytes, store) {
                break;
            }
        }
    }

    /// Stages the most urgent PDU, or as many commands as fit `max_bytes` where there is nothing more
    /// urgent; false when there is none that may be sent.
    ///
    /// What keeps the session alive or stops something comes first, then data of commands that the
    /// target already has, then new commands: a new command ahead of asked-for data would only make
    /// the target hold more of both.
    fn stage_next(&mut self, now: Instant, max_bytes: u64, store: &impl DataStore) -> bool {
        let urgent = self.is_urgent()
            && (self.stage_ping_reply(store)
                || self.stage_abort(now, store)
                || self.stage_function(store)
                || self.stage_request(now, store)
                || self.stage_data_out(store));
        urgent || self.stage_commands(max_bytes, store) || self.stage_logout(now, store)
    }

    /// Stages commands until one has data to be sent behind it, which is more urgent than the next.
    #[inline]
    fn stage_commands(&mut self, max_bytes: u64, store: &impl DataStore) -> bool {
        let mut any = false;
        while self.stage_command(store) {
            any = true;
            let enough = self.connection.plan.pending() >= max_bytes;
            if enough || !self.connection.bursts.is_empty() {
                break;
            }
        }
        any
    }

    fn stage_ping_reply(&mut self, store: &impl DataStore) -> bool {
        let Some(reply) = self.ping_replies.pop_front() else {
            return false;
        };
        // The limit may have been lowered while it waited.
        let most = self.parameters.max_xmit_data_segment_length as usize;
        let data = reply.data.get(..most).unwrap_or(&reply.data);
        let header = NopOut {
            immediate: true,
            lun: reply.lun,
            itt: InitiatorTaskTag::RESERVED,
            ttt: reply.ttt,
            cmd_sn: self.window.current(),
            exp_stat_sn: self.connection.exp_stat_sn(),
            data_segment_length: data_out::wire_len(data.len()),
        };
        self.connection
            .stage(&header.emit(), Payload::Inline(data), store);
        true
    }

    fn stage_request(&mut self, now: Instant, store: &impl DataStore) -> bool {
        // A text waits for the window; pings do not wait behind it.
        let closed = self.window.open() == 0;
        let may_go = |itt: &InitiatorTaskTag| {
            let kind = self.tasks.get(*itt).map(|task| &task.kind);
            !(closed && matches!(kind, Some(Kind::Text(_))))
        };
        let Some(at) = self.requests.iter().position(may_go) else {
            return false;
        };
        let Some(&itt) = self.requests.get(at) else {
            return false;
        };
        let exp_stat_sn = self.connection.exp_stat_sn();
        let Some(task) = self.tasks.get_mut(itt) else {
            self.requests.remove(at);
            return true;
        };
        match &mut task.kind {
            Kind::Ping { sent, plug, .. } => {
                *sent = now;
                let header = NopOut {
                    immediate: plug.is_none(),
                    lun: Lun::ZERO,
                    itt,
                    ttt: TargetTransferTag::RESERVED,
                    cmd_sn: plug.unwrap_or(self.window.current()),
                    exp_stat_sn,
                    data_segment_length: 0,
                };
                task.begin = Some(self.connection.plan.staged());
                self.connection.stage(&header.emit(), Payload::None, store);
                self.connection.keepalive.note_pinged(now);
            }
            Kind::Text(_) => {
                // Not immediate, though it may be: targets exist (istgt) that count an immediate
                // Text Request in ExpCmdSN, which then runs ahead of us.
                let Some(cmd_sn) = self.window.take() else {
                    return false;
                };
                let header = TextRequest {
                    immediate: false,
                    is_final: true,
                    cont: false,
                    lun: self.text_lun,
                    itt,
                    ttt: self.text_ttt,
                    cmd_sn,
                    exp_stat_sn,
                    data_segment_length: data_out::wire_len(self.text_out.len()),
                };
                task.cmd_sn = cmd_sn;
                // Of the first request: a continuation does not unsay that one.
                let begin = self.connection.plan.staged();
                task.begin.get_or_insert(begin);
                let text = Payload::Inline(&self.text_out);
                self.connection.stage(&header.emit(), text, store);
                self.text_out.clear();
            }
            Kind::Command | Kind::Management(_) | Kind::Logout => {}
        }
        self.requests.remove(at);
        true
    }

    /// The next Data-Out of the oldest sequence.
    fn stage_data_out(&mut self, store: &impl DataStore) -> bool {
        let exp_stat_sn = self.connection.exp_stat_sn();
        let Some(burst) = self.connection.bursts.front_mut() else {
            return false;
        };
        let Some(task) = self.tasks.get_mut(burst.itt) else {
            self.connection.bursts.pop_front();
            return true;
        };
        let planted = self.config.planted;
        let longest = match planted.has(Bug::SegmentTooLong) {
            true => u32::MAX,
            false => self.parameters.max_xmit_data_segment_length,
        };
        let len = burst.remaining.min(longest);
        let is_final = len == burst.remaining;
        let solicited = burst.ttt != TargetTransferTag::RESERVED;
        let header = DataOut {
            is_final: is_final && !planted.has(Bug::FinalBitLost),
            // Section 11.7.4: the LUN goes with the tag.
            lun: if solicited {
                task.command.lun
            } else {
                Lun::ZERO
            },
            itt: burst.itt,
            ttt: burst.ttt,
            exp_stat_sn,
            data_sn: burst.data_sn,
            buffer_offset: burst.offset,
            data_segment_length: len,
        };
        let data = DataRef {
            itt: burst.itt,
            offset: match solicited && planted.has(Bug::R2tOffsetIgnored) {
                true => 0,
                false => burst.offset,
            },
            len,
        };
        burst.offset = burst.offset.saturating_add(len);
        burst.remaining -= len;
        burst.data_sn = burst.data_sn.next();
        task.staged_out = task.staged_out.saturating_add(len);
        if is_final {
            task.open_r2ts -= u16::from(solicited);
            self.connection.bursts.pop_front();
        }
        self.connection
            .stage(&header.emit(), Payload::Named(data), store);
        if let Some(task) = self.tasks.get_mut(data.itt) {
            task.named_until = self.connection.plan.staged();
        }
        true
    }

    /// The next command, if the target's window is open: with as much immediate and unsolicited data
    /// as was negotiated (section 4.2.5.2).
    #[inline]
    fn stage_command(&mut self, store: &impl DataStore) -> bool {
        let Some(at) = self.next_in_queue() else {
            return false;
        };
        let Some(&itt) = self.queue.get(at) else {
            return false;
        };
        let Some(task) = self.tasks.get_mut(itt) else {
            self.queue.remove(at);
            return true;
        };
        let Some(cmd_sn) = self.window.take() else {
            return false;
        };
        match at {
            0 => self.queue.pop_front(),
            _ => self.queue.remove(at),
        };
        let ahs = match task.extended {
            true => take_extended(&mut self.extended, itt),
            false => Vec::new(),
        };
        let (expected_in, expected_out) = (task.expected_in(), task.expected_out());
        let (immediate, unsolicited) = match expected_out {
            0 => (0, 0),
            expected if self.config.planted.has(Bug::FirstBurstIgnored) => {
                let (immediate, unasked) = unasked(&self.parameters, expected);
                (immediate, unasked.max(expected.min(2 * unasked)))
            }
            expected => unasked(&self.parameters, expected),
        };
        let header = ScsiCommand {
            immediate: false,
            is_final: unsolicited == immediate,
            read: expected_in > 0,
            write: expected_out > 0,
            attribute: task.command.attribute,
            priority: task.command.priority,
            // At most 62 words: the longest CDB has 260 bytes.
            total_ahs_length: (ahs.len() / 4) as u8,
            data_segment_length: immediate,
            lun: task.command.lun,
            itt,
            expected_data_transfer_length: expected_in.max(expected_out),
            cmd_sn,
            exp_stat_sn: self.connection.exp_stat_sn(),
            cdb: task.command.cdb.bytes,
        };
        task.cmd_sn = cmd_sn;
        task.solicited = unsolicited;
        task.staged_out = immediate;
        let payload = match immediate {
            0 => Payload::None,
            len => Payload::Named(DataRef {
                itt,
                offset: 0,
                len,
            }),
        };
        let header = header.emit();
        let begin = self
            .connection
            .stage_with_ahs(&header, &ahs, payload, store);
        task.begin = Some(begin);
        if immediate > 0 {
            task.named_until = self.connection.plan.staged();
        }
        if unsolicited > immediate {
            self.connection.bursts.push_back(Burst {
                itt,
                ttt: TargetTransferTag::RESERVED,
                offset: immediate,
                remaining: unsolicited - immediate,
                data_sn: DataSn(0),
            });
        }
        true
    }

    /// The oldest command that need not wait for the end of a task management function.
    #[inline]
    fn next_in_queue(&self) -> Option<usize> {
        match self.holds.is_empty() {
            true => Some(0),
            false => self.next_not_held(),
        }
    }

    #[cold]
    fn next_not_held(&self) -> Option<usize> {
        let may_go = |itt: &InitiatorTaskTag| {
            let task = self.tasks.get(*itt);
            task.is_none_or(|task| !self.is_held(task.command.lun))
        };
        self.queue.iter().position(may_go)
    }

    /// The logout, once everything that was submitted has ended, or has had its time.
    fn stage_logout(&mut self, now: Instant, store: &impl DataStore) -> bool {
        let Some(Logout::Wanted(reason)) = self.logout else {
            return false;
        };
        let patient = self.logout_patient || self.logout_at.is_some();
        if self.tasks.commands() > 0 && patient {
            return false;
        }
        let timeout = after(now, self.config.logout_timeout);
        let deadline = self.logout_deadline.or(timeout);
        // All slots taken by requests that were not answered: the next answer frees one.
        let Some(itt) = self.tasks.insert(Kind::Logout, &no_command(), deadline) else {
            return false;
        };
        self.deadlines.add(deadline);
        self.logout_deadline = deadline;
        self.logout = Some(Logout::Staged(reason));
        let header = LogoutRequest {
            immediate: true,
            reason,
            cid: self.cid,
            itt,
            cmd_sn: self.window.current(),
            exp_stat_sn: self.connection.exp_stat_sn(),
        };
        let begin = self.connection.stage(&header.emit(), Payload::None, store);
        if let Some(task) = self.tasks.get_mut(itt) {
            task.begin = Some(begin);
        }
        true
    }
}

/// How much of the data of a write goes with the command, and how much unasked in all.
fn unasked(p: &Parameters, expected_out: u32) -> (u32, u32) {
    let first_burst = expected_out.min(p.first_burst_length);
    let immediate = match p.immediate_data {
        true => first_burst.min(p.max_xmit_data_segment_length),
        false => 0,
    };
    match p.initial_r2t {
        true => (immediate, immediate),
        false => (immediate, first_burst),
    }
}

/// Takes the additional header segment of a command that has one.
fn take_extended(
    extended: &mut Vec<(InitiatorTaskTag, Vec<u8>)>,
    itt: InitiatorTaskTag,
) -> Vec<u8> {
    let at = extended.iter().position(|(of, _)| *of == itt);
    at.map(|at| extended.swap_remove(at).1).unwrap_or_default()
}
