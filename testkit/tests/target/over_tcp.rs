//! The target over real sockets, and its faults.

use std::{io, net::TcpStream, time::Duration};

use crate::script::{Direction, Script, config, rw10};
use iscsi_proto::{Isid, LoginStatus};
use iscsi_testkit::{
    pattern,
    target::{LunConfig, TargetConfig, TcpTarget},
};

#[test]
fn a_read_through_either_portal_gives_the_pattern() {
    let target = TcpTarget::start(config()).unwrap();
    for portal in [0, 1] {
        let mut script = Script::tcp(&target, portal).logged_in(&[]);
        let data = script.read_blocks(1000, 600);
        assert_eq!(data.len(), 600 * 512);
        assert_eq!(pattern::verify(1, 1000 * 512, &data), Ok(()));
        // A write is counted when it is done, so before the next command is taken.
        script.read_blocks(0, 1);
        let counters = target.core().counters(portal);
        assert_eq!(
            (counters.connections, counters.logins, counters.commands),
            (1, 1, 4)
        );
        assert!(counters.bytes_out > 600 * 512 && counters.bytes_in > 4 * 48);
    }
    assert_eq!(target.core().violations(), []);
}

#[test]
fn a_cut_portal_falls_silent_and_a_heal_serves_new_connections_only() {
    let target = TcpTarget::start(config()).unwrap();
    let mut old = Script::tcp(&target, 0).logged_in(&[]);
    let mut other = Script::tcp(&target, 1).logged_in(&[]);
    target.cut(0);
    old.command(0, &rw10(0x28, 0, 8), 4096, Direction::Read, &[]);
    assert!(old.is_silent());
    // Accepted by the kernel, as through a switch that blackholes only later; never answered.
    let mut during = Script::new(TcpStream::connect(target.portal(0)).unwrap());
    during.send(&iscsi_proto::pdu::Bhs::default(), &[]);
    assert!(during.is_silent());
    assert_eq!(
        other.read_blocks(0, 8).len(),
        4096,
        "the other portal is not concerned"
    );
    target.heal(0);
    assert!(
        old.receive().is_err() && during.receive().is_err(),
        "dropped, not resumed"
    );
    let mut new = Script::tcp(&target, 0).logged_in(&[]);
    assert_eq!(new.read_blocks(0, 8).len(), 4096);
    assert_eq!(target.core().violations(), []);
}

#[test]
fn a_stalled_portal_goes_on_where_it_was() {
    let target = TcpTarget::start(config()).unwrap();
    let mut script = Script::tcp(&target, 0).logged_in(&[]);
    target.stall(0, None);
    script.command(0, &rw10(0x28, 0, 8), 4096, Direction::Read, &[]);
    assert!(script.is_silent());
    target.heal(0);
    assert_eq!(script.data().0.len(), 4096);
    target.stall(0, Some(Duration::from_millis(50)));
    assert_eq!(script.read_blocks(8, 8).len(), 4096, "ends by itself");
}

#[test]
fn a_reset_is_seen_as_one() {
    let target = TcpTarget::start(config()).unwrap();
    let mut script = Script::tcp(&target, 0).logged_in(&[]);
    target.reset(0);
    assert_eq!(
        script.receive().unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
    assert_eq!(Script::tcp(&target, 0).login(&[]), LoginStatus::SUCCESS);
}

#[test]
fn a_reset_ends_a_connection_whose_reader_is_stuck() {
    let target = TcpTarget::start(config()).unwrap();
    let mut script = Script::tcp(&target, 0).logged_in(&[]);
    // More than both socket buffers take, and nobody reads: the target's thread blocks in a write.
    for _ in 0..16 {
        script.command(0, &rw10(0x28, 0, 16384), 16384 * 512, Direction::Read, &[]);
    }
    assert!(script.receive().is_ok());
    target.reset(0);
    drop(target);
}

#[test]
fn refused_logins_carry_the_status_until_it_is_lifted() {
    let target = TcpTarget::start(config()).unwrap();
    let status = LoginStatus {
        class: 3,
        detail: 1,
    };
    target.core().refuse_logins(0, Some(status));
    assert_eq!(Script::tcp(&target, 0).login(&[]), status);
    assert_eq!(Script::tcp(&target, 1).login(&[]), LoginStatus::SUCCESS);
    target.core().refuse_logins(0, None);
    assert_eq!(Script::tcp(&target, 0).login(&[]), LoginStatus::SUCCESS);
    assert_eq!(target.core().counters(0).login_failures, 1);
}

#[test]
fn a_second_login_with_the_same_isid_ends_the_first_session() {
    let target = TcpTarget::start(config()).unwrap();
    let mut first = Script::tcp(&target, 0).logged_in(&[]);
    let mut sibling = Script::tcp(&target, 0);
    sibling.isid = Isid([0x80, 0, 0, 1, 0, 2]);
    let mut sibling = sibling.logged_in(&[]);
    let mut second = Script::tcp(&target, 0).logged_in(&[]);
    assert!(first.receive().is_err());
    assert_eq!(second.read_blocks(0, 1).len(), 512);
    assert_eq!(sibling.read_blocks(0, 1).len(), 512);
    assert_eq!(target.core().sessions(), 2);
}

#[test]
fn a_delayed_command_takes_at_least_so_long() {
    let target = TcpTarget::start(config()).unwrap();
    let mut script = Script::tcp(&target, 0).logged_in(&[]);
    target.core().set_delay(0, Duration::from_millis(60));
    script.command(0, &rw10(0x28, 0, 8), 4096, Direction::Read, &[]);
    script
        .stream
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    assert!(script.receive().is_err(), "not yet");
    script
        .stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    assert_eq!(script.data().0.len(), 4096);
}

#[test]
fn a_dropped_target_refuses_connections() {
    let target = TcpTarget::start(config()).unwrap();
    let mut script = Script::tcp(&target, 0).logged_in(&[]);
    let portal = target.portal(0);
    target.cut(1);
    drop(target);
    assert!(script.receive().is_err());
    assert!(TcpStream::connect(portal).is_err());
}

#[test]
fn a_portal_that_is_taken_is_an_error() {
    let target = TcpTarget::start(config()).unwrap();
    let config = TargetConfig::new("iqn.2026-01.example:two")
        .with_portal(target.portal(0), 1)
        .with_lun(LunConfig::new(0, 512));
    assert_eq!(
        TcpTarget::start(config).unwrap_err().kind(),
        io::ErrorKind::AddrInUse
    );
}
