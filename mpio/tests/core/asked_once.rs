//! One question to a connection is enough, whoever of the other paths wants to know whether it is alive.

use mpio::core::{Config, MarginalConfig, PathId, PathSelector, ProbeKind};

use super::harness::{Harness, LOST, MS, S};

/// How often each connection is asked.
fn asked(h: &Harness, paths: &[PathId]) -> Vec<usize> {
    let count = |path: &PathId| {
        let nops = h.probes.iter();
        nops.filter(|&&(of, kind)| of == *path && kind == ProbeKind::Nop)
            .count()
    };
    paths.iter().map(count).collect()
}

/// Whoever has not had it tells whose fault it was; of those that are back each is asked for the others.
#[test]
fn for_faults_of_any_number_of_paths() {
    let config = Config::builder().marginal(Some(MarginalConfig::DEFAULT));
    let config = config.build().unwrap();
    for is_back in [false, true] {
        let (mut h, [a, b, c, d]) = Harness::with_paths(config.clone());
        h.pass(2 * S, &[]);
        for path in [a, b, c] {
            h.down(path, LOST);
            if is_back {
                h.up(path);
            }
        }
        h.probes.clear();
        h.pass(S, &[a, b, c, d]);
        let lost = usize::from(is_back);
        assert_eq!(asked(&h, &[a, b, c, d]), [lost, lost, lost, 1]);
    }
}

/// Reads that wait on silent paths would move to one that answers.
#[test]
fn for_reads_on_any_number_of_silent_paths() {
    let config = Config::builder().path_selector(PathSelector::RoundRobin);
    let (mut h, paths) = Harness::with_paths::<4>(config.build().unwrap());
    h.pass(S, &[]);
    h.probes.clear();
    for at in 0..3 {
        h.read(at..at + 1);
    }
    let (busy, idle): (Vec<_>, Vec<_>) = paths.iter().partition(|&&path| !h.on(path).is_empty());
    assert_eq!(busy.len(), 3);
    h.pass(150 * MS, &paths);
    assert_eq!(asked(&h, &busy), [1, 1, 1]);
    assert_eq!(asked(&h, &idle), [1]);
}
