//! The file that all connections of a capture are written to.

use std::{
    fmt,
    io::{self, Write},
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    blocks::{self, Direction},
    packet::Segment,
};

/// How a capture is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CaptureStatus {
    /// Bytes written so far.
    pub bytes: u64,
    /// Packets among them.
    pub packets: u64,
    /// Connections seen so far.
    pub connections: u64,
    /// Whether it goes on.
    pub state: CaptureState,
}

/// Whether a capture goes on. Sessions do, whatever becomes of their capture.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CaptureState {
    /// It goes on.
    Running,
    /// The limit of [`PcapOptions::max_bytes`](super::PcapOptions::max_bytes) is reached: what was
    /// written is whole, what happened since is missing.
    Full,
    /// Writing failed: the file ends within or before the packet at which it did.
    Failed(Arc<io::Error>),
}

/// One line for humans.
impl fmt::Display for CaptureStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            bytes,
            packets,
            connections,
            state,
        } = self;
        write!(
            f,
            "{packets} packets of {connections} connections in {bytes} bytes"
        )?;
        match state {
            CaptureState::Running => Ok(()),
            CaptureState::Full => f.write_str(", then stopped: the size limit is reached"),
            CaptureState::Failed(error) => write!(f, ", then stopped: {error}"),
        }
    }
}

/// A point in time on both clocks.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    instant: Instant,
    nanos: u64,
}

#[derive(Debug)]
pub(super) struct File<W> {
    writer: W,
    status: CaptureStatus,
    max_bytes: u64,
    epoch: Option<SystemTime>,
    anchor: Option<Anchor>,
    interfaces: Vec<String>,
    /// The block under construction.
    scratch: Vec<u8>,
}

impl<W: Write> File<W> {
    /// Writes the head of the file.
    pub(super) fn new(writer: W, max_bytes: u64, epoch: Option<SystemTime>) -> io::Result<Self> {
        let mut file = Self {
            writer,
            status: CaptureStatus {
                bytes: 0,
                packets: 0,
                connections: 0,
                state: CaptureState::Running,
            },
            max_bytes,
            epoch,
            anchor: None,
            interfaces: Vec::new(),
            scratch: Vec::new(),
        };
        let application = concat!("iscsi-client ", env!("CARGO_PKG_VERSION"));
        blocks::section(&mut file.scratch, application);
        file.writer.write_all(&file.scratch)?;
        file.status.bytes = file.scratch.len() as u64;
        Ok(file)
    }

    #[cfg(test)]
    pub(super) const fn writer(&self) -> &W {
        &self.writer
    }

    pub(super) const fn status(&self) -> &CaptureStatus {
        &self.status
    }

    pub(super) const fn is_running(&self) -> bool {
        matches!(self.status.state, CaptureState::Running)
    }

    /// A number for a new connection, from 1, and the interface that `name` stands for.
    pub(super) fn open(&mut self, name: &str) -> (u64, u32) {
        self.status.connections += 1;
        let known = self.interfaces.iter().position(|known| known == name);
        let interface = known.unwrap_or_else(|| {
            let description = format!("sessions bound to {name}");
            blocks::interface(&mut self.scratch, name, &description);
            self.write();
            self.interfaces.push(name.to_owned());
            self.interfaces.len() - 1
        });
        (self.status.connections, interface as u32)
    }

    pub(super) fn packet(
        &mut self,
        interface: u32,
        at: Instant,
        direction: Direction,
        comment: Option<&str>,
        segment: &Segment<'_>,
    ) {
        if !self.is_running() {
            return;
        }
        let nanos = self.nanos(at);
        blocks::packet(
            &mut self.scratch,
            interface,
            nanos,
            direction,
            comment,
            |out| segment.emit(out),
        );
        if self.write() {
            self.status.packets += 1;
        }
    }

    /// Whether the block in `scratch` is in the file.
    fn write(&mut self) -> bool {
        if !self.is_running() {
            return false;
        }
        let len = self.scratch.len() as u64;
        if self.status.bytes.saturating_add(len) > self.max_bytes {
            self.status.state = CaptureState::Full;
            // A failure now is one of the bytes that `Full` promises.
            if let Err(error) = self.writer.flush() {
                self.status.state = CaptureState::Failed(Arc::new(error));
            }
            return false;
        }
        match self.writer.write_all(&self.scratch) {
            Ok(()) => {
                self.status.bytes += len;
                true
            }
            Err(error) => {
                self.status.state = CaptureState::Failed(Arc::new(error));
                false
            }
        }
    }

    pub(super) fn flush(&mut self) {
        if self.is_running() {
            if let Err(error) = self.writer.flush() {
                self.status.state = CaptureState::Failed(Arc::new(error));
            }
        }
    }

    /// Nanoseconds since 1970 of a point of the runtime's clock.
    fn nanos(&mut self, at: Instant) -> u64 {
        let epoch = self.epoch;
        let anchor = *self.anchor.get_or_insert_with(|| Anchor {
            instant: at,
            nanos: since_1970(epoch.unwrap_or_else(wall_clock)),
        });
        let nanos = |duration: std::time::Duration| duration.as_nanos() as u64;
        match at.checked_duration_since(anchor.instant) {
            Some(after) => anchor.nanos.saturating_add(nanos(after)),
            None => anchor.nanos.saturating_sub(nanos(anchor.instant - at)),
        }
    }
}

fn since_1970(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() as u64
}

#[expect(
    clippy::disallowed_methods,
    reason = "a file for humans says what the clock on the wall said; nothing else depends on it"
)]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}
