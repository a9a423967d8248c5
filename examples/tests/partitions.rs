//! `partitions`, and the tables that it reads or refuses.

#[path = "common/mod.rs"]
mod common;

use std::{collections::BTreeMap, io::Cursor};

use common::{SIZE, failure_of, run, stdout, target, url};
use gpt::{GptConfig, disk::LogicalBlockSize, mbr::ProtectiveMBR, partition_types::LINUX_FS};
use iscsi_client::{
    bind::Bind, device::BlockDeviceExt, isid::SessionSlot, session::SessionOptions,
};
use iscsi_examples::{
    args::{LoginArgs, RuntimeChoice},
    deadlines::DeadlineArgs,
    paths,
    runtime::block_on,
};
use iscsi_testkit::target::TcpTarget;
use serde_json::{Value, json};

const TOOL: &str = "partitions";
const SECTOR: usize = 512;
/// Where the fields of a GPT's header are.
const ENTRIES_AT: usize = SECTOR + 72;
const COUNT_AT: usize = SECTOR + 80;
const ENTRY_SIZE_AT: usize = SECTOR + 84;

/// Puts `content` at the beginning of LUN 0.
fn put(target: &TcpTarget, content: &[u8]) {
    let url = url(target, "0").parse().unwrap();
    block_on(RuntimeChoice::Tokio, 1, |runtime| async {
        let (login, options) = (LoginArgs::default(), SessionOptions::default());
        let initiator = paths::initiator("test", &login, &[], options, runtime)?;
        let deadlines = DeadlineArgs::default();
        let slot = SessionSlot::default();
        let unit = paths::open_unit(&initiator, &url, Bind::Any, slot, deadlines).await?;
        unit.write_at(0, content).await?;
        unit.session().close().await;
        Ok(())
    })
    .unwrap();
}

/// The first sectors of a disk with two partitions, made by the `gpt` crate.
fn table() -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; SIZE as usize]);
    let sectors = (SIZE / 512 - 1) as u32;
    let mbr = ProtectiveMBR::with_lb_size(sectors);
    mbr.overwrite_lba0(&mut disk).unwrap();
    let config = GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512);
    let mut disk = config.create_from_device(disk, None).unwrap();
    disk.update_partitions(BTreeMap::new()).unwrap();
    disk.add_partition("root", 2 << 20, LINUX_FS, 0, None)
        .unwrap();
    disk.add_partition("\u{1b}[2Jdata", 1 << 20, LINUX_FS, 0, None)
        .unwrap();
    let mut content = disk.write().unwrap().into_inner();
    content.truncate(34 * SECTOR);
    content
}

/// The header with another value at `at`, and a checksum that is right.
fn forged(at: usize, value: &[u8]) -> Vec<u8> {
    let mut content = table();
    content[at..at + value.len()].copy_from_slice(value);
    let header = &mut content[SECTOR..SECTOR + 92];
    header[16..20].fill(0);
    let checksum = crc32(header);
    header[16..20].copy_from_slice(&checksum.to_le_bytes());
    content
}

/// CRC-32 as GPT has it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[test]
fn the_partitions_of_a_gpt_are_listed_with_offset_and_length() {
    let target = target(None);
    put(&target, &table());
    let url = url(&target, "0");
    for runtime in ["tokio", "smol"] {
        let output = run(TOOL, &["--url", &url, "--runtime", runtime]);
        assert_eq!(output.status.code(), Some(0));
        let guid = LINUX_FS.guid;
        let expected = format!(
            "gpt, 2 partitions\n1: 2097152 bytes at 17408, type {guid}, root\n\
             2: 1048576 bytes at 2114560, type {guid}, [2Jdata\n"
        );
        assert_eq!(stdout(&output), expected);
    }
    let output = run(TOOL, &["--url", &url, "--json"]);
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(json["table"], "gpt");
    assert_eq!(json["partitions"][1]["offset"], 2_114_560);
}

#[test]
fn the_entries_of_an_mbr_are_listed() {
    let target = target(None);
    let mut sector = [0; SECTOR];
    // The second entry: type, first sector, sectors.
    let entry = &mut sector[446 + 16..][..16];
    entry[4] = 0x83;
    entry[8..12].copy_from_slice(&2048_u32.to_le_bytes());
    entry[12..16].copy_from_slice(&4096_u32.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    put(&target, &sector);
    let output = run(TOOL, &["--url", &url(&target, "0"), "--json"]);
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let expected =
        json!({"number": 2, "offset": 1 << 20, "length": 2 << 20, "kind": "83", "name": ""});
    assert_eq!(json, json!({"table": "dos", "partitions": [expected]}));
    // One sector more than there is.
    sector[446 + 16 + 12..][..4].copy_from_slice(&14_337_u32.to_le_bytes());
    put(&target, &sector);
    let line = failure_of(TOOL, &["--url", &url(&target, "0")], 1);
    assert!(
        line.contains("partition 2 is not within the disk"),
        "{line}"
    );
}

#[test]
fn a_table_that_makes_no_sense_is_refused_and_costs_nothing() {
    let target = target(None);
    let url = url(&target, "0");
    let line = failure_of(TOOL, &["--url", &url], 1);
    assert!(line.contains("no partition table"), "{line}");
    let most = u64::MAX.to_le_bytes();
    for (content, reason) in [
        (forged(COUNT_AT, &most[..4]), "it has 4294967295 entries"),
        (forged(ENTRY_SIZE_AT, &[0; 4]), "entries of 0 bytes"),
        (forged(ENTRIES_AT, &most), "not within the disk"),
        (forged(ENTRIES_AT, &3_u64.to_le_bytes()), "CRC"),
        (
            table()
                .iter()
                .map(|byte| byte ^ u8::from(*byte == b'E'))
                .collect(),
            "signature",
        ),
    ] {
        put(&target, &content);
        let line = failure_of(TOOL, &["--url", &url], 1);
        assert!(line.contains("the first copy of the GPT"), "{line}");
        assert!(
            line.to_lowercase().contains(&reason.to_lowercase()),
            "{line}"
        );
    }
}
