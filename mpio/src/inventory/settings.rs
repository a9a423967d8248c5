//! Which settings a device has: the sections `devices` and `multipaths` of multipath.conf.

use std::{fmt, sync::Arc};

use crate::{
    core::{Config, PathAttributes},
    rule::{FoundUnit, Priorities, Rule},
};

type Choose = dyn Fn(&FoundUnit) -> Option<Config> + Send + Sync;
type Describe = dyn Fn(&FoundUnit, PathAttributes) -> PathAttributes + Send + Sync;

/// Settings by what is known of a unit.
#[derive(Clone, Default)]
pub(super) struct Settings {
    pub(super) others: Config,
    pub(super) choose: Option<Arc<Choose>>,
    pub(super) table: Vec<(Rule, Config)>,
    pub(super) priorities: Priorities,
    pub(super) describe: Option<Arc<Describe>>,
}

impl Settings {
    /// As the closure says, else as the first rule that matches does, else as those of all others.
    pub(super) fn of(&self, unit: &FoundUnit) -> Config {
        let chosen = self.choose.as_ref().and_then(|choose| choose(unit));
        let listed = || {
            let mut table = self.table.iter();
            table
                .find(|(rule, _)| rule.matches(unit))
                .map(|(_, config)| config.clone())
        };
        chosen
            .or_else(listed)
            .unwrap_or_else(|| self.others.clone())
    }

    pub(super) fn attributes(&self, unit: &FoundUnit, usual: PathAttributes) -> PathAttributes {
        let priority = self.priorities.of(unit).unwrap_or(usual.priority);
        let usual = match unit.route.is_spare {
            true => usual.with_spare_for(unit.route.ends()),
            false => usual,
        };
        let usual = usual.with_priority(priority);
        match &self.describe {
            Some(describe) => describe(unit, usual),
            None => usual,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("others", &self.others)
            .field("table", &self.table)
            .field("priorities", &self.priorities)
            .finish_non_exhaustive()
    }
}
