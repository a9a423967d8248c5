//! A target of somebody else's, as all tests see it.

use std::{fs, net::SocketAddr, path::PathBuf};

use iscsi_client::{initiator::SessionTarget, session::SessionOptions, url::TargetUrl};
use iscsi_proto::portal::Portal;

use super::{
    daemon::Place,
    istgt::Istgt,
    need,
    temp::{TempDir, unique},
    tgtd::Tgtd,
};

/// Which peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The Linux SCSI target framework (Debian `tgt`).
    Tgtd,
    /// istgt (Debian `istgt`).
    Istgt,
}

/// Our CHAP name and secret, and the target's.
pub(crate) const USER: [&str; 2] = ["initiator-user", iscsi_testkit::canary::OURS];
pub(crate) const TARGET_USER: [&str; 2] = ["target-user", iscsi_testkit::canary::THEIRS];

/// Who proves what at login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Auth {
    #[default]
    None,
    OneWay,
    Mutual,
}

/// Negotiation limits of the target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) segment: u32,
    pub(crate) first_burst: u32,
    pub(crate) max_burst: u32,
    pub(crate) initial_r2t: bool,
    pub(crate) immediate_data: bool,
}

impl Default for Limits {
    /// What the packages come with, or their examples.
    fn default() -> Self {
        Self {
            segment: 262_144,
            first_burst: 262_144,
            max_burst: 1_048_576,
            initial_r2t: false,
            immediate_data: true,
        }
    }
}

/// How the target is set up: one LUN of `size` bytes behind two portals.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) block: u32,
    pub(crate) size: u64,
    pub(crate) auth: Auth,
    /// CHAP for discovery as well.
    pub(crate) discovery_chap: bool,
    /// Whether the target agrees to digests for headers and data.
    pub(crate) digests: (bool, bool),
    pub(crate) limits: Limits,
    /// The only initiator that may log in.
    pub(crate) only: Option<String>,
    pub(crate) place: Place,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            block: 512,
            size: 64 << 20,
            auth: Auth::None,
            discovery_chap: false,
            digests: (false, false),
            limits: Limits::default(),
            only: None,
            place: Place::Here,
        }
    }
}

#[derive(Debug)]
enum Server {
    Tgtd(Tgtd),
    Istgt(Istgt),
}

/// A peer that runs; dead and gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    server: Server,
    setup: Setup,
    target: String,
    portals: Vec<SocketAddr>,
    // Last, so that the daemon dies before its files go.
    dir: TempDir,
}

impl Peer {
    /// Starts one; `None` if it is not installed, which has been said then.
    pub(crate) fn start(kind: Kind, setup: Setup) -> Option<Self> {
        let programs: &[&str] = match kind {
            Kind::Tgtd => &["tgtd", "tgtadm", "setpriv"],
            Kind::Istgt => &["istgt", "setpriv"],
        };
        if !need::have(programs) {
            return None;
        }
        let dir = TempDir::new();
        let file = fs::File::create(dir.join("lun.img")).expect("a backing file");
        file.set_len(setup.size).expect("a sparse file");
        let target = format!("iqn.2026-01.example.peer:disk{}", unique());
        let server = match kind {
            Kind::Tgtd => Server::Tgtd(Tgtd::start(&dir, &target, &setup)),
            Kind::Istgt => Server::Istgt(Istgt::start(&dir, &target, &setup)),
        };
        let portals = match &server {
            Server::Tgtd(tgtd) => tgtd.portals.clone(),
            Server::Istgt(istgt) => istgt.portals.clone(),
        };
        Some(Self {
            server,
            setup,
            target,
            portals,
            dir,
        })
    }

    /// The two portals.
    pub(crate) fn portals(&self) -> &[SocketAddr] {
        &self.portals
    }

    pub(crate) fn portal(&self, index: usize) -> Portal {
        let portal = self.portals[index].to_string();
        portal.parse().expect("a portal")
    }

    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// The file behind the LUN.
    pub(crate) fn backing(&self) -> PathBuf {
        self.dir.join("lun.img")
    }

    /// A URL with all the credentials that the setup asks for.
    pub(crate) fn url(&self, portal: SocketAddr) -> TargetUrl {
        let user = match self.setup.auth {
            Auth::None => String::new(),
            Auth::OneWay | Auth::Mutual => format!("{}%{}@", USER[0], USER[1]),
        };
        let mutual = match self.setup.auth {
            Auth::Mutual => {
                let [name, secret] = TARGET_USER;
                format!("?target_user={name}&target_password={secret}")
            }
            Auth::None | Auth::OneWay => String::new(),
        };
        let url = format!(
            "iscsi://{user}{portal}/{}/{}{mutual}",
            self.target,
            self.lun()
        );
        url.parse().expect("a URL")
    }

    /// tgtd keeps LUN 0 for itself.
    pub(crate) fn lun(&self) -> u8 {
        match self.server {
            Server::Tgtd(_) => 1,
            Server::Istgt(_) => 0,
        }
    }

    /// How to log in through a portal.
    pub(crate) fn session_target(&self, portal: usize, options: SessionOptions) -> SessionTarget {
        let url = self.url(self.portals[portal]);
        url.session_target(options).expect("usable credentials")
    }

    /// Ends the daemon by SIGKILL.
    pub(crate) fn kill(&mut self) {
        match &mut self.server {
            Server::Tgtd(tgtd) => tgtd.kill(),
            Server::Istgt(istgt) => istgt.kill(),
        }
    }

    /// Stops the daemon in the middle of what it does (SIGSTOP): connections stay, nothing is answered.
    pub(crate) fn freeze(&mut self) {
        self.set_frozen(true);
    }

    /// Lets it go on (SIGCONT).
    pub(crate) fn thaw(&mut self) {
        self.set_frozen(false);
    }

    fn set_frozen(&mut self, frozen: bool) {
        match &mut self.server {
            Server::Tgtd(tgtd) => tgtd.freeze(frozen),
            Server::Istgt(istgt) => istgt.freeze(frozen),
        }
    }

    /// Starts it again, on the same ports with the same content.
    pub(crate) fn restart(&mut self) {
        match &mut self.server {
            Server::Tgtd(tgtd) => tgtd.run(),
            Server::Istgt(istgt) => istgt.run(),
        }
    }

    /// The administration of tgtd.
    pub(crate) fn tgtd(&self) -> &Tgtd {
        match &self.server {
            Server::Tgtd(tgtd) => tgtd,
            Server::Istgt(_) => panic!("istgt has no such administration"),
        }
    }
}
