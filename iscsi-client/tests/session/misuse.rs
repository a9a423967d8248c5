//! Requests that cannot be commands, whatever the target.

use std::sync::Arc;

use iscsi_client::{
    buf::{MemError, MemRegion, ReadBuf, ReadSeg},
    error::{ErrorKind, Outcome, Retry},
    session::{Payload, ScsiRequest, SessionOptions},
};
use iscsi_proto::{
    error::ApiMisuse,
    scsi::{cdb::Cdb, lun::Lun},
};

use crate::support::{World, assert_pattern, read};

/// As large as an address space, and never touched.
struct Vast;

impl MemRegion for Vast {
    fn len(&self) -> u64 {
        u64::MAX
    }

    fn load(&self, _: u64, _: &mut [u8]) -> Result<(), MemError> {
        panic!("nothing of it is to be sent")
    }

    fn store(&self, _: u64, _: &[u8]) -> Result<(), MemError> {
        panic!("nothing is to be stored there")
    }
}

/// The Expected Data Transfer Length has 32 bits (RFC 7143 section 11.3.4).
#[test]
fn a_transfer_of_4_gib_is_refused_and_its_buffer_comes_back() {
    let world = World::new(1);
    let session = world.connect(SessionOptions::default());
    world.sim.block_on(async {
        let len = u32::MAX as usize + 1;
        let buf: ReadBuf = ReadSeg::region(Arc::new(Vast), 0, len).unwrap().into();
        let cdb = Cdb::read16(0, u32::MAX, false);
        let request = ScsiRequest::new(Lun::new(0), cdb, Payload::In(buf));
        let executed = session.execute(request).await;
        let error = executed.result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert_eq!(error.retry(), Retry::Never);
        assert_eq!(error.outcome(), Outcome::NotExecuted);
        let source = std::error::Error::source(&error).expect("a reason");
        assert_eq!(
            source.downcast_ref(),
            Some(&ApiMisuse::TransferLength),
            "{source}"
        );
        assert!(matches!(executed.payload, Payload::In(buf) if buf.len() == len));
        assert_pattern(session.execute(read(0, 8)).await, 0);
    });
    assert_eq!(session.stats().logins, 1);
    world.assert_clean();
}
