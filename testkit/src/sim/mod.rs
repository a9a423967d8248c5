//! A world under one seed: virtual time, one thread, an in-memory network that can be cut.
//!
//! [`SimRuntime`] runs the very code that runs in production (core, client, multipath and the
//! target of [`crate::target`]) with nothing left to chance but the seed: which ready task is polled
//! next, how long bytes travel, how reads and writes are cut into pieces. Time jumps to the next
//! event when nothing can run, so minutes of back-off take no time at all.
//!
//! Equal seeds (and equal calls) give equal runs: [`SimRuntime::trace_hash`] sums every decision.
//!
//! ```
//! use iscsi_testkit::sim::{Link, SimRuntime};
//! use iscsi_client::runtime::{Dial, Runtime};
//!
//! let sim = SimRuntime::new(7);
//! let portal = "10.0.0.1:3260".parse().unwrap();
//! let listener = sim.net().listen(portal).unwrap();
//! sim.net().cut(Link::to(portal));
//! let refused = sim.block_on(async { sim.connect(&Dial::new(portal)).await.unwrap_err() });
//! assert_eq!(refused.kind(), std::io::ErrorKind::TimedOut);
//! assert_eq!(sim.elapsed(), std::time::Duration::from_secs(5));
//! drop(listener);
//! ```

mod bit_flips;
mod config;
mod conn;
mod counts;
mod deadline;
mod executor;
mod faults;
mod flips;
mod frames;
mod handle;
mod ids;
mod life;
mod net;
mod pipe;
mod process;
mod rng;
mod slab;
mod state;
mod stream;
mod task;
mod timer;
mod trap;
mod world;

pub use bit_flips::BitFlips;
pub use config::SimConfig;
pub use counts::FaultCounts;
pub use executor::SimRuntime;
pub use handle::SimHandle;
pub use net::SimNet;
pub use process::SimProcess;
pub use rng::Rng;
pub use state::{Direction, Link};
pub use stream::{SimListener, SimStream};
pub use trap::Sprung;
