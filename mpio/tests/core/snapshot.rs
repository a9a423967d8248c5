use mpio::core::{Config, PathGroupingPolicy};

use super::harness::{Harness, LOST};

#[test]
fn it_reads_like_multipath_ll() {
    let config = Config::builder()
        .path_grouping_policy(PathGroupingPolicy::Failover)
        .build()
        .unwrap();
    let (mut h, [_, b]) = Harness::with_paths(config);
    h.read(0..1);
    h.down(b, LOST);
    let text = h.core.snapshot(h.now).to_string();
    let wanted = "\
|-+- policy='service-time 0' prio=1 status=active
| `- path0 active ready running
`-+- policy='service-time 0' prio=1 status=disabled
  `- path1 failed faulty offline (connection lost)
";
    assert_eq!(text, wanted);
}

#[test]
fn paths_of_one_group_are_branches_of_one_tree() {
    let (h, [_, _]) = Harness::with_paths(Config::default());
    let snapshot = h.core.snapshot(h.now);
    assert_eq!(snapshot.features(), "1 queue_if_no_path");
    let wanted = "\
`-+- policy='service-time 0' prio=1 status=active
  |- path0 active ready running
  `- path1 active ready running
";
    assert_eq!(snapshot.to_string(), wanted);
}
