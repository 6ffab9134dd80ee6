//! The ledger against what a vendor says is left: what calls of unknown outcome really cost. Pure.

use empire_actors::money::Micros;
use empire_actors::ports::HoldId;
use serde::Serialize;

use crate::store::{Baseline, SinceBaseline};

/// Balances are told with fewer decimals than bills have: less than this says nothing.
pub const SLACK: Micros = Micros(10_000);

/// What came of comparing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// More is left than at the baseline: money was paid in, so it tells nothing any more.
    PaidIn,
    /// The vendor has billed less than it counted itself: it is not done billing.
    Behind,
    /// What the calls of unknown outcome cost together.
    Explained {
        /// So much, and no more than they are billed at.
        unknown: Micros,
        /// What the vendor took beyond all that the ledger knows: somebody else uses the account.
        unexplained: Micros,
    },
}

/// What the vendor took since the baseline, in micro-dollars; below zero if money was paid in.
#[must_use]
pub fn taken(baseline: &Baseline, balance: i64) -> i64 {
    baseline.balance.saturating_sub(balance)
}

/// Compares the ledger since a baseline with the balance now.
#[must_use]
pub fn compare(baseline: &Baseline, balance: i64, since: &SinceBaseline) -> Verdict {
    let Ok(taken) = u64::try_from(taken(baseline, balance)).map(Micros) else { return Verdict::PaidIn };
    if taken + SLACK < since.certain {
        return Verdict::Behind;
    }
    let over = taken.saturating_sub(since.certain);
    let unknown = over.min(since.unknown.iter().map(|(_, billed)| *billed).sum());
    Verdict::Explained { unknown, unexplained: over.saturating_sub(unknown) }
}

/// Shares out what calls of unknown outcome cost together, by what they are billed at; none gets
/// more than that, and the sum is exact.
#[must_use]
pub fn share(calls: &[(HoldId, Micros)], cost: Micros) -> Vec<(HoldId, Micros)> {
    let weights: Vec<u64> = calls.iter().map(|(_, billed)| billed.0).collect();
    let mut shares: Vec<Micros> = cost.split(&weights);
    // A remainder of one may have gone to a call that is billed at its share already.
    let mut over = Micros::ZERO;
    for (share, (_, billed)) in shares.iter_mut().zip(calls) {
        over += share.saturating_sub(*billed);
        *share = (*share).min(*billed);
    }
    for (share, (_, billed)) in shares.iter_mut().zip(calls) {
        let more = over.min(billed.saturating_sub(*share));
        *share += more;
        over = over.saturating_sub(more);
    }
    calls.iter().map(|(hold, _)| *hold).zip(shares).collect()
}

#[cfg(test)]
mod tests {
    use empire_actors::ports::UnixMillis;
    use proptest::prelude::*;

    use super::*;

    fn baseline(balance: i64) -> Baseline {
        Baseline { at: UnixMillis(0), balance, first_hold: 0 }
    }

    #[test]
    fn a_balance_tells_what_unknown_calls_cost() {
        let since = SinceBaseline {
            certain: Micros(1_000_000),
            unknown: vec![(HoldId(1), Micros(300_000)), (HoldId(2), Micros(100_000))],
            unknown_before: Micros::ZERO,
        };
        let told = |balance| compare(&baseline(12_000_000), balance, &since);
        let explained = |unknown, unexplained| Verdict::Explained {
            unknown: Micros(unknown),
            unexplained: Micros(unexplained),
        };
        assert_eq!(told(10_800_000), explained(200_000, 0));
        assert_eq!(told(11_000_000), explained(0, 0));
        assert_eq!(told(11_005_000), explained(0, 0), "within the slack");
        assert_eq!(told(10_000_000), explained(400_000, 600_000));
        assert_eq!(told(11_500_000), Verdict::Behind);
        assert_eq!(told(20_000_000), Verdict::PaidIn);
        assert_eq!(
            share(&since.unknown, Micros(200_000)),
            [(HoldId(1), Micros(150_000)), (HoldId(2), Micros(50_000))]
        );
    }

    proptest! {
        #[test]
        fn shares_are_exact_and_never_more_than_billed(
            billed in prop::collection::vec(0u64..10_000, 1..40), part in 0u64..=100,
        ) {
            let calls: Vec<_> = (0..).map(HoldId).zip(billed.iter().map(|b| Micros(*b))).collect();
            let cost = Micros(billed.iter().sum::<u64>() * part / 100);
            let shares = share(&calls, cost);
            prop_assert_eq!(shares.iter().map(|(_, share)| *share).sum::<Micros>(), cost);
            prop_assert!(shares.iter().zip(&calls).all(|((_, share), (_, billed))| share <= billed));
        }
    }
}
