//! What many worlds did, for people and for programs.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use iscsi_testkit::simulate::Tallies;

use crate::args::Args;

pub(crate) fn table(
    args: &Args,
    tallies: &Tallies,
    wall: Duration,
    cpu: Option<Duration>,
    broken: usize,
) -> String {
    let seeds = args.seeds as f64;
    let hours = tallies.simulated.as_secs_f64() / 3600.0;
    let mut text = format!(
        "seeds        {} from {}, {:.1} a second, {:.1} s\n",
        args.seeds,
        args.from,
        seeds / wall.as_secs_f64(),
        wall.as_secs_f64(),
    );
    // Writing to a String cannot fail.
    let mut line = |name: &str, value: String| {
        let _written = writeln!(text, "{name:<12} {value}");
    };
    line("checked I/O", checked(tallies, cpu));
    line("simulated", format!("{hours:.2} h"));
    line("logins", tallies.logins.to_string());
    line("commands", tallies.commands.to_string());
    line("failovers", tallies.failovers.to_string());
    line("orders", counts(&tallies.orders));
    line("fences", counts(&tallies.fences));
    line("marginal", counts(&tallies.marginal));
    line("silences", counts(&tallies.silences));
    line("late writes", tallies.late_writes.to_string());
    line("writes held", tallies.held.to_string());
    line("lives", each(&tallies.lives));
    line("faults", counts(&tallies.faults));
    line("which met", counts(&tallies.met));
    line(
        "violations",
        if broken == 0 {
            "none".into()
        } else {
            format!("in {broken} seeds")
        },
    );
    text
}

fn checked(tallies: &Tallies, cpu: Option<Duration>) -> String {
    let (count, failed, dropped) = (tallies.checked, tallies.failed, tallies.dropped);
    let rate = match cpu {
        Some(cpu) => format!("{:.0} per CPU-second", count as f64 / cpu.as_secs_f64()),
        None => "CPU time is not known here".into(),
    };
    format!("{count} ({failed} failed, {dropped} dropped), {rate}")
}

fn counts(of: &BTreeMap<&'static str, u64>) -> String {
    let total: u64 = of.values().sum();
    if total == 0 {
        "none".into()
    } else {
        format!("{total}: {}", each(of))
    }
}

/// Counts that have no sum.
fn each(of: &BTreeMap<&'static str, u64>) -> String {
    let each = of.iter().map(|(kind, count)| format!("{kind} {count}"));
    let each = each.collect::<Vec<_>>().join(", ");
    if each.is_empty() { "none".into() } else { each }
}

pub(crate) fn json(
    seeds: u64,
    broken: u64,
    tallies: &Tallies,
    wall: Option<Duration>,
    cpu: Option<Duration>,
) -> String {
    let object = |of: &BTreeMap<&'static str, u64>| {
        let each = of.iter().map(|(kind, count)| format!("\"{kind}\":{count}"));
        format!("{{{}}}", each.collect::<Vec<_>>().join(","))
    };
    let seconds = |time: Option<Duration>| {
        time.map_or_else(
            || "null".into(),
            |time| format!("{:.3}", time.as_secs_f64()),
        )
    };
    format!(
        "{{\"seeds\":{seeds},\"broken\":{broken},\"checked\":{},\"failed\":{},\"dropped\":{},\
         \"simulated_s\":{:.3},\"wall_s\":{},\"cpu_s\":{},\"logins\":{},\"commands\":{},\
         \"failovers\":{},\"held\":{},\"late_writes\":{},\"lives\":{},\"fences\":{},\"faults\":{}}}",
        tallies.checked,
        tallies.failed,
        tallies.dropped,
        tallies.simulated.as_secs_f64(),
        seconds(wall),
        seconds(cpu),
        tallies.logins,
        tallies.commands,
        tallies.failovers,
        tallies.held,
        tallies.late_writes,
        object(&tallies.lives),
        object(&tallies.fences),
        object(&tallies.faults),
    )
}
