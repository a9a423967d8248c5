//! Logins, step by step or in the usual way.

use iscsi_proto::{
    LoginStatus, Tsih,
    pdu::{LoginRequest, LoginResponse, Stage},
    serial::{CmdSn, StatSn},
    text::codec::{Pairs, TextBuf},
};

use super::{end::End, peer::Peer};

/// A login request, and its text.
#[derive(Clone, Debug)]
pub struct LoginExchange {
    /// The header.
    pub request: LoginRequest,
    /// The keys and values of its text, in order.
    pub keys: Vec<(String, String)>,
}

impl LoginExchange {
    /// The value of a key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        let found = self.keys.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }

    /// The answer that agrees to go where the request wants to go.
    #[must_use]
    pub fn agreed(&self) -> LoginResponse {
        let request = &self.request;
        let is_last = request.transit && request.nsg == Stage::FullFeature;
        let tsih = match request.tsih {
            Tsih(0) if is_last => Tsih(1),
            tsih => tsih,
        };
        LoginResponse {
            transit: request.transit,
            cont: false,
            csg: request.csg,
            nsg: request.nsg,
            version_max: 0,
            version_active: 0,
            data_segment_length: 0,
            isid: request.isid,
            tsih,
            itt: request.itt,
            stat_sn: StatSn(0),
            exp_cmd_sn: CmdSn(0),
            max_cmd_sn: CmdSn(0),
            status: LoginStatus::SUCCESS,
        }
    }

    /// The answer that refuses.
    #[must_use]
    pub fn refused(&self, status: LoginStatus) -> LoginResponse {
        LoginResponse {
            transit: false,
            nsg: self.request.csg,
            tsih: self.request.tsih,
            status,
            ..self.agreed()
        }
    }

    /// Answers to all that is offered, as a target of the usual kind would give them; those of `keys` first.
    #[must_use]
    pub fn answers(&self, keys: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut answers: Vec<(String, String)> = Vec::new();
        for (key, value) in keys {
            answers.push(((*key).into(), (*value).into()));
        }
        for (key, _) in &self.keys {
            if answers.iter().any(|(answered, _)| answered == key) {
                continue;
            }
            if let Some(value) = usual_answer(key) {
                answers.push((key.clone(), value.into()));
            }
        }
        answers
    }
}

/// `None` for what is only declared.
fn usual_answer(key: &str) -> Option<&'static str> {
    Some(match key {
        "InitiatorName" | "InitiatorAlias" | "TargetName" | "SessionType" => return None,
        "AuthMethod" | "HeaderDigest" | "DataDigest" => "None",
        "InitialR2T" | "ImmediateData" | "DataPDUInOrder" | "DataSequenceInOrder" => "Yes",
        "MaxRecvDataSegmentLength" | "FirstBurstLength" => "65536",
        "MaxBurstLength" => "262144",
        "MaxConnections" | "MaxOutstandingR2T" | "iSCSIProtocolLevel" => "1",
        "DefaultTime2Wait" | "DefaultTime2Retain" | "ErrorRecoveryLevel" => "0",
        "TaskReporting" => "RFC3720",
        _ => "NotUnderstood",
    })
}

/// Keys and values as the data of a PDU.
#[must_use]
pub(super) fn text<K: AsRef<str>, V: AsRef<str>>(keys: &[(K, V)]) -> Vec<u8> {
    let mut text = TextBuf::new();
    for (key, value) in keys {
        text.push(key.as_ref(), value.as_ref());
    }
    text.as_bytes().to_vec()
}

impl Peer {
    /// The next login request, whose text is whole.
    ///
    /// # Errors
    ///
    /// There is none.
    ///
    /// # Panics
    ///
    /// If something else comes, or a text that is none.
    pub async fn hear_login(&mut self) -> Result<LoginExchange, End> {
        let (request, data) = self.hear_pdu::<LoginRequest>().await?;
        let pairs = Pairs::new(&data).map(|pair| pair.expect("a text"));
        let keys = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Ok(LoginExchange {
            request,
            keys: keys.collect(),
        })
    }

    /// Answers a login request with this text.
    ///
    /// # Errors
    ///
    /// Of the connection.
    pub async fn say_login<K: AsRef<str>, V: AsRef<str>>(
        &mut self,
        response: LoginResponse,
        keys: &[(K, V)],
    ) -> Result<(), End> {
        self.say(response, text(keys)).await
    }

    /// Answers a whole login as usual, but for `keys`: those of the target's own and those that answer an offer.
    /// Returns the requests.
    ///
    /// # Errors
    ///
    /// The initiator ended the connection before its end.
    pub async fn log_in(&mut self, keys: &[(&str, &str)]) -> Result<Vec<LoginExchange>, End> {
        let mut exchanges: Vec<LoginExchange> = Vec::new();
        loop {
            let exchange = self.hear_login().await?;
            let response = exchange.agreed();
            let is_over = response.transit && response.nsg == Stage::FullFeature;
            let mut of_stage = Vec::new();
            if exchange.request.csg == Stage::OperationalNegotiation {
                of_stage.extend(keys.iter().copied().filter(|(key, _)| *key != GROUP));
            }
            if exchanges.is_empty() {
                let group = keys.iter().find(|(key, _)| *key == GROUP);
                of_stage.push(*group.unwrap_or(&(GROUP, "1")));
            }
            let answers = exchange.answers(&of_stage);
            exchanges.push(exchange);
            self.say_login(response, &answers).await?;
            if is_over {
                return Ok(exchanges);
            }
        }
    }
}

const GROUP: &str = "TargetPortalGroupTag";
