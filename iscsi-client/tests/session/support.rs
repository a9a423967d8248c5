//! A simulated world with one target, and requests for it.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use iscsi_client::{
    buf::{ReadBuf, WriteBuf},
    error::LoginError,
    initiator::{Initiator, InitiatorBuilder, SessionTarget},
    session::{Driver, Executed, Payload, ScsiRequest, Session, SessionOptions},
};
use iscsi_proto::{
    portal::Portal,
    scsi::{cdb::Cdb, lun::Lun, status::ScsiStatus},
};
use iscsi_testkit::{
    pattern,
    sim::{SimHandle, SimRuntime},
    target::{LunConfig, SimTarget, TargetConfig},
};

pub(crate) const TARGET: &str = "iqn.2026-01.example:disk";
pub(crate) const INITIATOR: &str = "iqn.2026-01.example:host";
pub(crate) const BLOCK: usize = 512;

pub(crate) fn address() -> SocketAddr {
    "10.0.0.1:3260".parse().unwrap()
}

/// One portal, one LUN of 1 GiB, no unit attention: what is under test is the session.
pub(crate) fn config() -> TargetConfig {
    let mut config = TargetConfig::new(TARGET)
        .with_portal(address(), 1)
        .with_lun(LunConfig::new(0, 1 << 30));
    config.unit_attention = false;
    config
}

/// A world, its target and what connects to it.
pub(crate) struct World {
    pub(crate) sim: SimRuntime,
    pub(crate) target: SimTarget,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_config(seed, config())
    }

    pub(crate) fn with_config(seed: u64, config: TargetConfig) -> Self {
        let sim = SimRuntime::new(seed);
        let target = SimTarget::start(&sim.handle(), config).unwrap();
        Self { sim, target }
    }

    pub(crate) fn handle(&self) -> SimHandle {
        self.sim.handle()
    }

    pub(crate) fn builder(&self) -> InitiatorBuilder {
        Initiator::builder(INITIATOR.parse().unwrap(), Arc::new(self.handle()))
    }

    /// Logs in; the driver runs in the background.
    pub(crate) fn connect(&self, options: SessionOptions) -> Session {
        let initiator = self.builder().options(options).build();
        self.sim.block_on(initiator.connect_spawned(&to())).unwrap()
    }

    /// Logs in; the driver is the caller's.
    pub(crate) fn connect_with_driver(&self) -> Result<(Session, Driver), LoginError> {
        let initiator = self.builder().build();
        self.sim.block_on(initiator.connect(&to()))
    }

    /// Nobody broke the protocol.
    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.target.core().violations(), []);
    }
}

pub(crate) fn to() -> SessionTarget {
    SessionTarget::new(TARGET.parse().unwrap(), Portal::from(address()))
}

pub(crate) fn read(lba: u64, blocks: u32) -> ScsiRequest {
    let buf = ReadBuf::zeroed(blocks as usize * BLOCK);
    ScsiRequest::new(Lun::new(0), Cdb::read(lba, blocks, false), Payload::In(buf))
}

pub(crate) fn write(lba: u64, data: Vec<u8>) -> ScsiRequest {
    let blocks = (data.len() / BLOCK) as u32;
    let payload = Payload::Out(WriteBuf::from(data));
    ScsiRequest::new(Lun::new(0), Cdb::write(lba, blocks, false), payload)
}

/// Asserts that a read brought what the LUN holds from the beginning.
#[track_caller]
pub(crate) fn assert_pattern(executed: Executed, lba: u64) {
    let response = executed.result.unwrap();
    assert_eq!(response.status, ScsiStatus::Good);
    let Payload::In(buf) = executed.payload else {
        panic!("another payload came back")
    };
    let bytes = buf.into_bytes_mut().unwrap();
    assert_eq!(response.transferred as usize, bytes.len());
    assert_eq!(pattern::verify(1, lba * BLOCK as u64, &bytes), Ok(()));
}

/// Takes the unit attentions that are pending, as whoever uses a disk does.
pub(crate) async fn settle(session: &Session) {
    for _ in 0..4 {
        let request = ScsiRequest::new(Lun::new(0), Cdb::test_unit_ready(), Payload::None);
        let response = session.execute(request).await.result.unwrap();
        if response.status == ScsiStatus::Good {
            return;
        }
    }
    panic!("unit attentions without end");
}

/// Polls a future once.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}
