use std::time::Duration;

use mpio::core::{Config, ConfigBuilder, NoPathRetry};

use super::harness::{MS, S};

#[test]
fn the_defaults_are_within_their_own_ranges() {
    assert_eq!(Config::builder().build(), Ok(Config::default()));
}

#[test]
fn a_value_out_of_range_is_named_with_its_range() {
    type Set = fn(ConfigBuilder) -> ConfigBuilder;
    let wrong: [(&str, Set); 8] = [
        ("polling_interval", |b| b.polling_interval(MS, S)),
        ("max_polling_interval", |b| b.polling_interval(9 * S, S)),
        ("no_path_retry", |b| {
            b.no_path_retry(NoPathRetry::QueueFor(Duration::MAX))
        }),
        ("quiet_time", |b| b.quiet_time(Some(Duration::ZERO))),
        ("suspicion.floor", |b| {
            b.suspicion(10_000 * S, 4, 10_000 * S)
        }),
        ("suspicion.factor", |b| b.suspicion(MS, 0, S)),
        ("suspicion.ceiling", |b| b.suspicion(S, 4, MS)),
        ("queue_limit", |b| b.queue_limit(0)),
    ];
    for (field, set) in wrong {
        let error = set(Config::builder()).build().unwrap_err();
        assert_eq!(error.field, field);
        assert!(error.to_string().contains(error.range), "{error}");
    }
}
