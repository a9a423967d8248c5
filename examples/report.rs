//! What a read of a device came to, for people and for programs.

use std::fmt;

use iscsi_client::session::Session;
use mpio::{MultipathDevice, Topology, core::PathSnapshot};
use serde::Serialize;

use crate::reader::Readout;

const MIB: f64 = (1 << 20) as f64;

/// The JSON line of `dual_nic_read`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Which device.
    pub device: Device,
    /// Bytes that arrived.
    pub bytes_read: u64,
    /// From the first submission to the last completion.
    pub seconds: f64,
    /// Over all paths.
    pub mib_per_s: f64,
    /// Errors that reached the caller.
    pub errors: u64,
    /// Whether every byte was compared and right; `null` if there was nothing to compare with.
    pub verified: Option<bool>,
    /// Requests that went on over another path.
    pub failovers: u64,
    /// The longest time of one request from submission to completion.
    pub longest_stall_ms: f64,
    /// One entry per path.
    pub paths: Vec<PathReport>,
}

/// The device in a [`Report`].
#[derive(Clone, Debug, Serialize)]
pub struct Device {
    /// World wide identifier, as `scsi_id` prints it.
    pub wwid: String,
    /// Size.
    pub size_bytes: u64,
    /// Logical block length.
    pub block_size: u32,
}

/// A path in a [`Report`].
#[derive(Clone, Debug, Serialize)]
pub struct PathReport {
    /// The portal that it leads to.
    pub portal: String,
    /// The local end.
    pub source: String,
    /// As `multipath -ll` words it.
    pub state: String,
    /// I/Os that succeeded here.
    pub ios: u64,
    /// Bytes that they read.
    pub bytes: u64,
}

impl Report {
    /// What `readout` came to on `device`.
    #[must_use]
    pub fn new(device: &MultipathDevice, readout: &Readout, known: bool) -> Self {
        let info = device.info();
        let snapshot = device.snapshot();
        let paths = snapshot.paths().map(|path| {
            let unit = device.path(path.id);
            PathReport::new(path, unit.as_ref().map(|unit| unit.session()))
        });
        let seconds = readout.elapsed.as_secs_f64();
        Self {
            device: Device {
                wwid: device.topology().wwid().into(),
                size_bytes: info.size,
                block_size: info.block_size,
            },
            bytes_read: readout.bytes,
            seconds,
            mib_per_s: mib_per_s(readout.bytes, seconds),
            errors: readout.errors,
            verified: known.then(|| readout.is_good()),
            failovers: snapshot.counters.failovers,
            longest_stall_ms: readout.longest_stall.as_secs_f64() * 1e3,
            paths: paths.collect(),
        }
    }

    /// For people: topology, throughput per path, failovers, the longest stall.
    #[must_use]
    pub const fn with_topology(&self, topology: Topology) -> Summary<'_> {
        Summary {
            report: self,
            topology,
        }
    }
}

impl PathReport {
    fn new(path: &PathSnapshot, session: Option<&Session>) -> Self {
        let (portal, source) = session.map_or_else(
            || (path.name.to_string(), String::new()),
            |session| (session.portal().to_string(), session.bind().to_string()),
        );
        Self {
            portal,
            source,
            state: path.state_words(),
            ios: path.counters.ios,
            bytes: path.counters.bytes_read,
        }
    }
}

fn mib_per_s(bytes: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        bytes as f64 / MIB / seconds
    } else {
        0.0
    }
}

/// A [`Report`] as text.
#[derive(Clone, Debug)]
pub struct Summary<'a> {
    report: &'a Report,
    topology: Topology,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.report;
        writeln!(f, "{}", self.topology.to_string().trim_end())?;
        for path in &report.paths {
            let rate = mib_per_s(path.bytes, report.seconds);
            writeln!(
                f,
                "{} -> {}: {} reads, {:.0} MiB, {rate:.0} MiB/s",
                path.source,
                path.portal,
                path.ios,
                path.bytes as f64 / MIB,
            )?;
        }
        writeln!(
            f,
            "{:.0} MiB in {:.2} s, {:.0} MiB/s; {} failed over, longest stall {:.0} ms",
            report.bytes_read as f64 / MIB,
            report.seconds,
            report.mib_per_s,
            report.failovers,
            report.longest_stall_ms,
        )?;
        let verdict = match (report.errors, report.verified) {
            (0, Some(true)) => "every byte as it should be, no error",
            (0, None) => "no error; nothing to compare the data with",
            (0, Some(false)) => "WRONG DATA",
            (_, _) => "FAILED",
        };
        f.write_str(verdict)
    }
}
