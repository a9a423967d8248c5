//! The same target over the simulated network: one seed, one run.

use std::{
    future::poll_fn,
    io::{IoSlice, IoSliceMut},
    time::Duration,
};

use iscsi_client::runtime::{Dial, Runtime, Transport};
use iscsi_proto::{
    InitiatorTaskTag, Isid, Tsih, ids::Cid, pdu::*, serial::*, text::codec::TextBuf,
};
use iscsi_testkit::{
    pattern,
    sim::{SimHandle, SimRuntime},
    target::{LunConfig, SimTarget, TargetConfig},
};

use crate::script::{INITIATOR, TARGET, rw10};

async fn send(stream: &mut dyn Transport, bhs: Bhs, data: &[u8]) {
    let mut bytes = [bhs.as_bytes(), data].concat();
    bytes.resize(bytes.len() + pad_len(data.len()), 0);
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let bufs = [IoSlice::new(rest)];
        let len = poll_fn(|cx| stream.poll_write_vectored(cx, &bufs))
            .await
            .unwrap();
        rest = &rest[len..];
    }
}

async fn fill(stream: &mut dyn Transport, mut buf: &mut [u8]) {
    while !buf.is_empty() {
        let mut bufs = [IoSliceMut::new(buf)];
        let len = poll_fn(|cx| stream.poll_read_vectored(cx, &mut bufs))
            .await
            .unwrap();
        assert!(len > 0);
        buf = &mut buf[len..];
    }
}

async fn receive(stream: &mut dyn Transport) -> (Pdu, Vec<u8>) {
    let mut header = [0; Bhs::LEN];
    fill(stream, &mut header).await;
    let bhs = Bhs::from(header);
    let len = bhs.data_segment_length() as usize;
    let mut data = vec![0; len + pad_len(len)];
    fill(stream, &mut data).await;
    data.truncate(len);
    (Pdu::parse(&bhs).unwrap(), data)
}

async fn read_everything(sim: SimHandle, target: &SimTarget) {
    let mut stream = sim.connect(&Dial::new(target.portal(0))).await.unwrap();
    let mut text = TextBuf::new();
    text.push("InitiatorName", INITIATOR);
    text.push("TargetName", TARGET);
    let login = LoginRequest {
        transit: true,
        cont: false,
        csg: Stage::OperationalNegotiation,
        nsg: Stage::FullFeature,
        version_max: 0,
        version_min: 0,
        data_segment_length: text.len() as u32,
        isid: Isid([0x80, 0, 0, 0, 0, 1]),
        tsih: Tsih(0),
        itt: InitiatorTaskTag(1),
        cid: Cid(0),
        cmd_sn: CmdSn(1),
        exp_stat_sn: StatSn(0),
    };
    send(&mut *stream, login.emit(), text.as_bytes()).await;
    let (Pdu::LoginResponse(response), _) = receive(&mut *stream).await else {
        panic!()
    };
    target.core().set_delay(0, Duration::from_millis(3));
    let mut cdb = [0; 16];
    cdb[..10].copy_from_slice(&rw10(0x28, 0, 128));
    let command = ScsiCommand {
        immediate: false,
        is_final: true,
        read: true,
        write: false,
        attribute: TaskAttribute::Simple,
        priority: 0,
        total_ahs_length: 0,
        data_segment_length: 0,
        lun: iscsi_proto::scsi::Lun::ZERO,
        itt: InitiatorTaskTag(2),
        expected_data_transfer_length: 65536,
        cmd_sn: CmdSn(1),
        exp_stat_sn: response.stat_sn.next(),
        cdb,
    };
    send(&mut *stream, command.emit(), &[]).await;
    let mut all = Vec::new();
    while all.len() < 65536 {
        let (Pdu::DataIn(_), data) = receive(&mut *stream).await else {
            panic!()
        };
        all.extend(data);
    }
    assert_eq!(pattern::verify(1, 0, &all), Ok(()));
}

#[test]
fn one_seed_is_one_run_with_a_target_in_it() {
    let run = |seed| {
        let sim = SimRuntime::new(seed);
        let mut config = TargetConfig::new(TARGET)
            .with_portal("10.0.0.1:3260".parse().unwrap(), 1)
            .with_lun(LunConfig::new(0, 1 << 30));
        config.unit_attention = false;
        let target = SimTarget::start(&sim.handle(), config).unwrap();
        sim.block_on(read_everything(sim.handle(), &target));
        assert!(
            sim.elapsed() > Duration::from_millis(3),
            "the delay is virtual time"
        );
        assert_eq!(target.core().violations(), []);
        drop(target);
        sim.block_on(sim.sleep(Duration::from_secs(1)));
        assert_eq!(sim.net().connections(), 0);
        sim.trace_hash()
    };
    for seed in 0..10 {
        assert_eq!(run(seed), run(seed));
    }
    assert_ne!(run(1), run(2));
}
