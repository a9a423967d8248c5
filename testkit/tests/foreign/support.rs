//! The target that the tools are pointed at, and our own client's look at it.

use std::sync::Arc;

use iscsi_client::{
    device::BlockDeviceExt,
    initiator::{Initiator, SessionTarget},
    logical_unit::LogicalUnit,
    runtime::TokioRuntime,
};
use iscsi_proto::{login::ChapCredentials, pdu::LoginRequest, scsi::Lun};
use iscsi_testkit::target::{LunConfig, TargetConfig, TcpTarget, Violation};

pub(crate) const TARGET: &str = "iqn.2026-01.example:disk";
pub(crate) const SIZE: [u64; 2] = [256 << 20, 64 << 20];

/// LUN 0: thin, blocks of 512. LUN 1: blocks of 4096. Two portals.
pub(crate) fn config() -> TargetConfig {
    TargetConfig::new(TARGET)
        .with_portal("127.0.0.1:0".parse().unwrap(), 1)
        .with_portal("127.0.0.2:0".parse().unwrap(), 1)
        .with_lun(LunConfig::new(0, SIZE[0]).with_thin_provisioning())
        .with_lun(LunConfig::new(1, SIZE[1]).with_block_size(4096))
}

pub(crate) fn serve(config: TargetConfig) -> TcpTarget {
    TcpTarget::start(config).unwrap()
}

pub(crate) fn url(target: &TcpTarget, lun: u16) -> String {
    format!("iscsi://{}/{TARGET}/{lun}", target.portal(0))
}

/// Reads from a LUN with our own client.
pub(crate) fn read(
    target: &TcpTarget,
    credentials: Option<ChapCredentials>,
    lun: u16,
    offset: u64,
    len: usize,
) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let adapter = Arc::new(TokioRuntime::from_handle(runtime.handle().clone()));
    runtime.block_on(async {
        let name = "iqn.2026-01.example:host".parse().unwrap();
        let mut builder = Initiator::builder(name, adapter);
        if let Some(credentials) = credentials {
            builder = builder.credentials(credentials);
        }
        let to = SessionTarget::new(TARGET.parse().unwrap(), target.portal(0).into());
        let session = builder.build().connect_spawned(&to).await.unwrap();
        let unit = LogicalUnit::open(session.clone(), Lun::new(lun))
            .await
            .unwrap();
        let bytes = unit.read_bytes(offset, len).await.unwrap();
        session.close().await;
        bytes.to_vec()
    })
}

/// Asserts that nobody broke a rule, but for three that libiscsi 1.19 is known to break:
///
/// - It begins with a StatSN of 0 of its own and takes a target's only where that is ahead of it in
///   serial arithmetic. A first StatSN beyond 2^31, which every second login here gets, is behind 0:
///   nothing is acknowledged then, with an ExpStatSN of 1 for ever.
/// - Its Data-Out that answers an R2T acknowledges the next StatSN as if that had been used (mended
///   upstream in 2025, sahlberg/libiscsi pull request 449).
/// - Its login requests of CHAP that do not ask for transit name a next stage all the same, in bits
///   that are reserved then (RFC 7143 section 11.12.3).
pub(crate) fn judge(target: &TcpTarget) {
    let violations = target.core().violations();
    let known = |violation: &Violation| match *violation {
        Violation::ExpStatSn { next, found } => {
            (next > 1 << 31 && found == 1) || found == next.wrapping_add(1)
        }
        Violation::Reserved { opcode, offset } => (opcode, offset) == (LoginRequest::OPCODE, 1),
        _ => false,
    };
    let others: Vec<_> = violations.iter().filter(|(_, v)| !known(v)).collect();
    assert!(others.is_empty(), "{others:?}");
}
