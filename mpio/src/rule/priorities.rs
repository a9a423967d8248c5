//! Priorities of paths by what they are like.

use super::{FoundUnit, Rule};

/// The first rule that matches counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Priorities(Vec<(Rule, u32)>);

impl Priorities {
    pub(crate) fn push(&mut self, rule: Rule, priority: u32) {
        self.0.push((rule, priority));
    }

    pub(crate) fn of(&self, unit: &FoundUnit) -> Option<u32> {
        let mut rules = self.0.iter();
        rules
            .find(|(rule, _)| rule.matches(unit))
            .map(|(_, priority)| *priority)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use iscsi_client::device::DeviceInfo;
    use iscsi_proto::scsi::Lun;

    use super::*;
    use crate::rule::Route;

    fn unit(bind: &str, portal: &str) -> FoundUnit {
        FoundUnit {
            route: Arc::new(Route::new(
                "iqn.2026-01.example:disk".parse().unwrap(),
                portal.parse().unwrap(),
                bind.parse().unwrap(),
            )),
            lun: Lun::ZERO,
            info: Arc::new(DeviceInfo::new(1 << 20, 512)),
            inquiry: Default::default(),
        }
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let mut priorities = Priorities::default();
        priorities.push(Rule::path("eth1 -> 10.0.1.*"), 50);
        priorities.push(Rule::bind("eth1"), 20);
        priorities.push(Rule::portal("[2001:db8::1]"), 10);
        priorities.push(Rule::target("iqn.2026-01.example:*"), 5);
        for (bind, portal, priority) in [
            ("eth1", "10.0.1.7:3260,1", Some(50)),
            ("eth1", "10.0.2.7", Some(20)),
            ("eth2", "[2001:db8::1]:3261", Some(10)),
            ("any", "10.0.1.7", Some(5)),
        ] {
            assert_eq!(
                priorities.of(&unit(bind, portal)),
                priority,
                "{bind} {portal}"
            );
        }
        let mut others = Priorities::default();
        others.push(Rule::target("iqn.2001-04.*"), 5);
        assert_eq!(others.of(&unit("any", "10.0.1.7")), None);
    }
}
