//! A scripted target: each test says what it answers. It knows the PDU codec and nothing of the
//! login state machine under test.

use iscsi_proto::{
    Error, Instant, Isid, LoginStatus, Tsih,
    login::{
        Authentication, ChapCredentials, LoggedIn, Login, LoginConfig, LoginOutcome, Secret,
        TargetCredentials,
    },
    pdu::{Bhs, LoginRequest, LoginResponse, Stage, pad_len},
    serial::{CmdSn, StatSn},
};

/// The first challenge of the tests: 00 01 .. 0f.
pub(crate) const CHALLENGE: &str = "0x000102030405060708090a0b0c0d0e0f";

pub(crate) fn normal() -> LoginConfig {
    let initiator = "iqn.2001-04.com.example:host".parse().unwrap();
    let target = "iqn.2001-04.com.example:disk".parse().unwrap();
    LoginConfig::normal(initiator, target, Isid([0x80, 1, 2, 3, 4, 5]))
}

pub(crate) fn discovery() -> LoginConfig {
    LoginConfig::discovery(
        "iqn.2001-04.com.example:host".parse().unwrap(),
        Isid([0x80; 6]),
    )
}

pub(crate) fn with_chap(config: LoginConfig) -> LoginConfig {
    let credentials = ChapCredentials::new("user", Secret::new(b"opensesame12")).unwrap();
    config.with_authentication(Authentication::Chap(credentials))
}

/// With the target's own secret, too.
pub(crate) fn mutual(config: LoginConfig) -> LoginConfig {
    let target = TargetCredentials::new(Secret::new(b"Wd3nYp8sGh5Jb6T")).unwrap();
    let target = target.with_name("shelf").unwrap();
    let credentials = ChapCredentials::new("user", Secret::new(b"opensesame12")).unwrap();
    config.with_authentication(Authentication::Chap(
        credentials.with_target(target).unwrap(),
    ))
}

/// `A=1 B=2` as it stands on the wire. No value of the tests holds a space.
pub(crate) fn text(pairs: &str) -> Vec<u8> {
    pairs
        .split_whitespace()
        .flat_map(|pair| pair.bytes().chain([0]))
        .collect()
}

pub(crate) struct Script {
    pub(crate) login: Login,
    pub(crate) stat_sn: StatSn,
    /// The last request and its text, NULs shown as spaces.
    pub(crate) request: LoginRequest,
    pub(crate) said: String,
    /// How many bytes are delivered at once.
    pub(crate) step: usize,
}

impl Script {
    pub(crate) fn new(config: LoginConfig) -> Self {
        let mut seed = 0x10;
        let mut entropy = |buf: &mut [u8]| {
            buf.fill(seed);
            seed += 1;
        };
        let login = Login::new(config, Instant::ZERO, &mut entropy);
        let request = LoginRequest::parse(&Bhs::from(*login.transmit().first_chunk().unwrap()));
        let mut script = Self {
            login,
            stat_sn: StatSn(0),
            request: request.unwrap(),
            said: String::new(),
            step: usize::MAX,
        };
        script.listen();
        script
    }

    /// Takes the request that is ready.
    fn listen(&mut self) {
        let bytes = self.login.transmit().to_vec();
        let (header, data) = bytes.split_first_chunk::<48>().unwrap();
        let header = Bhs::from(*header);
        let length = header.data_segment_length() as usize;
        assert_eq!(
            data.len(),
            length + pad_len(length),
            "one request at a time, padded"
        );
        assert!(header.is_immediate());
        self.request = LoginRequest::parse(&header).unwrap();
        self.said = String::from_utf8(data[..length].to_vec())
            .unwrap()
            .replace('\0', " ");
        self.login.handle_transmitted(bytes.len()).unwrap();
        assert!(self.login.transmit().is_empty());
    }

    /// What an obliging target answers to the last request.
    pub(crate) fn header(&self) -> LoginResponse {
        let done = self.request.transit && self.request.nsg == Stage::FullFeature;
        LoginResponse {
            transit: self.request.transit,
            cont: false,
            csg: self.request.csg,
            nsg: self.request.nsg,
            version_max: 0,
            version_active: 0,
            data_segment_length: 0,
            isid: self.request.isid,
            tsih: Tsih(if done { 0x4711 } else { 0 }),
            itt: self.request.itt,
            stat_sn: self.stat_sn,
            exp_cmd_sn: self.request.cmd_sn,
            max_cmd_sn: self.request.cmd_sn.plus(31),
            status: LoginStatus::SUCCESS,
        }
    }

    pub(crate) fn pdu(mut header: LoginResponse, data: &[u8]) -> Vec<u8> {
        header.data_segment_length = data.len() as u32;
        let mut bytes = header.emit().as_bytes().to_vec();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len() + pad_len(data.len()), 0);
        bytes
    }

    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let room = self.login.recv_buf();
            let n = bytes.len().min(room.len()).min(self.step);
            assert!(n > 0, "{} bytes that nobody wants", bytes.len());
            room[..n].copy_from_slice(&bytes[..n]);
            self.login.handle_recv(Instant::ZERO, n)?;
            bytes = &bytes[n..];
        }
        if !self.login.transmit().is_empty() {
            self.listen();
        }
        Ok(())
    }

    /// Answers with `pairs`, the header changed by `edit`.
    pub(crate) fn answer_with(
        &mut self,
        pairs: &str,
        edit: impl FnOnce(&mut LoginResponse),
    ) -> Result<(), Error> {
        let mut header = self.header();
        edit(&mut header);
        self.stat_sn = header.stat_sn.next();
        self.feed(&Self::pdu(header, &text(pairs)))
    }

    pub(crate) fn answer(&mut self, pairs: &str) -> Result<(), Error> {
        self.answer_with(pairs, |_| {})
    }

    pub(crate) fn complete(self) -> LoggedIn {
        match self.login.outcome() {
            LoginOutcome::Complete(logged_in) => logged_in,
            other => panic!("not logged in: {other:?}"),
        }
    }

    /// The value that the last request gave for a key.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.said
            .split(' ')
            .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
    }

    pub(crate) fn cmd_sn(&self) -> CmdSn {
        self.request.cmd_sn
    }
}

/// A login without credentials that stands before the operational answer.
pub(crate) fn operational(config: LoginConfig) -> Script {
    let mut script = Script::new(config);
    script.answer("AuthMethod=None").unwrap();
    assert_eq!(script.request.csg, Stage::OperationalNegotiation);
    script
}
