//! What the hosts, NICs and portals of a world are called, where they are found, and who is behind a name.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::plan::Plan;
use crate::target::Port;

pub(super) fn portal_address(portal: u8) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(10, 0, portal, 1).into(), 3260)
}

pub(super) fn portal_name(portal: usize) -> String {
    format!("portal{portal}.example")
}

pub(super) fn nic_address(host: u8, nic: u8) -> IpAddr {
    Ipv4Addr::new(10, 1 + host, nic, 1).into()
}

pub(super) fn host_name(host: u8) -> String {
    format!("iqn.2026-01.example:host{host}")
}

pub(super) fn nic_name(host: u8, nic: u8) -> String {
    format!("h{host}e{nic}")
}

/// In CHAP.
pub(super) fn chap_name(host: u8) -> String {
    format!("host-{host}")
}

/// The device behind an initiator port.
pub(super) fn device(plan: &Plan, port: &Port) -> Option<usize> {
    let host = (0..plan.hosts).position(|host| host_name(host) == port.initiator)?;
    Some(host * plan.units.len() + usize::from(port.lun))
}
