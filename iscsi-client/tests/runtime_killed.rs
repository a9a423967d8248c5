//! How a connection ends whose owner does not close it.
//!
//! A process that is killed in the midst of a write sends nothing any more: what its kernel has not sent yet
//! must not reach the target when a link heals minutes later, after the next process has written.

#![cfg(any(feature = "tokio", feature = "smol"))]

mod support;

use std::{
    env,
    future::poll_fn,
    io::{self, ErrorKind, IoSlice, Read},
    net::{SocketAddr, TcpListener},
    process::{Command, Stdio},
    sync::Arc,
};

use iscsi_client::runtime::{Dial, Runtime};
use support::on_each_runtime;

/// Set in the process that is killed: where it connects to, and with which of the runtimes.
const VICTIM: &str = "ISCSI_CLIENT_TEST_VICTIM";

/// Writes for ever.
async fn write(runtime: Arc<dyn Runtime>, to: SocketAddr) {
    let mut transport = runtime.connect(&Dial::new(to)).await.unwrap();
    let data = vec![7; 1 << 16];
    loop {
        let write = poll_fn(|cx| transport.poll_write_vectored(cx, &[IoSlice::new(&data)]));
        write.await.unwrap();
    }
}

/// How the stream of a writer ends that is killed with its buffers full.
fn killed(which: usize) -> io::Error {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let victim = format!("{} {which}", listener.local_addr().unwrap());
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "what_a_killed_process_has_not_sent_never_is"])
        .env(VICTIM, victim)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    peer.read_exact(&mut [0]).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let mut data = vec![0; 1 << 16];
    loop {
        match peer.read(&mut data) {
            Ok(0) => return ErrorKind::UnexpectedEof.into(),
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

#[test]
fn what_a_killed_process_has_not_sent_never_is() {
    if let Ok(victim) = env::var(VICTIM) {
        let (to, which) = victim.split_once(' ').unwrap();
        let (to, which) = (to.parse().unwrap(), which.parse::<usize>().unwrap());
        let turn = std::sync::atomic::AtomicUsize::new(0);
        on_each_runtime(async |runtime| {
            if turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == which {
                write(runtime, to).await;
            }
        });
        return;
    }
    let turn = std::sync::atomic::AtomicUsize::new(0);
    on_each_runtime(async |_| {
        let which = turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(killed(which).kind(), ErrorKind::ConnectionReset);
    });
}

/// A destructor runs: that is no crash.
#[test]
fn what_a_dropped_transport_has_written_arrives() {
    on_each_runtime(async |runtime| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dial = Dial::new(listener.local_addr().unwrap());
        let mut transport = runtime.connect(&dial).await.unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let write = poll_fn(|cx| transport.poll_write_vectored(cx, &[IoSlice::new(b"all of it")]));
        assert_eq!(write.await.unwrap(), 9);
        drop(transport);
        let mut data = Vec::new();
        peer.read_to_end(&mut data).unwrap();
        assert_eq!(data, b"all of it");
    });
}
