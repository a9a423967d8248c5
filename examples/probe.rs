//! The rounds of `fence_probe`: lose writes, reinstate their session, watch for them.

use std::{fmt, ops::Range, pin::pin, time::Duration};

use bytes::Bytes;
use futures_util::future::{Either, join_all, select};
use iscsi_client::{
    device::BlockDeviceExt,
    error::{Error, Outcome},
    initiator::{Initiator, SessionTarget},
    logical_unit::{LogicalUnit, LogicalUnitOptions},
    runtime::Runtime,
    url::TargetUrl,
};

use crate::{failure::Failure, runtime::sleep};

/// What of a write is looked at by itself: no target tears less.
const SECTOR: usize = 512;
/// Between two looks at the range.
const PERIOD: Duration = Duration::from_millis(50);
/// For the login after the cut.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a target is probed.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Where the range begins, in bytes.
    pub offset: u64,
    /// Bytes per write.
    pub bs: u64,
    /// Writes at a time.
    pub writes: u16,
    /// Rounds.
    pub rounds: u16,
    /// How long old data is watched for.
    pub watch: Duration,
    /// The longest time from sending to the cut.
    pub longest_cut: Duration,
}

impl Settings {
    /// The time to the cut, which grows from a thousandth of the longest to that: how long writes are in
    /// a target is not known before.
    fn cut(&self, round: u16) -> Duration {
        let steps = f64::from(self.rounds.saturating_sub(1).max(1));
        let exponent = (f64::from(round) / steps - 1.0) * 3.0;
        self.longest_cut.mul_f64(10_f64.powf(exponent))
    }

    fn len(&self) -> u64 {
        self.bs * u64::from(self.writes)
    }
}

/// What the rounds came to, all together. All but the first count writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// Rounds.
    pub rounds: u64,
    /// Under way at a cut: sent, in part at least, and not answered.
    pub under_way: u64,
    /// Of these, found on the medium by the first look after the login.
    pub before: u64,
    /// Of these, landed after that look.
    pub after: u64,
    /// Of those, landed on top of newer data whose write had been acknowledged.
    pub over_newer: u64,
    /// Seen landing this long after the login was answered, at the latest.
    pub latest: Duration,
}

impl Finding {
    fn add(&mut self, round: &Self) {
        self.rounds += round.rounds;
        self.under_way += round.under_way;
        self.before += round.before;
        self.after += round.after;
        self.over_newer += round.over_newer;
        self.latest = self.latest.max(round.latest);
    }

    /// The verdict in words, with the lines for a configuration.
    #[must_use]
    pub fn lines(&self, settings: &Settings) -> Vec<String> {
        let (rounds, under_way) = (self.rounds, self.under_way);
        if under_way == 0 {
            return vec![
                format!("inconclusive: in {rounds} rounds no write was under way at the cut"),
                "  try a shorter --longest-cut, more --writes or a slower back end".into(),
            ];
        }
        if self.after == 0 {
            return vec![
                format!(
                    "no write landed late: {under_way} were under way in {rounds} rounds, {} had landed by the \
                     first look, none landed within {:?} after it",
                    self.before, settings.watch
                ),
                "profile: Reinstatement::Unknown. This does not prove a barrier, it fails to disprove one: \
                 say Barrier if the target's makers say so, or its source does"
                    .into(),
            ];
        }
        vec![
            format!(
                "NOT A BARRIER: of {under_way} writes under way in {rounds} rounds {} landed after the login \
                 was answered, the latest {:.1} s after it; {} of them over newer data that was acknowledged",
                self.after,
                self.latest.as_secs_f64(),
                self.over_newer
            ),
            format!(
                "profile: Reinstatement::NotBarrier; a quiesce time has to be longer than {:.1} s",
                self.latest.as_secs_f64()
            ),
        ]
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} writes under way at the cut; {} landed by the first look, {} later, {} of those over newer data",
            self.under_way, self.before, self.after, self.over_newer
        )
    }
}

/// Which data a sector has, of one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Data {
    /// Before the round.
    Base = 1,
    /// Sent before the cut.
    Old = 2,
    /// Sent after the login.
    New = 3,
}

/// A target while it is probed.
#[derive(Debug)]
pub struct Probe {
    unit: LogicalUnit,
    settings: Settings,
    round: u64,
}

impl Probe {
    /// Logs in.
    ///
    /// # Errors
    ///
    /// If that fails, or the range does not fit.
    pub async fn open(
        initiator: &Initiator,
        url: &TargetUrl,
        settings: &Settings,
    ) -> Result<Self, Failure> {
        let to = SessionTarget::new(url.target.clone(), url.portal.clone());
        let session = initiator.session(&to).await?;
        // Nothing is to be sent twice by itself.
        let options = LogicalUnitOptions::default().fail_fast();
        let unit = LogicalUnit::open_with(session, url.lun, options).await?;
        let info = unit.info();
        let block = u64::from(info.block_size);
        let end = settings.offset.checked_add(settings.len());
        if settings.bs % block != 0 || settings.offset % block != 0 {
            return Err(Failure::usage(format_args!(
                "blocks have {block} bytes: give --bs and --offset in multiples of that"
            )));
        }
        if end.is_none_or(|end| end > info.size) {
            return Err(Failure::usage(format_args!(
                "the LUN has {} bytes: give a smaller --offset, --bs or --writes",
                info.size
            )));
        }
        Ok(Self {
            unit,
            settings: *settings,
            round: 0,
        })
    }

    /// Logs out.
    pub async fn close(self) {
        self.unit.session().close().await;
    }

    /// All rounds; `tell` gets a line about each.
    ///
    /// # Errors
    ///
    /// If the target cannot be reached any more, or refuses I/O.
    pub async fn run(
        &mut self,
        mut tell: impl FnMut(&str) -> Result<(), Failure>,
    ) -> Result<Finding, Failure> {
        let mut all = Finding::default();
        for round in 0..self.settings.rounds {
            let cut = self.settings.cut(round);
            let found = self.round(cut).await?;
            let number = round + 1;
            tell(&format!("round {number}, cut after {cut:.1?}: {found}"))?;
            all.add(&found);
        }
        Ok(all)
    }

    fn runtime(&self) -> &dyn Runtime {
        &**self.unit.session().runtime()
    }

    async fn round(&mut self, cut: Duration) -> Result<Finding, Failure> {
        self.round += 1;
        let all = 0..u64::from(self.settings.writes);
        let based = self.write(all.clone(), Data::Base).await;
        based.into_iter().collect::<Result<Vec<_>, _>>()?;

        let under_way = self.lose(cut).await?;
        let login = self.runtime().now();
        let mut found = Finding {
            rounds: 1,
            under_way: under_way.len() as u64,
            ..Finding::default()
        };
        let mut landed = self.look().await?;
        found.before = under_way.iter().filter(|&&w| landed[w]).count() as u64;
        // Every other one is left as it is: newer writes may well wait behind the older ones.
        let even: Vec<usize> = under_way.iter().copied().step_by(2).collect();
        let newer = even.iter().map(|&index| index as u64);
        let written = self.write(newer, Data::New).await;
        written.into_iter().collect::<Result<Vec<_>, _>>()?;
        for &index in &even {
            landed[index] = false;
        }
        while self.runtime().now() - login < self.settings.watch && !under_way.is_empty() {
            let look = self.look().await?;
            for &index in &under_way {
                if look[index] && !std::mem::replace(&mut landed[index], true) {
                    found.after += 1;
                    found.over_newer += u64::from(even.contains(&index));
                    found.latest = self.runtime().now() - login;
                }
            }
            sleep(self.runtime(), PERIOD).await;
        }
        Ok(found)
    }

    /// Sends the old data, and logs in again in its midst. Which writes were neither answered nor unsent.
    async fn lose(&self, cut: Duration) -> Result<Vec<usize>, Failure> {
        let session = self.unit.session();
        let logins = session.logins();
        let all = 0..u64::from(self.settings.writes);
        let mut writes = pin!(self.write(all, Data::Old));
        let timer = pin!(sleep(self.runtime(), cut));
        let results = match select(writes.as_mut(), timer).await {
            // All were answered before the time of the cut: it is cut all the same.
            Either::Left((results, _)) => {
                session.reconnect();
                results
            }
            Either::Right(_) => {
                session.reconnect();
                writes.await
            }
        };
        let up = async {
            while session.logins() == logins {
                let seen = session.status().generation;
                if session.wait_up().await.is_err() || session.logins() != logins {
                    break;
                }
                session.changed(seen).await;
            }
            session.wait_up().await
        };
        match select(pin!(up), pin!(sleep(self.runtime(), PATIENCE))).await {
            Either::Left((result, _)) => result?,
            Either::Right(_) => {
                return Err(Failure::new(format_args!(
                    "no login within {PATIENCE:?} after the cut; see what the target says of it"
                )));
            }
        }
        let mut under_way = Vec::new();
        for (index, result) in results.into_iter().enumerate() {
            match result {
                Err(error) if error.outcome() == Outcome::Unknown => under_way.push(index),
                Err(error) if error.outcome() == Outcome::Executed => return Err(error.into()),
                _ => {}
            }
        }
        Ok(under_way)
    }

    async fn write(
        &self,
        indices: impl IntoIterator<Item = u64>,
        data: Data,
    ) -> Vec<Result<(), Error>> {
        let writes = indices.into_iter().map(|index| {
            let offset = self.settings.offset + index * self.settings.bs;
            self.unit.write_bytes(offset, Bytes::from(self.fill(data)))
        });
        join_all(writes).await
    }

    fn fill(&self, data: Data) -> Vec<u8> {
        let len = usize::try_from(self.settings.bs).unwrap_or(usize::MAX);
        let mut buf = vec![data as u8; len];
        for sector in buf.chunks_mut(SECTOR) {
            sector[..8].copy_from_slice(&self.round.to_le_bytes());
        }
        buf
    }

    /// Of each write, whether any of its old data is there.
    async fn look(&self) -> Result<Vec<bool>, Failure> {
        let Range { start, end } = 0..usize::from(self.settings.writes);
        let len = usize::try_from(self.settings.len()).unwrap_or(usize::MAX);
        let mut range = vec![0; len];
        self.unit.read_at(self.settings.offset, &mut range).await?;
        let old = self.fill(Data::Old);
        let bs = old.len();
        let has_old = |index: usize| {
            let found = &range[index * bs..(index + 1) * bs];
            let mut pairs = found.chunks(SECTOR).zip(old.chunks(SECTOR));
            pairs.any(|(found, old)| found == old)
        };
        Ok((start..end).map(has_old).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            offset: 0,
            bs: 4096,
            writes: 4,
            rounds: 4,
            watch: Duration::from_secs(10),
            longest_cut: Duration::from_secs(1),
        }
    }

    #[test]
    fn the_cuts_grow_from_a_thousandth_to_the_longest() {
        let millis = |round| settings().cut(round).as_secs_f64() * 1000.0;
        for (round, wanted) in [(0, 1.0), (1, 10.0), (2, 100.0), (3, 1000.0)] {
            assert!((millis(round) - wanted).abs() < 0.001 * wanted, "{round}");
        }
    }

    #[test]
    fn a_verdict_says_no_more_than_was_seen() {
        let mut finding = Finding {
            rounds: 4,
            ..Finding::default()
        };
        let text = |finding: &Finding| finding.lines(&settings()).join("\n");
        assert!(text(&finding).starts_with("inconclusive"));
        finding.under_way = 3;
        assert!(text(&finding).contains("does not prove a barrier"));
        finding.after = 1;
        finding.latest = Duration::from_millis(2_300);
        assert!(text(&finding).starts_with("NOT A BARRIER"));
        assert!(text(&finding).contains("longer than 2.3 s"));
    }
}
