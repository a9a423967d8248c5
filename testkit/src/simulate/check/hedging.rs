//! How many reads may be done twice since their path was silent (L4).

use mpio::core::{DeviceCounters, HedgeConfig};

use super::violation::{Row, Violation};

/// L4: no more reads were hedged than the burst and the share of all requests allow.
///
/// # Errors
///
/// There were.
pub fn is_within_its_budget(
    who: &str,
    counters: &DeviceCounters,
    budget: Option<HedgeConfig>,
) -> Result<(), Violation> {
    let allowed = budget.map_or(0, |budget| {
        u64::from(budget.burst) + counters.submitted * u64::from(budget.percent) / 100
    });
    if counters.reads_hedged <= allowed {
        return Ok(());
    }
    Err(Violation::new(
        Row::L4,
        format!(
            "{who} has hedged {} reads of {} requests, and may hedge {allowed}",
            counters.reads_hedged, counters.submitted
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_burst_and_the_share_are_allowed_and_no_more() {
        let mut counters = DeviceCounters::default();
        counters.submitted = 200;
        let budget = HedgeConfig::new(3, 5);
        counters.reads_hedged = 13;
        let judged = is_within_its_budget("a device", &counters, Some(budget));
        assert_eq!(judged, Ok(()));
        counters.reads_hedged = 14;
        let judged = is_within_its_budget("a device", &counters, Some(budget));
        assert_eq!(judged.unwrap_err().row, Row::L4);
        assert!(is_within_its_budget("a device", &counters, None).is_err());
    }
}
