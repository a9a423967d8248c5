//! The document: its steps, and what of them is to be executed.

/// A heading of the second level, and the blocks below it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) title: String,
    pub(crate) blocks: Vec<Block>,
}

/// A fenced block that is executed: `console`, and the place if it is not the host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) place: String,
    /// Where its content begins, counted from 1.
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// A line of a block that somebody has typed, and the lines that continue it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// After `$ `: for a shell.
    Shell(String),
    /// After the prompt of the console: for the one that runs.
    Console(String),
}

const FENCE: &str = "```";
const SHELL: &str = "$ ";
const CONTINUED: &str = "> ";

/// Reads the steps. What stands before the first heading of the second level is none.
pub(crate) fn steps(document: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = (1..).zip(document.lines());
    while let Some((number, line)) = lines.next() {
        if let Some(title) = line.strip_prefix("## ") {
            steps.push(Step {
                title: title.to_owned(),
                blocks: Vec::new(),
            });
        }
        let Some(info) = line.strip_prefix(FENCE) else {
            continue;
        };
        let mut closed = false;
        let content = lines.by_ref().map(|(_, line)| line).take_while(|line| {
            closed = *line == FENCE;
            !closed
        });
        let text: String = content.map(|line| format!("{line}\n")).collect();
        assert!(closed, "line {number}: this block has no end");
        let Some(place) = info.strip_prefix("console") else {
            continue;
        };
        let step = steps.last_mut();
        let step = step.unwrap_or_else(|| panic!("line {number}: a block above all steps"));
        step.blocks.push(Block {
            place: match place.trim() {
                "" => "host".to_owned(),
                place => place.to_owned(),
            },
            line: number + 1,
            text,
        });
    }
    steps
}

impl Block {
    /// What is typed in it, in turn.
    pub(crate) fn typed(&self, prompt: &str) -> Vec<Typed> {
        let mut typed = Vec::new();
        for (at, line) in self.text.lines().enumerate() {
            let number = self.line + at;
            if let Some(command) = line.strip_prefix(SHELL) {
                typed.push(Typed::Shell(command.to_owned()));
            } else if let Some(command) = line.strip_prefix(prompt) {
                typed.push(Typed::Console(command.to_owned()));
            } else if let Some(more) = line.strip_prefix(CONTINUED) {
                let Some(Typed::Shell(command)) = typed.last_mut() else {
                    panic!("line {number}: this continues no command");
                };
                command.push('\n');
                command.push_str(more);
            }
            assert!(
                !typed.is_empty(),
                "line {number}: an answer, and no command above it"
            );
        }
        assert!(!typed.is_empty(), "line {}: no command", self.line);
        typed
    }
}

impl Typed {
    /// As it stands in the document.
    pub(crate) fn shown(&self, prompt: &str) -> String {
        match self {
            Self::Shell(command) => {
                format!("{SHELL}{}\n", command.replace('\n', "\n> "))
            }
            Self::Console(command) => format!("{prompt}{command}\n"),
        }
    }
}

#[test]
fn steps_and_blocks_are_found_and_others_are_left_out() {
    let document = "\
# A
```text
$ not executed
```
## One
words
```console
$ a
> b
an answer
console> c
```
## Two
```sh
$ not executed
```
```console switch
$ d
```
";
    let steps = steps(document);
    let [one, two] = &steps[..] else {
        panic!("{steps:?}")
    };
    assert_eq!((&*one.title, &*two.title), ("One", "Two"));
    assert_eq!((one.blocks.len(), two.blocks.len()), (1, 1));
    assert_eq!((&*one.blocks[0].place, one.blocks[0].line), ("host", 8));
    assert_eq!((&*two.blocks[0].place, two.blocks[0].line), ("switch", 18));
    let typed = one.blocks[0].typed("console> ");
    assert_eq!(
        typed,
        [Typed::Shell("a\nb".into()), Typed::Console("c".into())]
    );
    assert_eq!(typed[0].shown("console> "), "$ a\n> b\n");
    assert_eq!(typed[1].shown("console> "), "console> c\n");
}

#[test]
#[should_panic(expected = "line 3: an answer, and no command above it")]
fn an_answer_without_a_command_is_a_mistake() {
    steps("## One\n```console\nan answer\n```\n")[0].blocks[0].typed("console> ");
}

#[test]
#[should_panic(expected = "line 2: this block has no end")]
fn a_block_without_an_end_is_a_mistake() {
    steps("## One\n```console\n$ a\n");
}
