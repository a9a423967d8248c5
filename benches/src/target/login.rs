//! The answers of a login: always the same ones, with or without CHAP.

use super::{Settings, Target};

const TRANSIT: u8 = 0x80;
/// CSG is the operational stage.
const OPERATIONAL: u8 = 0x04;
/// NSG is full feature phase.
const TO_FULL_FEATURE: u8 = 0x83;

impl Target {
    pub(super) fn login(&mut self) {
        let flags = self.header[1];
        let text = std::mem::take(&mut self.text);
        let says = |what: &str| text.windows(what.len()).any(|at| at == what.as_bytes());
        self.exp_cmd_sn = self.u32_at(24);
        let answer = if flags & 0x0c == OPERATIONAL {
            operational(self.settings)
        } else if says("AuthMethod=CHAP") {
            pairs(&["TargetPortalGroupTag=1", "AuthMethod=CHAP"])
        } else if says("CHAP_A=") {
            let challenge = format!("CHAP_C=0x{}", "5a".repeat(32));
            pairs(&["CHAP_A=7", "CHAP_I=1", &challenge])
        } else if says("CHAP_R=") {
            Vec::new()
        } else {
            pairs(&["TargetPortalGroupTag=1", "AuthMethod=None"])
        };
        let mut header = self.status(0x23);
        header[1] = flags & if flags & TRANSIT == 0 { 0x0c } else { 0x8f };
        header[8..14].copy_from_slice(&self.header[8..14]);
        header[15] = 1;
        self.send_bytes(&mut header, answer);
        self.digests = self.settings.digests && flags & TO_FULL_FEATURE == TO_FULL_FEATURE;
    }
}

fn operational(settings: Settings) -> Vec<u8> {
    let digest = if settings.digests { "CRC32C" } else { "None" };
    let yes = |yes: bool| if yes { "Yes" } else { "No" };
    pairs(&[
        &format!("HeaderDigest={digest}"),
        &format!("DataDigest={digest}"),
        &format!("InitialR2T={}", yes(settings.r2t_only)),
        &format!("ImmediateData={}", yes(!settings.r2t_only)),
        &format!("MaxRecvDataSegmentLength={}", Settings::SEGMENT),
        &format!("MaxBurstLength={}", Settings::BURST),
        "FirstBurstLength=65536",
        "MaxConnections=1",
        "DefaultTime2Wait=2",
        "DefaultTime2Retain=0",
        "MaxOutstandingR2T=1",
        "DataPDUInOrder=Yes",
        "DataSequenceInOrder=Yes",
        "ErrorRecoveryLevel=0",
    ])
}

fn pairs(pairs: &[&str]) -> Vec<u8> {
    pairs
        .iter()
        .flat_map(|pair| pair.bytes().chain([0]))
        .collect()
}
