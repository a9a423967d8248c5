//! What a target puts initiators through for a while, at a test's wish, beyond single answers.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use iscsi_proto::ids::Isid;

use super::{
    Violation,
    config::ChapFault,
    core::{Nexus, TargetCore, lock},
};

/// The reservation key of the other initiator.
const FOREIGN_KEY: u64 = 0x666f_7265_6967_6e00;

/// The other initiator.
fn foreign() -> Nexus {
    ("iqn.2026-01.example:foreign".into(), Isid([0x80; 6]), 1)
}

/// A parameter list of PERSISTENT RESERVE OUT.
fn keys(own: u64, new: u64) -> [u8; 24] {
    let mut list = [0; 24];
    list[..8].copy_from_slice(&own.to_be_bytes());
    list[8..16].copy_from_slice(&new.to_be_bytes());
    list
}

/// What is set now.
#[derive(Debug)]
pub(super) struct Hardship {
    /// Commands that the CmdSN window has room for; more than the configuration's is that.
    window: AtomicU32,
    fails_authentication: AtomicBool,
    /// The target's own proof: 1 is wrong, 2 missing.
    proof: AtomicU8,
    excuses_digests: AtomicBool,
    digest_errors: AtomicU64,
}

impl Default for Hardship {
    fn default() -> Self {
        Self {
            window: AtomicU32::new(u32::MAX),
            fails_authentication: AtomicBool::new(false),
            proof: AtomicU8::new(0),
            excuses_digests: AtomicBool::new(false),
            digest_errors: AtomicU64::new(0),
        }
    }
}

impl Hardship {
    pub(super) fn window(&self) -> u32 {
        self.window.load(Ordering::Acquire)
    }

    pub(super) fn fails_authentication(&self) -> bool {
        self.fails_authentication.load(Ordering::Acquire)
    }

    /// How the target's proof is to be, where that is said.
    pub(super) fn chap_fault(&self) -> Option<ChapFault> {
        match self.proof.load(Ordering::Acquire) {
            1 => Some(ChapFault::WrongProof),
            2 => Some(ChapFault::SkipsProof),
            _ => None,
        }
    }

    /// Whether a violation is not the initiator's doing.
    pub(super) fn excuses(&self, violation: &Violation) -> bool {
        let is_digest = matches!(violation, Violation::HeaderDigest | Violation::DataDigest);
        let excused = is_digest && self.excuses_digests.load(Ordering::Acquire);
        self.digest_errors
            .fetch_add(u64::from(is_digest), Ordering::Relaxed);
        excused
    }
}

impl TargetCore {
    /// Lets the CmdSN window of every session have room for `commands` only, 0 closing it; `None` lifts
    /// that. A window never shrinks (RFC 7143 section 4.2.2.1): what was granted stays so, and the
    /// window narrows as commands come. It widens with the next PDU that the target has reason to
    /// send; of a closed window that is the answer to a ping.
    pub fn squeeze_window(&self, commands: Option<u32>) {
        self.hardship
            .window
            .store(commands.unwrap_or(u32::MAX), Ordering::Release);
    }

    /// Whether every CHAP response is judged wrong (status 0201), right ones too. Without effect on a
    /// target that lets everybody in.
    pub fn fail_authentication(&self, fails: bool) {
        self.hardship
            .fails_authentication
            .store(fails, Ordering::Release);
    }

    /// Whether somebody who does not know the target's secret answers in its place: with a wrong proof where
    /// an initiator asks for one, or with none if it `skips`. `None` ends that.
    pub fn impersonate(&self, skips: Option<bool>) {
        let value = skips.map_or(0, |skips| 1 + u8::from(skips));
        self.hardship.proof.store(value, Ordering::Release);
    }

    /// Whether wrong digests are the network's fault, and therefore no violations: where
    /// [bits flip](crate::sim::SimNet::flip_bits). The target answers them as ever.
    pub fn excuse_digests(&self, excuses: bool) {
        self.hardship
            .excuses_digests
            .store(excuses, Ordering::Release);
    }

    /// Wrong digests so far, excused or not.
    #[must_use]
    pub fn digest_errors(&self) -> u64 {
        self.hardship.digest_errors.load(Ordering::Relaxed)
    }

    /// Another initiator, which has no session here, registers with LUN `number` and reserves it:
    /// EXCLUSIVE ACCESS if `exclusive`, else WRITE EXCLUSIVE (SPC-4 section 5.13). Without effect where
    /// there is a reservation already; `false` then.
    ///
    /// # Panics
    ///
    /// When there is no such LUN.
    pub fn reserve_elsewhere(&self, number: u16, exclusive: bool) -> bool {
        let kind = if exclusive { 3 } else { 1 };
        let foreign = foreign();
        let lun = self.lun(number).expect("a LUN of the configuration");
        lun.reservations(|reservations| {
            // REGISTER, RESERVE.
            let registered = reservations.change(&foreign, 0x00, 0, &keys(0, FOREIGN_KEY));
            let reserved = reservations.change(&foreign, 0x01, kind, &keys(FOREIGN_KEY, 0));
            registered.is_ok() && reserved.is_ok()
        })
    }

    /// It withdraws its registration, and its reservation with that.
    ///
    /// # Panics
    ///
    /// When there is no such LUN.
    pub fn release_elsewhere(&self, number: u16) {
        let lun = self.lun(number).expect("a LUN of the configuration");
        lun.reservations(|reservations| {
            // Nobody has to be told: neither type is for registrants. And a target that has crashed has
            // forgotten it.
            let _refused = reservations.change(&foreign(), 0x00, 0, &keys(FOREIGN_KEY, 0));
        });
    }

    /// The controller with the portals of target portal group `tpgt` dies: its sessions end, their
    /// connections are closed, and their nexuses find 29/00 after their next login. What they have in
    /// the back end is still done with `keeps_back_end`, as where another controller has it too; else
    /// it is lost. The other controllers go on. That its portals refuse until it is up again is the
    /// network's to do, and what the groups report meanwhile
    /// [`set_port_state`](Self::set_port_state)'s.
    pub fn fail_controller(&self, tpgt: u16, keeps_back_end: bool) {
        let mut lost = Vec::new();
        lock(&self.sessions).retain(|nexus, session| {
            let stays = nexus.2 != tpgt;
            if !stays {
                lost.push(std::sync::Arc::clone(session));
            }
            stays
        });
        if keeps_back_end {
            self.back_end.orphan_those(|nexus| nexus.2 == tpgt);
        } else {
            self.back_end.forget_those(|nexus| nexus.2 == tpgt);
        }
        lock(&self.known).retain(|nexus| nexus.2 != tpgt);
        for session in lost {
            session.end_and_close();
        }
    }
}
