//! The sessions of a multipath device (RFC 7143 section 4.4.3).

use std::{cell::RefCell, collections::BTreeSet};

use futures_util::future::{join, join_all};
use iscsi_client::device::BlockDeviceExt;
use iscsi_proto::{Isid, Tsih, pdu::Pdu};
use mpio::MultipathBuilder;

use crate::support::{TARGET, World, rows};

rows! {
    c73_the_paths_of_a_device_have_isids_of_their_own;
}

/// Section 4.4.3, the ISID rule: four paths to one portal group are four sessions, each with an ISID of its own. (The
/// strict target would take two of one ISID for a reinstatement, and end the first.)
async fn c73_the_paths_of_a_device_have_isids_of_their_own(world: &World) {
    const PATHS: usize = 4;
    let core = world.core();
    let portals = join_all((0..PATHS).map(|number| world.case(number))).await;
    let isids: RefCell<BTreeSet<[u8; 6]>> = RefCell::default();
    let relay = async |portal: &World| {
        let mut peer = portal.accept_before(&core).await;
        let mut isid: Option<Isid> = None;
        peer.relay_until(|said, frame| {
            if let (false, Ok(Pdu::LoginRequest(request))) = (said, frame.pdu()) {
                let first = *isid.get_or_insert(request.isid);
                assert_eq!(first, request.isid, "all through the login");
                assert_eq!(request.tsih, Tsih(0));
            }
            false
        })
        .await
        .unwrap_err();
        let isid = isid.expect("a login");
        assert!(isids.borrow_mut().insert(isid.0), "{isid:?} twice");
    };
    let initiator = world.initiator();
    let client = async {
        let mut builder = MultipathBuilder::new(TARGET.parse().unwrap());
        for portal in &portals {
            builder = builder.portal(portal.portal().into());
        }
        let device = builder.connect_spawned(&initiator).await.unwrap();
        assert_eq!(device.snapshot().paths().count(), PATHS);
        device.read_bytes(0, 4096).await.unwrap();
        device.close().await;
    };
    join(join_all(portals.iter().map(relay)), client).await;
    assert_eq!(isids.borrow().len(), PATHS);
    assert_eq!(core.violations(), []);
}
