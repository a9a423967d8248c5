//! A tap that writes pcapng files.

mod blocks;
mod facts;
mod file;
mod flow;
mod framer;
mod packet;
mod redact;

pub use file::{CaptureState, CaptureStatus};

use std::{
    fmt,
    io::{self, BufWriter, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime},
};

use iscsi_proto::login::LoggedIn;

use self::{
    blocks::Direction,
    file::File,
    flow::{Ends, Flow, Rules},
};
use super::{ConnectionTap, StreamBytes, StreamEnd, Tap, TappedConnection};

/// What of the data segments is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PayloadCapture {
    /// All of it.
    #[default]
    Whole,
    /// Nothing of what is read from or written to the disk: of such a PDU the header stays, and the
    /// packet says how long it was. Text, sense data, asynchronous messages and rejects stay whole.
    /// Small, and fit to be shown to others, who then see names, addresses and block numbers.
    HeadersOnly,
}

/// What a [`PcapNg`] keeps. The default keeps everything but CHAP responses.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PcapOptions {
    /// What of the data segments is kept. Default: all.
    pub payload: PayloadCapture,
    /// Whether the values of `CHAP_R` are overwritten with `X`, in both directions. Default: yes, since
    /// a response and its challenge are enough to try secrets offline.
    pub redact_chap: bool,
    /// The file's size limit in bytes, at which the capture stops ([`CaptureState::Full`]). Default:
    /// none.
    pub max_bytes: Option<u64>,
    /// The wall-clock time of the first packet. Default: the system's clock at that moment. The times of
    /// all other packets follow from it by the runtime's clock, which never jumps.
    pub epoch: Option<SystemTime>,
}

impl Default for PcapOptions {
    fn default() -> Self {
        Self {
            payload: PayloadCapture::Whole,
            redact_chap: true,
            max_bytes: None,
            epoch: None,
        }
    }
}

/// Writes connections to a pcapng file, for Wireshark (`iscsi` is its display filter) or
/// `tshark -r FILE -d tcp.port==3260,iscsi -V`.
///
/// The bytes are put into TCP segments over IPv4 or IPv6, with the addresses of the connection, right
/// sequence numbers and right checksums (none where a packet is cut), a handshake before and a FIN or
/// RST behind them. Each [`Bind`](crate::bind::Bind) is an interface of the file. The first packet of a
/// connection carries its bind, portal and target as a comment, and the first one after the login what
/// was negotiated. Where a transport does not tell its local address, the capture shows address 0 and
/// a port of its own. A connection that fails is shown to be reset, with the reason as a comment.
///
/// Clones write to the same file. Blocks are written whole; the writer is flushed when a connection
/// ends and by [`flush`](Self::flush).
///
/// # When writing fails
///
/// The capture ends and the sessions go on; [`status`](Self::status) tells. A writer that blocks does
/// hold them up, as every write is made by the task that drives the session: use one that has memory
/// to spare, such as [`BufWriter`].
pub struct PcapNg<W> {
    file: Arc<Mutex<File<W>>>,
    options: PcapOptions,
}

impl PcapNg<BufWriter<std::fs::File>> {
    /// Creates a file, readable and writable by its owner only, or empties the one that is there.
    ///
    /// # Errors
    ///
    /// Whatever creating or writing it says.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::create_with(path, PcapOptions::default())
    }

    /// As [`create`](Self::create), with options.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn create_with(path: &Path, options: PcapOptions) -> io::Result<Self> {
        let mut how = std::fs::OpenOptions::new();
        how.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut how, 0o600);
        let writer = BufWriter::with_capacity(256 * 1024, how.open(path)?);
        Self::with_options(writer, options)
    }
}

impl<W: Write + Send + 'static> PcapNg<W> {
    /// A capture into `writer`, which gets the head of the file at once.
    ///
    /// # Errors
    ///
    /// Whatever writing it says.
    pub fn new(writer: W) -> io::Result<Self> {
        Self::with_options(writer, PcapOptions::default())
    }

    /// As [`new`](Self::new), with options.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_options(writer: W, options: PcapOptions) -> io::Result<Self> {
        let max_bytes = options.max_bytes.unwrap_or(u64::MAX);
        let file = File::new(writer, max_bytes, options.epoch)?;
        Ok(Self {
            file: Arc::new(Mutex::new(file)),
            options,
        })
    }

    /// How the capture is doing.
    #[must_use]
    pub fn status(&self) -> CaptureStatus {
        lock(&self.file).status().clone()
    }

    /// Flushes the writer; returns the status after that.
    pub fn flush(&self) -> CaptureStatus {
        let mut file = lock(&self.file);
        file.flush();
        file.status().clone()
    }
}

/// A writer that panicked has done so in somebody's face already; the file's own state stays good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<W> Clone for PcapNg<W> {
    fn clone(&self) -> Self {
        Self {
            file: Arc::clone(&self.file),
            options: self.options,
        }
    }
}

impl<W> fmt::Debug for PcapNg<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PcapNg")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl<W: Write + Send + 'static> Tap for PcapNg<W> {
    fn connected(
        &self,
        at: Instant,
        connection: &TappedConnection<'_>,
    ) -> Option<Arc<dyn ConnectionTap>> {
        let mut file = lock(&self.file);
        if !file.is_running() {
            return None;
        }
        let (number, interface) = file.open(&connection.bind.to_string());
        let rules = Rules {
            headers_only: self.options.payload == PayloadCapture::HeadersOnly,
            redact: self.options.redact_chap,
        };
        let ends = Ends {
            local: connection
                .local
                .unwrap_or_else(|| stand_in(number, connection.remote)),
            remote: connection.remote,
            interface,
        };
        // Connections between the same ports, one after the other, are told apart by this.
        let isn = (number as u32).wrapping_mul(0x9e37_79b1);
        let mut flow = Flow::new(rules, ends, isn);
        flow.open(&mut file, at, &about(connection));
        Some(Arc::new(Recorder {
            file: Arc::clone(&self.file),
            flow: Mutex::new(flow),
        }))
    }
}

fn about(connection: &TappedConnection<'_>) -> String {
    let TappedConnection {
        bind,
        portal,
        target,
        ..
    } = connection;
    match target {
        Some(target) => format!("bind {bind}, portal {portal}, login to {target}"),
        None => format!("bind {bind}, portal {portal}, discovery"),
    }
}

/// Address 0 and one of the dynamic ports.
fn stand_in(number: u64, remote: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(ip, 0xc000 | (number & 0x3fff) as u16)
}

/// A connection of a capture. Its own lock is only ever taken by the session's driver, and before that
/// of the file.
struct Recorder<W> {
    file: Arc<Mutex<File<W>>>,
    flow: Mutex<Flow>,
}

impl<W: Write> Recorder<W> {
    fn with(&self, record: impl FnOnce(&mut Flow, &mut File<W>)) {
        let mut flow = lock(&self.flow);
        let mut file = lock(&self.file);
        if file.is_running() {
            record(&mut flow, &mut file);
        }
    }
}

impl<W> fmt::Debug for Recorder<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl<W: Write + Send + 'static> ConnectionTap for Recorder<W> {
    fn sent(&self, at: Instant, bytes: StreamBytes<'_>) {
        self.with(|flow, file| flow.data(file, at, Direction::Outbound, bytes));
    }

    fn received(&self, at: Instant, bytes: StreamBytes<'_>) {
        self.with(|flow, file| flow.data(file, at, Direction::Inbound, bytes));
    }

    fn logged_in(&self, at: Instant, logged_in: &LoggedIn) {
        self.with(|flow, file| flow.logged_in(file, at, logged_in));
    }

    fn ended(&self, at: Instant, end: StreamEnd<'_>) {
        self.with(|flow, file| flow.ended(file, at, end));
    }
}
