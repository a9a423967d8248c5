//! A tap that keeps the streams themselves, to compare captures with; and PDUs cut out of a stream.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use iscsi_client::tap::{ConnectionTap, StreamBytes, StreamEnd, Tap, TappedConnection};
use iscsi_proto::login::LoggedIn;

/// What one connection carried.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carried {
    pub(crate) sent: Vec<u8>,
    pub(crate) received: Vec<u8>,
    pub(crate) ends: Vec<&'static str>,
    /// Lengths of the streams at the end of the login.
    pub(crate) logged_in: Option<(usize, usize)>,
}

/// Keeps the streams of all connections, and passes everything on to another tap.
#[derive(Debug)]
pub(crate) struct Trace {
    connections: Arc<Mutex<Vec<Carried>>>,
    next: Arc<dyn Tap>,
}

impl Trace {
    pub(crate) fn before(next: Arc<dyn Tap>) -> Arc<Self> {
        let connections = Arc::default();
        Arc::new(Self { connections, next })
    }

    pub(crate) fn connections(&self) -> Vec<Carried> {
        self.connections.lock().unwrap().clone()
    }
}

impl Tap for Trace {
    fn connected(
        &self,
        at: Instant,
        connection: &TappedConnection<'_>,
    ) -> Option<Arc<dyn ConnectionTap>> {
        let mut connections = self.connections.lock().unwrap();
        connections.push(Carried::default());
        Some(Arc::new(Connection {
            connections: Arc::clone(&self.connections),
            index: connections.len() - 1,
            next: self.next.connected(at, connection),
        }))
    }
}

#[derive(Debug)]
struct Connection {
    connections: Arc<Mutex<Vec<Carried>>>,
    index: usize,
    next: Option<Arc<dyn ConnectionTap>>,
}

impl Connection {
    fn note(&self, note: impl FnOnce(&mut Carried)) {
        note(&mut self.connections.lock().unwrap()[self.index]);
    }
}

impl ConnectionTap for Connection {
    fn sent(&self, at: Instant, bytes: StreamBytes<'_>) {
        self.note(|carried| carried.sent.extend(bytes.pieces().flatten()));
        if let Some(next) = &self.next {
            next.sent(at, bytes);
        }
    }

    fn received(&self, at: Instant, bytes: StreamBytes<'_>) {
        self.note(|carried| carried.received.extend(bytes.pieces().flatten()));
        if let Some(next) = &self.next {
            next.received(at, bytes);
        }
    }

    fn logged_in(&self, at: Instant, logged_in: &LoggedIn) {
        self.note(|carried| {
            carried.logged_in = Some((carried.sent.len(), carried.received.len()));
        });
        if let Some(next) = &self.next {
            next.logged_in(at, logged_in);
        }
    }

    fn ended(&self, at: Instant, end: StreamEnd<'_>) {
        self.note(|carried| {
            carried.ends.push(match end {
                StreamEnd::PeerClosed => "peer closed",
                StreamEnd::Closed => "closed",
                StreamEnd::Aborted => "aborted",
                StreamEnd::Failed(_) => "failed",
                _ => "another end",
            });
        });
        if let Some(next) = &self.next {
            next.ended(at, end);
        }
    }
}

/// One PDU of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Pdu {
    /// Basic header segment, additional ones and digest.
    pub(crate) header: Vec<u8>,
    /// Of the whole PDU with padding and digests.
    pub(crate) len: usize,
}

/// Cuts a stream into its PDUs; from byte `login` on with `digest` bytes behind headers and data.
pub(crate) fn pdus(stream: &[u8], login: usize, digest: usize) -> Vec<Pdu> {
    let mut pdus = Vec::new();
    let mut at = 0;
    while at < stream.len() {
        let digest = if at < login { 0 } else { digest };
        let bhs = &stream[at..at + 48];
        let data = u32::from_be_bytes([0, bhs[5], bhs[6], bhs[7]]) as usize;
        let header = 48 + usize::from(bhs[4]) * 4 + digest;
        let tail = match data {
            0 => 0,
            _ => data.next_multiple_of(4) - data + digest,
        };
        let len = header + data + tail;
        pdus.push(Pdu {
            header: stream[at..at + header].to_vec(),
            len,
        });
        at += len;
    }
    pdus
}
