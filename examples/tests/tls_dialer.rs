//! `tls_dialer` from the outside: TLS all the way, and no session without it.

#[path = "common/mod.rs"]
mod common;

use std::fs;

use common::{SIZE, TARGET, failure_of, run, stdout, target, url};
use futures_rustls::pki_types::CertificateDer;
use iscsi_examples::tls::Gateway;
use serde_json::Value;

const TOOL: &str = "tls_dialer";

/// A certificate as a PEM file, which is removed at the end.
struct Pem(std::path::PathBuf);

impl Pem {
    fn new(name: &str, certificate: &CertificateDer<'_>) -> Self {
        let name = format!("iscsi-examples-{}-{name}.pem", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, rcgen_pem(certificate)).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Pem {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// RFC 7468, with base64 by hand: no crate for a page of test.
fn rcgen_pem(certificate: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in certificate.chunks(48) {
        for group in line.chunks(3) {
            let mut bytes = [0; 4];
            bytes[1..=group.len()].copy_from_slice(group);
            let bits = u32::from_be_bytes(bytes);
            for digit in 0..4 {
                let value = bits >> (18 - 6 * digit) & 63;
                text.push(match digit > group.len() {
                    true => '=',
                    false => char::from(DIGITS[value as usize]),
                });
            }
        }
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}

#[test]
fn the_demonstration_verifies_every_byte_under_either_runtime() {
    for runtime in ["tokio", "smol"] {
        let output = run(TOOL, &["--json", "--runtime", runtime]);
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(0), "{runtime}: {text}");
        let json: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(json["bytes_read"], 64 << 20);
        assert_eq!(json["verified"], true);
        assert_eq!(json["errors"], 0);
    }
}

#[test]
fn a_gateway_is_let_in_by_its_certificate_and_its_name_only() {
    let target = target(None);
    let gateway = Gateway::start(target.portal(0)).unwrap();
    let other = Gateway::start(target.portal(0)).unwrap();
    let ca = Pem::new("ca", gateway.certificate());
    let foreign = Pem::new("foreign", other.certificate());
    let tls = format!("iscsi://{}/{TARGET}/0", gateway.address());

    let args = ["--url", &tls, "--ca", ca.path(), "--json"];
    let output = run(TOOL, &args);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let json: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(json["bytes_read"], SIZE);
    let args = [
        "--url",
        &tls,
        "--ca",
        ca.path(),
        "--server-name",
        "localhost",
    ];
    assert_eq!(run(TOOL, &args).status.code(), Some(0));
    let logins = target.core().counters(0).logins;

    let args = ["--url", &tls, "--ca", foreign.path()];
    let line = failure_of(TOOL, &args, 1);
    assert!(line.contains("certificate"), "{line}");
    let args = [
        "--url",
        &tls,
        "--ca",
        ca.path(),
        "--server-name",
        "elsewhere.example",
    ];
    let line = failure_of(TOOL, &args, 1);
    assert!(line.contains("certificate"), "{line}");
    // The target itself speaks no TLS.
    let plain = url(&target, "0");
    failure_of(TOOL, &["--url", &plain, "--ca", ca.path()], 1);
    assert_eq!(target.core().counters(0).logins, logins);
}
