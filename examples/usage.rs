//! What the process has used.

use std::time::Duration;

/// Resources used since the process began, all threads together. Zero where the platform does not
/// tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time outside the kernel.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// Context switches because of a wait.
    pub voluntary_switches: i64,
    /// Context switches because others wanted the CPU.
    pub involuntary_switches: i64,
}

impl Usage {
    /// As of now.
    #[must_use]
    #[cfg(unix)]
    pub fn now() -> Self {
        use nix::sys::{
            resource::{UsageWho, getrusage},
            time::TimeVal,
        };
        let time = |value: TimeVal| {
            let micros = value.tv_usec().unsigned_abs();
            Duration::from_secs(value.tv_sec().unsigned_abs()) + Duration::from_micros(micros)
        };
        getrusage(UsageWho::RUSAGE_SELF).map_or_else(
            |_| Self::default(),
            |usage| Self {
                user: time(usage.user_time()),
                system: time(usage.system_time()),
                voluntary_switches: usage.voluntary_context_switches(),
                involuntary_switches: usage.involuntary_context_switches(),
            },
        )
    }

    /// As of now.
    #[must_use]
    #[cfg(not(unix))]
    pub fn now() -> Self {
        Self::default()
    }

    /// What was used since `start`.
    #[must_use]
    pub fn since(self, start: Self) -> Self {
        Self {
            user: self.user.saturating_sub(start.user),
            system: self.system.saturating_sub(start.system),
            voluntary_switches: self.voluntary_switches - start.voluntary_switches,
            involuntary_switches: self.involuntary_switches - start.involuntary_switches,
        }
    }
}

/// The greatest resident set so far in KiB, or 0 where the platform does not tell. Not `ru_maxrss`,
/// which survives `exec` and would show a big parent's.
#[must_use]
pub fn peak_memory_kib() -> u64 {
    status_kib("VmHWM:")
}

/// The resident set in KiB, or 0 where the platform does not tell.
#[must_use]
pub fn memory_kib() -> u64 {
    status_kib("VmRSS:")
}

/// Open descriptors, or 0 where the platform does not tell.
#[must_use]
pub fn descriptors() -> usize {
    // The one with which they are counted is among them.
    std::fs::read_dir("/proc/self/fd").map_or(0, |open| open.count().saturating_sub(1))
}

fn status_kib(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_grows_and_memory_is_known() {
        let start = Usage::now();
        let mut sum = 0_u64;
        while Usage::now().since(start).user + Usage::now().since(start).system
            < Duration::from_millis(5)
        {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(1));
        }
        assert!(peak_memory_kib() > 100);
        assert!((100..=peak_memory_kib()).contains(&memory_kib()));
    }

    #[test]
    fn an_open_file_is_a_descriptor() {
        // Other tests of this process open files of their own.
        let files: Vec<_> = (0..100)
            .map(|_| std::fs::File::open("/proc/self/status").unwrap())
            .collect();
        assert!(descriptors() >= files.len());
    }
}
