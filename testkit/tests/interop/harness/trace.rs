//! Our own account of a session: its PDUs as `iscsi-proto` reads them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use iscsi_client::tap::{ConnectionTap, StreamBytes, StreamEnd, Tap, TappedConnection};
use iscsi_proto::{
    login::LoggedIn,
    pdu::{Bhs, Pdu, pad_len},
    text::Digest,
};

/// Keeps both streams of a connection, and hands everything on to another tap.
#[derive(Debug)]
pub(crate) struct Trace {
    other: Arc<dyn Tap>,
    streams: Arc<Streams>,
}

#[derive(Debug, Default)]
struct Streams {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    connections: u32,
    sent: Vec<u8>,
    received: Vec<u8>,
    digests: Option<(Digest, Digest)>,
}

#[derive(Debug)]
struct Both {
    other: Option<Arc<dyn ConnectionTap>>,
    streams: Arc<Streams>,
}

impl Streams {
    fn with<T>(&self, use_it: impl FnOnce(&mut Kept) -> T) -> T {
        use_it(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Tap for Trace {
    fn connected(
        &self,
        at: Instant,
        connection: &TappedConnection<'_>,
    ) -> Option<Arc<dyn ConnectionTap>> {
        self.streams.with(|kept| kept.connections += 1);
        Some(Arc::new(Both {
            other: self.other.connected(at, connection),
            streams: Arc::clone(&self.streams),
        }))
    }
}

impl Both {
    fn tell(&self, tell: impl FnOnce(&dyn ConnectionTap)) {
        if let Some(other) = &self.other {
            tell(&**other);
        }
    }
}

impl ConnectionTap for Both {
    fn sent(&self, at: Instant, bytes: StreamBytes<'_>) {
        self.streams
            .with(|kept| bytes.pieces().for_each(|piece| kept.sent.extend(piece)));
        self.tell(|other| other.sent(at, bytes));
    }

    fn received(&self, at: Instant, bytes: StreamBytes<'_>) {
        self.streams
            .with(|kept| bytes.pieces().for_each(|piece| kept.received.extend(piece)));
        self.tell(|other| other.received(at, bytes));
    }

    fn logged_in(&self, at: Instant, logged_in: &LoggedIn) {
        let parameters = logged_in.parameters();
        let digests = (parameters.header_digest, parameters.data_digest);
        self.streams.with(|kept| kept.digests = Some(digests));
        self.tell(|other| other.logged_in(at, logged_in));
    }

    fn ended(&self, at: Instant, end: StreamEnd<'_>) {
        self.tell(|other| other.ended(at, end));
    }
}

impl Trace {
    pub(crate) fn new(other: Arc<dyn Tap>) -> Self {
        Self {
            other,
            streams: Arc::default(),
        }
    }

    /// What was negotiated, for headers and for data.
    pub(crate) fn digests(&self) -> Option<(Digest, Digest)> {
        self.streams.with(|kept| kept.digests)
    }

    /// The PDUs that were sent and those that were received, in order.
    ///
    /// Panics if there was not exactly one connection, or one of its streams ends in a PDU.
    pub(crate) fn pdus(&self) -> [Vec<Pdu>; 2] {
        self.streams.with(|kept| {
            assert_eq!(kept.connections, 1);
            let digests = kept.digests.expect("logged in");
            [&kept.sent, &kept.received].map(|stream| split(stream, digests))
        })
    }
}

fn split(mut stream: &[u8], (header_digest, data_digest): (Digest, Digest)) -> Vec<Pdu> {
    let mut pdus = Vec::new();
    while let Some(header) = stream.first_chunk::<{ Bhs::LEN }>() {
        let bhs = Bhs::from(*header);
        let pdu = Pdu::parse(&bhs).expect("a PDU");
        let login = matches!(pdu, Pdu::LoginRequest(_) | Pdu::LoginResponse(_));
        let data = bhs.data_segment_length() as usize;
        let mut len = Bhs::LEN + bhs.total_ahs_length() + data + pad_len(data);
        if !login && header_digest == Digest::Crc32c {
            len += 4;
        }
        if !login && data_digest == Digest::Crc32c && data > 0 {
            len += 4;
        }
        stream = stream.get(len..).expect("whole PDUs");
        pdus.push(pdu);
    }
    assert!(stream.is_empty(), "{} bytes are left over", stream.len());
    pdus
}
