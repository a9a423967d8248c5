//! The two state machines face to face: the initiator's core and the target's, with nothing between
//! them but bytes, a clock that only this file moves, and one seed.
//!
//! What the simulator is to whole programs, a [`Pair`] is to the protocol: no runtime, no task, no
//! socket. A conversation of a thousand commands takes milliseconds, and the same seed is the same
//! conversation, byte for byte and cut for cut.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    net::SocketAddr,
    ops::Range,
    sync::Arc,
    time::Duration,
};

use iscsi_proto::{
    Error, InitiatorTaskTag, Instant,
    framing::{DataRef, DataStore, TransmitPiece},
    login::{Login, LoginConfig, LoginOutcome},
    session::{Command, Event, Session, SessionConfig, SubmitError},
};

use crate::{
    sim::Rng,
    target::{Closer, TargetConfig, TargetConnection, TargetCore},
};

/// How the bytes between the two travel.
#[derive(Clone, Debug)]
pub struct PairConfig {
    /// Decides delays, cuts and random numbers.
    pub seed: u64,
    /// Delay of each piece, one way. Order is kept.
    pub latency: Range<Duration>,
    /// Most bytes that one read or write moves; each moves 1 to this many.
    pub cut: usize,
    /// The session's limits and timers.
    pub session: SessionConfig,
}

impl PairConfig {
    /// Delays of 0.1 to 0.5 ms, pieces of up to 64 KiB.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            latency: Duration::from_micros(100)..Duration::from_micros(500),
            cut: 64 * 1024,
            session: SessionConfig::default(),
        }
    }

    /// With pieces of at most `cut` bytes.
    #[must_use]
    pub const fn with_cut(mut self, cut: usize) -> Self {
        self.cut = cut;
        self
    }
}

/// Steps of one [`Pair::drive`]. The longest honest conversation of the tests takes some ten
/// thousand; two machines that only answer each other for ever are stopped here.
const MAX_STEPS: u32 = 10_000_000;

/// One direction of the wire: pieces on their way, in order.
#[derive(Debug, Default)]
struct Wire {
    pieces: VecDeque<(Instant, Vec<u8>)>,
}

impl Wire {
    fn send(&mut self, now: Instant, delay: Duration, bytes: Vec<u8>) {
        let due = now.saturating_add(delay);
        // A stream keeps its order: nothing overtakes what is already on its way.
        let due = self.pieces.back().map_or(due, |(last, _)| due.max(*last));
        self.pieces.push_back((due, bytes));
    }

    fn due(&self) -> Option<Instant> {
        self.pieces.front().map(|(due, _)| *due)
    }

    fn receive(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.due()? > now {
            return None;
        }
        self.pieces.pop_front().map(|(_, bytes)| bytes)
    }
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Towards {
    /// From the initiator.
    Target,
    /// From the target.
    Initiator,
}

/// Something on the wire that changes what passes: gets each piece and gives on what it likes, which may be
/// nothing, or what it kept of earlier ones.
type Middlebox = Box<dyn FnMut(Towards, Vec<u8>) -> Vec<u8> + Send>;

/// A wire has one, or none.
#[derive(Default)]
struct Between(Option<Middlebox>);

impl Between {
    fn pass(&mut self, towards: Towards, bytes: Vec<u8>) -> Vec<u8> {
        match &mut self.0 {
            Some(middlebox) => middlebox(towards, bytes),
            None => bytes,
        }
    }
}

impl fmt::Debug for Between {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "a middlebox"
        } else {
            "nothing"
        })
    }
}

/// The memory of the commands under way, by tag.
#[derive(Debug, Default)]
struct Memory(BTreeMap<InitiatorTaskTag, Vec<u8>>);

impl Memory {
    fn range(at: DataRef) -> Range<usize> {
        at.offset as usize..at.offset as usize + at.len as usize
    }

    fn bytes(&self, at: DataRef) -> &[u8] {
        &self.0[&at.itt][Self::range(at)]
    }
}

impl DataStore for Memory {
    /// Panics when the core names memory of a command that is over: that is a bug of the core.
    fn store(&mut self, at: DataRef, src: &[u8]) {
        let memory = self.0.get_mut(&at.itt).expect("memory of a live command");
        memory[Self::range(at)].copy_from_slice(src);
    }

    fn visit(&self, at: DataRef, visitor: &mut dyn FnMut(&[u8])) {
        visitor(self.bytes(at));
    }
}

/// An initiator session and a target connection in full feature phase, in virtual time.
///
/// [`drive`](Self::drive) moves bytes and time until nothing is left to happen, or until an event
/// comes. Time jumps from one happening to the next, so an idle minute costs nothing.
#[derive(Debug)]
pub struct Pair {
    /// The initiator's side, for commands that [`Pair`] has no method for.
    pub session: Session,
    target: TargetConnection,
    core: Arc<TargetCore>,
    memory: Memory,
    now: Instant,
    rng: Rng,
    config: PairConfig,
    to_target: Wire,
    to_initiator: Wire,
    between: Between,
}

impl Pair {
    /// Logs in.
    ///
    /// # Errors
    ///
    /// What ended the login.
    pub fn log_in(
        config: PairConfig,
        target: TargetConfig,
        login: LoginConfig,
    ) -> Result<Self, Error> {
        let address = SocketAddr::from(([127, 0, 0, 1], 3260));
        let core = TargetCore::new(target, &[address]);
        let closer: Closer = Arc::new(|| {});
        let mut connection = TargetConnection::new(&core, 0, closer);
        let mut rng = Rng::new(config.seed);
        let mut now = Instant::ZERO;
        let mut login = Login::new(login, now, &mut |bytes| rng.fill(bytes));
        while login.is_pending() {
            now = now.saturating_add(rng.duration(&config.latency));
            // A target that answers nothing is no endless loop.
            login.handle_timeout(now)?;
            let out = login.transmit();
            let n = out.len().min(rng.below(config.cut as u64) as usize + 1);
            let room = connection.input();
            let n = n.min(room.len());
            room[..n].copy_from_slice(&out[..n]);
            connection.handle_input(now, n);
            login.handle_transmitted(n)?;
            let answer = connection.poll_transmit(now);
            let room = login.recv_buf();
            let n = answer.len().min(room.len());
            let n = n.min(rng.below(config.cut as u64) as usize + 1);
            room[..n].copy_from_slice(&answer[..n]);
            connection.transmitted(n);
            if n > 0 || connection.is_closed() {
                login.handle_recv(now, n)?;
            }
        }
        let logged_in = match login.outcome() {
            LoginOutcome::Complete(logged_in) => logged_in,
            LoginOutcome::Failed(error) => return Err(error),
            _ => return Err(Error::Closed),
        };
        Ok(Self {
            session: Session::new(now, logged_in, config.session.clone())?,
            target: connection,
            core,
            memory: Memory::default(),
            now,
            rng,
            config,
            to_target: Wire::default(),
            to_initiator: Wire::default(),
            between: Between::default(),
        })
    }

    /// From now on `middlebox` sees each piece that is sent and says what goes on in its place.
    pub fn set_middlebox(
        &mut self,
        middlebox: impl FnMut(Towards, Vec<u8>) -> Vec<u8> + Send + 'static,
    ) {
        self.between = Between(Some(Box::new(middlebox)));
    }

    /// The present.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// The target, to look at its content, counters and what it holds against the initiator.
    #[must_use]
    pub const fn target(&self) -> &Arc<TargetCore> {
        &self.core
    }

    /// Submits a command with its memory: Data-In is placed there, Data-Out taken from there.
    ///
    /// # Errors
    ///
    /// As [`Session::submit`].
    pub fn submit(
        &mut self,
        command: &Command,
        memory: Vec<u8>,
    ) -> Result<InitiatorTaskTag, SubmitError> {
        let itt = self.session.submit(self.now, command)?;
        self.memory.0.insert(itt, memory);
        Ok(itt)
    }

    /// Takes the memory of a command back, after its `CommandDone`.
    pub fn take_memory(&mut self, itt: InitiatorTaskTag) -> Option<Vec<u8>> {
        self.memory.0.remove(&itt)
    }

    /// Lets things happen until there is an event. `None` when nothing more will happen before
    /// `until`, which is the present then.
    ///
    /// # Errors
    ///
    /// The error that ended the connection; the session has been told.
    ///
    /// # Panics
    ///
    /// After ten million steps: the two machines keep each other busy without coming to an end.
    pub fn drive(&mut self, until: Instant) -> Result<Option<Event>, Error> {
        for _ in 0..MAX_STEPS {
            if let Some(event) = self.session.poll_event() {
                return Ok(Some(event));
            }
            if self.step()? {
                continue;
            }
            if self.target.is_closed() && self.to_initiator.due().is_none() {
                return Err(self.closed(Error::Closed));
            }
            let next = [
                self.to_target.due(),
                self.to_initiator.due(),
                self.session.poll_timeout(),
                self.target.poll_timeout(),
            ];
            match next.into_iter().flatten().min() {
                Some(at) if at <= until => self.now = self.now.max(at),
                _ => {
                    self.now = self.now.max(until);
                    return Ok(None);
                }
            }
            if let Err(error) = self.session.handle_timeout(self.now) {
                return Err(self.closed(error));
            }
        }
        panic!("{MAX_STEPS} steps without an end: {self:?}");
    }

    /// The connection ends now; what was under way is reported by events.
    pub fn close(&mut self) {
        self.closed(Error::Closed);
    }

    fn closed(&mut self, error: Error) -> Error {
        self.session.handle_closed(error);
        error
    }

    /// Moves bytes that can move now; false when there are none.
    fn step(&mut self) -> Result<bool, Error> {
        let mut moved = self.send_commands()?;
        if let Some(bytes) = self.to_target.receive(self.now) {
            let mut bytes = &bytes[..];
            while !bytes.is_empty() {
                let room = self.target.input();
                let n = room.len().min(bytes.len());
                room[..n].copy_from_slice(&bytes[..n]);
                self.target.handle_input(self.now, n);
                bytes = &bytes[n..];
            }
            moved = true;
        }
        let answer = self.target.poll_transmit(self.now);
        if !answer.is_empty() {
            let n = answer
                .len()
                .min(self.rng.below(self.config.cut as u64) as usize + 1);
            let piece = answer[..n].to_vec();
            self.target.transmitted(n);
            let delay = self.rng.duration(&self.config.latency);
            let piece = self.between.pass(Towards::Initiator, piece);
            self.to_initiator.send(self.now, delay, piece);
            moved = true;
        }
        if let Some(bytes) = self.to_initiator.receive(self.now) {
            self.receive(&bytes)?;
            moved = true;
        }
        Ok(moved)
    }

    fn send_commands(&mut self) -> Result<bool, Error> {
        if !self
            .session
            .poll_transmit(self.now, 64 * 1024, &self.memory)
        {
            return Ok(false);
        }
        let most = self.rng.below(self.config.cut as u64) as usize + 1;
        let mut bytes = Vec::with_capacity(most);
        for piece in self.session.transmit_pieces() {
            let piece = match piece {
                TransmitPiece::Inline(inline) => inline,
                TransmitPiece::Data(data) => self.memory.bytes(data),
            };
            bytes.extend_from_slice(&piece[..piece.len().min(most - bytes.len())]);
            if bytes.len() == most {
                break;
            }
        }
        let n = bytes.len();
        let delay = self.rng.duration(&self.config.latency);
        let bytes = self.between.pass(Towards::Target, bytes);
        self.to_target.send(self.now, delay, bytes);
        match self.session.handle_transmitted(self.now, n) {
            Ok(()) => Ok(true),
            Err(error) => Err(self.closed(error)),
        }
    }

    fn receive(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let plan = self.session.recv_plan();
            let direct = plan.payload.map_or(0, |data| data.len as usize);
            let direct = direct.min(bytes.len());
            let ahead = (bytes.len() - direct).min(plan.scratch.len());
            plan.scratch[..ahead].copy_from_slice(&bytes[direct..direct + ahead]);
            if let Some(data) = plan.payload {
                let len = direct as u32;
                self.memory.store(DataRef { len, ..data }, &bytes[..direct]);
            }
            let n = direct + ahead;
            let handled = self.session.handle_recv(self.now, n, &mut self.memory);
            if let Err(error) = handled {
                return Err(self.closed(error));
            }
            bytes = &bytes[n..];
        }
        Ok(())
    }
}
