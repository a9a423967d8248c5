//! Targets that send us elsewhere.

use std::{
    future::poll_fn,
    io::{IoSlice, IoSliceMut},
    net::SocketAddr,
};

use iscsi_client::{
    error::LoginFailure,
    initiator::SessionTarget,
    runtime::{Runtime, Transport},
    session::SessionEventKind,
};
use iscsi_proto::{
    LoginStatus,
    pdu::{Bhs, LoginRequest, LoginResponse, pad_len},
};
use iscsi_testkit::sim::{SimListener, SimStream};

use crate::support::{TARGET, World, address, assert_pattern, read};

fn elsewhere() -> SocketAddr {
    "10.0.0.2:3260".parse().unwrap()
}

async fn read_exact(stream: &mut SimStream, buf: &mut [u8]) {
    let mut done = 0;
    while done < buf.len() {
        done +=
            poll_fn(|cx| stream.poll_read_vectored(cx, &mut [IoSliceMut::new(&mut buf[done..])]))
                .await
                .unwrap();
    }
}

async fn write_all(stream: &mut SimStream, bytes: &[u8]) {
    let mut done = 0;
    while done < bytes.len() {
        done += poll_fn(|cx| stream.poll_write_vectored(cx, &[IoSlice::new(&bytes[done..])]))
            .await
            .unwrap();
    }
}

/// Answers every login with "moved to `to`".
async fn redirector(listener: SimListener, to: SocketAddr, detail: u8) {
    loop {
        let mut stream = listener.accept().await;
        let mut header = [0; 48];
        read_exact(&mut stream, &mut header).await;
        let request = LoginRequest::parse(&Bhs::from(header)).unwrap();
        let len = request.data_segment_length as usize;
        read_exact(&mut stream, &mut vec![0; len + pad_len(len)]).await;
        let mut text = format!("TargetAddress={to}\0").into_bytes();
        let response = LoginResponse {
            transit: false,
            cont: false,
            csg: request.csg,
            nsg: request.csg,
            version_max: 0,
            version_active: 0,
            data_segment_length: text.len() as u32,
            isid: request.isid,
            tsih: request.tsih,
            itt: request.itt,
            stat_sn: Default::default(),
            exp_cmd_sn: request.cmd_sn,
            max_cmd_sn: request.cmd_sn,
            status: LoginStatus { class: 1, detail },
        };
        text.resize(text.len() + pad_len(text.len()), 0);
        write_all(&mut stream, response.emit().as_bytes()).await;
        write_all(&mut stream, &text).await;
    }
}

fn redirecting(world: &World, to: SocketAddr, detail: u8) -> SessionTarget {
    let listener = world.sim.net().listen(elsewhere()).unwrap();
    world
        .handle()
        .spawn(Box::pin(redirector(listener, to, detail)));
    SessionTarget::new(TARGET.parse().unwrap(), elsewhere().into())
}

#[test]
fn a_redirect_is_followed_and_the_event_names_the_portal_that_was_reached() {
    for detail in [1, 2] {
        let world = World::new(1);
        let to = redirecting(&world, address(), detail);
        let initiator = world.builder().build();
        let session = world.sim.block_on(initiator.connect_spawned(&to)).unwrap();
        assert_pattern(world.sim.block_on(session.execute(read(0, 8))), 0);
        let event = session.events(0).remove(0).kind;
        let SessionEventKind::Up { portal, .. } = event else {
            panic!("{event:?}")
        };
        assert_eq!(portal, address().into());
        assert_eq!(session.portal(), &elsewhere().into());
    }
}

#[test]
fn a_target_that_redirects_to_itself_is_given_up_after_five_logins() {
    let world = World::new(2);
    let to = redirecting(&world, elsewhere(), 1);
    let initiator = world.builder().build();
    let error = world.sim.block_on(initiator.connect(&to)).unwrap_err();
    assert!(
        matches!(error.failure(), LoginFailure::RedirectLoop),
        "{error}"
    );
    assert!(!error.is_transient());
}
