//! Another program, run to its end within a time, and what it used.

use std::{
    io::Read,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use nix::sys::resource::{UsageWho, getrusage};

use crate::failure::Failure;

/// What a program said and used.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) stdout: String,
    /// User and system time, in seconds.
    pub(super) cpu: f64,
}

/// How much of a program's output is kept at most.
const MAX_OUTPUT: u64 = 1 << 20;

/// Runs `command` to its end; after `limit` it is killed.
///
/// Only one at a time: the CPU time is that of all children that ended meanwhile.
///
/// # Errors
///
/// If it cannot be started, fails, or takes longer than `limit`.
pub(super) fn run(command: &mut Command, limit: Duration) -> Result<Ended, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let before = used_by_children()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::new(format!("{name} cannot be started: {error}")))?;
    let (done, ended) = mpsc::channel();
    let stdout = child.stdout.take().map(|pipe| read(pipe, done.clone()));
    let stderr = child.stderr.take().map(|pipe| read(pipe, done));
    let status = wait(&mut child, &ended, limit);
    let text = |reader: Option<thread::JoinHandle<String>>| {
        reader
            .and_then(|reader| reader.join().ok())
            .unwrap_or_default()
    };
    let Some(status) = status.map_err(|error| Failure::new(format!("{name}: {error}")))? else {
        return Err(Failure::new(format!(
            "{name} was not done within {} s and was ended",
            limit.as_secs()
        )));
    };
    let (stdout, stderr) = (text(stdout), text(stderr));
    let cpu = used_by_children()? - before;
    if status.success() {
        return Ok(Ended { stdout, cpu });
    }
    let said = if stderr.trim().is_empty() {
        &stdout
    } else {
        &stderr
    };
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    let last = last.unwrap_or("it said nothing").trim();
    Err(Failure::new(format!("{name}: {status}: {last}")))
}

/// Its status; `None` if it had to be killed. Its pipes end when it ends, and that can be awaited.
fn wait(
    child: &mut Child,
    ended: &mpsc::Receiver<()>,
    limit: Duration,
) -> std::io::Result<Option<ExitStatus>> {
    // The senders are dropped, both of them, when both pipes are at their end.
    match ended.recv_timeout(limit) {
        Err(RecvTimeoutError::Timeout) => {
            child.kill()?;
            child.wait()?;
            Ok(None)
        }
        Ok(()) | Err(RecvTimeoutError::Disconnected) => child.wait().map(Some),
    }
}

/// `done` is not sent anything: it is dropped at the end.
fn read(pipe: impl Read + Send + 'static, done: mpsc::Sender<()>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut pipe = pipe.take(MAX_OUTPUT);
        // What cannot be read is not there; the caller says what it misses.
        let _partial = pipe.read_to_end(&mut bytes);
        drop(done);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn used_by_children() -> Result<f64, Failure> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(Failure::new)?;
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_it_printed_comes_back() {
        let ended = run(&mut shell("echo one; echo two >&2"), LIMIT).unwrap();
        assert_eq!(ended.stdout, "one\n");
        assert!(ended.cpu >= 0.0);
    }

    #[test]
    fn a_failure_is_told_with_its_last_words() {
        let failure = run(&mut shell("echo first >&2; echo last >&2; exit 3"), LIMIT);
        let failure = failure.unwrap_err().to_string();
        assert!(
            failure.starts_with("sh: ") && failure.ends_with(": last"),
            "{failure}"
        );
        let failure = run(&mut Command::new("/no/such/program"), LIMIT).unwrap_err();
        assert!(
            failure.to_string().contains("cannot be started"),
            "{failure}"
        );
    }

    #[test]
    fn one_that_does_not_end_is_ended() {
        let failure = run(&mut shell("exec sleep 60"), Duration::from_millis(50)).unwrap_err();
        assert!(failure.to_string().contains("was ended"), "{failure}");
    }
}
