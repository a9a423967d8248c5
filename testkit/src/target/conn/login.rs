//! The target's half of login and negotiation (RFC 7143 sections 6.2 and 6.3).

use std::collections::BTreeSet;

use iscsi_proto::{
    ids::{LoginStatus, Tsih},
    pdu::{LoginRequest, LoginResponse, Stage},
    serial::{CmdSn, StatSn},
    text::{
        Key,
        codec::{Pairs, TextBuf},
        keys::Rule,
    },
};

use super::{
    super::{
        Violation,
        config::{ChapConfig, ChapFault, Redirect},
        core::{Closer, Count, lock},
    },
    Next,
    chap::{self, Challenge},
    full::FullFeature,
    negotiate::Negotiated,
    wire::Wire,
};
use crate::sim::Rng;

/// The longest CHAP challenge (section 12.1.3).
const MAX_CHALLENGE: usize = 1024;

/// Text of one login, over all requests that the C bit joins.
const MAX_TEXT: usize = 64 * 1024;

const fn status(class: u8, detail: u8) -> LoginStatus {
    LoginStatus { class, detail }
}

const AUTHENTICATION_FAILURE: LoginStatus = status(2, 1);
const TARGET_NOT_FOUND: LoginStatus = status(2, 3);
const TOO_MANY_CONNECTIONS: LoginStatus = status(2, 6);
const MISSING_PARAMETER: LoginStatus = status(2, 7);
const SESSION_TYPE_NOT_SUPPORTED: LoginStatus = status(2, 9);
const SESSION_DOES_NOT_EXIST: LoginStatus = status(2, 10);
const INVALID_REQUEST: LoginStatus = status(2, 11);

pub(super) struct Login {
    rng: Rng,
    closer: Closer,
    /// Where the negotiation stands; `None` before the first request.
    stage: Option<Stage>,
    text: Vec<u8>,
    seen: BTreeSet<String>,
    initiator: String,
    target: Option<String>,
    discovery: bool,
    identified: bool,
    challenge: Option<Challenge>,
    authenticated: bool,
    /// The initiator has asked for our proof, and has none.
    unproven: bool,
    name: String,
    response: Vec<u8>,
    /// The initiator's own challenge: identifier and bytes.
    mutual: (Option<u8>, Vec<u8>),
    declared: bool,
    /// Keys that the target brought up and that are to be answered.
    asked: BTreeSet<String>,
    /// Text that did not fit the last response, and the stage to go to once it is out.
    unsent: TextBuf,
    next_stage: Option<Stage>,
    negotiated: Negotiated,
    cmd_sn: CmdSn,
}

impl Login {
    pub(super) fn new(seed: u64, closer: Closer) -> Self {
        Self {
            rng: Rng::new(seed),
            closer,
            stage: None,
            text: Vec::new(),
            seen: BTreeSet::new(),
            initiator: String::new(),
            target: None,
            discovery: false,
            identified: false,
            challenge: None,
            authenticated: false,
            unproven: false,
            name: String::new(),
            response: Vec::new(),
            mutual: (None, Vec::new()),
            declared: false,
            asked: BTreeSet::new(),
            unsent: TextBuf::new(),
            next_stage: None,
            negotiated: Negotiated::default(),
            cmd_sn: CmdSn(0),
        }
    }

    pub(super) fn handle(&mut self, wire: &mut Wire, request: &LoginRequest, data: &[u8]) -> Next {
        if self.unproven {
            wire.violation(Violation::Unproven);
            return refuse(wire, request, AUTHENTICATION_FAILURE);
        }
        if self.stage.is_none() {
            if let Some(redirect) = wire.core.portals[wire.portal].redirect() {
                return send_elsewhere(wire, request, &redirect);
            }
        }
        if let Err(status) = self.check_request(wire, request) {
            return refuse(wire, request, status);
        }
        if !self.unsent.is_empty() {
            return self.go_on(wire, request, data);
        }
        if self.text.len() + data.len() > MAX_TEXT {
            return refuse(wire, request, INVALID_REQUEST);
        }
        self.text.extend_from_slice(data);
        if request.cont {
            let nothing = (None, false);
            respond(wire, self.window(wire), request, nothing, Tsih(0), &[]);
            return Next::Stay;
        }
        let mut answer = TextBuf::new();
        let result = self.negotiate(wire, request, &mut answer);
        match result {
            // Not a word more, so that the initiator's challenge stays in flight.
            Ok(()) if self.keeps_silent(wire) => Next::Stay,
            Ok(()) => self.finish_request(wire, request, answer),
            Err(status) => refuse(wire, request, status),
        }
    }

    /// Our text goes on; the initiator may only say "go on" (section 6.2).
    fn go_on(&mut self, wire: &mut Wire, request: &LoginRequest, data: &[u8]) -> Next {
        if request.cont || !data.is_empty() {
            wire.violation(Violation::Login("text while our text goes on"));
            return refuse(wire, request, INVALID_REQUEST);
        }
        // A stage is only left in answer to a request that asks for it.
        let ready = request.transit && self.authenticated && self.asked.is_empty();
        self.next_stage = ready.then_some(request.nsg);
        self.send_segment(wire, request)
    }

    /// Sends what fits; the stage changes with the last of it.
    fn send_segment(&mut self, wire: &mut Wire, request: &LoginRequest) -> Next {
        let segment = self.unsent.take_segment(wire.core.config.login.segment);
        let cont = !self.unsent.is_empty();
        let transit = self.next_stage.filter(|_| !cont);
        if let Some(stage) = transit {
            self.stage = Some(stage);
            self.next_stage = None;
        }
        if transit == Some(Stage::FullFeature) {
            return self.enter(wire, request, &segment);
        }
        respond(
            wire,
            self.window(wire),
            request,
            (transit, cont),
            Tsih(0),
            &segment,
        );
        Next::Stay
    }

    fn keeps_silent(&self, wire: &Wire) -> bool {
        let chap = wire.core.config.chap.as_ref();
        self.mutual.0.is_some() && chap.is_some_and(|chap| chap.fault == ChapFault::Reflects)
    }

    /// What must hold of every request, and what only the first one says.
    fn check_request(
        &mut self,
        wire: &mut Wire,
        request: &LoginRequest,
    ) -> Result<(), LoginStatus> {
        match self.stage {
            None => {
                let seed = self.rng.next_u64();
                wire.stat_sn = StatSn(seed as u32);
                self.cmd_sn = request.cmd_sn;
                self.stage = Some(request.csg);
                if let Some(status) = wire.core.portals[wire.portal].login_refusal() {
                    return Err(status);
                }
                if request.tsih.0 != 0 {
                    // One connection per session is all that is granted.
                    let known = wire.core.has_session(request.tsih.0);
                    let status = if known {
                        TOO_MANY_CONNECTIONS
                    } else {
                        SESSION_DOES_NOT_EXIST
                    };
                    return Err(status);
                }
            }
            Some(stage) if stage != request.csg => {
                return broken(wire, "CSG is not the stage agreed on");
            }
            Some(_) if self.cmd_sn != request.cmd_sn => return broken(wire, "CmdSN changed"),
            Some(_) => {}
        }
        if request.csg == Stage::FullFeature {
            return broken(wire, "CSG is full feature phase");
        }
        if request.transit && stage_number(request.nsg) <= stage_number(request.csg) {
            return broken(wire, "NSG does not come after CSG");
        }
        if request.cont && request.transit {
            return broken(wire, "C and T bit together");
        }
        Ok(())
    }

    fn negotiate(
        &mut self,
        wire: &Wire,
        request: &LoginRequest,
        answer: &mut TextBuf,
    ) -> Result<(), LoginStatus> {
        let text = std::mem::take(&mut self.text);
        for pair in Pairs::new(&text) {
            let Ok((name, value)) = pair else {
                wire.violation(Violation::Login("malformed text"));
                return Err(INVALID_REQUEST);
            };
            if self.asked.remove(name) {
                wire.core.note_login_answer(name, value);
                continue;
            }
            if !self.seen.insert(name.to_owned()) {
                wire.violation(Violation::Login("key sent twice"));
                return Err(INVALID_REQUEST);
            }
            self.key(wire, request.csg, name, value, answer)?;
        }
        if !self.identified {
            self.identify(wire, answer)?;
        }
        self.authenticate(wire, answer)
    }

    /// After the first complete request (section 6.3): who is there, and for what.
    fn identify(&mut self, wire: &Wire, answer: &mut TextBuf) -> Result<(), LoginStatus> {
        self.identified = true;
        if self.initiator.is_empty() {
            wire.violation(Violation::Login("no InitiatorName in the first request"));
            return Err(MISSING_PARAMETER);
        }
        match &self.target {
            _ if self.discovery => return Ok(()),
            None => return Err(MISSING_PARAMETER),
            Some(name) if *name != wire.core.config.name => return Err(TARGET_NOT_FOUND),
            Some(_) => {}
        }
        if !wire.core.config.login.hides_portal_group {
            answer.push("TargetPortalGroupTag", wire.core.portals[wire.portal].tpgt);
        }
        if let Some(alias) = &wire.core.config.login.alias {
            answer.push("TargetAlias", alias);
        }
        Ok(())
    }

    fn key(
        &mut self,
        wire: &Wire,
        stage: Stage,
        name: &str,
        value: &str,
        answer: &mut TextBuf,
    ) -> Result<(), LoginStatus> {
        let Some(key) = Key::from_name(name) else {
            answer.push(name, "NotUnderstood");
            return Ok(());
        };
        match key {
            Key::InitiatorName => self.initiator = value.to_owned(),
            Key::TargetName => self.target = Some(value.to_owned()),
            Key::InitiatorAlias => {}
            Key::SessionType => match value {
                "Normal" => {}
                "Discovery" => self.discovery = true,
                _ => return Err(SESSION_TYPE_NOT_SUPPORTED),
            },
            Key::AuthMethod | Key::ChapA | Key::ChapN | Key::ChapR | Key::ChapI | Key::ChapC => {
                if stage != Stage::SecurityNegotiation {
                    wire.violation(Violation::Login("security key outside its stage"));
                    return Err(INVALID_REQUEST);
                }
                return self.security_key(wire, key, value, answer);
            }
            _ if matches!(key.rule(), Rule::Obsolete) => {
                let text = if name.ends_with("Int") {
                    "Reject"
                } else {
                    "No"
                };
                answer.push(name, text);
            }
            _ => {
                if stage == Stage::SecurityNegotiation {
                    wire.violation(Violation::Login("operational key in the security stage"));
                }
                if !self
                    .negotiated
                    .negotiate(&wire.core.config, key, value, answer)
                {
                    wire.violation(Violation::Login("value out of range for its key"));
                    answer.push(name, "Reject");
                }
            }
        }
        Ok(())
    }

    fn security_key(
        &mut self,
        wire: &Wire,
        key: Key,
        value: &str,
        answer: &mut TextBuf,
    ) -> Result<(), LoginStatus> {
        let chap = wire.core.config.chap.as_ref();
        match (key, chap) {
            (Key::AuthMethod, _) => {
                let method = if chap.is_some() { "CHAP" } else { "None" };
                if !value.split(',').any(|offered| offered == method) {
                    return Err(AUTHENTICATION_FAILURE);
                }
                answer.push("AuthMethod", method);
            }
            (Key::ChapA, Some(chap)) => {
                let reflected = match chap.fault {
                    ChapFault::Reflects => lock(&wire.core.to_reflect).take(),
                    _ => None,
                };
                let challenge = Challenge::choose(value, chap, reflected, &mut self.rng);
                let challenge = challenge.ok_or(AUTHENTICATION_FAILURE)?;
                for (name, value) in challenge.keys() {
                    answer.push(name, value);
                }
                self.challenge = Some(challenge);
            }
            (Key::ChapN, Some(_)) => self.name = value.to_owned(),
            (Key::ChapR, Some(_)) => {
                self.response = chap::from_text(value).ok_or(AUTHENTICATION_FAILURE)?;
            }
            (Key::ChapI, Some(_)) => {
                let identifier = value.parse().map_err(|_| INVALID_REQUEST)?;
                self.mutual.0 = Some(identifier);
            }
            (Key::ChapC, Some(_)) => {
                self.mutual.1 = chap::from_text(value).ok_or(AUTHENTICATION_FAILURE)?;
            }
            _ => return Err(INVALID_REQUEST),
        }
        Ok(())
    }

    /// Judges a CHAP response, and answers the initiator's own challenge.
    fn authenticate(&mut self, wire: &Wire, answer: &mut TextBuf) -> Result<(), LoginStatus> {
        let Some(chap) = &wire.core.config.chap else {
            self.authenticated = true;
            return Ok(());
        };
        if self.authenticated || self.response.is_empty() {
            return Ok(());
        }
        let challenge = self.challenge.as_ref().ok_or(INVALID_REQUEST)?;
        let fails = wire.core.hardship.fails_authentication();
        if fails || !challenge.accepts(chap, &self.name, &self.response) {
            return Err(AUTHENTICATION_FAILURE);
        }
        self.authenticated = true;
        self.unproven = !self.prove(wire, chap, challenge, answer)?;
        Ok(())
    }

    /// Answers the initiator's own challenge, if there is one. False for an answer that proves nothing.
    fn prove(
        &self,
        wire: &Wire,
        chap: &ChapConfig,
        challenge: &Challenge,
        answer: &mut TextBuf,
    ) -> Result<bool, LoginStatus> {
        let (identifier, bytes) = match &self.mutual {
            (None, bytes) if bytes.is_empty() => return Ok(true),
            (Some(identifier), bytes) if !bytes.is_empty() => (*identifier, bytes),
            _ => {
                wire.violation(Violation::Login("one of CHAP_I and CHAP_C is missing"));
                return Err(INVALID_REQUEST);
            }
        };
        if challenge.is(bytes) {
            wire.violation(Violation::Login("our own CHAP challenge came back"));
            return Err(AUTHENTICATION_FAILURE);
        }
        if bytes.len() > MAX_CHALLENGE {
            wire.violation(Violation::Login("CHAP_C of more than 1024 bytes"));
            return Err(INVALID_REQUEST);
        }
        let (name, secret) = chap.mutual.as_ref().ok_or(AUTHENTICATION_FAILURE)?;
        let mut secret = secret.clone();
        let fault = wire.core.hardship.chap_fault().unwrap_or(chap.fault);
        match fault {
            ChapFault::SkipsProof => return Ok(false),
            ChapFault::WrongProof => secret.push(b'!'),
            ChapFault::Reflects => *lock(&wire.core.to_reflect) = Some(bytes.clone()),
            ChapFault::None | ChapFault::RefusesLists => {}
        }
        answer.push("CHAP_N", name);
        let response = challenge.answer(identifier, &secret, bytes);
        answer.push("CHAP_R", challenge.encode(&response));
        Ok(fault != ChapFault::WrongProof)
    }

    fn finish_request(
        &mut self,
        wire: &mut Wire,
        request: &LoginRequest,
        mut answer: TextBuf,
    ) -> Next {
        let mut ready = request.transit && self.authenticated;
        if request.csg == Stage::OperationalNegotiation {
            if !self.authenticated {
                return refuse(wire, request, AUTHENTICATION_FAILURE);
            }
            if !self.asked.is_empty() {
                wire.violation(Violation::Login("a key of the target was not answered"));
                return refuse(wire, request, INVALID_REQUEST);
            }
            if !std::mem::replace(&mut self.declared, true) {
                let length = wire.core.config.limits.max_recv_data_segment_length;
                answer.push("MaxRecvDataSegmentLength", length);
                for (name, value) in &wire.core.config.login.announce {
                    answer.push(name, value);
                    self.asked.insert(name.clone());
                    ready = false;
                }
            }
        }
        self.next_stage = ready.then_some(request.nsg);
        self.unsent = answer;
        self.send_segment(wire, request)
    }

    fn enter(&mut self, wire: &mut Wire, request: &LoginRequest, text: &[u8]) -> Next {
        let session = (!self.discovery).then(|| {
            let tpgt = wire.core.portals[wire.portal].tpgt;
            let nexus = (self.initiator.clone(), request.isid, tpgt);
            wire.core
                .open_session(nexus, std::sync::Arc::clone(&self.closer))
        });
        // A discovery session has a handle too (section 6.3.1: never zero), but nothing to reinstate.
        let tsih = Tsih(session.as_ref().map_or(0xffff, |session| session.tsih));
        let transit = (Some(Stage::FullFeature), false);
        respond(wire, self.window(wire), request, transit, tsih, text);
        wire.count(Count::Logins, 1);
        if self.declared {
            wire.max_recv = wire.core.config.limits.max_recv_data_segment_length;
        }
        wire.digests = self.negotiated.digests;
        let negotiated = self.negotiated.settled();
        let mut full = FullFeature::new(wire, session, negotiated, self.cmd_sn);
        full.unproven = self.unproven;
        Next::Enter(Box::new(full))
    }

    fn window(&self, wire: &Wire) -> (CmdSn, CmdSn) {
        (
            self.cmd_sn,
            self.cmd_sn
                .plus(wire.core.config.limits.queue_depth.saturating_sub(1)),
        )
    }
}

fn broken(wire: &Wire, rule: &'static str) -> Result<(), LoginStatus> {
    wire.violation(Violation::Login(rule));
    Err(INVALID_REQUEST)
}

const fn stage_number(stage: Stage) -> u8 {
    match stage {
        Stage::SecurityNegotiation => 0,
        Stage::OperationalNegotiation => 1,
        Stage::FullFeature => 3,
    }
}

fn respond(
    wire: &mut Wire,
    (exp_cmd_sn, max_cmd_sn): (CmdSn, CmdSn),
    request: &LoginRequest,
    (transit, cont): (Option<Stage>, bool),
    tsih: Tsih,
    text: &[u8],
) {
    let response = LoginResponse {
        transit: transit.is_some(),
        cont,
        csg: request.csg,
        nsg: transit.unwrap_or(request.csg),
        version_max: 0,
        version_active: 0,
        data_segment_length: text.len() as u32,
        isid: request.isid,
        tsih,
        itt: request.itt,
        stat_sn: wire.next_stat_sn(),
        exp_cmd_sn,
        max_cmd_sn,
        status: LoginStatus::SUCCESS,
    };
    wire.send(&response.emit(), text);
}

/// Redirection (section 11.13.5).
fn send_elsewhere(wire: &mut Wire, request: &LoginRequest, redirect: &Redirect) -> Next {
    let mut text = TextBuf::new();
    text.push("TargetAddress", &redirect.to);
    let detail = if redirect.permanent { 2 } else { 1 };
    end(wire, request, status(1, detail), text.as_bytes())
}

fn refuse(wire: &mut Wire, request: &LoginRequest, status: LoginStatus) -> Next {
    wire.count(Count::LoginFailures, 1);
    end(wire, request, status, &[])
}

fn end(wire: &mut Wire, request: &LoginRequest, status: LoginStatus, text: &[u8]) -> Next {
    let response = LoginResponse {
        transit: false,
        cont: false,
        csg: request.csg,
        nsg: request.csg,
        version_max: 0,
        version_active: 0,
        data_segment_length: text.len() as u32,
        isid: request.isid,
        tsih: request.tsih,
        itt: request.itt,
        stat_sn: wire.next_stat_sn(),
        exp_cmd_sn: request.cmd_sn,
        max_cmd_sn: request.cmd_sn,
        status,
    };
    wire.send(&response.emit(), text);
    Next::Close
}
