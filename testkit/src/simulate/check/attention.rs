//! I12: what a unit reports is told on once.
//!
//! A target tells a unit attention once per nexus. The session of that nexus passes it on to whoever uses
//! the unit, once. Attentions of one code cannot be told apart, so they are counted.

use std::collections::BTreeMap;

use super::violation::{Row, Violation, seconds};

/// Additional sense code and qualifier.
pub type Code = (u8, u8);

/// One path's share in what a unit has reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// What the path is called.
    pub path: String,
    /// Everything that the target told its nexus: when, whether it knows that it was heard, and what.
    pub told: Vec<(u64, bool, Code)>,
    /// Everything that the session passed on: when, and what.
    pub passed_on: Vec<(u64, Code)>,
    /// From when to when somebody was listening without a break; `None` if not until the end.
    pub listened: Option<(u64, u64)>,
}

/// I12: nothing was passed on more often than it was told, nor was anything lost on the way.
///
/// # Errors
///
/// The first code of which that does not hold.
pub fn are_passed_on_once(reported: &Reported) -> Result<(), Violation> {
    let told = count(reported.told.iter().map(|(.., code)| *code));
    let passed_on = count(reported.passed_on.iter().map(|(_, code)| *code));
    for (code, &times) in &passed_on {
        let told = told.get(code).copied().unwrap_or_default();
        if times > told {
            let what = format!("passed on {times} times, told {told} times");
            return Err(violation(reported, *code, &what));
        }
    }
    let Some((from, to)) = reported.listened else {
        return Ok(());
    };
    let heard = reported.told.iter();
    let heard = heard.filter(|(at, heard, _)| *heard && (from..to).contains(at));
    let heard = count(heard.map(|(.., code)| *code));
    let since = reported.passed_on.iter().filter(|(at, _)| *at >= from);
    let since = count(since.map(|(_, code)| *code));
    for (code, &times) in &heard {
        let passed_on = since.get(code).copied().unwrap_or_default();
        if passed_on < times {
            let what = format!("heard {times} times, passed on {passed_on} times");
            return Err(violation(reported, *code, &what));
        }
    }
    Ok(())
}

fn count(codes: impl Iterator<Item = Code>) -> BTreeMap<Code, usize> {
    let mut counts = BTreeMap::new();
    codes.for_each(|code| *counts.entry(code).or_default() += 1);
    counts
}

fn violation(reported: &Reported, (asc, ascq): Code, what: &str) -> Violation {
    let is_it = |code: &Code| *code == (asc, ascq);
    let told = reported.told.iter().filter(|(.., code)| is_it(code));
    let told = told.map(|(at, heard, _)| {
        let heard = if *heard { "" } else { ", perhaps in vain" };
        (*at, format!("{} told{heard}", seconds(*at)))
    });
    let passed_on = reported.passed_on.iter().filter(|(_, code)| is_it(code));
    let passed_on = passed_on.map(|(at, _)| (*at, format!("{} passed on", seconds(*at))));
    let mut account: Vec<(u64, String)> = told.chain(passed_on).collect();
    account.sort();
    Violation {
        row: Row::I12,
        what: format!(
            "{}: unit attention {asc:02x}/{ascq:02x}: {what}",
            reported.path
        ),
        account: account.into_iter().map(|(_, line)| line).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESET: Code = (0x29, 0x00);
    const RESIZED: Code = (0x2a, 0x09);

    fn row(
        told: &[(u64, bool, Code)],
        passed_on: &[(u64, Code)],
        listened: Option<(u64, u64)>,
    ) -> Option<Row> {
        let reported = Reported {
            path: "p".into(),
            told: told.to_vec(),
            passed_on: passed_on.to_vec(),
            listened,
        };
        let judged = are_passed_on_once(&reported);
        judged.err().map(|violation| violation.row)
    }

    #[test]
    fn what_was_told_once_is_passed_on_once() {
        let told = [(10, true, RESET), (20, true, RESIZED)];
        let both = [(11, RESET), (21, RESIZED)];
        assert_eq!(row(&told, &both, Some((0, 100))), None);
        let twice = [(11, RESET), (12, RESET), (21, RESIZED)];
        assert_eq!(row(&told, &twice, None), Some(Row::I12));
        let other = [(11, (0x3f, 0x03))];
        assert_eq!(row(&told, &other, None), Some(Row::I12));
    }

    #[test]
    fn what_was_heard_while_somebody_listened_is_not_swallowed() {
        let told = [(10, true, RESET)];
        assert_eq!(row(&told, &[], Some((0, 100))), Some(Row::I12));
        assert_eq!(
            row(&told, &[], Some((11, 100))),
            None,
            "before anybody listened"
        );
        assert_eq!(row(&told, &[], None), None, "nobody listened to the end");
        assert_eq!(
            row(&[(10, false, RESET)], &[], Some((0, 100))),
            None,
            "not heard"
        );
    }
}
