//! One input for each hostile row that is about bytes: the numbers are those of docs/threat-model.md.

use iscsi_proto::pdu::opcode;

use crate::Seed;

/// A header of the target with the given bytes in their places.
fn header(opcode: u8, fields: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 48];
    (bytes[0], bytes[1]) = (opcode, 0x80);
    bytes[20..24].fill(0xff);
    for (at, field) in fields {
        bytes[*at..*at + field.len()].copy_from_slice(field);
    }
    bytes
}

/// Headers that say what cannot be.
fn headers() -> Vec<Vec<u8>> {
    use opcode as op;
    let mut headers = vec![
        // H03, H07, H08.
        header(op::DATA_IN, &[(5, &[0xff; 3])]),
        header(op::NOP_IN, &[(5, &[1, 0, 1])]),
        header(op::SCSI_RESPONSE, &[(4, &[0xff])]),
        header(op::ASYNC_MESSAGE, &[(4, &[1])]),
        // H70, H71, H72, H75, H77, H80.
        header(op::DATA_IN, &[(40, &[0, 1, 0, 0]), (7, &[4])]),
        header(op::DATA_IN, &[(40, &[0xff, 0xff, 0xff, 0]), (6, &[2, 0])]),
        header(op::DATA_IN, &[(36, &[0xff; 4])]),
        header(op::DATA_IN, &[(1, &[0xc0])]),
        header(op::DATA_IN, &[(1, &[0x01])]),
        header(op::DATA_IN, &[(1, &[0x81, 0, 2])]),
        header(op::SCSI_RESPONSE, &[(1, &[0x86]), (44, &[0xff; 4])]),
        // H82, H83.
        header(op::R2T, &[(40, &[0xff; 8])]),
        header(op::R2T, &[(44, &[0; 4])]),
        header(op::R2T, &[(7, &[4]), (44, &[0, 0, 2, 0])]),
        // H92, H93.
        [
            header(op::SCSI_RESPONSE, &[(3, &[2]), (7, &[1])]),
            vec![0; 4],
        ]
        .concat(),
        [
            header(op::SCSI_RESPONSE, &[(3, &[2]), (7, &[4])]),
            vec![0xff, 0xff, 0x70, 0],
        ]
        .concat(),
        header(op::SCSI_RESPONSE, &[(2, &[0xff, 0xff])]),
        // H97, H98, H102, H106.
        header(op::LOGOUT_RESPONSE, &[(40, &[0xff; 4])]),
        header(
            op::NOP_IN,
            &[(16, &[0xff; 4]), (20, &[0, 0, 0, 1]), (5, &[0xff; 3])],
        ),
        header(op::ASYNC_MESSAGE, &[(36, &[2, 0]), (40, &[0xff; 4])]),
        header(op::ASYNC_MESSAGE, &[(36, &[0xff])]),
        [header(op::REJECT, &[(2, &[4]), (7, &[16])]), vec![0; 16]].concat(),
    ];
    // H10.
    headers.extend((0..0x40).step_by(3).map(|opcode| header(opcode, &[])));
    headers
}

/// Text that is none, and keys that lie.
fn texts() -> Vec<Vec<u8>> {
    let long = [&b"K=".repeat(40)[..], &b"v".repeat(300)].concat();
    let mut texts: Vec<Vec<u8>> = [
        // H19, H20, H22, H38.
        &b"HeaderDigest=None"[..],
        b"\0\0\0\0",
        b"NoValue\0",
        b"=v\0",
        b"\xff\xfe=\xff\0",
        b"MaxBurstLength=512\0MaxBurstLength=1024\0",
        b"TargetAddress=10.0.0.1\0TargetName=iqn.2001-04.com.example:a\0",
        // H33, H34, H37.
        b"TargetName=iqn.2001-04.com.example:a\0TargetAddress=[::\0TargetAddress=10.0.0.1:99999\0",
        b"TargetName=iqn.2001-04.com.example:../x\0TargetAddress=127.0.0.1:3260,1\0",
        b"TargetName=iqn.2001-04.com.example:a\0TargetAddress=[fe80::1]:3260,65536\0",
        // H40 to H45.
        b"MaxRecvDataSegmentLength=0\0MaxBurstLength=0x\0FirstBurstLength=-1\0",
        b"MaxOutstandingR2T=+5\0DefaultTime2Wait=2147483648\0ErrorRecoveryLevel=1e3\0",
        b"InitialR2T=maybe\0HeaderDigest=None,CRC32C\0DataDigest=MD5\0",
        b"HeaderDigest=Reject\0ImmediateData=Irrelevant\0TaskReporting=NotUnderstood\0",
        // H51 to H54.
        b"CHAP_A=7\0CHAP_I=256\0CHAP_C=0x0\0CHAP_N=\0CHAP_R=0b!!\0",
    ]
    .map(Vec::from)
    .into();
    texts.push([&long[..], b"\0"].concat());
    // H46.
    let keys = (0..40).map(|n| format!("X-com.example.key{n}={n}\0"));
    texts.push(keys.collect::<String>().into_bytes());
    texts
}

/// What units say about themselves and cannot mean: H108 to H114.
fn structures() -> Vec<Vec<u8>> {
    vec![
        // VPD pages: lengths past the end, another page, a designator past its page.
        vec![0, 0x80, 0xff, 0xff, b'1'],
        vec![0, 0x83, 0, 8, 0x01, 0x03, 0, 0xff, 0x60, 0, 0, 0],
        vec![0, 0xb0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 1],
        // REPORT LUNS: 7, and as many as there can be.
        vec![0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        vec![0xff, 0xff, 0xff, 0xf8, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        // Capacities: no block length, one that is no power of two, as many blocks as there can be.
        vec![0, 0, 0, 9, 0, 0, 0, 0],
        vec![0, 0, 0, 9, 0, 0, 0, 3],
        [
            vec![0xff; 8],
            vec![0, 0, 2, 0, 0, 0xff, 0xff, 0xff],
            vec![0; 16],
        ]
        .concat(),
        // Target port groups: the length lies, no groups, an unknown state.
        vec![0, 0, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1],
        vec![0, 0, 0, 0],
        vec![0, 0, 0, 12, 0x0d, 0, 0, 1, 0, 0, 0, 0xff, 0, 0, 0, 1],
        // MODE SENSE and READ KEYS with lengths that lie.
        vec![0xff, 0, 0, 0, 0x08, 0xff, 4],
        vec![0, 3, 0, 0, 0x0a, 0x0a, 0],
        vec![0, 0, 0, 1, 0, 0, 0xff, 0xf8, 1, 2, 3, 4, 5, 6, 7, 8],
        // Sense data, fixed and by descriptors, that says more than there is.
        vec![0x70, 0, 5, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0x20, 0],
        vec![0x72, 5, 0x20, 0, 0, 0, 0, 0xff, 0, 0x0a, 0x80, 0],
    ]
}

fn names() -> Vec<Vec<u8>> {
    [
        "iqn.2001-04.com.Example:Disk_1",
        "eui.02004567A425678D",
        "naa.62004567BA64678D0123456789ABCDEF",
        "iqn.2001-13.com.example",
        "[fe80::1%eth0]:3260,1",
        "10.0.0.1:99999",
        "san-1.example.com.:860,65535",
        "iscsi://me%a-long-secret@10.0.0.1:3260/iqn.2026-01.com.example:disk/1",
        "iscsi://u%s@[fe80::1%25eth0]/eui.02004567a425678d/0x0001000000000000?header_digest=none,crc32c",
        "iscsi://u%s@h/iqn.2026-01.a:b/0?target_user=t&target_password=x&data_digest=crc32c",
    ]
    .map(Vec::from)
    .into()
}

pub(crate) fn seeds() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = Vec::new();
    for (number, header) in headers().iter().enumerate() {
        // With a NOP-In behind it that asks for nothing, so that what is lost shows.
        let behind = header_behind();
        seeds.push((
            "pdu_stream",
            [&[0, number as u8], &header[..], &behind].concat(),
        ));
    }
    seeds.extend(texts().into_iter().map(|text| ("text", text)));
    seeds.extend(structures().into_iter().map(|bytes| ("scsi", bytes)));
    seeds.extend(names().into_iter().map(|name| ("names", name)));
    seeds
}

fn header_behind() -> Vec<u8> {
    header(opcode::NOP_IN, &[(16, &[0xff; 4])])
}
