//! Settings and priorities by what a unit and its paths are.

use iscsi_client::device::BlockDeviceExt;
use mpio::{
    arrays::{Array, ArraySettings, ArrayTable},
    core::{Config, NoPathRetry, PathGroupingPolicy, Prioritizer},
    inventory::Rule,
};

use crate::support::{World, paths};

fn table() -> ArrayTable {
    let settings = ArraySettings::default()
        .path_grouping_policy(PathGroupingPolicy::Failover)
        .no_path_retry(NoPathRetry::Fail);
    ArrayTable::none().with(Array::new("testkit", "RUSTSDK", "TESTKIT*", settings))
}

#[test]
fn an_array_of_the_table_has_its_settings_where_the_program_has_none() {
    let world = World::new(1);
    let device = world.sim.block_on(async {
        let connect = |config, table| world.builder(config).arrays(table);
        let device = connect(Config::default(), table())
            .connect_spawned(&world.initiator)
            .await
            .unwrap();
        let topology = device.topology();
        assert_eq!(topology.array.as_deref(), Some("testkit"));
        assert!(
            topology.to_string().contains("\narray: testkit\n"),
            "{topology}"
        );
        assert_eq!(topology.snapshot.groups.len(), paths(&device).len());
        assert_eq!(device.config().no_path_retry(), NoPathRetry::Fail);
        // Settings that come later leave it unset as well, or do not.
        device.reconfigure(Config::builder().marginal(None).build().unwrap());
        assert_eq!(device.config().no_path_retry(), NoPathRetry::Fail);
        let queue = Config::builder().no_path_retry(NoPathRetry::Queue);
        device.reconfigure(queue.clone().build().unwrap());
        assert_eq!(device.config().no_path_retry(), NoPathRetry::Queue);
        assert_eq!(device.snapshot().groups.len(), paths(&device).len());
        device.read_bytes(0, 4096).await.unwrap();
        device.close().await;

        let device = connect(queue.build().unwrap(), table())
            .connect_spawned(&world.initiator)
            .await
            .unwrap();
        assert_eq!(device.config().no_path_retry(), NoPathRetry::Queue);
        device.close().await;

        let device = connect(Config::default(), ArrayTable::none())
            .connect_spawned(&world.initiator)
            .await
            .unwrap();
        let topology = device.topology();
        assert_eq!(
            (topology.array.clone(), topology.snapshot.groups.len()),
            (None, 1)
        );
        assert!(!topology.to_string().contains("array:"), "{topology}");
        device
    });
    world.end(device);
}

#[test]
fn priorities_are_given_by_rules_about_local_ends_and_portals() {
    let world = World::new(2);
    let config = Config::builder()
        .prioritizer(Prioritizer::Given)
        .path_grouping_policy(PathGroupingPolicy::GroupByPriority)
        .build()
        .unwrap();
    let device = world.sim.block_on(async {
        let device = world
            .builder(config)
            .priority_by(Rule::path("eth1 -> *"), 50)
            .priority_by(Rule::device("RUSTSDK", "TESTKIT DISK"), 10)
            .priority_by(Rule::bind("eth0"), 99)
            .connect_spawned(&world.initiator)
            .await
            .unwrap();
        for path in paths(&device) {
            let wanted = if path.name.starts_with("eth1") {
                50
            } else {
                10
            };
            assert_eq!(path.priority, wanted, "{}", path.name);
        }
        for _ in 0..8 {
            device.read_bytes(0, 4096).await.unwrap();
        }
        for path in paths(&device) {
            assert_eq!(path.counters.ios > 0, path.priority == 50, "{}", path.name);
        }
        device
    });
    world.end(device);
}
