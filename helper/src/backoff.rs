//! How long to wait before trying again: twice as long each time, up to a limit, and never quite the same for two of us.

use std::time::Duration;

use rand::RngExt;

/// The wait before attempt `failures + 1`: between half and the whole of `base * 2^(failures - 1)`, at most `limit`.
pub(crate) fn backoff(base: Duration, limit: Duration, failures: u32) -> Duration {
    let doubled = base.saturating_mul(1 << failures.saturating_sub(1).min(20));
    doubled
        .min(limit)
        .mul_f64(rand::rng().random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_and_ends() {
        let (base, limit) = (Duration::from_secs(1), Duration::from_mins(1));
        for (failures, whole) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (u32::MAX, 60)] {
            let wait = backoff(base, limit, failures);
            let whole = Duration::from_secs(whole);
            assert!(wait >= whole / 2 && wait <= whole, "{failures}: {wait:?}");
        }
    }
}
