//! The target over real TCP: plain threads, so that it suits a test under any runtime or none.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    TargetConnection,
    config::TargetConfig,
    core::{Closer, TargetCore, lock},
    gate::{Gate, Verdict, clock},
};

/// The most that one system call writes: after a cut no more than this, and what the kernel has
/// already, still goes out.
const WRITE_SIZE: usize = 256 * 1024;

type Threads = Arc<Mutex<Vec<JoinHandle<()>>>>;

/// A running target on TCP. Dropping it closes everything and waits for its threads.
///
/// Faults are per portal, by its index in the configuration. They act at once and need no
/// cooperation of the initiator; none of them panics but for an index out of range.
#[derive(Debug)]
pub struct TcpTarget {
    core: Arc<TargetCore>,
    gates: Vec<Arc<Gate>>,
    listeners: Vec<Arc<TcpListener>>,
    /// And the thread of the back end.
    acceptors: Vec<JoinHandle<()>>,
    connections: Threads,
}

impl TcpTarget {
    /// Binds every portal and starts to serve. Port 0 takes a free port, see [`portal`](Self::portal).
    ///
    /// # Errors
    ///
    /// Of binding, or of starting a thread.
    pub fn start(config: TargetConfig) -> io::Result<Self> {
        let bind = |portal: &super::PortalConfig| TcpListener::bind(portal.address).map(Arc::new);
        let listeners = config
            .portals
            .iter()
            .map(bind)
            .collect::<io::Result<Vec<_>>>()?;
        let addresses = listeners.iter().map(|listener| listener.local_addr());
        let addresses = addresses.collect::<io::Result<Vec<_>>>()?;
        let core = TargetCore::new(config, &addresses);
        let gates = addresses.iter().map(|_| Arc::default()).collect();
        let (acceptors, connections) = (Vec::new(), Threads::default());
        // Complete before its first thread: if a later one fails to start, Drop stops the others.
        let mut target = Self {
            core,
            gates,
            listeners,
            acceptors,
            connections,
        };
        let epoch = clock();
        let core = Arc::clone(&target.core);
        let builder = thread::Builder::new().name("target back end".into());
        let serve = move || core.back_end.serve(|| since(epoch));
        target.acceptors.push(builder.spawn(serve)?);
        for portal in 0..addresses.len() {
            let acceptor = Acceptor {
                core: Arc::clone(&target.core),
                portal,
                gate: Arc::clone(&target.gates[portal]),
                listener: Arc::clone(&target.listeners[portal]),
                connections: Arc::clone(&target.connections),
                epoch,
            };
            let builder = thread::Builder::new().name(format!("target portal {portal}"));
            target
                .acceptors
                .push(builder.spawn(move || acceptor.run())?);
        }
        Ok(target)
    }

    /// The shared state: counters, violations, login refusal, delays, the medium.
    #[must_use]
    pub const fn core(&self) -> &Arc<TargetCore> {
        &self.core
    }

    /// The address of portal `index`.
    #[must_use]
    pub fn portal(&self, index: usize) -> SocketAddr {
        self.core.portal(index)
    }

    /// Pulls the cable: connections of portal `index` fall silent, in the middle of a PDU if need be;
    /// new ones are accepted by the kernel and never answered.
    pub fn cut(&self, index: usize) {
        self.gates[index].cut();
    }

    /// Delays everything on portal `index`, for `duration` or until [`heal`](Self::heal); then it goes
    /// on where it was.
    pub fn stall(&self, index: usize, duration: Option<Duration>) {
        self.gates[index].stall(duration.map(|duration| clock() + duration));
    }

    /// Ends a cut or a stall. Connections that were cut are dropped, stalled ones go on, new ones are
    /// served.
    pub fn heal(&self, index: usize) {
        self.gates[index].heal();
    }

    /// Resets (RST) every connection of portal `index`.
    pub fn reset(&self, index: usize) {
        self.gates[index].reset();
    }
}

impl Drop for TcpTarget {
    fn drop(&mut self) {
        for gate in &self.gates {
            gate.stop();
        }
        self.core.back_end.stop();
        for (listener, portal) in self.listeners.iter().zip(0..) {
            // Wakes `accept` on Linux; elsewhere a connection of our own does.
            if socket2::SockRef::from(&**listener)
                .shutdown(Shutdown::Both)
                .is_err()
            {
                let _only_to_wake =
                    TcpStream::connect_timeout(&self.core.portal(portal), Duration::from_secs(1));
            }
        }
        // A panic of a thread was printed by that thread; there is nothing to add here.
        for acceptor in self.acceptors.drain(..) {
            let _panicked = acceptor.join();
        }
        for connection in lock(&self.connections).drain(..) {
            let _panicked = connection.join();
        }
    }
}

/// The time of a target that was started at `epoch`.
fn since(epoch: Instant) -> iscsi_proto::Instant {
    let nanos = clock().saturating_duration_since(epoch).as_nanos();
    iscsi_proto::Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

struct Acceptor {
    core: Arc<TargetCore>,
    portal: usize,
    gate: Arc<Gate>,
    listener: Arc<TcpListener>,
    connections: Threads,
    epoch: Instant,
}

impl Acceptor {
    fn run(self) {
        while !self.gate.is_stopped() {
            // An error here concerns one connection that went away before it was accepted.
            if let Ok((stream, _)) = self.listener.accept() {
                // Likewise: this connection is dropped, the next one may do better.
                let _dropped = self.serve(stream);
            }
        }
    }

    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let Some(id) = self.gate.register(stream.try_clone()?) else {
            return Ok(());
        };
        let entry = Entry {
            gate: Arc::clone(&self.gate),
            id,
        };
        let gate = Arc::clone(&self.gate);
        let closer: Closer = Arc::new(move || gate.close(id));
        let connection = Connection {
            target: TargetConnection::new(&self.core, self.portal, closer),
            stream,
            epoch: self.epoch,
            timeout: None,
            entry,
        };
        let builder = thread::Builder::new().name(format!("target connection {id}"));
        let thread = builder.spawn(move || connection.run())?;
        let mut connections = lock(&self.connections);
        connections.retain(|thread| !thread.is_finished());
        connections.push(thread);
        Ok(())
    }
}

struct Connection {
    target: TargetConnection,
    stream: TcpStream,
    epoch: Instant,
    timeout: Option<Duration>,
    /// Last, so that the gate hears of the end when the session and the socket are gone.
    entry: Entry,
}

/// A connection's place in its gate.
struct Entry {
    gate: Arc<Gate>,
    id: u64,
}

impl Entry {
    fn pass(&self) -> io::Result<()> {
        match self.gate.pass(self.id) {
            Verdict::Go => Ok(()),
            Verdict::Close | Verdict::Reset => Err(ErrorKind::ConnectionAborted.into()),
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.gate.forget(self.id);
    }
}

impl Connection {
    fn run(mut self) {
        // Both ways to end are the same here: the socket is dropped, and lingers as it was told to.
        let _ended = self.serve();
    }

    fn serve(&mut self) -> io::Result<()> {
        loop {
            self.write_all()?;
            if self.target.is_closed() {
                return self.stream.shutdown(Shutdown::Both);
            }
            self.read()?;
        }
    }

    fn now(&self) -> iscsi_proto::Instant {
        since(self.epoch)
    }

    fn write_all(&mut self) -> io::Result<()> {
        loop {
            let now = self.now();
            let bytes = self.target.poll_transmit(now);
            if bytes.is_empty() {
                return Ok(());
            }
            let piece = &bytes[..bytes.len().min(WRITE_SIZE)];
            self.entry.pass()?;
            let written = self.stream.write(piece);
            match written {
                Ok(len) => self.target.transmitted(len),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads once, or until a delayed answer is due.
    fn read(&mut self) -> io::Result<()> {
        let now = self.now();
        // A timeout of zero would mean none.
        let due = self.target.poll_timeout().map(|due| {
            due.saturating_duration_since(now)
                .max(Duration::from_micros(100))
        });
        if due != self.timeout {
            self.stream.set_read_timeout(due)?;
            self.timeout = due;
        }
        match self.stream.read(self.target.input()) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => {
                self.entry.pass()?;
                let now = self.now();
                self.target.handle_input(now, len);
                Ok(())
            }
            Err(error) => match error.kind() {
                ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut => Ok(()),
                _ => Err(error),
            },
        }
    }
}
