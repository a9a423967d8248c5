//! Sessions over real TCP, under each adapter that is compiled in.

#![cfg(any(feature = "tokio", feature = "smol"))]

mod support;

use std::sync::Arc;

use futures_util::future::join_all;
use iscsi_client::{
    buf::{ReadBuf, WriteBuf},
    error::Outcome,
    initiator::{Initiator, SessionTarget},
    runtime::Runtime,
    session::{Payload, ScsiRequest, Session},
};
use iscsi_proto::scsi::{cdb::Cdb, lun::Lun, status::ScsiStatus};
use iscsi_testkit::{
    pattern,
    target::{LunConfig, TargetConfig, TcpTarget},
};
use support::on_each_runtime;

const NAME: &str = "iqn.2026-01.example:disk";
const BLOCK: usize = 512;

fn target() -> TcpTarget {
    let mut config = TargetConfig::new(NAME)
        .with_portal("127.0.0.1:0".parse().unwrap(), 1)
        .with_lun(LunConfig::new(0, 64 << 20));
    config.unit_attention = false;
    TcpTarget::start(config).unwrap()
}

async fn connect(runtime: Arc<dyn Runtime>, target: &TcpTarget) -> Session {
    let name = "iqn.2026-01.example:host".parse().unwrap();
    let initiator = Initiator::builder(name, runtime).build();
    let to = SessionTarget::new(NAME.parse().unwrap(), target.portal(0).into());
    initiator.connect_spawned(&to).await.unwrap()
}

fn read(lba: u64, blocks: u32) -> ScsiRequest {
    let buf = ReadBuf::zeroed(blocks as usize * BLOCK);
    ScsiRequest::new(Lun::new(0), Cdb::read(lba, blocks, false), Payload::In(buf))
}

async fn read_and_verify(session: &Session, lba: u64, blocks: u32) {
    let executed = session.execute(read(lba, blocks)).await;
    assert_eq!(executed.result.unwrap().status, ScsiStatus::Good);
    let Payload::In(buf) = executed.payload else {
        panic!("the buffer is gone")
    };
    let bytes = buf.into_bytes_mut().unwrap();
    assert_eq!(pattern::verify(1, lba * BLOCK as u64, &bytes), Ok(()));
}

#[test]
fn reads_and_writes_of_all_sizes_at_depth() {
    on_each_runtime(async |runtime| {
        let target = target();
        let session = connect(runtime, &target).await;
        join_all((0..200).map(|i| read_and_verify(&session, i * 100, 1 << (i % 12)))).await;
        let writes = (0..16).map(|i: u64| {
            let (session, data) = (&session, WriteBuf::from(vec![i as u8; 256 * BLOCK]));
            let cdb = Cdb::write(i * 256, 256, false);
            async move {
                let request = ScsiRequest::new(Lun::new(0), cdb, Payload::Out(data));
                session.execute(request).await.result.unwrap().status
            }
        });
        assert!(
            join_all(writes)
                .await
                .into_iter()
                .all(|status| status == ScsiStatus::Good)
        );
        let mut medium = vec![0; 256 * BLOCK];
        target.core().peek(0, 15 * medium.len() as u64, &mut medium);
        assert!(medium.iter().all(|byte| *byte == 15));
        session.close().await;
        assert_eq!(target.core().violations(), []);
        assert_eq!(target.core().sessions(), 0);
    });
}

#[test]
fn system_calls_per_small_read_at_depth_stay_below_one() {
    on_each_runtime(async |runtime| {
        let target = target();
        let session = connect(runtime, &target).await;
        let worker = async |worker: u64| {
            for i in 0..200 {
                read_and_verify(&session, (worker * 200 + i) * 8 % 100_000, 8).await;
            }
        };
        join_all((0..32).map(worker)).await;
        let stats = session.stats();
        assert_eq!(stats.ios, 32 * 200);
        assert!(stats.pdus_sent >= stats.ios);
        // How the target cuts its answers is up to the scheduler; an initiator with a call per PDU
        // and direction would be at 2.
        let calls = stats.read_calls + stats.write_calls;
        assert!(
            calls < stats.ios * 3 / 2,
            "{calls} calls for {} reads",
            stats.ios
        );
    });
}

#[test]
fn a_reset_ends_commands_and_the_next_login_serves_again() {
    on_each_runtime(async |runtime| {
        let target = target();
        let session = connect(runtime, &target).await;
        read_and_verify(&session, 0, 8).await;
        target
            .core()
            .set_delay(0, std::time::Duration::from_secs(30));
        let mut pending = session.execute(read(0, 8));
        assert!(
            futures_util::future::poll_immediate(&mut pending)
                .await
                .is_none()
        );
        session.ping().await.unwrap(); // behind the read: the target has it now
        target.reset(0);
        assert_eq!(
            pending.await.result.unwrap_err().outcome(),
            Outcome::Unknown
        );
        target.core().set_delay(0, std::time::Duration::ZERO);
        session.wait_up().await.unwrap();
        read_and_verify(&session, 64, 8).await;
        assert_eq!(target.core().counters(0).logins, 2);
    });
}
