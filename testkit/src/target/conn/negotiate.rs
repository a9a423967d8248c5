//! Operational keys (RFC 7143 section 13), as a target answers them.
//!
//! Ranges come from the key tables of the library; the results are worked out here once more.

use iscsi_proto::text::{Key, TaskReporting, codec::TextBuf, keys::Rule};

use super::{super::config::TargetConfig, buffers::Digests};

/// What was agreed on; the defaults are those of section 13.
#[derive(Clone, Copy, Debug)]
pub(super) struct Negotiated {
    pub(super) digests: Digests,
    /// The longest data segment that we send.
    pub(super) max_send: u32,
    pub(super) max_burst: u32,
    pub(super) first_burst: u32,
    pub(super) initial_r2t: bool,
    pub(super) immediate_data: bool,
    pub(super) max_outstanding_r2t: u32,
    pub(super) task_reporting: TaskReporting,
    pub(super) protocol_level: u8,
}

impl Default for Negotiated {
    fn default() -> Self {
        Self {
            digests: Digests::default(),
            max_send: 8192,
            max_burst: 262_144,
            first_burst: 65_536,
            initial_r2t: true,
            immediate_data: true,
            max_outstanding_r2t: 1,
            task_reporting: TaskReporting::Rfc3720,
            protocol_level: 1,
        }
    }
}

impl Negotiated {
    /// FirstBurstLength never exceeds MaxBurstLength (section 13.14).
    pub(super) fn settled(mut self) -> Self {
        self.first_burst = self.first_burst.min(self.max_burst);
        self
    }

    /// Answers one key. False when the value is not one of the key's values.
    pub(super) fn negotiate(
        &mut self,
        config: &TargetConfig,
        key: Key,
        value: &str,
        answer: &mut TextBuf,
    ) -> bool {
        match key.rule() {
            Rule::List => self.choose(config, key, value, answer),
            Rule::And | Rule::Or => {
                let offered = match value {
                    "Yes" => true,
                    "No" => false,
                    _ => return false,
                };
                let result = self.boolean(config, key, offered);
                answer.push(key.name(), if result { "Yes" } else { "No" });
            }
            Rule::Min(range) | Rule::Max(range) | Rule::DeclaredNumber(range) => {
                let Some(offered) = number(value).filter(|n| range.contains(n)) else {
                    return false;
                };
                if let Some(result) = self.number(config, key, offered) {
                    answer.push(key.name(), result);
                }
            }
            // SendTargets, TargetAddress and their like have no place in a login.
            _ => return false,
        }
        true
    }

    fn choose(&mut self, config: &TargetConfig, key: Key, offer: &str, answer: &mut TextBuf) {
        let choice = match key {
            Key::HeaderDigest => config.header_digest.choose(offer),
            Key::DataDigest => config.data_digest.choose(offer),
            Key::TaskReporting => {
                let allowed = |one: &TaskReporting| *one <= config.limits.task_reporting;
                let mut offered = offer.split(',').filter_map(TaskReporting::from_name);
                let choice = offered.find(allowed);
                self.task_reporting = choice.unwrap_or_default();
                choice.map(TaskReporting::name)
            }
            _ => None,
        };
        let crc32c = choice == Some("CRC32C");
        match key {
            Key::HeaderDigest => self.digests.header = crc32c,
            Key::DataDigest => self.digests.data = crc32c,
            _ => {}
        }
        answer.push(key.name(), choice.unwrap_or("Reject"));
    }

    fn boolean(&mut self, config: &TargetConfig, key: Key, offered: bool) -> bool {
        match key {
            Key::InitialR2T => {
                self.initial_r2t = offered || config.limits.initial_r2t;
                self.initial_r2t
            }
            Key::ImmediateData => {
                self.immediate_data = offered && config.limits.immediate_data;
                self.immediate_data
            }
            // DataPDUInOrder and DataSequenceInOrder: always in order.
            _ => true,
        }
    }

    /// The answer, `None` for a value that is only declared.
    fn number(&mut self, config: &TargetConfig, key: Key, offered: u32) -> Option<u32> {
        let limits = &config.limits;
        Some(match key {
            Key::MaxRecvDataSegmentLength => {
                self.max_send = offered.min(limits.max_send_data_segment_length);
                return None;
            }
            Key::MaxBurstLength => {
                self.max_burst = offered.min(limits.max_burst_length);
                self.max_burst
            }
            Key::FirstBurstLength => {
                self.first_burst = offered.min(limits.first_burst_length);
                self.first_burst
            }
            Key::MaxOutstandingR2T => {
                self.max_outstanding_r2t = offered.min(limits.max_outstanding_r2t.into());
                self.max_outstanding_r2t
            }
            Key::MaxConnections => 1,
            Key::DefaultTime2Wait => offered.max(limits.time2wait.into()),
            Key::IScsiProtocolLevel => {
                let level = offered.min(limits.protocol_level.into());
                self.protocol_level = u8::try_from(level).unwrap_or_default();
                level
            }
            // ErrorRecoveryLevel, DefaultTime2Retain.
            _ => 0,
        })
    }
}

fn number(value: &str) -> Option<u32> {
    match value
        .strip_prefix("0x")
        .or_else(|| value.strip_prefix("0X"))
    {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => value.parse().ok(),
    }
}
