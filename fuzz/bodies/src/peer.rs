//! The other side of a login, one response at a time.

use iscsi_proto::{
    Error, Instant, Tsih,
    ids::LoginStatus,
    login::{LoggedIn, Login, LoginConfig, LoginOutcome},
    pdu::{Bhs, LoginRequest, LoginResponse, Stage, pad_len},
    serial::{CmdSn, StatSn},
    text::codec::{Pairs, TextBuf},
};

/// How many commands more than one may be sent at first: few, so that the window is often shut.
const WINDOW: u32 = 3;

/// A Login Request with its text.
pub(crate) struct Request {
    pub(crate) header: LoginRequest,
    pub(crate) text: Vec<u8>,
}

impl Request {
    /// What is to be sent now; it counts as sent.
    pub(crate) fn take(login: &mut Login) -> Option<Self> {
        let bytes = login.transmit().to_vec();
        login.handle_transmitted(bytes.len()).expect("all of it");
        let (header, rest) = bytes.split_first_chunk::<{ Bhs::LEN }>()?;
        let header = LoginRequest::parse(&Bhs::from(*header)).expect("a Login Request");
        let len = header.data_segment_length as usize;
        assert_eq!(rest.len(), len + pad_len(len), "one request at a time");
        let text = rest[..len].to_vec();
        Some(Self { header, text })
    }

    /// The pairs of its text, of which we write every one whole.
    pub(crate) fn pairs(&self) -> Vec<(&str, &str)> {
        let pairs: Result<_, _> = Pairs::new(&self.text).collect();
        pairs.expect("our own text")
    }

    /// A response that goes where the request wants to go.
    pub(crate) fn agreed(&self, stat_sn: u32) -> LoginResponse {
        let to_full = self.header.transit && self.header.nsg == Stage::FullFeature;
        LoginResponse {
            transit: self.header.transit,
            cont: false,
            csg: self.header.csg,
            nsg: self.header.nsg,
            version_max: 0,
            version_active: 0,
            data_segment_length: 0,
            isid: self.header.isid,
            tsih: Tsih(to_full.into()),
            itt: self.header.itt,
            stat_sn: StatSn(stat_sn),
            exp_cmd_sn: self.header.cmd_sn,
            max_cmd_sn: CmdSn(self.header.cmd_sn.0.wrapping_add(WINDOW)),
            status: LoginStatus::SUCCESS,
        }
    }
}

/// Brings a response to the login.
pub(crate) fn respond(login: &mut Login, header: &LoginResponse, text: &[u8]) -> Result<(), Error> {
    let header = LoginResponse {
        data_segment_length: text.len() as u32,
        ..*header
    };
    let mut bytes = header.emit().as_bytes().to_vec();
    bytes.extend_from_slice(text);
    bytes.resize(bytes.len() + pad_len(text.len()), 0);
    let mut bytes = &bytes[..];
    while !bytes.is_empty() && login.is_pending() {
        let room = login.recv_buf();
        let n = room.len().min(bytes.len());
        room[..n].copy_from_slice(&bytes[..n]);
        bytes = &bytes[n..];
        login.handle_recv(Instant::ZERO, n)?;
    }
    Ok(())
}

/// A login with a target that wants no authentication and answers each operational key as `answer` says;
/// with `None`, not at all. `entropy` is what every random number is made of.
pub(crate) fn log_in(
    config: LoginConfig,
    entropy: u32,
    mut answer: impl FnMut(&str, &str) -> Option<String>,
) -> Result<LoggedIn, Error> {
    let mut fill = |bytes: &mut [u8]| {
        let filler = entropy.to_be_bytes();
        bytes
            .iter_mut()
            .zip(filler.iter().cycle())
            .for_each(|(to, from)| *to = *from);
    };
    let mut login = Login::new(config, Instant::ZERO, &mut fill);
    let mut stat_sn = 0;
    while let Some(request) = Request::take(&mut login) {
        let mut text = TextBuf::new();
        for (key, value) in request.pairs() {
            match key {
                "AuthMethod" => {
                    text.push("AuthMethod", "None");
                    text.push("TargetPortalGroupTag", 1);
                }
                "InitiatorName" | "TargetName" | "SessionType" => {}
                key => {
                    if let Some(value) = answer(key, value) {
                        text.push(key, value);
                    }
                }
            }
        }
        respond(&mut login, &request.agreed(stat_sn), text.as_bytes())?;
        stat_sn += 1;
        assert!(stat_sn < 32, "a login that does not end");
    }
    match login.outcome() {
        LoginOutcome::Complete(logged_in) => Ok(logged_in),
        LoginOutcome::Failed(error) => Err(error),
        other => panic!("a login that stands still: {other:?}"),
    }
}
