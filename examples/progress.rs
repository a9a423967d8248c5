//! Progress on a terminal: one bar per path and one in all.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use mpio::core::{PathId, Snapshot};

use crate::clock;

/// How often bars are drawn. Each time costs a snapshot of the device.
const PERIOD: Duration = Duration::from_millis(100);

const PATH: &str = "  {prefix:44} {bar:24} {bytes:>10} {binary_bytes_per_sec:>12} {msg}";
const TOTAL: &str = "  {prefix:44} {bar:24} {bytes:>10} {binary_bytes_per_sec:>12} {percent:>3} %";

/// The bars. Where standard error is no terminal there are none, only notes.
#[derive(Debug)]
pub struct Bars {
    all: MultiProgress,
    paths: Vec<(PathId, ProgressBar)>,
    total: ProgressBar,
    drawn: Option<Instant>,
    visible: bool,
}

impl Bars {
    /// Bars for `bytes` in all.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let visible = io::stderr().is_terminal();
        let target = if visible {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let all = MultiProgress::with_draw_target(target);
        let total = all.add(bar(bytes, TOTAL, "all paths"));
        Self {
            all,
            paths: Vec::new(),
            total,
            drawn: None,
            visible,
        }
    }

    /// Whether it is time to draw again.
    #[must_use]
    pub fn is_due(&self) -> bool {
        let due = |drawn: Instant| clock::now().saturating_duration_since(drawn) >= PERIOD;
        self.visible && self.drawn.is_none_or(due)
    }

    /// Draws what the paths have done so far.
    pub fn draw(&mut self, done: u64, snapshot: &Snapshot) {
        self.drawn = Some(clock::now());
        for path in snapshot.paths() {
            if !self.paths.iter().any(|(id, _)| *id == path.id) {
                let length = self.total.length().unwrap_or_default();
                let bar = bar(length, PATH, &path.name);
                let bar = self.all.insert_before(&self.total, bar);
                self.paths.push((path.id, bar));
            }
            if let Some((_, bar)) = self.paths.iter().find(|(id, _)| *id == path.id) {
                bar.set_position(path.counters.bytes_read);
                bar.set_message(path.dm_state());
            }
        }
        self.total.set_position(done);
    }

    /// Prints a line above the bars.
    pub fn note(&self, line: &str) {
        // To standard error, so that standard output has only results; if it is closed, a note is
        // not worth an end.
        let _unprinted = if self.visible {
            self.all.println(line)
        } else {
            writeln!(io::stderr(), "{line}")
        };
    }

    /// Leaves the bars as they are.
    pub fn finish(self) {
        for (_, bar) in &self.paths {
            bar.abandon();
        }
        self.total.abandon();
    }
}

fn bar(length: u64, template: &str, prefix: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    ProgressBar::new(length)
        .with_style(style)
        .with_prefix(prefix.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        for template in [PATH, TOTAL] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}
