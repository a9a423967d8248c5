//! What `dual_nic_read` reports, as text and as JSON.

use std::fmt;

use iscsi_client::{
    bind::Bind,
    session::{Session, SessionEventKind},
};
use mpio::{
    MultipathDevice, Topology,
    core::{PathId, PathSnapshot},
};
use serde::Serialize;

use crate::{reader::Readout, usage};

/// The whole of it. The field names are the keys of the JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The device.
    pub device: DeviceReport,
    /// Bytes that arrived.
    pub bytes_read: u64,
    /// From the first submission to the last completion.
    pub seconds: f64,
    /// Bytes per time, in 2^20 bytes per second.
    pub mib_per_s: f64,
    /// Reads that failed.
    pub errors: u64,
    /// Whether all that was read is what it should be; `None` where nobody knows.
    pub verified: Option<bool>,
    /// Losses of a path after which its I/O went elsewhere.
    pub failovers: u64,
    /// The longest time from submission to completion of one read.
    pub longest_stall_ms: f64,
    /// The paths, in the order of the topology.
    pub paths: Vec<PathReport>,
    #[serde(skip)]
    topology: Topology,
}

/// A device.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceReport {
    /// Its world wide identifier.
    pub wwid: String,
    /// Its capacity.
    pub size_bytes: u64,
    /// Its logical block size.
    pub block_size: u32,
}

/// A path.
#[derive(Clone, Debug, Serialize)]
pub struct PathReport {
    /// The portal that it leads to.
    pub portal: String,
    /// The NIC or local address that it leaves through.
    pub source: String,
    /// `active` or `failed`.
    pub state: &'static str,
    /// I/Os that succeeded there.
    pub ios: u64,
    /// Bytes that they moved.
    pub bytes: u64,
}

impl Report {
    /// Of a read of `device`. `verified` says whether its content was known.
    #[must_use]
    pub fn new(device: &MultipathDevice, readout: &Readout, known: bool) -> Self {
        let topology = device.topology();
        let seconds = readout.elapsed.as_secs_f64();
        let paths = topology.snapshot.paths();
        Self {
            device: DeviceReport {
                wwid: topology.wwid().to_owned(),
                size_bytes: topology.info.size,
                block_size: topology.info.block_size,
            },
            bytes_read: readout.bytes,
            seconds: round(seconds, 4),
            mib_per_s: round(mib(readout.bytes) / seconds.max(1e-9), 1),
            errors: readout.errors,
            verified: known.then_some(readout.mismatch.is_none()),
            failovers: topology.snapshot.counters.failovers,
            longest_stall_ms: round(readout.longest_stall.as_secs_f64() * 1e3, 3),
            paths: paths.map(|path| PathReport::new(device, path)).collect(),
            topology,
        }
    }

    /// One line of JSON.
    #[must_use]
    pub fn json(&self) -> String {
        // Nothing in it can fail to be written: no maps, no floats that are not finite.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl PathReport {
    fn new(device: &MultipathDevice, path: &PathSnapshot) -> Self {
        let (portal, source) = ends(device, path.id);
        let counters = &path.counters;
        Self {
            portal,
            source,
            state: path.dm_state(),
            ios: counters.ios,
            bytes: counters.bytes_read + counters.bytes_written,
        }
    }
}

/// Portal and source of a path.
fn ends(device: &MultipathDevice, id: PathId) -> (String, String) {
    let Some(path) = device.path(id) else {
        return Default::default();
    };
    let session = path.session();
    let source = match session.bind() {
        Bind::Any => local_address(session).unwrap_or_else(|| Bind::Any.to_string()),
        bound => bound.to_string(),
    };
    (session.portal().to_string(), source)
}

/// The address that the routing table chose.
fn local_address(session: &Session) -> Option<String> {
    let events = session.events(0).into_iter().rev();
    let mut locals = events.filter_map(|event| match event.kind {
        SessionEventKind::Up { local, .. } => local,
        _ => None,
    });
    locals.next().map(|address| address.ip().to_string())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.topology)?;
        for path in &self.paths {
            let bytes = mib(path.bytes);
            writeln!(
                f,
                "{} -> {}: {} reads, {bytes:.0} MiB, {:.0} MiB/s",
                path.source,
                path.portal,
                path.ios,
                bytes / self.seconds.max(1e-9),
            )?;
        }
        writeln!(
            f,
            "in all: {:.0} MiB in {:.2} s, {:.0} MiB/s",
            mib(self.bytes_read),
            self.seconds,
            self.mib_per_s
        )?;
        let verified = match self.verified {
            None => "not compared with anything",
            Some(true) => "every byte verified",
            Some(false) => "WRONG DATA",
        };
        writeln!(
            f,
            "{verified}, {} errors, {} failovers, longest stall {:.1} ms",
            self.errors, self.failovers, self.longest_stall_ms
        )?;
        write!(
            f,
            "peak memory of this process: {} MiB",
            usage::peak_memory_kib() / 1024
        )
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// To so many decimals; figures in a report have no more to say.
#[must_use]
pub fn round(value: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    let rounded = (value * scale).round() / scale;
    if rounded.is_finite() { rounded } else { 0.0 }
}
