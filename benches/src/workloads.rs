//! What is counted. Each workload is a name, what one operation of it is, and a function that does so
//! many of them after whatever has to be set up.
//!
//! One thread, no network, no clock, no randomness: two runs differ in nothing but what is measured.

mod codec;
mod core;
mod crc;
mod framing;
mod io;
mod login;
mod multipath;
mod session;
mod target;
mod unit;

use crate::failure::Failure;

/// Something that can be counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    /// `layer/what`.
    pub(crate) name: &'static str,
    /// What one operation is.
    pub(crate) about: &'static str,
    /// Operations after which everything that grows has grown.
    pub(crate) warm: u64,
    /// Operations that are counted.
    pub(crate) counted: u64,
    pub(crate) run: fn(u64) -> Result<(), Failure>,
}

/// All of them, in the order in which they are listed.
pub(crate) fn all() -> impl Iterator<Item = &'static Workload> {
    let layers: [&[Workload]; 9] = [
        crc::WORKLOADS,
        codec::WORKLOADS,
        framing::WORKLOADS,
        login::WORKLOADS,
        target::WORKLOADS,
        core::WORKLOADS,
        session::WORKLOADS,
        unit::WORKLOADS,
        multipath::WORKLOADS,
    ];
    layers.into_iter().flatten()
}

/// The one of that name.
///
/// # Errors
///
/// If there is none.
pub(crate) fn find(name: &str) -> Result<&'static Workload, Failure> {
    all()
        .find(|workload| workload.name == name)
        .ok_or_else(|| Failure::new(format!("no workload {name:?}; `benches list` names them")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_workload_does_what_it_says() {
        for workload in all() {
            (workload.run)(3).unwrap_or_else(|failure| panic!("{}: {failure}", workload.name));
        }
    }

    #[test]
    fn no_two_workloads_have_one_name() {
        let names: Vec<_> = all().map(|workload| workload.name).collect();
        let distinct: BTreeSet<_> = names.iter().collect();
        assert_eq!(names.len(), distinct.len());
        assert!(names.iter().all(|name| find(name).is_ok()));
        assert!(find("codec/none").is_err());
    }
}
