use iscsi_proto::scsi::inquiry::Tpgs;
use mpio::core::{Config, PathAttributes, PathGroupingPolicy, PortalGroup, TargetPort};

use super::harness::Harness;

/// Four paths: to two targets, two target port groups, with two serial numbers, in two groups by hand, each of these
/// another division.
fn grouped(policy: PathGroupingPolicy) -> Vec<Vec<String>> {
    let config = Config::builder().path_grouping_policy(policy);
    let mut h = Harness::new(config.build().unwrap());
    let add = |h: &mut Harness, name: &str, target: &str, port, serial: &str, group, priority| {
        let portal_group = PortalGroup {
            target: target.into(),
            tag: 1,
        };
        let attributes = PathAttributes::new(name)
            .with_portal_group(portal_group)
            .with_serial(Some(serial.into()))
            .with_group(group)
            .with_priority(priority);
        let path = h.add_with(attributes);
        let (group, tpgs) = (port, Tpgs::Implicit);
        h.core
            .handle_target_port(path, Some(TargetPort { group, tpgs }));
        h.up(path);
    };
    add(&mut h, "p", "one", 1, "s", 7, 1);
    add(&mut h, "q", "one", 2, "s", 8, 1);
    add(&mut h, "r", "two", 2, "s", 7, 1);
    add(&mut h, "t", "two", 2, "u", 8, 5);
    let snapshot = h.core.snapshot(h.now);
    let names = |group: &mpio::core::GroupSnapshot| {
        let paths = group.paths.iter();
        paths.map(|path| path.name.to_string()).collect()
    };
    snapshot.groups.iter().map(names).collect()
}

#[test]
fn each_policy_divides_by_what_it_is_named_after() {
    use PathGroupingPolicy::{
        Detect, Failover, GroupByNodeName, GroupByPriority, GroupBySerial, GroupByTargetPortGroup,
        Manual, Multibus,
    };
    // The group with the best path comes first, and among equals the one that was there first.
    let wanted: [(PathGroupingPolicy, &[&[&str]]); 8] = [
        (Detect, &[&["p", "q", "r", "t"]]),
        (Multibus, &[&["p", "q", "r", "t"]]),
        (Failover, &[&["t"], &["p"], &["q"], &["r"]]),
        (GroupByPriority, &[&["t"], &["p", "q", "r"]]),
        (GroupByTargetPortGroup, &[&["r", "t"], &["p"], &["q"]]),
        (GroupByNodeName, &[&["r", "t"], &["p", "q"]]),
        (GroupBySerial, &[&["t"], &["p", "q", "r"]]),
        (Manual, &[&["q", "t"], &["p", "r"]]),
    ];
    for (policy, groups) in wanted {
        assert_eq!(grouped(policy), groups, "{}", policy.name());
    }
}
