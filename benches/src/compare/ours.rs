//! Our own load generator, the example `perf`, and others that speak as it does.

use std::{path::PathBuf, process::Command, time::Duration};

use serde::Deserialize;

use super::{Load, Sample, child};
use crate::failure::Failure;

pub(super) const NAME: &str = "iscsi-mpio";

/// Time for a login, and for what was under way at the end.
const GRACE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Ours {
    program: PathBuf,
    options: Vec<String>,
}

impl Ours {
    /// # Errors
    ///
    /// If the program was not built.
    pub(super) fn new(program: Option<PathBuf>, options: Vec<String>) -> Result<Self, Failure> {
        let program = match program {
            Some(program) => program,
            None => built()?,
        };
        Ok(Self { program, options })
    }

    pub(super) fn run(&self, load: &Load) -> Result<Sample, Failure> {
        let mut command = Command::new(&self.program);
        // All of the LUN, since that is what the others use.
        let span = i64::MAX.to_string();
        command.args(["--span", &span]).args(&self.options);
        run(&mut command, load)
    }
}

/// Beside the directory of this program.
fn built() -> Result<PathBuf, Failure> {
    let here = std::env::current_exe().map_err(Failure::new)?;
    let target = here.ancestors().nth(2).unwrap_or(&here);
    let program = target.join("release/examples/perf");
    if program.exists() {
        return Ok(program);
    }
    Err(Failure::new(format!(
        "there is no {}; build it with `cargo build --release -p iscsi-examples --example perf`, or \
         name it with --perf",
        program.display()
    )))
}

/// What of the line matters here.
#[derive(Debug, Deserialize)]
struct Line {
    ops: f64,
    errors: u64,
    iops: f64,
}

/// Runs `command` with the options of `perf` that everybody understands.
///
/// # Errors
///
/// If it fails, or has failed I/Os, or prints something else.
pub(super) fn run(command: &mut Command, load: &Load) -> Result<Sample, Failure> {
    command
        .args(["--url", &load.url, "--op", load.op.name()])
        .args(["--bs", &load.bs.to_string(), "--qd", &load.qd.to_string()])
        // The CPU time is that of the whole run, so the I/Os have to be, too.
        .args(["--warmup", "0", "--secs", &load.time.as_secs().to_string()]);
    let ended = child::run(command, load.time + GRACE)?;
    sample(&ended.stdout, ended.cpu)
}

fn sample(stdout: &str, cpu: f64) -> Result<Sample, Failure> {
    let last = stdout.lines().last().unwrap_or_default();
    let line: Line = serde_json::from_str(last)
        .map_err(|error| Failure::new(format!("{error} in {last:?}, which should be JSON")))?;
    if line.errors > 0 || line.ops < 1.0 {
        let (ops, errors) = (line.ops, line.errors);
        return Err(Failure::new(format!("{errors} I/Os failed, {ops} did not")));
    }
    Ok(Sample {
        iops: line.iops,
        cpu_us_per_io: cpu * 1e6 / line.ops,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_the_last_one() {
        let stdout =
            "hello\n{\"impl\":\"x\",\"ops\":2000,\"errors\":0,\"iops\":1000.5,\"p50_us\":1}\n";
        assert_eq!(
            sample(stdout, 0.01),
            Ok(Sample {
                iops: 1000.5,
                cpu_us_per_io: 5.0
            })
        );
    }

    #[test]
    fn failed_ios_and_other_text_are_no_samples() {
        for stdout in [
            "",
            "fast\n",
            "{\"ops\":2000,\"errors\":1,\"iops\":1000}\n",
            "{\"ops\":0,\"errors\":0,\"iops\":0}\n",
        ] {
            assert!(sample(stdout, 0.01).is_err(), "{stdout}");
        }
    }
}
