//! What a target tells that there is: further targets, and which of its units are mapped.

use std::sync::Mutex;

use iscsi_proto::text::codec::TextBuf;

use super::core::{TargetCore, lock};

/// Further targets that SendTargets names, each with its addresses.
#[derive(Debug, Default)]
pub(super) struct Roster(Mutex<Vec<(String, Vec<String>)>>);

impl Roster {
    pub(super) fn tell(&self, answer: &mut TextBuf) {
        for (name, addresses) in &*lock(&self.0) {
            answer.push("TargetName", name);
            for address in addresses {
                answer.push("TargetAddress", address);
            }
        }
    }
}

impl TargetCore {
    /// Names these targets as well in answers to `SendTargets=All`, after its own, each with these values of
    /// TargetAddress: as a portal of many targets does, or one that makes them up. Replaces those of before.
    pub fn tell_of(&self, targets: &[(&str, &[&str])]) {
        let owned = targets.iter().map(|(name, addresses)| {
            let addresses = addresses.iter().copied().map(String::from);
            (String::from(*name), addresses.collect())
        });
        *lock(&self.roster.0) = owned.collect();
    }

    /// Takes LUN `number` away from all initiators, or gives it back: one that is not mapped is not in the list of
    /// LUNs, and there is no such unit (05/25/00). On the others every nexus finds a unit attention (3F/0E,
    /// REPORTED LUNS DATA HAS CHANGED).
    ///
    /// # Panics
    ///
    /// When there is no such LUN.
    pub fn set_mapped(&self, number: u16, mapped: bool) {
        let lun = self.lun(number).expect("a LUN of the configuration");
        lun.set_mapped(mapped);
        for other in self.luns.iter().filter(|lun| lun.is_mapped()) {
            self.raise_attention(other.config.number, 0x3f, 0x0e);
        }
    }
}
