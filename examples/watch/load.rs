//! Reads that keep a device busy while somebody looks.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::BytesMut;
use iscsi_client::{
    buf::ReadBuf,
    device::{BlockDevice, ReadOptions},
    runtime::Runtime,
};
use mpio::MultipathDevice;

use crate::runtime::sleep;

/// Bytes per read.
const BLOCK: usize = 64 << 10;
/// After a read that failed, so that a device that fails all at once is not asked in circles.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

/// Some reads at a time, one after the other over the whole device. It ends when this is dropped.
#[derive(Debug)]
pub struct Load(Arc<AtomicBool>);

impl Load {
    /// So many at a time.
    #[must_use]
    pub fn start(device: &MultipathDevice, runtime: &Arc<dyn Runtime>, depth: u16) -> Self {
        let on = Arc::new(AtomicBool::new(true));
        for number in 0..depth {
            let (device, on) = (device.clone(), Arc::clone(&on));
            let clock = Arc::clone(runtime);
            runtime.spawn(Box::pin(async move {
                read(&device, &*clock, &on, number.into(), depth.into()).await;
            }));
        }
        Self(on)
    }

    /// What it is, for who looks.
    #[must_use]
    pub fn describe(depth: u16) -> String {
        format!("load: {depth} reads of 64 KiB at a time")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

async fn read(
    device: &MultipathDevice,
    runtime: &dyn Runtime,
    on: &AtomicBool,
    number: u64,
    depth: u64,
) {
    let mut memory = BytesMut::zeroed(BLOCK);
    let mut block = number;
    while on.load(Ordering::Relaxed) {
        let blocks = (device.info().size / BLOCK as u64).max(1);
        // A device of less than a block is read as far as it goes.
        memory.resize((device.info().size.min(BLOCK as u64)) as usize, 0);
        let offset = block % blocks * BLOCK as u64;
        let done = BlockDevice::read(
            device,
            offset,
            ReadBuf::from(memory),
            ReadOptions::default(),
        );
        let completion = done.await;
        memory = completion.buf.into_bytes_mut().unwrap_or_default();
        if completion.result.is_err() {
            sleep(runtime, PAUSE).await;
        }
        block = block.wrapping_add(depth);
    }
}
