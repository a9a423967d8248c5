//! User-space instructions, counted by valgrind's callgrind.

use std::{path::Path, process::Command};

use super::output;
use crate::failure::Failure;

/// No string instructions for large copies: callgrind counts one per byte, which would drown everything
/// else, and whether they are used, and from which length on, depends on the processor.
const TUNABLES: &str = "glibc.cpu.x86_rep_movsb_threshold=0x40000000:\
                        glibc.cpu.x86_rep_stosb_threshold=0x40000000:\
                        glibc.cpu.x86_non_temporal_threshold=0x40000000";

/// Runs `program` with `args` and returns what it printed and how many instructions it executed.
///
/// The environment is the same everywhere, since its size moves the stack, and with it a few alignments.
///
/// # Errors
///
/// If there is no valgrind, or the program fails under it.
pub(super) fn run(program: &Path, args: &[String]) -> Result<(String, u64), Failure> {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(args)
        .env_clear()
        .env("GLIBC_TUNABLES", TUNABLES);
    let (stdout, stderr) = output(&mut command)?;
    let instructions = collected(&stderr).ok_or_else(|| {
        Failure::new("valgrind said nothing of \"Collected\"; this needs a valgrind with callgrind")
    })?;
    Ok((stdout, instructions))
}

/// The sum in callgrind's closing words: `==123== Collected : 4567`.
fn collected(said: &str) -> Option<u64> {
    let line = said.lines().find(|line| line.contains("Collected"))?;
    let (_, number) = line.split_once(':')?;
    number.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_found_in_what_callgrind_says() {
        let said = "==7== Callgrind, a call-graph generating cache profiler\n\
                    ==7== For interactive control, run 'callgrind_control -h'.\n\
                    ==7== \n==7== Events    : Ir\n==7== Collected : 1234567\n==7== \n\
                    ==7== I   refs:      1,234,567\n";
        assert_eq!(collected(said), Some(1_234_567));
        assert_eq!(collected("==7== Collected : nothing\n"), None);
        assert_eq!(collected(""), None);
    }
}
