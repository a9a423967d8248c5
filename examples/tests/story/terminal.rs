//! What runs a block: shells in the namespaces, and the console that one of them has started.

use std::{
    env,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use crate::document::{Block, Typed};

/// No command of the story takes a quarter of this.
const LIMIT: Duration = Duration::from_secs(100);

/// The places of the story, and the console that runs in one of them.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// Names of places and of the namespaces that they are.
    pub(crate) places: Vec<(&'static str, String)>,
    /// Where commands run.
    pub(crate) directory: PathBuf,
    /// What commands find in their environment.
    pub(crate) environment: Vec<(&'static str, PathBuf)>,
    pub(crate) prompt: &'static str,
    pub(crate) console: Option<Console>,
}

impl Terminal {
    /// Types what stands in the block, and returns what the terminal shows then: the same lines, with the answers
    /// that really came.
    pub(crate) fn execute(&mut self, block: &Block) -> String {
        let typed = block.typed(self.prompt);
        let mut shown = String::new();
        for (at, one) in typed.iter().enumerate() {
            shown += &one.shown(self.prompt);
            let for_console = |typed: &Typed| matches!(typed, Typed::Console(_));
            let answer = match one {
                Typed::Console(line) => self.say(line),
                Typed::Shell(command) if typed.get(at + 1).is_some_and(for_console) => {
                    self.start(&block.place, command)
                }
                Typed::Shell(command) => self.run(&block.place, command),
            };
            shown += &answer;
            if !answer.is_empty() && !answer.ends_with('\n') {
                shown.push('\n');
            }
        }
        shown
    }

    fn command(&self, place: &str, command: &str) -> Command {
        let mut places = self.places.iter();
        let (_, namespace) = places
            .find(|(name, _)| *name == place)
            .unwrap_or_else(|| panic!("no such place: {place}"));
        let mut path = vec![tools()];
        path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        path.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
        let path = env::join_paths(path).expect("no colon in the name of a directory");
        // If this process is killed, the kernel ends the shell.
        let mut shell = Command::new("setpriv");
        shell
            .args(["--pdeathsig", "KILL", "--"])
            .args(["ip", "netns", "exec", namespace, "bash", "-c", command])
            .current_dir(&self.directory)
            .env("PATH", path)
            .env("LC_ALL", "C")
            .envs(self.environment.iter().map(|(key, value)| (*key, value)));
        shell
    }

    /// Both outputs as a terminal has them, and how it ended if not well.
    fn run(&self, place: &str, command: &str) -> String {
        let told = Console::start(self.command(place, &format!("exec 2>&1\n{command}")), None);
        let (mut told, mut text) = (told, String::new());
        let status = told.end(&mut text);
        if status != Some(0) {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text += &status.map_or_else(|| "? killed\n".into(), |code| format!("? {code}\n"));
        }
        text
    }

    fn start(&mut self, place: &str, command: &str) -> String {
        assert!(self.console.is_none(), "a console runs already");
        let command = self.command(place, &format!("exec {command}"));
        let mut console = Console::start(command, Some(self.prompt));
        let greeting = console.answer();
        self.console = Some(console);
        greeting
    }

    fn say(&mut self, line: &str) -> String {
        let console = self.console.as_mut().expect("a console that runs");
        console.say(line);
        let mut answer = console.answer();
        if console.is_over {
            let status = console.end(&mut answer);
            self.console = None;
            if status != Some(0) {
                answer += &format!("? {status:?}\n");
            }
        }
        answer
    }
}

/// Cargo builds examples together with the tests, one directory beside them.
fn tools() -> PathBuf {
    let program = env::current_exe().expect("this program");
    let built = program.parent().and_then(Path::parent);
    let tools = built.expect("a target directory").join("examples");
    for tool in ["console", "discover", "dual_nic_read"] {
        assert!(
            tools.join(tool).exists(),
            "{tool} is not built: `cargo test -p iscsi-examples` builds it"
        );
    }
    tools
}

/// A program whose output is read as it comes. Killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Console {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<Vec<u8>>,
    prompt: Option<&'static str>,
    is_over: bool,
}

impl Console {
    /// With a prompt it is somebody who is spoken to, else it gets no input.
    fn start(mut command: Command, prompt: Option<&'static str>) -> Self {
        let input = match prompt {
            Some(_) => Stdio::piped(),
            None => Stdio::null(),
        };
        let child = command.stdin(input).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("setpriv of util-linux");
        let input = child.stdin.take();
        let mut stdout = child.stdout.take().expect("a pipe");
        let (tell, output) = channel();
        thread::spawn(move || {
            let mut piece = vec![0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut piece) {
                if tell.send(piece[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            input,
            output,
            prompt,
            is_over: false,
        }
    }

    fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("a pipe");
        writeln!(input, "{line}").expect("somebody who listens");
    }

    /// All that comes before the next prompt, or the end.
    fn answer(&mut self) -> String {
        let prompt = self.prompt.expect("one that has a prompt");
        let mut text = String::new();
        while !text.ends_with(prompt) {
            match self.output.recv_timeout(LIMIT) {
                Ok(piece) => text += &String::from_utf8_lossy(&piece),
                Err(RecvTimeoutError::Disconnected) => {
                    self.is_over = true;
                    return text;
                }
                Err(RecvTimeoutError::Timeout) => panic!("no answer in {LIMIT:?} after:\n{text}"),
            }
        }
        text.truncate(text.len() - prompt.len());
        text
    }

    /// Reads to the end, and says how it ended.
    fn end(&mut self, text: &mut String) -> Option<i32> {
        drop(self.input.take());
        loop {
            match self.output.recv_timeout(LIMIT) {
                Ok(piece) => *text += &String::from_utf8_lossy(&piece),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("not done after {LIMIT:?}:\n{text}"),
            }
        }
        let status = self.child.wait().expect("a child of ours");
        status.code()
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // What it has started ends with its standard input, or with the shell. An error means that it is dead already.
        drop(self.input.take());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
