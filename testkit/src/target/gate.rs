//! Faults of a TCP portal: what its connection threads must pass before they read or write.

use std::{
    collections::BTreeMap,
    net::{Shutdown, TcpStream},
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::core::lock;

#[expect(
    clippy::disallowed_methods,
    reason = "the TCP target serves real sockets in real time"
)]
pub(super) fn clock() -> Instant {
    Instant::now()
}

/// A thread that has not noticed a reset after this long is blocked in a write, which only a shutdown
/// of the writing half ends; its FIN does not overtake the data that the write is stuck behind. Doing
/// that at once would show FIN instead of RST to peers whose connection is merely busy.
const WRITER_IS_STUCK: Duration = Duration::from_millis(100);

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Go,
    Close,
    Reset,
}

#[derive(Debug, Default)]
enum Mode {
    #[default]
    Open,
    /// Nothing passes, and connections that meet this state are dropped when it ends.
    Cut,
    /// Nothing passes until the moment, if there is one; then everything goes on.
    Stalled(Option<Instant>),
    Stopped,
}

#[derive(Debug)]
struct Conn {
    /// A second handle, to wake the thread that blocks on the first.
    stream: TcpStream,
    cut: bool,
    verdict: Verdict,
}

impl Conn {
    /// Ends the connection, and the system call that its thread may be in.
    fn close(&mut self) {
        self.verdict = Verdict::Close;
        // Fails only when the peer has closed already, which wakes the thread as well.
        let _best_effort = self.stream.shutdown(Shutdown::Both);
    }

    /// The same, but so that the peer sees RST. Shutting down the reading half sends nothing, so no
    /// FIN comes before the RST that the close makes of linger 0.
    fn reset(&mut self) {
        self.verdict = Verdict::Reset;
        let _best_effort = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        let _best_effort = self.stream.shutdown(Shutdown::Read);
    }
}

#[derive(Debug, Default)]
struct State {
    mode: Mode,
    conns: BTreeMap<u64, Conn>,
    last_id: u64,
}

/// The faults of one portal, and the handles of its connections.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

impl Gate {
    /// Makes a connection known; `None` when the target is stopping.
    pub(super) fn register(&self, stream: TcpStream) -> Option<u64> {
        let mut state = lock(&self.state);
        if matches!(state.mode, Mode::Stopped) {
            return None;
        }
        state.last_id += 1;
        let (id, cut) = (state.last_id, matches!(state.mode, Mode::Cut));
        state.conns.insert(
            id,
            Conn {
                stream,
                cut,
                verdict: Verdict::Go,
            },
        );
        Some(id)
    }

    /// Drops the second handle: with the thread's own gone, this closes the socket.
    pub(super) fn forget(&self, id: u64) {
        self.change(|state| drop(state.conns.remove(&id)));
    }

    /// Waits for as long as the portal lets nothing through.
    pub(super) fn pass(&self, id: u64) -> Verdict {
        let mut state = lock(&self.state);
        loop {
            match state
                .conns
                .get(&id)
                .map_or(Verdict::Close, |conn| conn.verdict)
            {
                Verdict::Go => {}
                end => return end,
            }
            state = match state.mode {
                Mode::Open => return Verdict::Go,
                Mode::Stopped => return Verdict::Close,
                Mode::Cut | Mode::Stalled(None) => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Mode::Stalled(Some(until)) => {
                    let left = until.saturating_duration_since(clock());
                    if left.is_zero() {
                        state.mode = Mode::Open;
                        self.changed.notify_all();
                        return Verdict::Go;
                    }
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    pub(super) fn cut(&self) {
        self.change(|state| {
            state.mode = Mode::Cut;
            state.conns.values_mut().for_each(|conn| conn.cut = true);
        });
    }

    pub(super) fn stall(&self, until: Option<Instant>) {
        self.change(|state| state.mode = Mode::Stalled(until));
    }

    pub(super) fn heal(&self) {
        self.change(|state| {
            state.mode = Mode::Open;
            for conn in state.conns.values_mut().filter(|conn| conn.cut) {
                conn.close();
            }
        });
    }

    /// Resets every connection, and waits until that is done.
    pub(super) fn reset(&self) {
        self.change(|state| state.conns.values_mut().for_each(Conn::reset));
        let state = lock(&self.state);
        let pending = |state: &mut State| state.conns.values().any(|c| c.verdict == Verdict::Reset);
        let waited = self
            .changed
            .wait_timeout_while(state, WRITER_IS_STUCK, pending);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        for conn in state
            .conns
            .values_mut()
            .filter(|conn| conn.verdict == Verdict::Reset)
        {
            let _best_effort = conn.stream.shutdown(Shutdown::Both);
        }
    }

    pub(super) fn close(&self, id: u64) {
        self.change(|state| {
            if let Some(conn) = state.conns.get_mut(&id) {
                conn.close();
            }
        });
    }

    pub(super) fn stop(&self) {
        self.change(|state| {
            state.mode = Mode::Stopped;
            for conn in state.conns.values_mut() {
                conn.close();
            }
        });
    }

    pub(super) fn is_stopped(&self) -> bool {
        matches!(lock(&self.state).mode, Mode::Stopped)
    }
}
