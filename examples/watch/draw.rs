//! What is where on the screen.

use std::time::Duration;

use iscsi_client::device::DeviceInfo;
use mpio::{
    Topology,
    core::{DownReason, GroupSnapshot, PathSnapshot},
};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Style, Stylize},
    text::{Line, Span},
    widgets::{Block, Paragraph, Sparkline},
};

use super::{History, Sample, Watch};

/// Rows of a path: its states, its throughput, its latency.
const PATH_ROWS: u16 = 3;
/// Rows above the paths.
const HEAD_ROWS: u16 = 4;
/// What is left of a sparkline.
const LABEL: u16 = 34;
/// Cells of the bar to the next check.
const BAR: usize = 10;

/// Draws all of it, as far as there is room.
pub fn draw(frame: &mut Frame<'_>, watch: &Watch) {
    let Some(topology) = watch.topology() else {
        frame.render_widget(Paragraph::new("no device yet"), frame.area());
        return;
    };
    let snapshot = &topology.snapshot;
    let rows = snapshot
        .groups
        .iter()
        .map(|group| 1 + group.paths.len() * usize::from(PATH_ROWS));
    let rows = u16::try_from(rows.sum::<usize>()).unwrap_or(u16::MAX);
    let [head, paths, events, foot] = Layout::vertical([
        Constraint::Length(HEAD_ROWS),
        Constraint::Max(rows),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(heading(topology, watch)), head);
    draw_groups(frame, paths, topology, watch);
    draw_events(frame, events, watch);
    let foot_text = Line::from("q, Esc, Ctrl-C: leave").dim();
    frame.render_widget(Paragraph::new(foot_text), foot);
}

fn heading<'a>(topology: &'a Topology, watch: &'a Watch) -> Vec<Line<'a>> {
    let (info, snapshot) = (&*topology.info, &topology.snapshot);
    let DeviceInfo { identity, .. } = info;
    let counters = &snapshot.counters;
    let name = format!(
        "{} {},{}",
        topology.wwid(),
        identity.vendor,
        identity.product
    );
    let mut first = vec![Span::from(name).bold(), Span::from("  ")];
    first.push(Span::from(watch.note.as_str()).yellow());
    let state = if snapshot.is_suspended {
        Span::from("  suspended").yellow()
    } else if snapshot.paths().any(PathSnapshot::is_usable) {
        Span::from("")
    } else {
        Span::from("  no path").red().bold()
    };
    let second = Line::from(vec![
        Span::from(format!(
            "{} bytes  features='{}' hwhandler='{}' policy={}",
            info.size,
            snapshot.features(),
            snapshot.hwhandler(),
            snapshot.selector
        )),
        state,
    ]);
    let third = match watch.last() {
        Some(sample) => format!("now: {}", figures(&sample)),
        None => "now: -".to_owned(),
    };
    let fourth = format!(
        "since {}: {} I/Os, {} failed, {} failovers, {} in flight or waiting",
        clock(snapshot.uptime),
        counters.submitted,
        counters.failed,
        counters.failovers,
        snapshot.unfinished
    );
    vec![
        Line::from(first),
        second,
        Line::from(third),
        Line::from(fourth),
    ]
}

fn draw_groups(frame: &mut Frame<'_>, area: Rect, topology: &Topology, watch: &Watch) {
    let mut top = area.top();
    let mut take = |rows: u16| {
        let left = area.bottom().saturating_sub(top);
        let row = Rect::new(area.x, top, area.width, rows.min(left));
        top += row.height;
        (row.height > 0).then_some(row)
    };
    for group in &topology.snapshot.groups {
        let Some(row) = take(1) else { return };
        frame.render_widget(Paragraph::new(group_line(group)), row);
        for path in &group.paths {
            let Some(row) = take(PATH_ROWS) else { return };
            let history = watch.paths().iter().find(|known| known.id == path.id);
            draw_path(frame, row, path, history);
        }
    }
}

fn group_line(group: &GroupSnapshot) -> Line<'static> {
    Line::from(format!(
        "group prio={} status={}",
        group.priority, group.status
    ))
    .bold()
}

fn draw_path(frame: &mut Frame<'_>, area: Rect, path: &PathSnapshot, history: Option<&History>) {
    let [states, throughput, latency] = Layout::vertical([Constraint::Length(1); 3]).areas(area);
    frame.render_widget(Paragraph::new(path_line(path)), states);
    let Some(history) = history else { return };
    let last = history.samples.back().copied().unwrap_or_default();
    let label = format!("    {:>9}/s {:>8} IOPS", size(last.throughput), last.ios);
    sparkline(
        frame,
        throughput,
        label,
        history,
        |sample| sample.throughput,
        Color::Cyan,
    );
    let label = format!("    50 % {}  99 % {}", time(last.median), time(last.p99));
    let micros = |sample: &Sample| u64::try_from(sample.p99.as_micros()).unwrap_or(u64::MAX);
    sparkline(frame, latency, label, history, micros, Color::Magenta);
}

fn sparkline(
    frame: &mut Frame<'_>,
    area: Rect,
    label: String,
    history: &History,
    value: impl Fn(&Sample) -> u64,
    color: Color,
) {
    let [text, line] =
        Layout::horizontal([Constraint::Length(LABEL), Constraint::Min(0)]).areas(area);
    frame.render_widget(Paragraph::new(label), text);
    let shown = history.samples.len().min(line.width.into());
    let latest = history.samples.iter().skip(history.samples.len() - shown);
    let values: Vec<u64> = latest.map(value).collect();
    let style = Style::default().fg(color);
    frame.render_widget(Sparkline::default().data(&values).style(style), line);
}

fn path_line(path: &PathSnapshot) -> Line<'static> {
    let color = match path.down {
        None if path.suspect.is_none() => Color::Green,
        None | Some(DownReason::Ghost) => Color::Yellow,
        Some(_) => Color::Red,
    };
    let why = match (path.down, path.suspect) {
        (Some(reason), _) => format!("  {reason}"),
        (None, Some(cause)) => format!("  suspected: {cause}"),
        (None, None) => String::new(),
    };
    let access = path
        .access
        .map(|access| format!("  {access}"))
        .unwrap_or_default();
    Line::from(vec![
        Span::from(format!("  {} ", path.name)),
        Span::styled(path.state_words(), Style::default().fg(color).bold()),
        Span::from(format!("  prio {}{access}", path.priority)),
        Span::from(format!("  check {}", check(path))),
        Span::from(format!("  {} in flight", path.in_flight)),
        Span::styled(why, Style::default().fg(color)),
    ])
}

/// A bar that empties until the next check, and the seconds that are left.
fn check(path: &PathSnapshot) -> String {
    let Some(left) = path.next_check else {
        return "-".to_owned();
    };
    let whole = path.check_interval.max(Duration::from_millis(1));
    let part = left.min(whole).as_secs_f64() / whole.as_secs_f64();
    let full = (part * BAR as f64).round() as usize;
    let bar: String = (0..BAR)
        .map(|at| if at < full { '█' } else { '░' })
        .collect();
    format!("{bar} {}s", left.as_secs())
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, watch: &Watch) {
    let block = Block::bordered().title(" events ");
    let room = usize::from(block.inner(area).height);
    let skip = watch.events.len().saturating_sub(room);
    let lines = watch.events.iter().skip(skip);
    let lines: Vec<Line<'_>> = lines
        .map(|(at, line)| {
            let at = Span::from(format!("{} ", clock(*at))).dim();
            Line::from(vec![at, Span::from(line.as_str())])
        })
        .collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn figures(sample: &Sample) -> String {
    format!(
        "{}/s, {} IOPS, 50 % in {}, 99 % in {}",
        size(sample.throughput),
        sample.ios,
        time(sample.median),
        time(sample.p99)
    )
}

/// `123 MB`: three digits at least, in decimal units as links have them.
fn size(bytes: u64) -> String {
    let (mut size, mut unit) = (bytes as f64, 0);
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    while size >= 1000.0 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && size < 100.0);
    format!("{size:.digits$} {}", UNITS[unit])
}

fn time(time: Duration) -> String {
    match time.as_micros() {
        0 => "-".to_owned(),
        micros @ ..1000 => format!("{micros} µs"),
        micros @ ..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        micros => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// `1:02:03`, of an uptime.
fn clock(uptime: Duration) -> String {
    let secs = uptime.as_secs();
    format!("{}:{:02}:{:02}", secs / 3600, secs / 60 % 60, secs % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(999), "999 B");
        assert_eq!(size(1_250_000_000), "1.2 GB");
        assert_eq!(size(118_000_000), "118 MB");
        assert_eq!(time(Duration::ZERO), "-");
        assert_eq!(time(Duration::from_micros(320)), "320 µs");
        assert_eq!(time(Duration::from_micros(20_480)), "20.5 ms");
        assert_eq!(time(Duration::from_secs(134)), "134.0 s");
        assert_eq!(clock(Duration::from_secs(3723)), "1:02:03");
    }
}
