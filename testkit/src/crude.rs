//! Targets that are of no use to anybody: for what a program does when it meets one.
//!
//! Unlike a [`scripted`](crate::scripted) target they know no end. They speak real TCP from threads of
//! their own, so that the program may be another process, and do as they do to whoever connects.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use iscsi_proto::{
    InitiatorTaskTag, Lun, TargetTransferTag,
    pdu::{Bhs, LoginRequest, LoginResponse, NopIn, Stage, pad_len},
    serial::{CmdSn, StatSn},
    text::codec::{Pairs, TextBuf},
};

use crate::scripted::LoginExchange;

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Manner {
    /// Sends random bytes, the same for the same number, as fast as they are taken.
    Noise(u64),
    /// Reads, and says nothing.
    Silence,
    /// Sends what might become an answer, a byte at a time with this pause.
    Trickle(Duration),
    /// Sends NOP-Ins as fast as they are taken.
    Pings {
        /// Whether they ask for an answer.
        wanted: bool,
        /// Whether it reads what the initiator sends meanwhile.
        reads: bool,
    },
}

/// From when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The first login request. (Noise does not wait for it.)
    Login,
    /// The end of the login, which goes well.
    Session,
}

/// A running one, on a free port of the loopback. Dropping it ends it.
#[derive(Debug)]
pub struct CrudeTarget {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    manner: Manner,
    from: From,
    is_over: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
    logins: AtomicU64,
    sent: AtomicU64,
}

impl CrudeTarget {
    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// Of the sockets, or of starting a thread.
    pub fn start(manner: Manner, from: From) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            manner,
            from,
            is_over: AtomicBool::new(false),
            sockets: Mutex::default(),
            logins: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        });
        let all = Arc::clone(&shared);
        let accept = move || all.accept(&listener);
        let builder = thread::Builder::new().name("crude target".into());
        let acceptor = Some(builder.spawn(accept)?);
        Ok(Self {
            address,
            shared,
            acceptor,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many logins it has let in.
    #[must_use]
    pub fn logins(&self) -> u64 {
        self.shared.logins.load(Ordering::Relaxed)
    }

    /// How many bytes it has sent, those of the logins left out.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

impl Drop for CrudeTarget {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for socket in self.shared.sockets().drain(..) {
            let _gone_already = socket.shutdown(Shutdown::Both);
        }
        // Wakes `accept`.
        let _not_needed = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Some(acceptor) = self.acceptor.take() {
            // A panic of a thread was printed by that thread.
            let _panicked = acceptor.join();
        }
    }
}

impl Shared {
    fn sockets(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: Arc<Self>, listener: &TcpListener) {
        let mut threads = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            if let Ok(copy) = stream.try_clone() {
                self.sockets().push(copy);
            }
            // After the socket is in the list: either it is seen here, or shut down there.
            if self.is_over.load(Ordering::SeqCst) {
                break;
            }
            let all = Arc::clone(&self);
            threads.push(thread::spawn(move || {
                // The initiator has had enough, which is what it is for.
                let _ended = all.serve(stream);
            }));
        }
        for thread in threads {
            let _panicked = thread.join();
        }
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut numbers = Numbers::default();
        if let From::Session = self.from {
            numbers = let_in(&mut stream)?;
            self.logins.fetch_add(1, Ordering::Relaxed);
        } else if !matches!(self.manner, Manner::Noise(_)) {
            numbers.of(&hear(&mut stream)?);
        }
        match self.manner {
            Manner::Noise(seed) => self.noise(&mut stream, seed),
            Manner::Silence => io::copy(&mut stream, &mut io::sink()).map(drop),
            Manner::Trickle(pause) => self.trickle(&mut stream, &numbers, pause),
            Manner::Pings { wanted, reads } => {
                if reads {
                    let mut other = stream.try_clone()?;
                    thread::spawn(move || io::copy(&mut other, &mut io::sink()));
                }
                self.pings(&mut stream, &numbers, wanted)
            }
        }
    }

    fn say(&self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        stream.write_all(bytes)?;
        let len = u64::try_from(bytes.len()).unwrap_or(0);
        self.sent.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    fn noise(&self, stream: &mut TcpStream, mut state: u64) -> io::Result<()> {
        let mut bytes = [0; 8192];
        loop {
            for chunk in bytes.chunks_mut(8) {
                // SplitMix64.
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                chunk.copy_from_slice(&(z ^ (z >> 31)).to_be_bytes());
            }
            self.say(stream, &bytes)?;
        }
    }

    /// In the login a Login Response, later NOP-Ins.
    fn trickle(
        &self,
        stream: &mut TcpStream,
        numbers: &Numbers,
        pause: Duration,
    ) -> io::Result<()> {
        let mut pdu = match &numbers.response {
            Some(response) if self.from == From::Login => response.emit().as_bytes().to_vec(),
            _ => numbers
                .ping(TargetTransferTag::RESERVED)
                .emit()
                .as_bytes()
                .to_vec(),
        };
        stream.set_read_timeout(Some(pause))?;
        let mut heard = [0; 4096];
        loop {
            for byte in &pdu {
                self.say(stream, &[*byte])?;
                // Waits, and hears when it is over.
                match stream.read(&mut heard) {
                    Ok(0) => return Ok(()),
                    Err(error) if !is_timeout(&error) => return Err(error),
                    Ok(_) | Err(_) => {}
                }
            }
            pdu = numbers
                .ping(TargetTransferTag::RESERVED)
                .emit()
                .as_bytes()
                .to_vec();
        }
    }

    fn pings(&self, stream: &mut TcpStream, numbers: &Numbers, wanted: bool) -> io::Result<()> {
        let mut tag = 0_u32;
        loop {
            let mut bytes = Vec::new();
            for _ in 0..64 {
                let ttt = match wanted {
                    true => TargetTransferTag(tag),
                    false => TargetTransferTag::RESERVED,
                };
                bytes.extend_from_slice(numbers.ping(ttt).emit().as_bytes());
                tag = tag.wrapping_add(1) % u32::MAX;
            }
            self.say(stream, &bytes)?;
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// The serial numbers after what was heard.
#[derive(Debug, Default)]
struct Numbers {
    stat_sn: u32,
    cmd_sn: CmdSn,
    /// To the last login request.
    response: Option<LoginResponse>,
}

impl Numbers {
    fn of(&mut self, exchange: &LoginExchange) {
        self.cmd_sn = exchange.request.cmd_sn;
        let mut response = exchange.agreed();
        response.stat_sn = StatSn(self.stat_sn);
        response.exp_cmd_sn = self.cmd_sn;
        response.max_cmd_sn = self.window();
        self.response = Some(response);
        self.stat_sn = self.stat_sn.wrapping_add(1);
    }

    const fn window(&self) -> CmdSn {
        CmdSn(self.cmd_sn.0.wrapping_add(31))
    }

    fn ping(&self, ttt: TargetTransferTag) -> NopIn {
        NopIn {
            lun: Lun::ZERO,
            itt: InitiatorTaskTag::RESERVED,
            ttt,
            stat_sn: StatSn(self.stat_sn),
            exp_cmd_sn: self.cmd_sn,
            max_cmd_sn: self.window(),
            data_segment_length: 0,
        }
    }
}

/// The next login request.
fn hear(stream: &mut TcpStream) -> io::Result<LoginExchange> {
    let mut header = [0; 48];
    stream.read_exact(&mut header)?;
    let request = LoginRequest::parse(&Bhs::from(header)).map_err(io::Error::other)?;
    let len = usize::try_from(request.data_segment_length).map_err(io::Error::other)?;
    let mut data = vec![0; len + pad_len(len)];
    stream.read_exact(&mut data)?;
    let mut keys = Vec::new();
    for pair in Pairs::new(&data[..len]) {
        let (key, value) = pair.map_err(io::Error::other)?;
        keys.push((key.to_owned(), value.to_owned()));
    }
    Ok(LoginExchange { request, keys })
}

/// A login that goes well, as usual.
fn let_in(stream: &mut TcpStream) -> io::Result<Numbers> {
    let mut numbers = Numbers::default();
    let mut group = Some(("TargetPortalGroupTag", "1"));
    loop {
        let exchange = hear(stream)?;
        numbers.of(&exchange);
        let mut text = TextBuf::new();
        for (key, value) in exchange.answers(group.take().as_slice()) {
            text.push(&key, value);
        }
        let Some(response) = &mut numbers.response else {
            continue;
        };
        let mut bytes = text.as_bytes().to_vec();
        response.data_segment_length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        bytes.resize(bytes.len() + pad_len(bytes.len()), 0);
        let header = response.emit();
        stream.write_all(&[&header.as_bytes()[..], &bytes].concat())?;
        if response.transit && response.nsg == Stage::FullFeature {
            return Ok(numbers);
        }
    }
}
