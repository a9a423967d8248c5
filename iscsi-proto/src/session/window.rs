//! The command window (RFC 7143 section 4.2.2.1): which CmdSN comes next and how far they may go.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "sums of what was checked before, or in wider types"
)]

use crate::{
    error::{Error, PeerMisbehaved},
    planted::{Bug, Planted},
    serial::CmdSn,
};

/// CmdSN, ExpCmdSN and MaxCmdSN of a session. A type of its own because they are session-wide: with
/// several connections all of them share one.
#[derive(Clone, Copy, Debug)]
pub(super) struct CommandWindow {
    next: CmdSn,
    exp: CmdSn,
    max: CmdSn,
    planted: Planted,
}

impl CommandWindow {
    pub(super) const fn new(next: CmdSn, exp: CmdSn, max: CmdSn) -> Self {
        Self {
            next,
            exp,
            max,
            planted: Planted::NONE,
        }
    }

    pub(super) const fn planted(mut self, planted: Planted) -> Self {
        self.planted = planted;
        self
    }

    /// The CmdSN that an immediate PDU carries and does not consume.
    pub(super) const fn current(&self) -> CmdSn {
        self.next
    }

    /// The next CmdSN that the target expects.
    pub(super) const fn exp(&self) -> CmdSn {
        self.exp
    }

    /// Commands that may be sent right now.
    pub(super) const fn open(&self) -> u32 {
        if self.next.precedes_or_equals(self.max) {
            self.next.distance_to(self.max) + 1
        } else {
            0
        }
    }

    /// Takes the next CmdSN, if the window is open.
    pub(super) fn take(&mut self) -> Option<CmdSn> {
        if self.open() == 0 && !self.planted.has(Bug::WindowIgnored) {
            return None;
        }
        let taken = self.next;
        self.next = taken.next();
        Some(taken)
    }

    /// Takes over ExpCmdSN and MaxCmdSN of a PDU. Both are ignored if MaxCmdSN is before
    /// ExpCmdSN - 1; each by itself if it is not newer than what we have, since PDUs of parallel
    /// work in the target may carry older values.
    #[inline]
    pub(super) fn update(&mut self, exp: CmdSn, max: CmdSn) -> Result<(), Error> {
        if max.next().precedes(exp) {
            return Ok(());
        }
        if self.next.precedes(exp) {
            return Err(PeerMisbehaved::ExpCmdSn.into());
        }
        if self.exp.precedes(exp) {
            self.exp = exp;
        }
        if self.open() == 0 && self.planted.has(Bug::WindowNewsLost) {
            return Ok(());
        }
        let is_newer = match self.planted.has(Bug::MaxCmdSnPlain) {
            true => self.max.0 < max.0,
            false => self.max.precedes(max),
        };
        if is_newer {
            self.max = max;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(next: u32, exp: u32, max: u32) -> CommandWindow {
        CommandWindow::new(CmdSn(next), CmdSn(exp), CmdSn(max))
    }

    #[test]
    fn exactly_the_window_may_be_taken_also_across_the_wrap() {
        let mut w = window(u32::MAX - 1, u32::MAX - 1, 1);
        assert_eq!(w.open(), 4);
        for want in [u32::MAX - 1, u32::MAX, 0, 1] {
            assert_eq!(w.take(), Some(CmdSn(want)));
        }
        assert_eq!(w.take(), None);
        assert_eq!(w.open(), 0);
    }

    #[test]
    fn a_contradicting_pair_is_ignored_and_older_values_do_not_shrink_the_window() {
        let mut w = window(5, 5, 10);
        w.update(CmdSn(5), CmdSn(3)).unwrap();
        assert_eq!(w.open(), 6);
        w.update(CmdSn(4), CmdSn(8)).unwrap();
        assert_eq!(w.open(), 6);
        w.update(CmdSn(5), CmdSn(12)).unwrap();
        assert_eq!(w.open(), 8);
    }

    #[test]
    fn acknowledging_what_was_never_sent_is_misbehaviour() {
        let mut w = window(5, 5, 10);
        assert_eq!(
            w.update(CmdSn(6), CmdSn(20)),
            Err(PeerMisbehaved::ExpCmdSn.into())
        );
    }

    #[test]
    fn a_closed_window_is_max_one_before_exp() {
        let mut w = window(5, 5, 4);
        assert_eq!(w.open(), 0);
        w.update(CmdSn(5), CmdSn(5)).unwrap();
        assert_eq!(w.open(), 1);
    }
}
