//! Blocking calls from a program without an async runtime.

#![cfg(feature = "smol")]

use std::{
    sync::{Arc, mpsc},
    thread,
};

use iscsi_client::{
    blocking::{BlockingDevice, Host, block_on},
    error::ErrorKind,
    initiator::{Initiator, SessionTarget},
    logical_unit::LogicalUnit,
};
use iscsi_proto::{portal::Portal, scsi::Lun};
use iscsi_testkit::{
    conformance, pattern,
    target::{LunConfig, TargetConfig, TcpTarget},
};

const TARGET: &str = "iqn.2026-01.example:disk";

fn target() -> TcpTarget {
    let config = TargetConfig::new(TARGET)
        .with_portal("127.0.0.1:0".parse().unwrap(), 1)
        .with_lun(LunConfig::new(0, 64 << 20));
    TcpTarget::start(config).unwrap()
}

fn open(host: &Host, target: &TcpTarget) -> LogicalUnit {
    let name = "iqn.2026-01.example:host".parse().unwrap();
    let initiator = Initiator::builder(name, host.runtime()).build();
    let to = SessionTarget::new(TARGET.parse().unwrap(), Portal::from(target.portal(0)));
    let session = host.block_on(initiator.connect_spawned(&to)).unwrap();
    host.block_on(LogicalUnit::open(session, Lun::ZERO))
        .unwrap()
}

#[test]
fn many_threads_use_one_device_and_the_session_is_logged_out_in_the_end() {
    let target = target();
    let host = Host::start().unwrap();
    let disk = BlockingDevice::new(Arc::new(open(&host, &target)));
    assert_eq!(disk.info().size, 64 << 20);
    let workers: Vec<_> = (0..4_u64)
        .map(|n| {
            let disk = disk.clone();
            thread::spawn(move || {
                let mut block = vec![0; 4096];
                for at in (n << 20..(n << 20) + (256 << 10)).step_by(4096) {
                    disk.read_at(at, &mut block).unwrap();
                    assert_eq!(pattern::verify(1, at, &block), Ok(()));
                    disk.write_at(at, &[n as u8; 4096]).unwrap();
                    disk.read_at(at, &mut block).unwrap();
                    assert_eq!(block, [n as u8; 4096]);
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    disk.flush().unwrap();
    disk.close().unwrap();
    let error = disk.read_at(0, &mut [0; 512]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    drop(disk);
    host.shutdown();
    assert_eq!(target.core().sessions(), 0);
    assert_eq!(target.core().violations(), []);
}

#[test]
fn a_device_keeps_its_contract_over_tcp() {
    let target = target();
    let host = Host::start().unwrap();
    let unit = open(&host, &target);
    block_on(conformance::block_device(&unit, 0..16 << 20));
    assert_eq!(target.core().violations(), []);
}

#[test]
fn dropping_the_host_leaves_its_sessions_running() {
    let target = target();
    let host = Host::start().unwrap();
    let unit = open(&host, &target);
    drop(host);
    let disk = BlockingDevice::new(Arc::new(unit));
    let mut block = [0; 512];
    disk.read_at(0, &mut block).unwrap();
    assert_eq!(pattern::verify(1, 0, &block), Ok(()));
}

#[test]
fn a_panic_ends_its_own_task_only() {
    let host = Host::start().unwrap();
    let (send, receive) = mpsc::channel();
    let runtime = host.runtime();
    runtime.spawn(Box::pin(async { panic!("a task's own") }));
    runtime.spawn(Box::pin(async move { send.send(()).unwrap() }));
    receive.recv().unwrap();
    host.shutdown();
}
