//! One event of each kind, for tests that have to see all of them.

use std::time::{Duration, Instant};

use iscsi_proto::scsi::{AccessState, ReservationType};

use super::{
    Config, Delivery, DownReason, Event, FenceRung, FencedBy, IoClass, IoId, KeyRefusal,
    MarginalCause, Multipath, PathAttributes, PathId, RungStep, SkipReason, SuspectCause,
};

/// What is named in them.
#[derive(Clone, Copy)]
pub(crate) struct Names {
    path: PathId,
    other: PathId,
    io: IoId,
}

impl Names {
    pub(crate) fn new(now: Instant) -> Self {
        let mut core = Multipath::new(now, Config::default(), 1);
        Self {
            path: core.add_path(now, PathAttributes::new("eth0 -> 10.0.0.1:3260")),
            other: core.add_path(now, PathAttributes::new("eth1 -> 10.0.1.1:3260")),
            io: core.submit(now, IoClass::read(0..1)).unwrap(),
        }
    }

    pub(crate) fn of(self, path: PathId) -> Option<&'static str> {
        [
            (self.path, "eth0 -> 10.0.0.1:3260"),
            (self.other, "eth1 -> 10.0.1.1:3260"),
        ]
        .into_iter()
        .find_map(|(id, name)| (id == path).then_some(name))
    }

    pub(crate) fn each(self) -> Vec<Event> {
        let first = Event::PathAdded { path: self.path };
        std::iter::successors(Some(first), |event| self.after(event)).collect()
    }

    /// The next one. Who adds a variant is led here by the compiler, and puts it into the chain.
    fn after(self, event: &Event) -> Option<Event> {
        let Self { path, other, io } = self;
        Some(match event {
            Event::PathAdded { .. } => Event::PathUp { path },
            Event::PathUp { .. } => Event::PathDown {
                path,
                reason: DownReason::ConnectionLost,
            },
            Event::PathDown { .. } => Event::StillDown {
                path,
                reason: DownReason::LoginFailed,
            },
            Event::StillDown { .. } => Event::Suspect {
                path,
                cause: SuspectCause::PathError,
            },
            Event::Suspect { .. } => Event::Hedged {
                path,
                moved: 3,
                denied: 1,
            },
            Event::Hedged { .. } => Event::Delivery {
                path,
                delivery: Delivery::Unacknowledged,
            },
            Event::Delivery { .. } => Event::Cleared { path },
            Event::Cleared { .. } => Event::PathMarginal {
                path,
                cause: MarginalCause::Flapping {
                    losses: 5,
                    within: Duration::from_secs(90),
                },
            },
            Event::PathMarginal { .. } => Event::PathSound {
                path,
                after: Duration::from_secs(120),
            },
            Event::PathSound { .. } => Event::PathRanked {
                path,
                round_trip: Duration::from_micros(350),
            },
            Event::PathRanked { .. } => Event::PathRemoved { path },
            Event::PathRemoved { .. } => Event::IdentityMismatch { path },
            Event::IdentityMismatch { .. } => Event::SharedDevice { path, with: other },
            Event::SharedDevice { .. } => Event::Failover {
                from: path,
                to: other,
            },
            Event::Failover { .. } => Event::SpareInUse {
                path: other,
                instead_of: path,
            },
            Event::SpareInUse { .. } => Event::SpareStandsBy { path: other },
            Event::SpareStandsBy { .. } => Event::AccessChanged {
                path,
                state: AccessState::ActiveNonOptimized,
                preferred: true,
            },
            Event::AccessChanged { .. } => Event::Activating { path, group: 7 },
            Event::Activating { .. } => Event::GroupSwitched {
                from: None,
                to: path,
            },
            Event::GroupSwitched { .. } => Event::Suspended,
            Event::Suspended => Event::Quiesced,
            Event::Quiesced => Event::Resumed,
            Event::Resumed => Event::Paused,
            Event::Paused => Event::Unpaused,
            Event::Unpaused => Event::Resized {
                from: 512,
                to: 1024,
            },
            Event::Resized { .. } => Event::SizeNotTaken {
                size: 1024,
                told: 512,
            },
            Event::SizeNotTaken { .. } => Event::SizeAgreed { size: 1024 },
            Event::SizeAgreed { .. } => Event::AllPathsDown,
            Event::AllPathsDown => Event::Queueing {
                limit: Some(Duration::from_secs(60)),
            },
            Event::Queueing { .. } => Event::QueueingExpired,
            Event::QueueingExpired => Event::Restored,
            Event::Restored => Event::WriteHeld { io },
            Event::WriteHeld { .. } => Event::FenceStarted { path },
            Event::FenceStarted { .. } => Event::FenceDone {
                path,
                by: FencedBy::QuietTime,
            },
            Event::FenceDone { .. } => Event::FenceStep {
                path: Some(path),
                rung: FenceRung::UnitReset,
                step: RungStep::Skipped(SkipReason::NoPath),
            },
            Event::FenceStep { .. } => Event::KeyRefused {
                path,
                why: KeyRefusal::Reserved,
            },
            Event::KeyRefused { .. } => Event::PathRegistered { path },
            Event::PathRegistered { .. } => Event::PathNotRegistered { path },
            Event::PathNotRegistered { .. } => Event::RegistrationLost { path },
            Event::RegistrationLost { .. } => Event::Unregistered,
            Event::Unregistered => Event::Reserved {
                kind: ReservationType::WriteExclusiveRegistrantsOnly,
            },
            Event::Reserved { .. } => Event::Released,
            Event::Released => Event::FormerLifeFenceStarted,
            Event::FormerLifeFenceStarted => Event::FormerLifeFenced {
                by: FencedBy::Confirmed,
            },
            Event::FormerLifeFenced { .. } => return None,
        })
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "any moment serves")]
fn every_event_can_be_told_with_the_names_of_its_paths() {
    let names = Names::new(Instant::now());
    for event in names.each() {
        let (plain, named) = (
            event.to_string(),
            event.named(|path| names.of(path)).to_string(),
        );
        let by_hand = plain
            .replace("path0", "eth0 -> 10.0.0.1:3260")
            .replace("path1", "eth1 -> 10.0.1.1:3260");
        assert_eq!(named, by_hand);
        assert!(!named.contains("path0"), "{named}");
        assert_eq!(event.named(|_| None::<&str>).to_string(), plain);
    }
}

#[cfg(feature = "serde")]
mod serialised {
    use serde_json::{Value, json};

    use super::*;
    use crate::core::NoPathRetry;

    #[expect(clippy::disallowed_methods, reason = "any moment serves")]
    fn each() -> Vec<(Event, Value)> {
        let all = Names::new(Instant::now()).each();
        let json = |event| (event, serde_json::to_value(event).unwrap());
        all.into_iter().map(json).collect()
    }

    #[test]
    fn every_event_is_an_object_with_its_kind() {
        for (event, json) in each() {
            // `PathDown { path: .. }` is of the kind `path_down`.
            let debug = format!("{event:?}");
            let name = debug.split(' ').next().unwrap();
            let kind = json["kind"].as_str().expect("a kind");
            assert_eq!(kind.replace('_', ""), name.to_lowercase(), "{json}");
        }
    }

    #[test]
    fn events_say_it_in_words_and_nanoseconds() {
        let all = each();
        for wanted in [
            json!({"kind": "path_down", "path": "path0", "reason": "connection_lost"}),
            json!({"kind": "access_changed", "path": "path0", "state": "active/non-optimized",
                "preferred": true}),
            json!({"kind": "queueing", "limit_ns": 60_000_000_000_u64}),
            json!({"kind": "fence_step", "path": "path0", "rung": "unit_reset",
                "step": {"kind": "skipped", "reason": "no_path"}}),
            json!({"kind": "group_switched", "from": null, "to": "path0"}),
            json!({"kind": "write_held", "io": "io0"}),
            json!({"kind": "suspended"}),
        ] {
            let mut same = all
                .iter()
                .filter(|(_, json)| json["kind"] == wanted["kind"]);
            assert_eq!(same.next().map(|(_, json)| json), Some(&wanted));
        }
    }

    #[test]
    fn an_enum_with_data_has_its_kind_beside_it() {
        let policy = NoPathRetry::QueueFor(Duration::from_millis(1));
        let wanted = json!({"kind": "queue_for", "limit_ns": 1_000_000});
        assert_eq!(serde_json::to_value(policy).unwrap(), wanted);
        let wanted = json!({"kind": "fail"});
        assert_eq!(serde_json::to_value(NoPathRetry::Fail).unwrap(), wanted);
    }
}
