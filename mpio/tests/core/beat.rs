use std::time::Duration;

use iscsi_client::runtime::Beat;
use mpio::core::{Action, Config, IdentityCheck, Multipath, PathAttributes, PathId, ProbeKind};
use mpio::core::{ProbeReport, ProbeResult};

use super::harness::{Harness, MS, S};

/// When the path of a device is asked for the next ten times if all is well, since the beginning.
fn checks(h: &Harness, seed: u64, beat: Option<Beat>) -> Vec<Duration> {
    let (start, mut now) = (h.now, h.now);
    let mut core = Multipath::new(now, Config::default(), seed);
    core.set_beat(beat);
    let path = core.add_path(now, PathAttributes::new("a"));
    core.handle_path_up(now, path, IdentityCheck::Verified);
    let mut asked = Vec::new();
    while asked.len() < 10 {
        while let Some(action) = core.poll_action() {
            let Action::Probe { path, kind } = action else {
                continue;
            };
            if kind == ProbeKind::Tur {
                asked.push(now - start);
            }
            answer(&mut core, now, path, kind);
        }
        now = now.max(core.poll_timeout().expect("a check is planned"));
        core.handle_timeout(now);
    }
    asked
}

fn answer(core: &mut Multipath, now: std::time::Instant, path: PathId, kind: ProbeKind) {
    let result = ProbeResult::Ready;
    core.handle_probe(now, path, ProbeReport { kind, result });
}

#[test]
fn checks_of_paths_that_are_well_meet_on_the_beat() {
    let h = Harness::new(Config::default());
    let origin = h.now.checked_sub(300 * MS).unwrap();
    for seed in 0..50 {
        let asked = checks(&h, seed, Some(Beat::from(origin)));
        for at in &asked {
            let since = *at + 300 * MS;
            // The first ones come after 2.5 to 5 s, for which half a second is fine enough.
            assert_eq!(since.as_millis() % 500, 0, "{asked:?}");
        }
        for pair in asked[1..].windows(2) {
            assert_eq!((pair[1] + 300 * MS).as_millis() % 1000, 0, "{asked:?}");
            let apart = pair[1] - pair[0];
            assert!(apart <= 20 * S && apart > 8 * S, "{asked:?}");
        }
    }
}

#[test]
fn without_a_beat_each_device_has_times_of_its_own() {
    let h = Harness::new(Config::default());
    let firsts = (0..50).map(|seed| checks(&h, seed, None)[0]);
    let different: std::collections::BTreeSet<_> = firsts.collect();
    assert!(different.len() > 20, "{different:?}");
}
