//! Thresholds, and whether they hold.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};

use crate::measure::{Measure, show};

/// What was measured.
pub(crate) type Measures = BTreeMap<Measure, f64>;

/// Between which values a measure must lie; ends included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Bound {
    /// The least that will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at_least: Option<f64>,
    /// The most that will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at_most: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBound {
    at_least: Option<f64>,
    at_most: Option<f64>,
}

impl Bound {
    /// Whether a value lies inside.
    pub(crate) fn admits(self, value: f64) -> bool {
        self.at_least.is_none_or(|least| value >= least) && self.at_most.is_none_or(|most| value <= most)
    }

    /// In words, with the measure's unit.
    pub(crate) fn words(self, measure: Measure) -> String {
        match (self.at_least, self.at_most) {
            (Some(least), Some(most)) if least == most => format!("exactly {}", show(measure, least)),
            (Some(least), Some(most)) => {
                format!("from {} to {}", show(measure, least), show(measure, most))
            }
            (Some(least), None) => format!("at least {}", show(measure, least)),
            (None, Some(most)) => format!("at most {}", show(measure, most)),
            (None, None) => "anything".to_owned(),
        }
    }
}

/// A number stands for exactly that; else `{at_least, at_most}`.
impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Bound;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or {at_least: number, at_most: number}")
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Bound, E> {
                if value.is_finite() {
                    Ok(Bound { at_least: Some(value), at_most: Some(value) })
                } else {
                    Err(E::custom("a bound must be a finite number"))
                }
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Bound, E> {
                self.visit_f64(value as f64)
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Bound, E> {
                self.visit_f64(value as f64)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Bound, A::Error> {
                let RawBound { at_least, at_most } = RawBound::deserialize(MapAccessDeserializer::new(map))?;
                let given: Vec<f64> = at_least.into_iter().chain(at_most).collect();
                if given.is_empty() || given.iter().any(|bound| !bound.is_finite()) {
                    return Err(A::Error::custom("give at_least, at_most or both, as finite numbers"));
                }
                if given.len() == 2 && given[0] > given[1] {
                    return Err(A::Error::custom("at_least is above at_most: swap them"));
                }
                Ok(Bound { at_least, at_most })
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// Whether one threshold holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Of what.
    pub(crate) measure: Measure,
    /// What is wanted.
    pub(crate) wanted: Bound,
    /// What was measured; nothing if it could not be.
    pub(crate) value: Option<f64>,
    /// Whether it holds. What was not measured does not.
    pub(crate) holds: bool,
}

/// Judges every threshold.
pub(crate) fn judge(thresholds: &BTreeMap<Measure, Bound>, measures: &Measures) -> Vec<Verdict> {
    let each = thresholds.iter().map(|(measure, bound)| {
        let value = measures.get(measure).copied();
        let holds = value.is_some_and(|value| bound.admits(value));
        Verdict { measure: *measure, wanted: *bound, value, holds }
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bound(yaml: &str) -> Result<Bound, String> {
        serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
    }

    #[test]
    fn bounds_are_read() {
        assert_eq!(bound("0").unwrap(), Bound { at_least: Some(0.0), at_most: Some(0.0) });
        assert_eq!(bound("{at_least: 0.8}").unwrap(), Bound { at_least: Some(0.8), at_most: None });
        for wrong in ["{}", "{at_lest: 1}", "{at_least: 2, at_most: 1}", "{at_most: .inf}", "many", ".nan"] {
            assert!(bound(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_was_not_measured_does_not_hold() {
        let wanted = BTreeMap::from([
            (Measure::Lost, bound("0").unwrap()),
            (Measure::PeakMemoryMib, bound("{at_most: 350}").unwrap()),
        ]);
        let verdicts = judge(&wanted, &BTreeMap::from([(Measure::Lost, 0.0)]));
        let held: Vec<_> = verdicts.iter().map(|verdict| (verdict.measure, verdict.holds)).collect();
        assert_eq!(held, [(Measure::PeakMemoryMib, false), (Measure::Lost, true)]);
    }

    proptest! {
        #[test]
        fn a_bound_admits_what_lies_between_its_ends(low in -1e6..1e6f64, more in 0.0..1e6f64, value in -3e6..3e6f64) {
            let bound = bound(&format!("{{at_least: {low}, at_most: {}}}", low + more)).unwrap();
            prop_assert_eq!(bound.admits(value), (low..=low + more).contains(&value));
            prop_assert!(bound.admits(low) && bound.admits(low + more));
        }
    }
}
