//! A portal in front of a peer's portal, whose connections can be cut.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::daemon::{free_port, pause};

#[derive(Debug)]
struct State {
    to: SocketAddr,
    cut: AtomicBool,
    ended: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

impl State {
    fn streams(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hang_up(&self) {
        for stream in self.streams().drain(..) {
            // An error means that it is closed already.
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }
}

/// Hands the bytes of every connection on to a peer's portal, until it is cut.
#[derive(Debug)]
pub(crate) struct Cable {
    address: SocketAddr,
    state: Arc<State>,
}

impl Cable {
    pub(crate) fn to(peer: SocketAddr) -> Self {
        let address = free_port([127, 0, 0, 3]);
        let listener = TcpListener::bind(address).expect("a free port");
        let state = Arc::new(State {
            to: peer,
            cut: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            streams: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || accept(&listener, &shared));
        Self { address, state }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections, and every new one at once.
    pub(crate) fn cut(&self) {
        self.state.cut.store(true, Ordering::SeqCst);
        self.state.hang_up();
    }

    pub(crate) fn heal(&self) {
        self.state.cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the one who accepts.
        drop(TcpStream::connect(self.address));
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    for stream in listener.incoming() {
        if state.ended.load(Ordering::SeqCst) {
            return;
        }
        let Ok(near) = stream else {
            pause();
            continue;
        };
        if state.is_cut() {
            continue;
        }
        // The peer may be dead at the moment: then this connection ends as well.
        if let Ok(far) = TcpStream::connect(state.to) {
            drop(join(&near, &far, state));
        }
    }
}

fn join(near: &TcpStream, far: &TcpStream, state: &State) -> io::Result<()> {
    for stream in [near, far] {
        stream.set_nodelay(true)?;
    }
    let mut streams = state.streams();
    streams.extend([near.try_clone()?, far.try_clone()?]);
    drop(streams);
    for (from, to) in [(near, far), (far, near)] {
        let (from, to) = (from.try_clone()?, to.try_clone()?);
        thread::spawn(move || carry(from, to));
    }
    if state.is_cut() {
        state.hang_up();
    }
    Ok(())
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 65_536];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}
