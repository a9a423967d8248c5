//! What an inventory was told.

use std::{collections::BTreeMap, time::Duration};

use iscsi_client::{
    bind::Bind, discovery::Discovery, initiator::SessionTarget, isid::SessionSlot,
    logical_unit::LogicalUnitOptions, session::SessionOptions,
};
use iscsi_proto::{login::Authentication, name::IscsiName, portal::Portal};

use super::{filter::Filter, limits::Limits, route::fits, settings::Settings};
use crate::{arrays::ArrayTable, rule::Route, spares::Spares};

/// The configuration of an inventory.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) discoveries: Vec<Discovery>,
    pub(super) targets: Vec<(IscsiName, Portal)>,
    pub(super) binds: Vec<Bind>,
    pub(super) authentication: BTreeMap<IscsiName, Authentication>,
    pub(super) session: Option<SessionOptions>,
    pub(super) unit: LogicalUnitOptions,
    pub(super) filter: Filter,
    pub(super) settings: Settings,
    pub(super) arrays: ArrayTable,
    /// Whether a device may have paths to several targets.
    pub(super) across_targets: bool,
    /// Which sessions have a spare beside them.
    pub(super) spares: Spares,
    pub(super) limits: Limits,
    pub(super) rescan: Option<Duration>,
    pub(super) keep: Duration,
    pub(super) scan_timeout: Duration,
}

impl Plan {
    /// Each portal that is to be asked, from each local end that can reach it.
    pub(super) fn sources(&self) -> Vec<Discovery> {
        let mut sources = Vec::new();
        for discovery in &self.discoveries {
            let own = [discovery.bind.clone()];
            let binds = match discovery.bind {
                Bind::Any => &self.binds[..],
                _ => &own[..],
            };
            for bind in binds.iter().filter(|bind| fits(bind, &discovery.portal)) {
                let mut discovery = discovery.clone().with_bind(bind.clone());
                let options = discovery.options.take();
                discovery.options = options.or_else(|| self.session.clone());
                sources.push(discovery);
            }
        }
        sources
    }

    pub(super) fn session_target(&self, route: &Route, slot: SessionSlot) -> SessionTarget {
        let mut to = SessionTarget::new(route.target.clone(), route.portal.clone())
            .with_bind(route.bind.clone())
            .with_slot(slot);
        to.authentication = self.authentication.get(&route.target).cloned();
        to.options.clone_from(&self.session);
        to
    }
}
