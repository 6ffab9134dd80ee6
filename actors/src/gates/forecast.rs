//! When a cap is reached, at the pace of late. Pure.

use std::time::Duration;

use crate::money::Micros;
use crate::ports::UnixMillis;

/// A forecast beyond this says nothing that anybody would act on.
pub const HORIZON: Duration = Duration::from_secs(24 * 60 * 60);
/// Less than this is no pace yet.
const SHORTEST: Duration = Duration::from_secs(1);

/// When `left` is spent, if what comes is spent as fast as `spent` was within the last `over`.
/// `None` without a pace, or if that is more than a day ahead.
#[must_use]
pub fn runs_out(spent: Micros, over: Duration, left: Micros, now: UnixMillis) -> Option<UnixMillis> {
    if spent == Micros::ZERO || over < SHORTEST {
        return None;
    }
    let millis = u128::from(left.0) * over.as_millis() / u128::from(spent.0);
    if millis > HORIZON.as_millis() {
        return None;
    }
    i64::try_from(millis).ok().map(|millis| UnixMillis(now.0.saturating_add(millis)))
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn half_as_much_again_takes_half_as_long_again() {
        let now = UnixMillis(1_000_000);
        let at = runs_out(Micros(2_000), HOUR, Micros(3_000), now);
        assert_eq!(at, Some(UnixMillis(now.0 + 5_400_000)));
        assert_eq!(runs_out(Micros(2_000), HOUR, Micros::ZERO, now), Some(now));
        assert_eq!(runs_out(Micros::ZERO, HOUR, Micros(1), now), None);
        assert_eq!(runs_out(Micros(1), HOUR, Micros(25), now), None, "more than a day");
        assert_eq!(runs_out(Micros(5), Duration::from_millis(10), Micros(1), now), None);
    }

    proptest! {
        #[test]
        fn more_money_never_runs_out_sooner(spent in 1u64.., over in 1u64..1_000_000, left: u32, more: u32) {
            let (over, now) = (Duration::from_secs(over), UnixMillis(0));
            let first = runs_out(Micros(spent), over, Micros(left.into()), now);
            let later = runs_out(Micros(spent), over, Micros(u64::from(left) + u64::from(more)), now);
            prop_assert!(later.is_none() || first <= later);
        }
    }
}
