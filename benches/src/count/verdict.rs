//! Whether what was counted is what was kept.

use std::collections::BTreeMap;

use super::Counts;

/// How much more, or less, an instruction count may be: 3 %.
const TOLERANCE: f64 = 0.03;
/// Allocations are kept with three digits behind the point.
const HALF_A_DIGIT: f64 = 0.0005;

/// What a comparison came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Each is a reason to fail.
    pub(crate) worse: Vec<String>,
    /// Each should be recorded.
    pub(crate) better: Vec<String>,
}

/// Compares what was counted with what was kept. Instructions only where both have them.
pub(crate) fn compare(kept: &BTreeMap<String, Counts>, counted: &[(&str, Counts)]) -> Verdict {
    let mut verdict = Verdict::default();
    for (name, now) in counted {
        let Some(was) = kept.get(*name) else {
            let line = format!("{name}: not in the file; record it with `benches record`");
            verdict.worse.push(line);
            continue;
        };
        if let (Some(was), Some(now)) = (was.instructions, now.instructions) {
            let change = (now / was - 1.0) * 100.0;
            let line = format!("{name}: {now} instructions, {was} were kept ({change:+.1} %)");
            if now > was * (1.0 + TOLERANCE) {
                verdict.worse.push(line);
            } else if now < was * (1.0 - TOLERANCE) {
                verdict.better.push(line);
            }
        }
        let line = format!(
            "{name}: {} allocations, {} were kept",
            now.allocations, was.allocations
        );
        if now.allocations > was.allocations + HALF_A_DIGIT {
            verdict.worse.push(line);
        } else if now.allocations < was.allocations - HALF_A_DIGIT {
            verdict.better.push(line);
        }
    }
    verdict
}

/// The kept workloads that there are no more.
pub(crate) fn gone(kept: &BTreeMap<String, Counts>, exists: impl Fn(&str) -> bool) -> Vec<&str> {
    let names = kept.keys().map(String::as_str);
    names.filter(|name| !exists(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn counts(instructions: Option<f64>, allocations: f64) -> Counts {
        Counts {
            instructions,
            allocations,
            bytes: 0.0,
        }
    }

    fn judge(was: Counts, now: Counts) -> (usize, usize) {
        let kept = BTreeMap::from([("a".to_owned(), was)]);
        let verdict = compare(&kept, &[("a", now)]);
        (verdict.worse.len(), verdict.better.len())
    }

    #[test]
    fn three_per_cent_either_way_is_nothing() {
        let was = counts(Some(1000.0), 0.0);
        assert_eq!(judge(was, counts(Some(1030.0), 0.0)), (0, 0));
        assert_eq!(judge(was, counts(Some(970.0), 0.0)), (0, 0));
        assert_eq!(judge(was, counts(Some(1030.2), 0.0)), (1, 0));
        assert_eq!(judge(was, counts(Some(969.8), 0.0)), (0, 1));
    }

    #[test]
    fn no_allocation_more_is_nothing() {
        let was = counts(None, 1.0);
        assert_eq!(judge(was, counts(None, 1.0)), (0, 0));
        assert_eq!(judge(was, counts(None, 1.001)), (1, 0));
        assert_eq!(judge(was, counts(None, 0.5)), (0, 1));
    }

    #[test]
    fn instructions_that_were_not_counted_are_not_judged() {
        let was = counts(Some(1000.0), 0.0);
        assert_eq!(judge(was, counts(None, 0.0)), (0, 0));
    }

    #[test]
    fn the_words_say_both_figures() {
        let kept = BTreeMap::from([("a".to_owned(), counts(Some(1000.0), 0.0))]);
        let verdict = compare(&kept, &[("a", counts(Some(1100.0), 0.0))]);
        assert_eq!(
            verdict.worse,
            ["a: 1100 instructions, 1000 were kept (+10.0 %)"]
        );
    }

    #[test]
    fn a_workload_that_is_new_or_gone_has_to_be_recorded() {
        let kept = BTreeMap::from([("old".to_owned(), counts(None, 0.0))]);
        let verdict = compare(&kept, &[("new", counts(None, 0.0))]);
        assert_eq!(verdict.worse.len(), 1);
        assert_eq!(gone(&kept, |name| name == "new"), ["old"]);
    }
}
