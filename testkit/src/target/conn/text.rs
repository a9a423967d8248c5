//! Text requests: SendTargets (RFC 7143 sections 4.3 and appendix C), in as many PDUs as it takes.

use iscsi_proto::{
    ids::TargetTransferTag,
    pdu::{TextRequest, TextResponse},
    scsi::Lun,
    text::{
        Key,
        codec::{Pairs, TextBuf},
    },
};

use super::{super::Violation, full::FullFeature, wire::Wire};

const MAX_TEXT: usize = 64 * 1024;

impl FullFeature {
    pub(super) fn text(&mut self, wire: &mut Wire, request: &TextRequest, data: &[u8]) {
        let open = self.text_ttt.take();
        if request.ttt == TargetTransferTag::RESERVED {
            // Section 11.10.4: the initiator begins anew, whatever was open.
            self.text_in.clear();
            self.text_out = None;
        } else if open != Some(request.ttt) {
            wire.violation(Violation::Text("a Target Transfer Tag that is not open"));
        }
        let mut answer = match self.text_out.take() {
            Some((ttt, rest)) if ttt == request.ttt => rest,
            _ if self.text_in.len() + data.len() > MAX_TEXT => {
                self.text_in.clear();
                TextBuf::new()
            }
            _ => {
                self.text_in.extend_from_slice(data);
                if request.cont {
                    TextBuf::new()
                } else {
                    self.answer(wire)
                }
            }
        };
        let segment = answer.take_segment(self.negotiated.max_send as usize);
        let more = !answer.is_empty();
        let open = more || request.cont || !request.is_final;
        let ttt = if open {
            self.new_ttt()
        } else {
            TargetTransferTag::RESERVED
        };
        let (exp_cmd_sn, max_cmd_sn) = self.window();
        let response = TextResponse {
            is_final: !open,
            cont: more,
            lun: Lun::ZERO,
            itt: request.itt,
            ttt,
            stat_sn: wire.next_stat_sn(),
            exp_cmd_sn,
            max_cmd_sn,
            data_segment_length: segment.len() as u32,
        };
        wire.send(&response.emit(), &segment);
        self.text_ttt = open.then_some(ttt);
        if more {
            self.text_out = Some((ttt, answer));
        }
    }

    fn answer(&mut self, wire: &mut Wire) -> TextBuf {
        let text = std::mem::take(&mut self.text_in);
        let mut answer = TextBuf::new();
        let mut keys = Vec::new();
        for pair in Pairs::new(&text) {
            if let Ok((key, _)) = pair {
                if keys.contains(&key) {
                    wire.violation(Violation::Text("a key twice in one exchange"));
                }
                keys.push(key);
            }
            match pair {
                Ok(("SendTargets", which)) => self.send_targets(which, &mut answer),
                Ok(("MaxRecvDataSegmentLength", length)) => {
                    self.redeclare(wire, length, &mut answer);
                }
                // Declarations that may come at any time (section 13).
                Ok(("InitiatorAlias", _)) => {}
                Ok((key, _)) if Key::from_name(key).is_some() => {
                    wire.violation(Violation::Text("a key that is for login only"));
                    answer.push(key, "Reject");
                }
                Ok((key, _)) => answer.push(key, "NotUnderstood"),
                Err(_) => wire.violation(Violation::Malformed {
                    opcode: TextRequest::OPCODE,
                }),
            }
        }
        answer
    }

    /// The initiator declares what it takes from now on; so do we, if a test wants it.
    fn redeclare(&mut self, wire: &mut Wire, length: &str, answer: &mut TextBuf) {
        match length.parse() {
            Ok(length @ 512..=0xff_ffff) => {
                let most = self.core.config.limits.max_send_data_segment_length;
                self.negotiated.max_send = most.min(length);
            }
            _ => wire.violation(Violation::Text("MaxRecvDataSegmentLength out of range")),
        }
        let Some(ours) = self.core.portals[wire.portal].on_demand.max_recv() else {
            return;
        };
        answer.push("MaxRecvDataSegmentLength", ours);
        // What is on its way may still go by the old one.
        wire.max_recv = wire.max_recv.max(ours);
        self.max_recv_from = Some((wire.stat_sn, ours));
    }

    fn send_targets(&self, which: &str, answer: &mut TextBuf) {
        let own = &self.core.config.name;
        let wanted = match which {
            // `All` is for discovery sessions only (section 13.3).
            "All" => self.session.is_none(),
            "" => self.session.is_some(),
            name => name == own,
        };
        if wanted {
            answer.push("TargetName", own);
            for portal in &self.core.portals {
                answer.push(
                    "TargetAddress",
                    format_args!("{},{}", portal.address, portal.tpgt),
                );
            }
        }
        if which == "All" && wanted {
            self.core.roster.tell(answer);
        }
    }
}
