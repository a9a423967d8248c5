//! A target that says what a test tells it to say, PDU by PDU, to the real client.
//!
//! A test accepts a [`Peer`] for each connection of the initiator, and chooses what stands behind it:
//!
//! * **nothing**: the test [hears](Peer::hear) each PDU and [says](Peer::say) each answer, down to
//!   [bytes](Peer::bytes) that are no PDU at all. All that is heard is judged, and goes to
//!   the [`Complaints`] if it is wrong.
//! * **the strict target** ([`crate::target`]), to which everything is passed on and which judges it,
//!   until something goes by that the test [waits for](Peer::relay_until): that PDU is then in the
//!   test's hands, to be changed, kept back, or doubled. Answers to SCSI commands can be changed
//!   [without holding them](Peer::relay_lying).
//!
//! The numbers of the sequences (StatSN, ExpCmdSN, MaxCmdSN) are kept by the peer in both cases, so that a
//! test names only what it wants to be wrong.
//!
//! A peer works over any [`Transport`](iscsi_client::runtime::Transport), so the same script runs in virtual
//! time over [`sim`](crate::sim) and over real TCP.

mod behind;
mod end;
mod frame;
mod judge;
mod lie;
mod login;
mod numbers;
mod peer;
mod relay;
mod say;
mod terms;

pub use end::End;
pub use frame::{Digests, Frame, Malformed};
pub use judge::Complaints;
pub use lie::Told;
pub use login::LoginExchange;
pub use peer::Peer;
pub use relay::Held;
pub use say::Say;
