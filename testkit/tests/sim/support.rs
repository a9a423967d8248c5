//! A world with an echo server.

use std::{io, net::SocketAddr};

use futures_util::future::poll_fn;
use iscsi_client::runtime::{Dial, Runtime, Transport};
use iscsi_testkit::sim::{SimHandle, SimRuntime, SimStream};

pub(crate) fn portal() -> SocketAddr {
    "10.0.0.1:3260".parse().unwrap()
}

pub(crate) async fn send(stream: &mut dyn Transport, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        let bufs = [io::IoSlice::new(data)];
        let len = poll_fn(|cx| stream.poll_write_vectored(cx, &bufs)).await?;
        data = &data[len..];
    }
    Ok(())
}

/// Until `buf` is full, or the stream ends.
pub(crate) async fn receive(stream: &mut dyn Transport, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        let mut bufs = [io::IoSliceMut::new(&mut buf[filled..])];
        let len = poll_fn(|cx| stream.poll_read_vectored(cx, &mut bufs)).await?;
        if len == 0 {
            break;
        }
        filled += len;
    }
    Ok(filled)
}

async fn echo(mut stream: SimStream) {
    let mut buf = [0; 4096];
    while let Ok(len @ 1..) = stream.read(&mut buf).await {
        if stream.write_all(&buf[..len]).await.is_err() {
            break;
        }
    }
}

/// An echo server at `portal()` that runs on `handle`.
pub(crate) fn serve(handle: &SimHandle) {
    let listener = handle.net().listen(portal()).unwrap();
    let server = handle.clone();
    handle.spawn(Box::pin(async move {
        loop {
            let stream = listener.accept().await;
            server.spawn(Box::pin(echo(stream)));
        }
    }));
}

pub(crate) fn world(seed: u64) -> SimRuntime {
    let sim = SimRuntime::new(seed);
    serve(&sim.handle());
    sim
}

pub(crate) async fn connect(runtime: &dyn Runtime) -> io::Result<Box<dyn Transport>> {
    runtime.connect(&Dial::new(portal())).await
}

/// Sends `data` and expects it back.
pub(crate) async fn round_trip(stream: &mut dyn Transport, data: &[u8]) {
    send(stream, data).await.unwrap();
    let mut back = vec![0; data.len()];
    assert_eq!(receive(stream, &mut back).await.unwrap(), data.len());
    assert_eq!(back, data);
}
