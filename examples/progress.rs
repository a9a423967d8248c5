//! Progress bars: one per path, and one for all.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use mpio::{MultipathDevice, core::PathId};

/// Bars on standard error, where it is a terminal; otherwise nothing is drawn.
#[derive(Debug)]
pub struct Progress {
    _bars: MultiProgress,
    total: ProgressBar,
    paths: Vec<(PathId, ProgressBar)>,
}

impl Progress {
    /// For a read of `length` bytes from `device`.
    #[must_use]
    pub fn new(device: &MultipathDevice, length: u64) -> Self {
        let bars = MultiProgress::new();
        let style = |template: &str| {
            ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> ")
        };
        let path_style =
            style("{prefix:28!} [{bar:40}] {bytes:>11} {binary_bytes_per_sec:>13} {msg}");
        let paths = device
            .snapshot()
            .paths()
            .map(|path| {
                let bar = bars
                    .add(ProgressBar::new(length))
                    .with_style(path_style.clone());
                bar.set_prefix(path.name.to_string());
                (path.id, bar)
            })
            .collect();
        let total_style =
            style("{prefix:28!} [{bar:40}] {bytes:>11} {binary_bytes_per_sec:>13} eta {eta}");
        let total = bars.add(ProgressBar::new(length)).with_style(total_style);
        total.set_prefix("total");
        Self {
            _bars: bars,
            total,
            paths,
        }
    }

    /// So many bytes have arrived.
    pub fn update(&self, device: &MultipathDevice, bytes: u64) {
        self.total.set_position(bytes);
        for path in device.snapshot().paths() {
            let bar = self.paths.iter().find(|(id, _)| *id == path.id);
            if let Some((_, bar)) = bar {
                bar.set_position(path.counters.bytes_read);
                bar.set_message(path.state_words());
            }
        }
    }

    /// Leaves the bars as they are.
    pub fn finish(&self) {
        self.total.abandon();
        self.paths.iter().for_each(|(_, bar)| bar.abandon());
    }
}
