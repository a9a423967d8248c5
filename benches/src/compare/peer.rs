//! Other initiators' tools.

use std::{process::Command, time::Duration};

use super::{Load, Op, Sample, child, ours};
use crate::failure::Failure;

/// Time for a login, and for what was under way at the end.
const GRACE: Duration = Duration::from_secs(30);

/// One of them.
#[derive(Debug)]
pub(super) struct Peer {
    name: String,
    tool: Tool,
}

#[derive(Debug)]
enum Tool {
    /// libiscsi's `iscsi-perf`.
    IscsiPerf,
    /// `qemu-img bench`, which takes a number of I/Os and no time: so many of them in a second.
    QemuImg { rate: Option<f64> },
    /// Anything that speaks as our own `perf` does.
    Other(Vec<String>),
}

impl Peer {
    /// # Errors
    ///
    /// If there is no such tool, or it cannot do what is asked for.
    pub(super) fn parse(text: &str, load: &Load) -> Result<Self, Failure> {
        let (name, tool) = match text.split_once('=') {
            Some((name, command)) => {
                let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
                if words.is_empty() {
                    return Err(Failure::new(format!("{name}= names no command")));
                }
                (name, Tool::Other(words))
            }
            None => match text {
                "libiscsi" => (text, Tool::IscsiPerf),
                "qemu" => (text, Tool::QemuImg { rate: None }),
                _ => {
                    return Err(Failure::new(format!(
                        "{text:?} is no peer: libiscsi, qemu, or NAME=COMMAND"
                    )));
                }
            },
        };
        let can = match tool {
            Tool::IscsiPerf => matches!(load.op, Op::Read | Op::RandRead),
            Tool::QemuImg { .. } => matches!(load.op, Op::Read | Op::Write),
            Tool::Other(_) => true,
        };
        if !can {
            let op = load.op.name();
            return Err(Failure::new(format!("{name}'s tool has no {op}")));
        }
        Ok(Self {
            name: name.to_owned(),
            tool,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// # Errors
    ///
    /// If the tool is missing, fails, or says something that is not understood.
    pub(super) fn run(&mut self, load: &Load) -> Result<Sample, Failure> {
        let sample = match &mut self.tool {
            Tool::IscsiPerf => iscsi_perf(load),
            Tool::QemuImg { rate } => qemu_img(load, rate),
            Tool::Other(words) => {
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]);
                ours::run(&mut command, load)
            }
        };
        sample.map_err(|failure| failure.during(&self.name))
    }
}

fn iscsi_perf(load: &Load) -> Result<Sample, Failure> {
    let mut command = Command::new("iscsi-perf");
    let initiator = format!("iqn.2026-01.example:iscsi-perf-{}", std::process::id());
    command
        .args(["-i", &initiator, "-m", &load.qd.to_string()])
        .args(["-b", &(load.bs / load.block).to_string()])
        .args(["-t", &load.time.as_secs().to_string()]);
    if load.op == Op::RandRead {
        command.arg("-r");
    }
    let ended = child::run(command.arg(&load.url), load.time + GRACE)?;
    let iops = perf_average(&ended.stdout)
        .ok_or_else(|| Failure::new(format!("no average in {:?}", tail(&ended.stdout))))?;
    // It counts whole seconds, from after its login to the moment at which it stops submitting.
    let ios = iops * load.time.as_secs_f64();
    Ok(Sample {
        iops,
        cpu_us_per_io: ended.cpu * 1e6 / ios,
    })
}

/// The number behind the last "iops average". Lines end in carriage returns, to overwrite each other, and
/// it is only the last one that stands alone.
fn perf_average(said: &str) -> Option<f64> {
    let last = said
        .split(['\r', '\n'])
        .rfind(|line| line.starts_with("iops average "))?;
    let number = last.split_whitespace().nth(2)?.parse().ok()?;
    (number > 0.0).then_some(number)
}

/// How many I/Os find out how fast it is.
const TRIAL: u32 = 2000;

fn qemu_img(load: &Load, rate: &mut Option<f64>) -> Result<Sample, Failure> {
    let known = match *rate {
        Some(known) => known,
        None => qemu_img_bench(load, TRIAL)?.iops,
    };
    // Bounded, whatever the trial said.
    let count = (known * load.time.as_secs_f64()).clamp(TRIAL.into(), 1e9) as u32;
    let sample = qemu_img_bench(load, count)?;
    *rate = Some(sample.iops);
    Ok(sample)
}

fn qemu_img_bench(load: &Load, count: u32) -> Result<Sample, Failure> {
    let mut command = Command::new("qemu-img");
    command
        .args(["bench", "-f", "raw", "-t", "none"])
        .args(["-c", &count.to_string(), "-d", &load.qd.to_string()])
        .args(["-s", &load.bs.to_string()]);
    if load.op == Op::Write {
        command.arg("-w");
    }
    // A trial may have been on a target that was faster then.
    let limit = load.time * 10 + GRACE;
    let ended = child::run(command.arg(&load.url), limit)?;
    let seconds = bench_seconds(&ended.stdout)
        .ok_or_else(|| Failure::new(format!("no time in {:?}", tail(&ended.stdout))))?;
    Ok(Sample {
        iops: f64::from(count) / seconds,
        cpu_us_per_io: ended.cpu * 1e6 / f64::from(count),
    })
}

/// `Run completed in 0.081 seconds.`
fn bench_seconds(said: &str) -> Option<f64> {
    let rest = said
        .lines()
        .find_map(|line| line.strip_prefix("Run completed in "))?;
    let number = rest.split_whitespace().next()?.parse().ok()?;
    (number > 0.0).then_some(number)
}

fn tail(said: &str) -> &str {
    said.trim().lines().last().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(op: Op) -> Load {
        Load {
            url: "iscsi://127.0.0.1/iqn.2026-01.example:disk/0".into(),
            op,
            bs: 4096,
            block: 512,
            qd: 32,
            time: Duration::from_secs(2),
        }
    }

    #[test]
    fn the_average_of_iscsi_perf_is_its_last_word() {
        let said = "performing RANDOM READ with 32 parallel requests\nwill run for 2 seconds.\n\n\
                    \r00:00:01 - lba 91158259, iops current 18584 (72 MB/s), iops average 18584 \
                    (72 MB/s), in_flight 32, busy 0         \
                    \riops average 27554 (107 MB/s)                        \n\nfinished.\n";
        assert_eq!(perf_average(said), Some(27554.0));
        assert_eq!(perf_average("iops average 0 (0 MB/s)"), None);
        assert_eq!(perf_average("Failed to connect"), None);
    }

    #[test]
    fn the_time_of_qemu_img_is_in_its_last_line() {
        let said = "Sending 2000 read requests, 4096 bytes each, 32 in parallel (starting at offset \
                    0, step size 4096)\nRun completed in 0.081 seconds.\n";
        assert_eq!(bench_seconds(said), Some(0.081));
        assert_eq!(bench_seconds("Run completed in 0.000 seconds."), None);
        assert_eq!(bench_seconds("qemu-img: Could not open"), None);
    }

    #[test]
    fn a_tool_is_not_asked_for_what_it_cannot_do() {
        assert!(Peer::parse("libiscsi", &load(Op::RandRead)).is_ok());
        assert!(Peer::parse("libiscsi", &load(Op::Write)).is_err());
        assert!(Peer::parse("qemu", &load(Op::Write)).is_ok());
        assert!(Peer::parse("qemu", &load(Op::RandRead)).is_err());
        let other = Peer::parse("mine=./bench --fast", &load(Op::RandWrite)).unwrap();
        assert_eq!(other.name(), "mine");
        for text in ["open-iscsi", "mine=", ""] {
            assert!(Peer::parse(text, &load(Op::Read)).is_err(), "{text}");
        }
    }
}
