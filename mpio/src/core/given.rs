//! Which settings a program has made, so that a table of arrays leaves them alone.

use std::time::Duration;

use super::{Config, Failback, LatencyClasses, NoPathRetry, PathGroupingPolicy, Prioritizer};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) grouping: bool,
    pub(crate) prioritizer: bool,
    pub(crate) failback: bool,
    pub(crate) no_path_retry: bool,
}

/// The longest times that a [`ConfigBuilder`](super::ConfigBuilder) takes.
pub(crate) const LONGEST_FAILBACK: Duration = Duration::from_secs(24 * 3600);
pub(crate) const LONGEST_QUEUEING: Duration = Duration::from_secs(720 * 3600);

impl Config {
    /// Sets what the program has not. What is out of range is brought into it.
    pub(crate) fn where_unset(
        mut self,
        grouping: Option<PathGroupingPolicy>,
        prioritizer: Option<Prioritizer>,
        failback: Option<Failback>,
        no_path_retry: Option<NoPathRetry>,
    ) -> Self {
        let given = self.given;
        if let Some(grouping) = grouping.filter(|_| !given.grouping) {
            self.path_grouping_policy = grouping;
        }
        if let Some(prioritizer) = prioritizer.filter(|_| !given.prioritizer) {
            self.prioritizer = match prioritizer {
                Prioritizer::PathLatency(classes) => Prioritizer::PathLatency(within(classes)),
                other => other,
            };
        }
        if let Some(failback) = failback.filter(|_| !given.failback) {
            self.failback = Some(match failback {
                Failback::After(delay) => Failback::After(delay.min(LONGEST_FAILBACK)),
                other => other,
            });
        }
        if let Some(policy) = no_path_retry.filter(|_| !given.no_path_retry) {
            self.no_path_retry = match policy {
                NoPathRetry::QueueFor(limit) => NoPathRetry::QueueFor(limit.min(LONGEST_QUEUEING)),
                other => other,
            };
        }
        self
    }
}

fn within(classes: LatencyClasses) -> LatencyClasses {
    classes
        .io_num(classes.io_num.clamp(20, 200))
        .base_tenths(classes.base_tenths.clamp(11, 100))
        .hold(
            classes
                .hold
                .clamp(Duration::from_secs(1), Duration::from_secs(3600)),
        )
}
