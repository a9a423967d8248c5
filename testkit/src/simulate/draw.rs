//! From a seed to a world.

use std::time::Duration;

use iscsi_proto::planted::Planted;
use mpio::{
    Spares,
    core::{
        AutoResize, Failback, NoPathRetry, PathChecker, PathGroupingPolicy, PathSelector,
        Prioritizer, WriterMode,
    },
};

use super::plan::{
    Answered, DeviceTerms, Fault, Fence, Network, Place, Plan, Said, SessionTerms, TargetTerms,
    What, Work,
};
use super::{
    activating, checks, delivery,
    dice::{between, pick, small, time},
    lives, marginal, orders, preempt, ranks, resizing, spare,
    wire::Wire,
};
use crate::{
    sim::Rng,
    target::{AluaConfig, PortState, Reinstatement, WriteHold},
};

const US: Duration = Duration::from_micros(1);
const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

impl Plan {
    /// The world of `seed`: 60 simulated seconds, at least 3 faults and 2000 requests.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        // Another sequence than the network's, which is seeded with the number itself.
        let mut rng = Rng::new(seed ^ 0x5eed_0fa0_0971);
        let rng = &mut rng;
        let (nics, portals, paired) = pick(
            rng,
            &[
                (1, 1, true),
                (2, 2, true),
                (2, 2, true),
                (2, 2, true),
                (2, 2, false),
                (1, 2, false),
                (3, 3, true),
                (4, 4, true),
                (2, 3, false),
                (2, 4, false),
            ],
        );
        let controllers = between(rng, 1, 3);
        let hosts = pick(rng, &[1, 1, 2]);
        let units = (0..pick(rng, &[1, 1, 2, 3, 4])).map(|_| between(rng, 4096, 16_384));
        let units: Vec<u64> = units.collect();
        let fence = fence(rng, hosts);
        let mut plan = Self {
            seed,
            portals: (0..portals)
                .map(|at: u64| u16::try_from(at % controllers + 1).unwrap_or(1))
                .collect(),
            nics,
            names: false,
            paired,
            hosts,
            units,
            network: network(rng),
            target: target(rng, &fence),
            session: session(rng),
            device: device(rng, fence),
            work: work(rng),
            calm: time(rng, S, 40, 50),
            faults: Vec::new(),
            orders: None,
            links: Rng::new(seed ^ 0x0001_14b5_ca22).chance(500),
            beat: false,
            acknowledge_after: Some(2 * S),
            tells_progress: false,
            planted: Planted::NONE,
        };
        checks::draw(&mut plan);
        plan.faults = plan.storm(rng);
        lives::add(&mut plan);
        plan.add_others();
        preempt::draw(&mut plan);
        plan.add_struggles();
        plan.add_access();
        ranks::draw(&mut plan);
        resizing::draw(&mut plan);
        activating::draw(&mut plan);
        plan.add_hedging();
        marginal::draw(&mut plan);
        spare::draw(&mut plan);
        orders::draw::draw(&mut plan);
        checks::draw_port_groups(&mut plan);
        delivery::draw(&mut plan);
        plan
    }

    /// A subset of the kinds of faults, at a rate of the seed's own.
    fn storm(&self, rng: &mut Rng) -> Vec<Fault> {
        let kinds: Vec<Kind> = ALL.iter().copied().filter(|_| rng.chance(350)).collect();
        let kinds = if kinds.is_empty() { &ALL[..4] } else { &kinds };
        let count = if rng.chance(250) {
            between(rng, 12, 60)
        } else {
            between(rng, 3, 10)
        };
        let latest = self.calm.saturating_sub(5 * S).as_millis() as u64;
        let mut faults: Vec<Fault> = (0..count)
            .map(|_| {
                let at =
                    US * u32::try_from(between(rng, 500_000, latest * 1000)).unwrap_or(1_000_000);
                let kind = pick(rng, kinds);
                let what = self.fault(rng, kind);
                let longest = match what {
                    What::Answer { .. } | What::Attention { .. } | What::Reset(_) => 1,
                    // It costs as much as many requests.
                    What::Wire(_, Wire::Segments(_)) => 300,
                    _ => pick(rng, &[50, 500, 3000, 10_000, 30_000]),
                };
                let lasts = time(rng, MS, 1, longest).min(self.calm.saturating_sub(at));
                Fault { at, lasts, what }
            })
            .collect();
        self.lose_what_is_held(rng, &mut faults);
        faults.sort_by_key(|fault| fault.at);
        faults
    }

    /// What the back end holds outlives its connection only if that is lost.
    fn lose_what_is_held(&self, rng: &mut Rng, faults: &mut Vec<Fault>) {
        for index in 0..faults.len() {
            let Fault { at, lasts, what } = faults[index];
            if matches!(what, What::Hold { .. }) {
                let later = lasts.as_micros().try_into().unwrap_or(u64::MAX);
                faults.push(Fault {
                    at: at + Duration::from_micros(rng.below(later)),
                    lasts: MS,
                    what: What::Reset(self.place(rng)),
                });
            }
        }
    }

    fn place(&self, rng: &mut Rng) -> Place {
        let (nic, portal) = pick(rng, &self.paths());
        let host = small(rng, 0, self.hosts - 1);
        match rng.below(4) {
            0 => Place::Portal(portal),
            1 => Place::Nic { host, nic },
            _ => Place::Path { host, nic, portal },
        }
    }

    fn fault(&self, rng: &mut Rng, kind: Kind) -> What {
        let portal = small(rng, 0, self.portals.len() as u8 - 1);
        let unit = rng.below(self.units.len() as u64) as u16;
        let host = small(rng, 0, self.hosts - 1);
        match kind {
            Kind::Cut => What::Cut(self.place(rng)),
            Kind::Stall => What::Stall(self.place(rng)),
            Kind::Refuse => What::Refuse(self.place(rng)),
            Kind::Reset => What::Reset(self.place(rng)),
            Kind::Wire => What::Wire(self.place(rng), Wire::draw(rng)),
            Kind::Limit => What::Limit(self.place(rng), pick(rng, &[2_000, 100_000, 2_000_000])),
            Kind::Delay => {
                // A quiet time is true only if the target is done with everything by then.
                let longest = match self.device.fence.quiesce {
                    Some(time) => (time / 4).as_millis() as u64,
                    None => 12_000,
                };
                let longest = pick(rng, &[20, 300, longest]).min(longest);
                let by = time(rng, MS, 1, longest);
                What::Delay { portal, by }
            }
            Kind::Answer => What::Answer {
                unit,
                opcode: pick(rng, &[0x28, 0x2a, 0x88, 0x8a, 0x35, 0x00]),
                answer: pick(
                    rng,
                    &[
                        Answered::Status(0x08),
                        Answered::Status(0x28),
                        Answered::Sense(0x02, 0x04, 0x01),
                        Answered::Sense(0x0b, 0x00, 0x00),
                        Answered::Sense(0x0b, 0x47, 0x03),
                        Answered::Sense(0x06, 0x29, 0x00),
                    ],
                ),
                times: small(rng, 1, 12),
            },
            Kind::Flip => What::Flip {
                portal,
                per_million: pick(rng, &[1_000, 20_000]),
            },
            Kind::Attention => What::Attention {
                unit,
                code: pick(
                    rng,
                    &[(0x29, 0x00), (0x2a, 0x01), (0x2a, 0x09), (0x3f, 0x0e)],
                ),
            },
            Kind::PortState => What::PortState {
                group: self.portals[usize::from(portal)],
                state: pick(
                    rng,
                    &[
                        PortState::NonOptimized,
                        PortState::Standby,
                        PortState::Unavailable,
                        PortState::Transitioning,
                    ],
                ),
            },
            Kind::RefuseLogins => What::RefuseLogins {
                portal,
                status: pick(rng, &[(3, 1), (3, 2), (2, 1), (2, 3), (3, 0)]),
            },
            Kind::Redirect => What::Redirect {
                portal,
                to: small(rng, 0, self.portals.len() as u8 - 1),
            },
            Kind::Notice => What::Notice {
                portal,
                said: pick(
                    rng,
                    &[
                        Said::Logout(3),
                        Said::Drop(0),
                        Said::DropAll(1),
                        Said::Negotiate(3),
                    ],
                ),
            },
            Kind::RemovePath => What::RemovePath {
                host,
                unit,
                path: small(rng, 0, self.paths().len() as u8 - 1),
            },
            Kind::Reopen => What::Reopen { host, unit },
            Kind::CrashTarget => What::CrashTarget {
                // A target that has forgotten its sessions reinstates none of them.
                keeps_back_end: !self.device.fence.barrier && rng.chance(500),
                loses_power: self.target.volatile && rng.chance(700),
            },
            // What lies in a paused target's receive buffers is older than any time or reset can know.
            Kind::Pause if fence_is_by_time(&self.device.fence) => What::Reset(self.place(rng)),
            Kind::Pause => What::Pause,
            Kind::Resize => What::Resize {
                unit,
                blocks: between(rng, self.work.span.max(512), 32_768),
            },
            Kind::Remap => What::Remap { unit },
            // Less than any request, which is of blocks.
            Kind::Short => What::Answer {
                unit,
                opcode: pick(rng, &[0x28, 0x28, 0x88]),
                answer: match (rng.below(2), pick(rng, &[0, 1, 256])) {
                    (0, bytes) => Answered::Short(bytes),
                    (_, bytes) => Answered::Truncated(bytes),
                },
                times: small(rng, 1, 3),
            },
            Kind::Silence => What::Answer {
                unit,
                opcode: pick(rng, &[0x28, 0x2a, 0x88, 0x8a, 0x35]),
                answer: pick(rng, &[Answered::Nothing, Answered::Unanswered]),
                times: small(rng, 1, 3),
            },
            Kind::Hold => {
                // As with delays, and both may come together.
                let longest = match self.device.fence.quiesce {
                    Some(time) => (time / 4).as_millis() as u64,
                    None => 12_000,
                };
                let longest = pick(rng, &[30, 1000, longest]).min(longest);
                What::Hold {
                    per_mille: pick(rng, &[100, 400, 900]),
                    most: time(rng, MS, 1, longest),
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Cut,
    Stall,
    Refuse,
    Reset,
    Limit,
    Wire,
    Delay,
    Answer,
    Attention,
    PortState,
    RefuseLogins,
    Redirect,
    Notice,
    RemovePath,
    Reopen,
    CrashTarget,
    Pause,
    Resize,
    Remap,
    Short,
    Silence,
    Flip,
    Hold,
}

const ALL: &[Kind] = &[
    Kind::Cut,
    Kind::Stall,
    Kind::Reset,
    Kind::Delay,
    Kind::Refuse,
    Kind::Limit,
    Kind::Wire,
    Kind::Wire,
    Kind::Answer,
    Kind::Attention,
    Kind::PortState,
    Kind::RefuseLogins,
    Kind::Redirect,
    Kind::Notice,
    Kind::RemovePath,
    Kind::Reopen,
    Kind::CrashTarget,
    Kind::Pause,
    Kind::Resize,
    Kind::Remap,
    Kind::Short,
    Kind::Silence,
    Kind::Flip,
    Kind::Hold,
    Kind::Hold,
];

fn network(rng: &mut Rng) -> Network {
    let least = pick(rng, &[20, 50, 50, 200, 1000]);
    let spread = pick(rng, &[10, 200, 2000]);
    Network {
        latency: US * least..US * (least + spread),
        partial_per_mille: pick(rng, &[0, 0, 20, 100, 400]),
        pipe_capacity: pick(rng, &[4096, 65_536, 262_144, 262_144]),
    }
}

fn session(rng: &mut Rng) -> SessionTerms {
    let segment = pick(rng, &[512, 1024, 4096, 8192, 65_536, 262_144]);
    let max_burst = pick(rng, &[1024, 4096, 65_536, 1 << 20]);
    SessionTerms {
        header_digest: rng.chance(300),
        data_digest: rng.chance(300),
        chap: rng.chance(200),
        mutual: false,
        initial_r2t: rng.chance(300),
        immediate_data: rng.chance(700),
        segment,
        max_burst,
        first_burst: pick(rng, &[512, 2048, 65_536]).min(max_burst),
        outstanding_r2t: pick(rng, &[1, 1, 2, 4]),
        window: pick(rng, &[2, 4, 16, 128]),
        queue_depth: pick(rng, &[2, 8, 32, 128]),
        time2wait: pick(rng, &[0, 0, 0, 1, 2]),
        status_in_data: rng.chance(700),
        ping_every: pick(rng, &[0, 0, 0, 7, 50]),
        max_transfer: pick(rng, &[4096, 65_536, 1 << 24]),
        nop: (time(rng, S, 1, 5), time(rng, S, 1, 5)),
        command_timeout: pick(rng, &[5 * S, 15 * S, 30 * S, 30 * S]),
        connect_timeout: time(rng, S, 1, 5),
        service_time: pick(rng, &[Duration::ZERO, Duration::ZERO, 100 * US, MS, 5 * MS]),
    }
}

/// Any of the proofs, or none.
fn fence(rng: &mut Rng, hosts: u8) -> Fence {
    let (barrier, by_time) = pick(
        rng,
        &[
            (true, false),
            (true, false),
            (true, true),
            (false, true),
            (false, true),
            (false, false),
        ],
    );
    Fence {
        mode: pick(
            rng,
            &[WriterMode::Single, WriterMode::Single, WriterMode::Shared],
        ),
        barrier,
        quiesce: by_time.then(|| time(rng, MS, 500, 10_000)),
        sibling: rng.chance(700),
        preempt: None,
        // It would end the commands of another host as well.
        unit_reset: (hosts == 1 && rng.chance(300)).then(|| time(rng, MS, 100, 2000)),
        limit: time(rng, S, 2, 60),
    }
}

const fn fence_is_by_time(fence: &Fence) -> bool {
    fence.quiesce.is_some() || fence.unit_reset.is_some()
}

/// A target of which the fence is true.
fn target(rng: &mut Rng, fence: &Fence) -> TargetTerms {
    let reinstatement = if fence.barrier {
        pick(rng, &[Reinstatement::Ends, Reinstatement::Waits])
    } else {
        pick(
            rng,
            &[
                Reinstatement::Ignores,
                Reinstatement::Ignores,
                Reinstatement::Ends,
            ],
        )
    };
    let longest = fence.quiesce.map_or(8 * S, |time| time / 4);
    // The rarer, the longer: programs wait for what is held.
    let (most, per_mille) = pick(
        rng,
        &[
            (MS, 0),
            (5 * MS, 100),
            (100 * MS, 20),
            (8 * S, 3),
            (8 * S, 1),
        ],
    );
    let most = most.min(longest);
    TargetTerms {
        reinstatement,
        hold: WriteHold::new(per_mille, MS.min(most), most),
        volatile: rng.chance(250),
        brink_per_mille: pick(rng, &[0, 0, 300]),
        access: AluaConfig::default(),
    }
}

fn device(rng: &mut Rng, fence: Fence) -> DeviceTerms {
    let polling = time(rng, MS, 500, 5000);
    let floor = time(rng, MS, 5, 100);
    DeviceTerms {
        grouping: pick(
            rng,
            &[
                PathGroupingPolicy::Multibus,
                PathGroupingPolicy::Multibus,
                PathGroupingPolicy::Failover,
            ],
        ),
        prioritizer: Prioritizer::Detect,
        activate: Some(S),
        selector: pick(
            rng,
            &[
                PathSelector::ServiceTime,
                PathSelector::QueueLength,
                PathSelector::RoundRobin,
            ],
        ),
        failback: pick(
            rng,
            &[
                Failback::Manual,
                Failback::Immediate,
                Failback::After(2 * S),
            ],
        ),
        no_path_retry: pick(
            rng,
            &[
                NoPathRetry::Fail,
                NoPathRetry::QueueFor(5 * S),
                NoPathRetry::QueueFor(60 * S),
                NoPathRetry::Queue,
            ],
        ),
        polling: (polling, polling * pick(rng, &[1, 4])),
        checker: PathChecker::Tur,
        checker_timeout: time(rng, S, 2, 30),
        suspicion: (floor, pick(rng, &[2, 4, 8]), floor * 5),
        nop_timeout: time(rng, MS, 20, 500),
        tear_down: time(rng, MS, 100, 6000),
        auto_resize: AutoResize::GrowShrink,
        hedge: None,
        marginal: None,
        spares: Spares::None,
        fence,
    }
}

fn work(rng: &mut Rng) -> Work {
    Work {
        clients: pick(rng, &[3, 6, 12]),
        requests: u32::try_from(between(rng, 2_200, 4_000)).unwrap_or(2_200),
        span: pick(rng, &[16, 64, 256]),
        writes: pick(rng, &[300, 500, 700]),
        flushes: pick(rng, &[0, 10, 50, 150]),
        long: pick(rng, &[0, 10, 40]),
        longest: pick(rng, &[32, 128, 512]),
        dropped: pick(rng, &[0, 0, 20, 100]),
        timed: pick(rng, &[0, 0, 20, 100]),
        regions: pick(rng, &[0, 100, 300]),
        rush: pick(rng, &[200, 600, 900]),
        locked: false,
    }
}
