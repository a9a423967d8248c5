//! What starts peers, runs futures and compares content.

/// The same tests against every peer: `login::tgtd::without_chap`, `login::istgt::without_chap`.
macro_rules! each_peer {
    ($($name:ident),* $(,)?) => {
        mod tgtd {
            $(#[test] fn $name() { super::$name($crate::harness::Kind::Tgtd) })*
        }
        mod istgt {
            $(#[test] fn $name() { super::$name($crate::harness::Kind::Istgt) })*
        }
    };
}

mod cable;
mod content;
mod daemon;
mod istgt;
mod load;
mod namespaces;
mod need;
mod peer;
mod run;
mod temp;
mod tgtd;
mod trace;

pub(crate) use self::{
    cable::Cable,
    content::Image,
    daemon::{Place, run_tool},
    load::{WORKERS, connect, connect_some, connect_with, progress, quick, under_load, usable},
    namespaces::{Network, PORTAL, ip},
    need::have,
    peer::{Auth, Kind, Limits, Peer, Setup, USER},
    run::{On, block_on, initiator, initiator_named, lun, open, sleep, until},
    temp::TempDir,
    trace::{Trace, Traced},
};
