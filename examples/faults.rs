//! The demonstration: a target in this process, and the cable of one of its portals.

use iscsi_client::url::TargetUrl;
use iscsi_proto::scsi::Lun;
use iscsi_testkit::target::{LunConfig, TargetConfig, TcpTarget};

use crate::{deadlines::DeadlineArgs, failure::Failure, paths::Places};

const PORTALS: [&str; 2] = ["127.0.0.1:0", "127.0.0.2:0"];
const SOURCES: [&str; 2] = ["127.0.1.1", "127.0.1.2"];
const TARGET: &str = "iqn.2026-01.example.iscsi-mpio:demo";

/// The portal whose cable is pulled.
const VICTIM: usize = 1;
/// Percent of all bytes after which that happens, and after which it is plugged in again.
const CUT_AT: u64 = 40;
const HEAL_AT: u64 = 70;

/// A target with two portals, of which one will be cut.
#[derive(Debug)]
pub struct Demo {
    target: TcpTarget,
    seed: u64,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Whole,
    Cut,
    Healed,
}

impl Demo {
    /// Starts a target with a LUN of `size` bytes, rounded down to blocks.
    ///
    /// # Errors
    ///
    /// If the loopback does not have the addresses.
    pub fn start(size: u64) -> Result<Self, Failure> {
        let lun = LunConfig::new(0, size - size % 512);
        let seed = lun.seed;
        let mut config = TargetConfig::new(TARGET).with_lun(lun);
        for portal in PORTALS {
            config = config.with_portal(portal.parse().map_err(Failure::new)?, 1);
        }
        let target = TcpTarget::start(config).map_err(|error| {
            Failure::new(format_args!(
                "cannot listen on {}: {error}; the demonstration needs several addresses on the \
                 loopback (macOS: ifconfig lo0 alias 127.0.0.2)",
                PORTALS.join(" and ")
            ))
        })?;
        Ok(Self {
            target,
            seed,
            stage: Stage::Whole,
        })
    }

    /// The seed of the LUN's content.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Where it is, and through which loopback addresses.
    ///
    /// # Errors
    ///
    /// None that can happen; names and addresses are constants.
    pub fn places(&self) -> Result<Places, Failure> {
        let name: iscsi_proto::name::IscsiName = TARGET.parse().map_err(Failure::new)?;
        let url = |index| {
            let portal = self.target.portal(index).into();
            TargetUrl::new(portal, name.clone(), Lun::default())
        };
        let nics = SOURCES.iter().map(|source| source.parse());
        Ok(Places {
            urls: (0..PORTALS.len()).map(url).collect(),
            nics: nics.collect::<Result<_, _>>().map_err(Failure::new)?,
            paired: true,
            deadlines: DeadlineArgs::default(),
        })
    }

    /// Pulls or plugs the cable, once its time has come; then says what was done.
    pub fn advance(&mut self, done: u64, whole: u64) -> Option<String> {
        let has_reached =
            |percent: u64| u128::from(done) * 100 >= u128::from(whole) * u128::from(percent);
        let portal = self.target.portal(VICTIM);
        match self.stage {
            Stage::Whole if has_reached(CUT_AT) => {
                self.target.cut(VICTIM);
                self.stage = Stage::Cut;
                Some(format!(
                    "{CUT_AT} %: the cable of {portal} is cut, silently"
                ))
            }
            Stage::Cut if has_reached(HEAL_AT) => {
                self.target.heal(VICTIM);
                self.stage = Stage::Healed;
                Some(format!(
                    "{HEAL_AT} %: the cable of {portal} is plugged in again"
                ))
            }
            _ => None,
        }
    }
}
