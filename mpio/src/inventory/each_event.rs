//! Every event and every state of an inventory as JSON.

use std::{sync::Arc, time::Instant};

use iscsi_client::{
    bind::Bind,
    device::DeviceInfo,
    error::{Error, ErrorKind, LoginError, LoginFailure},
    isid::SessionSlot,
    session::DownReason,
};
use iscsi_proto::{name::IscsiName, portal::Portal, scsi::Lun};
use serde_json::{Value, json};

use super::*;
use crate::{
    core::{Config, Multipath, PathAttributes, PathId},
    device::JoinError,
};

struct Parts {
    portal: Portal,
    bind: Bind,
    target: IscsiName,
    route: Arc<Route>,
    lun: Lun,
    wwid: Arc<str>,
    path: PathId,
}

impl Parts {
    #[expect(clippy::disallowed_methods, reason = "any moment serves")]
    fn new() -> Self {
        let portal: Portal = "10.0.0.1:3260,1".parse().unwrap();
        let bind: Bind = "eth0".parse().unwrap();
        let target: IscsiName = "iqn.2026-01.example:disk".parse().unwrap();
        let now = Instant::now();
        let mut core = Multipath::new(now, Config::default(), 1);
        Self {
            route: Arc::new(Route::new(target.clone(), portal.clone(), bind.clone())),
            portal,
            bind,
            target,
            lun: Lun::default(),
            wwid: "36001".into(),
            path: core.add_path(now, PathAttributes::new("a")),
        }
    }

    fn login_error(&self) -> LoginError {
        LoginError::new(self.portal.clone(), LoginFailure::NexusTaken)
    }

    fn each(&self) -> Vec<InventoryEventKind> {
        let first = InventoryEventKind::Discovered {
            portal: self.portal.clone(),
            bind: self.bind.clone(),
            targets: 2,
        };
        std::iter::successors(Some(first), |event| self.after(event)).collect()
    }

    /// The next one. Who adds a variant is led here by the compiler, and puts it into the chain.
    fn after(&self, event: &InventoryEventKind) -> Option<InventoryEventKind> {
        use InventoryEventKind as Kind;
        let (portal, target) = (self.portal.clone(), self.target.clone());
        let (bind, route, lun) = (self.bind.clone(), Arc::clone(&self.route), self.lun);
        let wwid = Arc::clone(&self.wwid);
        let error = Error::not_executed(ErrorKind::Transport);
        Some(match event {
            Kind::Discovered { .. } => Kind::DiscoveryFailed {
                portal,
                bind,
                error: self.login_error(),
            },
            Kind::DiscoveryFailed { .. } => Kind::PortalFound { target, portal },
            Kind::PortalFound { .. } => Kind::PortalGone { target, portal },
            Kind::PortalGone { .. } => Kind::LoggedIn { route },
            Kind::LoggedIn { .. } => Kind::LoginFailed {
                route,
                error: self.login_error(),
            },
            Kind::LoginFailed { .. } => Kind::SessionDown {
                route,
                reason: DownReason::Lost(error),
            },
            Kind::SessionDown { .. } => Kind::ListFailed { route, error },
            Kind::ListFailed { .. } => Kind::BindUnreachable { bind },
            Kind::BindUnreachable { .. } => Kind::FilteredOut {
                route,
                lun: None,
                rejection: Rejection::Excluded(Rule::wwid("36*")),
            },
            Kind::FilteredOut { .. } => Kind::UnitUnusable { route, lun, error },
            Kind::UnitUnusable { .. } => Kind::PathRefused {
                route,
                lun,
                error: JoinError::NoAccess,
            },
            Kind::PathRefused { .. } => Kind::DeviceFound { wwid },
            Kind::DeviceFound { .. } => Kind::PathAdded {
                wwid,
                route,
                lun,
                path: self.path,
            },
            Kind::PathAdded { .. } => Kind::PathRemoved {
                wwid,
                route,
                lun,
                reason: Removal::NoSuchUnit,
            },
            Kind::PathRemoved { .. } => Kind::DeviceStranded { wwid },
            Kind::DeviceStranded { .. } => Kind::DeviceLost {
                wwid,
                reason: Loss::NoPath,
            },
            Kind::DeviceLost { .. } => Kind::Limited {
                limit: Limit::Paths(64),
                left_out: 3,
            },
            Kind::Limited { .. } => Kind::Scanned { devices: 4 },
            Kind::Scanned { .. } => return None,
        })
    }
}

fn json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

#[test]
fn every_event_is_an_object_with_its_kind() {
    for event in Parts::new().each() {
        let value = json(&event);
        let debug = format!("{event:?}");
        let name = debug.split(' ').next().unwrap();
        let kind = value["kind"].as_str().expect("a kind");
        assert_eq!(kind.replace('_', ""), name.to_lowercase(), "{value}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "any moment serves")]
fn an_event_has_its_number_and_its_time_beside_its_kind() {
    let made = Instant::now();
    let mut log = log::EventLog::new(made);
    let at = made + std::time::Duration::from_millis(5);
    let parts = Parts::new();
    log.push(at, parts.each().remove(6));
    let event = log.after(0).unwrap();
    let wanted = json!({
        "number": 1, "uptime_ns": 5_000_000, "kind": "session_down",
        "route": {
            "target": "iqn.2026-01.example:disk", "portal": "10.0.0.1:3260,1", "bind": "eth0", "is_spare": false,
        },
        "reason": "connection lost: the connection to the target failed: look at the network and the target",
    });
    assert_eq!(json(&event), wanted);
}

#[test]
fn every_state_of_a_session_and_of_a_unit_can_be_told_apart() {
    let parts = Parts::new();
    let error = || Error::not_executed(ErrorKind::Transport);
    let units = [
        UnitState::Examining,
        UnitState::Path {
            wwid: "36001".into(),
            path: parts.path,
        },
        UnitState::FilteredOut(Rejection::NotAmong(Criterion::Wwid)),
        UnitState::Unusable(error()),
        UnitState::Refused {
            error: JoinError::NoAccess,
            info: Arc::new(DeviceInfo::new(1 << 20, 512)),
        },
        UnitState::LeftOut,
    ];
    let route = RouteSnapshot {
        route: Arc::clone(&parts.route),
        slot: SessionSlot::default(),
        isid: None,
        state: RouteState::Failed(parts.login_error()),
        list_error: Some(error()),
        units: units.into_iter().map(|unit| (parts.lun, unit)).collect(),
    };
    let value = json(&route);
    assert_eq!(value["state"]["kind"], "failed");
    assert!(value["state"]["error"].is_string(), "{value}");
    assert!(value["list_error"].is_string(), "{value}");
    let units = value["units"].as_array().unwrap();
    let kinds = units
        .iter()
        .map(|unit| unit["state"]["kind"].as_str().unwrap());
    let wanted = [
        "examining",
        "path",
        "filtered_out",
        "unusable",
        "refused",
        "left_out",
    ];
    assert!(kinds.eq(wanted), "{value}");
    assert_eq!(
        units[2]["state"]["rejection"],
        "by wwid only others are taken"
    );
    assert!(units[3]["state"]["error"].is_string());
    assert_eq!(units[4]["state"]["info"]["size"], 1 << 20);
}
