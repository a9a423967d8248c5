//! What instruction counts depend on, apart from the code.

use std::{fmt::Write, fs, path::Path, process::Command};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::output;
use crate::failure::Failure;

/// Two sets of counts can be compared only if these are equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Environment {
    /// Version and commit of the compiler.
    pub(crate) rustc: String,
    /// The host's target triple.
    pub(crate) host: String,
    /// SHA-256 of `Cargo.lock`, in hexadecimal digits.
    pub(crate) lock: String,
    pub(crate) valgrind: String,
    /// The C library, whose `memcpy` is among the instructions.
    pub(crate) libc: String,
    /// What of the processor's abilities chooses between variants of `memcpy` and of CRC32C.
    pub(crate) cpu: String,
}

impl Environment {
    /// Here and now.
    ///
    /// # Errors
    ///
    /// If one of them cannot be told.
    pub(crate) fn here(workspace: &Path) -> Result<Self, Failure> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let (said, _) = output(Command::new(rustc).arg("-vV"))?;
        let field = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(name));
            line.map_or_else(|| "unknown".into(), |value| value.trim().to_owned())
        };
        let lock = workspace.join("Cargo.lock");
        let bytes = fs::read(&lock)
            .map_err(|error| Failure::new(format!("{}: {error}", lock.display())))?;
        Ok(Self {
            rustc: said.lines().next().unwrap_or("unknown").to_owned(),
            host: field("host:"),
            lock: hex(&Sha256::digest(bytes)),
            valgrind: first_line(Command::new("valgrind").arg("--version"))
                .unwrap_or_else(|failure| format!("none ({failure})")),
            libc: first_line(Command::new("getconf").arg("GNU_LIBC_VERSION"))
                .unwrap_or_else(|_| "unknown".into()),
            cpu: cpu(),
        })
    }

    /// In which ways `here` differs, in words; empty if instruction counts can be compared.
    pub(crate) fn differences(&self, here: &Self) -> Vec<String> {
        let pairs = [
            ("compiler", &self.rustc, &here.rustc),
            ("host", &self.host, &here.host),
            ("Cargo.lock", &self.lock, &here.lock),
            ("valgrind", &self.valgrind, &here.valgrind),
            ("C library", &self.libc, &here.libc),
            ("processor", &self.cpu, &here.cpu),
        ];
        pairs
            .into_iter()
            .filter(|(_, kept, here)| kept != here)
            .map(|(what, kept, here)| format!("{what}: kept with {kept}, here {here}"))
            .collect()
    }
}

fn first_line(command: &mut Command) -> Result<String, Failure> {
    let (said, _) = output(command)?;
    Ok(said.lines().next().unwrap_or("unknown").trim().to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(target_arch = "x86_64")]
fn cpu() -> String {
    let abilities = [
        ("sse4.2", std::is_x86_feature_detected!("sse4.2")),
        ("pclmulqdq", std::is_x86_feature_detected!("pclmulqdq")),
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("bmi2", std::is_x86_feature_detected!("bmi2")),
        ("erms", erms()),
    ];
    let has: Vec<_> = abilities
        .into_iter()
        .filter_map(|(name, has)| has.then_some(name))
        .collect();
    format!("x86_64 with {}", has.join(" "))
}

/// "Enhanced REP MOVSB", which std does not ask about and the C library does.
#[cfg(target_arch = "x86_64")]
fn erms() -> bool {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|line| line.split_whitespace().any(|flag| flag == "erms"))
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu() -> String {
    std::env::consts::ARCH.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        let text = |text: &str| text.to_owned();
        Environment {
            rustc: text("rustc 1.95.0"),
            host: text("x86_64-unknown-linux-gnu"),
            lock: text("00ff"),
            valgrind: text("valgrind-3.24.0"),
            libc: text("glibc 2.41"),
            cpu: text("x86_64 with avx2"),
        }
    }

    #[test]
    fn every_difference_is_named() {
        let kept = environment();
        assert!(kept.differences(&kept).is_empty());
        let mut here = environment();
        here.rustc = "rustc 1.96.0".into();
        here.lock = "00fe".into();
        assert_eq!(
            kept.differences(&here),
            [
                "compiler: kept with rustc 1.95.0, here rustc 1.96.0",
                "Cargo.lock: kept with 00ff, here 00fe",
            ]
        );
    }

    #[test]
    fn a_digest_is_written_as_other_tools_write_it() {
        // echo -n abc | sha256sum
        let digest = hex(&Sha256::digest("abc"));
        assert!(digest.starts_with("ba7816bf8f01cfea414140de5dae2223b00361a3"));
        assert_eq!(digest.len(), 64);
    }
}
