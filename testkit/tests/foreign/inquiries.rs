//! iscsi-inq and iscsi-readcapacity16: what a unit says about itself, as libiscsi reads it.

use crate::{
    support::{config, judge, serve, url},
    tool::Tool,
};

/// Asserts that each of `lines` is a line of `said`.
fn has_lines(said: &str, lines: &[&str]) {
    for line in lines {
        let found = said.lines().any(|other| other.trim_end() == *line);
        assert!(found, "no line {line:?} in:\n{said}");
    }
}

#[test]
fn standard_data_names_the_device_and_the_standards() {
    let Some(inq) = Tool::libiscsi("iscsi-inq") else {
        return;
    };
    let target = serve(config());
    let lines = [
        "Peripheral Qualifier:CONNECTED",
        "Peripheral Device Type:DIRECT_ACCESS",
        "Removable:0",
        "ReponseDataFormat:2",
        "Protect:0",
        "CmdQue:1",
        "Vendor:RUSTSDK",
        "Product:TESTKIT DISK",
        "Revision:0001",
        "Version Descriptor:0960 iSCSI",
        "Version Descriptor:0460 SPC-4",
        "Version Descriptor:04c0 SBC-3",
    ];
    has_lines(&inq.ok(&[&url(&target, 0)]), &lines);
    judge(&target);
}

#[test]
fn every_page_that_is_listed_can_be_read() {
    let Some(inq) = Tool::libiscsi("iscsi-inq") else {
        return;
    };
    let target = serve(config());
    let thin = url(&target, 0);
    let page = |url: &str, page: &str| inq.ok(&["-e", "1", "-c", page, url]);
    let listed = page(&thin, "0");
    let pages: Vec<_> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("Page:0x"))
        .filter_map(|line| u8::from_str_radix(line.get(..2)?, 16).ok())
        .collect();
    for expected in [0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2] {
        assert!(pages.contains(&expected), "{listed}");
    }
    for code in pages {
        let said = page(&thin, &code.to_string());
        assert!(!said.trim().is_empty(), "page {code:#x}");
    }
    has_lines(
        &page(&thin, "128"),
        &["Unit Serial Number:[TESTKIT00000000]"],
    );
    let names = [
        "Designator:[RUSTSDK TESTKIT00000000]",
        "Designator Type:(3) NAA",
    ];
    has_lines(&page(&thin, "131"), &names);
    let limits = [
        "wsnz:1",
        "maximum compare and write length:128",
        "maximum transfer length:32768",
        "maximum unmap lba count:1048576",
        "maximum unmap block descriptor count:256",
        "maximum write same length:65535",
    ];
    has_lines(&page(&thin, "176"), &limits);
    let limits = ["maximum transfer length:4096", "maximum unmap lba count:0"];
    has_lines(&page(&url(&target, 1), "176"), &limits);
    judge(&target);
}

#[test]
fn a_page_that_is_not_there_is_refused() {
    let Some(inq) = Tool::libiscsi("iscsi-inq") else {
        return;
    };
    let target = serve(config());
    let said = inq.fails(&["-e", "1", "-c", "133", &url(&target, 0)]);
    assert!(
        said.contains("ILLEGAL_REQUEST(5) ASCQ:INVALID_FIELD_IN_CDB(0x2400)"),
        "{said}"
    );
    judge(&target);
}

#[test]
fn capacity_is_the_configured_one() {
    let Some(capacity) = Tool::libiscsi("iscsi-readcapacity16") else {
        return;
    };
    let target = serve(config());
    let thin = [
        "RETURNED LOGICAL BLOCK ADDRESS:524287",
        "LOGICAL BLOCK LENGTH IN BYTES:512",
        "P_TYPE:0 PROT_EN:0",
        "LBPME:1 LBPRZ:1",
        "Total size:268435456",
    ];
    has_lines(&capacity.ok(&[&url(&target, 0)]), &thin);
    let thick = [
        "RETURNED LOGICAL BLOCK ADDRESS:16383",
        "LOGICAL BLOCK LENGTH IN BYTES:4096",
        "LBPME:0 LBPRZ:0",
        "Total size:67108864",
    ];
    has_lines(&capacity.ok(&[&url(&target, 1)]), &thick);
    judge(&target);
}
