//! Tells a stray from a storm: a call that a provider turns away, without a word for how long,
//! among many that it answers. Pure.

use std::time::Duration;

/// What a call that is turned away counts against the provider; each answer takes one off. So
/// strays are strays as long as they are fewer than about one in eleven.
const WEIGHT: u32 = 10;
/// What may stand against it at most. Strays come close together by chance: where one call in
/// twenty is one, one of 50,000 goes over this.
const MOST: u32 = 11 * WEIGHT;

/// What stands against a provider since it was closed. At first that is all that may, so that
/// the first call that is turned away closes it, until enough were answered.
#[derive(Debug)]
pub(super) struct Strays {
    against: u32,
    /// Nothing was answered since one was turned away.
    is_last: bool,
    /// When the last one was turned away.
    at: Option<Duration>,
}

impl Default for Strays {
    fn default() -> Self {
        Strays { against: MOST, is_last: false, at: None }
    }
}

impl Strays {
    /// A call was answered.
    pub(super) fn answered(&mut self) {
        self.against = self.against.saturating_sub(1);
        self.is_last = false;
    }

    /// A call was turned away while `in_flight` others are out. Gives whether it is a stray: it is
    /// none if there were too many, or if all that were out when the first one was turned away
    /// were so as well.
    pub(super) fn turned_away(&mut self, now: Duration, in_flight: u32) -> bool {
        self.against += WEIGHT;
        if self.against > MOST || (self.is_last && in_flight == 0) {
            return false;
        }
        (self.is_last, self.at) = (true, Some(now));
        true
    }

    /// Whether the next call waits for news of those in flight: in a storm none leaves that would
    /// not have left if the first one had closed the provider.
    pub(super) fn waits(&self, in_flight: u32) -> bool {
        self.is_last && in_flight > 0
    }

    /// Until when a call rests that came back to the line at `entered`: for `pause`, if one was
    /// turned away shortly before.
    pub(super) fn rests_until(&self, entered: Duration, pause: Duration) -> Option<Duration> {
        let at = self.at?;
        (entered <= at + pause).then_some(entered + pause)
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn on_good_terms() -> Strays {
        let mut strays = Strays::default();
        (0..MOST).for_each(|_| strays.answered());
        strays
    }

    #[test]
    fn the_first_ones_after_a_closure_and_a_whole_wave_are_no_strays() {
        let mut strays = Strays::default();
        assert!(!strays.turned_away(NOW, 50), "nothing was answered yet");
        let mut strays = Strays::default();
        (0..WEIGHT).for_each(|_| strays.answered());
        assert!(strays.turned_away(NOW, 50) && !strays.turned_away(NOW, 49));

        let mut strays = on_good_terms();
        for in_flight in (1..4).rev() {
            assert!(strays.turned_away(NOW, in_flight) && strays.waits(in_flight));
        }
        assert!(!strays.turned_away(NOW, 0), "all that were out");
        let mut strays = on_good_terms();
        assert!(strays.turned_away(NOW, 0) && !strays.waits(0), "the next one tells");
        strays.answered();
        assert!(strays.turned_away(NOW, 0), "it was answered");
    }

    #[test]
    fn whoever_is_turned_away_rests_before_it_comes_back() {
        let mut strays = on_good_terms();
        let pause = Duration::from_millis(500);
        assert_eq!(strays.rests_until(NOW, pause), None);
        assert!(strays.turned_away(NOW, 5));
        assert_eq!(strays.rests_until(NOW, pause), Some(NOW + pause));
        assert_eq!(strays.rests_until(NOW + 2 * pause, pause), None, "it has rested elsewhere");
    }

    proptest! {
        /// Answers and refusals in any order: more than one in eleven of a long run is a storm,
        /// and fewer, well spread, are none.
        #[test]
        fn the_share_decides(every in 2u32..40) {
            let mut strays = on_good_terms();
            let is_storm = (0..20_000).any(|n| {
                if n % every == 0 {
                    return !strays.turned_away(NOW, 50);
                }
                strays.answered();
                false
            });
            prop_assert_eq!(is_storm, every < WEIGHT + 1);
        }
    }
}
