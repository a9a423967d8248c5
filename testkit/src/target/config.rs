//! What a target is like.

use std::net::SocketAddr;

use super::AluaConfig;

use iscsi_proto::text::TaskReporting;

/// Which digests a target agrees to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DigestPolicy {
    /// None only.
    Never,
    /// What the initiator prefers.
    #[default]
    Accept,
    /// CRC32C only: an initiator that does not offer it gets the answer `Reject`.
    Require,
}

impl DigestPolicy {
    pub(super) fn choose(self, offer: &str) -> Option<&'static str> {
        let allowed = |digest: &str| match digest {
            "None" if self != Self::Require => Some("None"),
            "CRC32C" if self != Self::Never => Some("CRC32C"),
            _ => None,
        };
        offer.split(',').find_map(allowed)
    }
}

/// CHAP credentials that an initiator must prove to have.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChapConfig {
    /// The initiator's name (CHAP_N).
    pub name: String,
    /// The secret.
    pub secret: Vec<u8>,
    /// Algorithms that the target takes: 5 is MD5, 6 SHA-1, 7 SHA-256, 8 SHA3-256. Default all.
    pub algorithms: Vec<u8>,
    /// The target's own name and secret, for initiators that ask it to prove itself too.
    pub mutual: Option<(String, Vec<u8>)>,
    /// Whether challenges and responses are sent in base64. Default no: hexadecimal.
    pub base64: bool,
    /// Length of challenges in bytes. Default: that of the digest.
    pub challenge_length: Option<usize>,
    /// How the target gets it wrong. Default not at all.
    pub fault: ChapFault,
}

/// How a target departs from CHAP as RFC 7143 has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChapFault {
    /// Not at all.
    #[default]
    None,
    /// Lists of algorithms are refused with "authentication failure", as Linux before 3.15 does it.
    RefusesLists,
    /// The initiator's challenge is not answered.
    SkipsProof,
    /// The initiator's challenge is answered with another secret.
    WrongProof,
    /// The first login that sends a challenge gets no answer to it; the second one gets that challenge
    /// as the target's own.
    Reflects,
}

impl ChapConfig {
    /// Credentials for any algorithm.
    #[must_use]
    pub fn new(name: &str, secret: &[u8]) -> Self {
        let secret = secret.to_vec();
        Self {
            name: name.into(),
            secret,
            algorithms: vec![5, 6, 7, 8],
            mutual: None,
            base64: false,
            challenge_length: None,
            fault: ChapFault::None,
        }
    }

    /// Sets the target's own name and secret.
    #[must_use]
    pub fn with_mutual(mut self, name: &str, secret: &[u8]) -> Self {
        self.mutual = Some((name.into(), secret.to_vec()));
        self
    }
}

impl std::fmt::Debug for ChapConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChapConfig")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What a target says in a login beyond what it must.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoginConduct {
    /// The longest text of one Login Response, in bytes; more goes on in further ones, with the C bit.
    /// Default 8192, the most that is allowed.
    pub segment: usize,
    /// Pairs that the target brings up by itself in its first operational response. It lets nobody into
    /// full feature phase in that response; see
    /// [`TargetCore::login_answers`](super::TargetCore::login_answers). Default none.
    pub announce: Vec<(String, String)>,
    /// Whether TargetPortalGroupTag is left out, which section 6.3 forbids. Default no.
    pub hides_portal_group: bool,
    /// TargetAlias. Default none.
    pub alias: Option<String>,
}

impl Default for LoginConduct {
    fn default() -> Self {
        Self {
            segment: 8192,
            announce: Vec::new(),
            hides_portal_group: false,
            alias: None,
        }
    }
}

/// Where a portal sends initiators that log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The value of TargetAddress; any text.
    pub to: String,
    /// Status 0102 instead of 0101.
    pub permanent: bool,
}

/// One address that the target listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortalConfig {
    /// The address; over TCP, port 0 takes a free one.
    pub address: SocketAddr,
    /// Target portal group tag.
    pub tpgt: u16,
}

/// One logical unit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LunConfig {
    /// Logical unit number.
    pub number: u16,
    /// Size in bytes, a multiple of the block size.
    pub size: u64,
    /// Logical block size in bytes, 512 to 4096. Default 512.
    pub block_size: u32,
    /// The seed of the content, see [`crate::pattern`]. Default: the number plus one.
    pub seed: u64,
    /// VPD 0x80. Default made of the number.
    pub serial: String,
    /// The NAA identifier of VPD 0x83 (sixteen bytes, NAA 6). Default made of the number.
    pub naa: [u8; 16],
    /// Whether the unit refuses writes (07/27/00). Default no.
    pub read_only: bool,
    /// Whether the Caching mode page says that there is a volatile cache. Default yes.
    pub write_cache: bool,
    /// Whether what was written is in a cache that a loss of power empties
    /// ([`TargetCore::crash`](super::TargetCore::crash)), until SYNCHRONIZE CACHE or unless with FUA.
    /// Default no: whatever `write_cache` says, all is durable.
    pub volatile: bool,
    /// Whether the unit says that it honours FUA (DPOFUA); one that does not refuses commands with DPO
    /// or FUA. Default no.
    pub fua: bool,
    /// MEDIUM ROTATION RATE of VPD 0xB1. Default 1: it does not rotate.
    pub rotation_rate: u16,
    /// Whether the unit is thin provisioned: it takes UNMAP, and what is deallocated reads as zeros
    /// (LBPME and LBPRZ). Its computed content is mapped at first. Default no.
    pub thin: bool,
    /// How many bytes of written blocks are kept, at most; a write beyond ends with 07/27/07 (SPACE
    /// ALLOCATION FAILED WRITE PROTECT). Blocks that are deallocated do not count. Default 4 GiB.
    pub write_space: u64,
}

impl LunConfig {
    /// A unit of `size` bytes with blocks of 512.
    #[must_use]
    pub fn new(number: u16, size: u64) -> Self {
        let mut naa = [0; 16];
        naa[..8].copy_from_slice(&[0x60, 0x01, 0x40, 0x5f, 0x15, 0xc5, 0x1d, 0x00]);
        naa[14..].copy_from_slice(&number.to_be_bytes());
        Self {
            number,
            size,
            block_size: 512,
            seed: u64::from(number) + 1,
            serial: format!("TESTKIT{number:08}"),
            naa,
            read_only: false,
            write_cache: true,
            volatile: false,
            fua: false,
            rotation_rate: 1,
            thin: false,
            write_space: 4 << 30,
        }
    }

    /// Makes the unit thin provisioned.
    #[must_use]
    pub const fn with_thin_provisioning(mut self) -> Self {
        self.thin = true;
        self
    }

    /// Sets the logical block size.
    #[must_use]
    pub const fn with_block_size(mut self, bytes: u32) -> Self {
        self.block_size = bytes;
        self
    }

    /// Sets the seed of the content.
    #[must_use]
    pub const fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

/// What the target offers and insists on. Lengths in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest data segment that the target takes. Default 256 KiB.
    pub max_recv_data_segment_length: u32,
    /// The longest data segment that the target sends, whatever the initiator would take. Default
    /// 256 KiB.
    pub max_send_data_segment_length: u32,
    /// Default 1 MiB.
    pub max_burst_length: u32,
    /// Default 256 KiB.
    pub first_burst_length: u32,
    /// Whether the target insists on R2Ts for everything. Default no.
    pub initial_r2t: bool,
    /// Whether the target takes immediate data. Default yes.
    pub immediate_data: bool,
    /// Default 4.
    pub max_outstanding_r2t: u16,
    /// Commands that the CmdSN window has room for. Default 128.
    pub queue_depth: u32,
    /// Whether GOOD status travels in the last Data-In (else in a SCSI Response). Default yes.
    pub status_in_data: bool,
    /// Send a NOP-In that wants an answer after every so many commands; 0 is never. Default 0.
    pub ping_every: u32,
    /// DefaultTime2Wait, in seconds: how long an initiator shall wait after a lost connection. The
    /// larger wish of the two sides holds. Default 0.
    pub time2wait: u16,
    /// The longest transfer of one command, VPD 0xB0. Default 16 MiB.
    pub max_transfer_length: u32,
    /// The most that is agreed to of TaskReporting: this and whatever asks less. Default RFC3720.
    pub task_reporting: TaskReporting,
    /// The highest iSCSIProtocolLevel that is agreed to. Default 1.
    pub protocol_level: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_recv_data_segment_length: 256 * 1024,
            max_send_data_segment_length: 256 * 1024,
            max_burst_length: 1024 * 1024,
            first_burst_length: 256 * 1024,
            initial_r2t: false,
            immediate_data: true,
            max_outstanding_r2t: 4,
            queue_depth: 128,
            status_in_data: true,
            ping_every: 0,
            time2wait: 0,
            max_transfer_length: 16 * 1024 * 1024,
            task_reporting: TaskReporting::Rfc3720,
            protocol_level: 1,
        }
    }
}

/// What a target is like. Start one with [`TcpTarget`](super::TcpTarget) or
/// [`SimTarget`](super::SimTarget).
///
/// ```
/// use iscsi_testkit::target::{LunConfig, TargetConfig};
///
/// let config = TargetConfig::new("iqn.2026-01.example:disk")
///     .with_portal("127.0.0.1:0".parse().unwrap(), 1)
///     .with_portal("127.0.0.2:0".parse().unwrap(), 1)
///     .with_lun(LunConfig::new(0, 64 << 30));
/// assert_eq!(config.portals.len(), 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TargetConfig {
    /// The iSCSI name.
    pub name: String,
    /// Where it listens.
    pub portals: Vec<PortalConfig>,
    /// What it holds.
    pub luns: Vec<LunConfig>,
    /// Who may log in; `None` lets everybody in.
    pub chap: Option<ChapConfig>,
    /// Header digests.
    pub header_digest: DigestPolicy,
    /// Data digests.
    pub data_digest: DigestPolicy,
    /// Limits.
    pub limits: Limits,
    /// What is said in logins.
    pub login: LoginConduct,
    /// Whether new nexuses find a unit attention (29/00, or 29/07 after a re-login) on every LUN.
    /// Default yes.
    pub unit_attention: bool,
    /// Asymmetric access; `None`: the target does not know it. Default none.
    pub alua: Option<AluaConfig>,
    /// The seed of CHAP challenges and of the first StatSN.
    pub seed: u64,
}

impl TargetConfig {
    /// A target without portals and LUNs.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            portals: Vec::new(),
            luns: Vec::new(),
            chap: None,
            header_digest: DigestPolicy::default(),
            data_digest: DigestPolicy::default(),
            limits: Limits::default(),
            login: LoginConduct::default(),
            unit_attention: true,
            alua: None,
            seed: 0,
        }
    }

    /// Adds a portal.
    #[must_use]
    pub fn with_portal(mut self, address: SocketAddr, tpgt: u16) -> Self {
        self.portals.push(PortalConfig { address, tpgt });
        self
    }

    /// Adds a logical unit.
    #[must_use]
    pub fn with_lun(mut self, lun: LunConfig) -> Self {
        self.luns.push(lun);
        self
    }

    /// Demands CHAP.
    #[must_use]
    pub fn with_chap(mut self, chap: ChapConfig) -> Self {
        self.chap = Some(chap);
        self
    }

    /// Has asymmetric access: the portals of one target portal group tag are one group.
    #[must_use]
    pub fn with_alua(mut self, alua: AluaConfig) -> Self {
        self.alua = Some(alua);
        self
    }

    /// Sets the policies of header and data digests.
    #[must_use]
    pub const fn with_digests(mut self, header: DigestPolicy, data: DigestPolicy) -> Self {
        self.header_digest = header;
        self.data_digest = data;
        self
    }

    /// Sets what is said in logins.
    #[must_use]
    pub fn with_login(mut self, login: LoginConduct) -> Self {
        self.login = login;
        self
    }

    /// Sets the limits.
    #[must_use]
    pub const fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}
