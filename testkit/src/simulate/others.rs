//! What befalls only some worlds, drawn after all else and by numbers of its own, so that the others are
//! what they would be without it.

use std::time::Duration;

use super::{
    dice::{pick, small, time},
    plan::{Answered, Fault, Place, Plan, Said, What},
};
use crate::{sim::Rng, target::PortState};
use mpio::core::{Failback, HedgeConfig, PathGroupingPolicy, PathSelector, Prioritizer};

const MS: Duration = Duration::from_millis(1);

/// One world in so many.
const ONE_IN: u64 = 6;

/// The connections through a portal end, abruptly, or because the target says so.
fn loss(rng: &mut Rng, portal: u8) -> What {
    let said = Said::DropAll(0);
    match rng.below(3) {
        0 => What::Notice { portal, said },
        _ => What::Reset(Place::Portal(portal)),
    }
}

impl Plan {
    /// Another initiator's reservations, and port groups that are away for long.
    pub(super) fn add_others(&mut self) {
        let rng = &mut Rng::new(self.seed ^ 0x07e5_e27e_d0b1_0c42);
        if rng.below(ONE_IN) != 0 {
            return;
        }
        let mut more = Vec::new();
        if rng.chance(600) {
            for _ in 0..1 + rng.below(4) {
                let longest = pick(rng, &[20, 500, 3000]);
                let unit = u16::try_from(rng.below(self.units.len() as u64)).unwrap_or_default();
                let exclusive = rng.chance(300);
                more.push(self.sometime(rng, longest, What::Reserve { unit, exclusive }));
            }
        }
        if rng.chance(600) {
            for _ in 0..1 + rng.below(2) {
                let state = pick(
                    rng,
                    &[
                        PortState::Standby,
                        PortState::Unavailable,
                        PortState::Offline,
                        PortState::Transitioning,
                    ],
                );
                let group = pick(rng, &self.portals);
                more.push(self.sometime(rng, 25_000, What::PortState { group, state }));
            }
        }
        self.faults.extend(more);
        self.faults.sort_by_key(|fault| fault.at);
    }

    /// Arrays that say which paths are the better ones, change their mind, and let themselves be asked, or not; and
    /// devices that group, weigh and choose paths in all ways there are.
    pub(super) fn add_access(&mut self) {
        let rng = &mut Rng::new(self.seed ^ 0xacce_55a1_1ab1_e5e7);
        if rng.below(3) != 0 {
            return;
        }
        let device = &mut self.device;
        let policies = [
            PathGroupingPolicy::Detect,
            PathGroupingPolicy::Detect,
            PathGroupingPolicy::GroupByPriority,
            PathGroupingPolicy::GroupByTargetPortGroup,
            PathGroupingPolicy::GroupByNodeName,
            PathGroupingPolicy::GroupBySerial,
            PathGroupingPolicy::Manual,
        ];
        device.grouping = pick(rng, &policies);
        let prioritizers = [
            Prioritizer::Detect,
            Prioritizer::Given,
            Prioritizer::Alua {
                exclusive_pref_bit: rng.chance(500),
            },
        ];
        device.prioritizer = pick(rng, &prioritizers);
        device.activate = pick(rng, &[None, Some(MS), Some(1000 * MS), Some(5000 * MS)]);
        let selectors = [
            PathSelector::HistoricalServiceTime,
            PathSelector::PowerOfTwoChoices,
            device.selector,
        ];
        device.selector = pick(rng, &selectors);
        if rng.chance(300) {
            device.failback = Failback::FollowOver;
        }
        let access = &mut self.target.access;
        (access.implicit, access.explicit) =
            pick(rng, &[(true, true), (true, false), (false, true)]);
        access.extended_header = rng.chance(500);
        access.transition_time = pick(rng, &[0, 2, 30]);
        access.preferred = rng.chance(400).then(|| pick(rng, &self.portals));
        let mut more = Vec::new();
        for _ in 0..rng.below(6) {
            let states = [
                PortState::NonOptimized,
                PortState::NonOptimized,
                PortState::Standby,
                PortState::Unavailable,
                PortState::Transitioning,
                PortState::LogicalBlockDependent,
            ];
            let (state, group) = (pick(rng, &states), pick(rng, &self.portals));
            more.push(self.sometime(rng, 10_000, What::PortState { group, state }));
        }
        self.faults.extend(more);
        self.faults.sort_by_key(|fault| fault.at);
    }

    /// Reads that leave paths that have only been asked, under budgets of which some are soon spent.
    pub(super) fn add_hedging(&mut self) {
        let rng = &mut Rng::new(self.seed ^ 0x4ed6_ed4e_ad50_07e5);
        let burst = pick(rng, &[0, 1, 2, 8, 64]);
        let percent = pick(rng, &[0, 1, 5, 100]);
        self.device.hedge = (burst > 0).then(|| HedgeConfig::new(burst, percent));
    }

    /// Targets that do not prove themselves, writes that are lost twice, and writes that are not answered.
    pub(super) fn add_struggles(&mut self) {
        let rng = &mut Rng::new(self.seed ^ 0x57a6_61e5_01d9);
        if rng.below(ONE_IN) != 0 {
            return;
        }
        let mut more = Vec::new();
        if rng.chance(400) {
            (self.session.chap, self.session.mutual) = (true, true);
            for _ in 0..1 + rng.below(3) {
                let skips = rng.chance(500);
                let fault = self.sometime(rng, 3000, What::Impersonate { skips });
                // Whoever has a connection asks for no proof.
                let portal = small(rng, 0, u8::try_from(self.portals.len()).unwrap_or(1) - 1);
                let what = What::Reset(Place::Portal(portal));
                let at = fault.at + fault.lasts / 2;
                more.push(Fault {
                    at,
                    lasts: MS,
                    what,
                });
                more.push(fault);
            }
        }
        if rng.chance(500) {
            self.lose_twice(rng, &mut more);
        }
        if rng.chance(400) {
            self.leave_unanswered(rng, &mut more);
        }
        self.faults.extend(more);
        self.faults.sort_by_key(|fault| fault.at);
    }

    /// Writes that the back end holds are lost with their connection; and so, some milliseconds later, is what
    /// repeats them, or whoever was to prove them dead. The range is small, so that others overlap them.
    fn lose_twice(&mut self, rng: &mut Rng, more: &mut Vec<Fault>) {
        let longest = match self.device.fence.quiesce {
            Some(time) => time / 4,
            None => Duration::from_secs(8),
        };
        let portals = u8::try_from(self.portals.len()).unwrap_or(1);
        for _ in 0..3 + rng.below(5) {
            let hold = What::Hold {
                per_mille: 900,
                most: longest,
            };
            let mut begun = self.sometime(rng, 1, hold);
            begun.lasts = (MS * 2000).min(self.calm.saturating_sub(begun.at));
            let rest = begun.lasts / 2;
            let mut at = begun.at + time(rng, MS, 0, 899);
            let a = small(rng, 0, portals - 1);
            let b = (a + 1 + small(rng, 0, portals.saturating_sub(2))) % portals;
            let mut also = |at: Duration, lasts: Duration, what| {
                let left = self.calm.saturating_sub(at);
                let (at, lasts) = (at.min(self.calm), lasts.min(left));
                more.push(Fault { at, lasts, what });
            };
            also(at, MS, loss(rng, a));
            if rng.chance(500) {
                also(at, rest, What::Refuse(Place::Portal(a)));
            }
            if rng.chance(400) {
                let status = (3, 1);
                also(at, rest, What::RefuseLogins { portal: b, status });
            }
            if rng.chance(600) {
                at += time(rng, MS, 1, 20);
                also(at, MS, loss(rng, b));
                if rng.chance(500) {
                    also(at, rest, What::Refuse(Place::Portal(b)));
                }
            }
            more.push(begun);
        }
        self.work.span = 16;
        self.work.writes = 700;
        self.work.rush = 900;
    }

    /// Writes are carried out and not answered, so that they are aborted; and many have little time.
    fn leave_unanswered(&mut self, rng: &mut Rng, more: &mut Vec<Fault>) {
        for _ in 0..4 + rng.below(8) {
            let what = What::Answer {
                unit: u16::try_from(rng.below(self.units.len() as u64)).unwrap_or_default(),
                opcode: pick(rng, &[0x2a, 0x8a]),
                answer: Answered::Unanswered,
                times: small(rng, 1, 3),
            };
            more.push(self.sometime(rng, 300, what));
        }
        self.work.timed = 200;
    }

    fn sometime(&self, rng: &mut Rng, longest: u64, what: What) -> Fault {
        let latest = self.calm.saturating_sub(Duration::from_secs(5));
        let latest = u64::try_from(latest.as_millis()).unwrap_or(u64::MAX);
        let at = time(rng, MS, 500, 499 + latest);
        let lasts = time(rng, MS, 1, longest).min(self.calm.saturating_sub(at));
        Fault { at, lasts, what }
    }
}
