//! Medians and ratios.

use std::fmt;

use super::{Load, Sample, ours};

/// All rounds that count.
#[derive(Debug)]
pub(super) struct Report {
    what: String,
    names: Vec<String>,
    ours: Vec<Sample>,
    /// Per peer.
    theirs: Vec<Vec<Sample>>,
}

impl Report {
    pub(super) fn new(load: &Load, names: Vec<String>) -> Self {
        Self {
            what: format!(
                "{} of {} bytes, {} in flight",
                load.op.name(),
                load.bs,
                load.qd
            ),
            ours: Vec::new(),
            theirs: names.iter().map(|_| Vec::new()).collect(),
            names,
        }
    }

    /// One round: ours, and each peer's.
    pub(super) fn add(&mut self, ours: Sample, theirs: Vec<Sample>) {
        self.ours.push(ours);
        for (all, one) in self.theirs.iter_mut().zip(theirs) {
            all.push(one);
        }
    }

    /// The ratios of the round that was added last.
    pub(super) fn last_round(&self) -> String {
        let ratios = self.names.iter().zip(&self.theirs).map(|(name, theirs)| {
            let last = |ratios: Vec<f64>| ratios.last().copied().unwrap_or(f64::NAN);
            let (iops, cpu) = (
                last(self.iops_ratios(theirs)),
                last(self.cpu_ratios(theirs)),
            );
            format!("  {iops:.2} times the IOPS of {name}, {cpu:.2} times the CPU per I/O")
        });
        ratios.collect::<Vec<_>>().join("\n")
    }

    fn iops_ratios(&self, theirs: &[Sample]) -> Vec<f64> {
        let pairs = self.ours.iter().zip(theirs);
        pairs.map(|(us, them)| us.iops / them.iops).collect()
    }

    fn cpu_ratios(&self, theirs: &[Sample]) -> Vec<f64> {
        let pairs = self.ours.iter().zip(theirs);
        pairs
            .map(|(us, them)| us.cpu_us_per_io / them.cpu_us_per_io)
            .collect()
    }
}

/// Least, median and greatest.
fn spread(values: impl IntoIterator<Item = f64>) -> (f64, f64, f64) {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let at = |at: usize| sorted.get(at).copied().unwrap_or(f64::NAN);
    let (half, last) = (sorted.len() / 2, sorted.len().saturating_sub(1));
    let median = if sorted.len() % 2 == 0 {
        (at(half.saturating_sub(1)) + at(half)) / 2.0
    } else {
        at(half)
    };
    (at(0), median, at(last))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.ours.len();
        writeln!(f, "{}; medians of {rounds} rounds", self.what)?;
        writeln!(
            f,
            "{:16} {:>10} {:>14} {:>14} {:>7}",
            "", "IOPS", "(min..max)", "CPU us per I/O", "noise"
        )?;
        let ours = (ours::NAME, &self.ours);
        let theirs = self.names.iter().map(String::as_str).zip(&self.theirs);
        for (name, samples) in std::iter::once(ours).chain(theirs) {
            let (min, median, max) = spread(samples.iter().map(|sample| sample.iops));
            let (_, cpu, _) = spread(samples.iter().map(|sample| sample.cpu_us_per_io));
            let range = format!("{min:.0}..{max:.0}");
            let noise = (max - min) / median * 100.0;
            writeln!(
                f,
                "{name:16} {median:>10.0} {range:>14} {cpu:>14.2} {noise:>5.0} %"
            )?;
        }
        for (name, theirs) in self.names.iter().zip(&self.theirs) {
            let (low, iops, high) = spread(self.iops_ratios(theirs));
            let (least, cpu, most) = spread(self.cpu_ratios(theirs));
            writeln!(
                f,
                "against {name}: {iops:.2} times the IOPS ({low:.2}..{high:.2}), \
                 {cpu:.2} times the CPU per I/O ({least:.2}..{most:.2})"
            )?;
            if low < 1.0 && high > 1.0 {
                writeln!(
                    f,
                    "  in some rounds more and in some less: no difference in IOPS"
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::compare::Op;

    const fn sample(iops: f64, cpu_us_per_io: f64) -> Sample {
        Sample {
            iops,
            cpu_us_per_io,
        }
    }

    fn report() -> Report {
        let load = Load {
            url: String::new(),
            op: Op::Read,
            bs: 4096,
            block: 512,
            qd: 32,
            time: Duration::from_secs(3),
        };
        Report::new(&load, vec!["other".into()])
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(spread([3.0, 1.0, 2.0]), (1.0, 2.0, 3.0));
        assert_eq!(spread([4.0, 1.0, 2.0, 3.0]), (1.0, 2.5, 4.0));
    }

    #[test]
    fn ratios_are_those_of_runs_that_followed_each_other() {
        let mut report = report();
        // The second round was disturbed, for both.
        report.add(sample(200.0, 1.0), vec![sample(100.0, 4.0)]);
        report.add(sample(20.0, 1.0), vec![sample(10.0, 4.0)]);
        report.add(sample(220.0, 1.0), vec![sample(110.0, 4.0)]);
        assert_eq!(
            report.last_round(),
            "  2.00 times the IOPS of other, 0.25 times the CPU per I/O"
        );
        let text = report.to_string();
        let expected =
            "against other: 2.00 times the IOPS (2.00..2.00), 0.25 times the CPU per I/O";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn what_is_no_difference_is_called_none() {
        let mut report = report();
        report.add(sample(90.0, 1.0), vec![sample(100.0, 1.0)]);
        report.add(sample(110.0, 1.0), vec![sample(100.0, 1.0)]);
        assert!(report.to_string().contains("no difference"), "{report}");
    }
}
