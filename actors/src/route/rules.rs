//! How a job's calls are routed: whether kept answers serve, which fallbacks go, in which order
//! models are tried, and which of them a prompt fits. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::level::{Level, Zone};
use crate::model::{Model, ProviderId};
use crate::money::Micros;

/// Bytes of text that make a token, on average; as plans count.
const BYTES_PER_TOKEN: u64 = 4;
/// Input tokens of the call by whose price models are compared.
const COMPARED_INPUT: u64 = 1_000;

/// Whether answers that are kept serve a job's calls, and whether its answers are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheMode {
    /// Both, unless the model is configured to vary its answers (a temperature above 0).
    #[default]
    Auto,
    /// Both.
    On,
    /// Neither.
    Off,
    /// Every call is made anew, and its answer kept instead of an earlier one.
    Refresh,
}

impl CacheMode {
    /// Whether a kept answer may stand in for a call to `model`.
    #[must_use]
    pub fn reads(self, model: &Model) -> bool {
        match self {
            CacheMode::Auto => !varies(model),
            CacheMode::On => true,
            CacheMode::Off | CacheMode::Refresh => false,
        }
    }

    /// Whether the answers of `model` are kept.
    #[must_use]
    pub fn writes(self, model: &Model) -> bool {
        match self {
            CacheMode::Auto => !varies(model),
            CacheMode::On | CacheMode::Refresh => true,
            CacheMode::Off => false,
        }
    }
}

fn varies(model: &Model) -> bool {
    model.temperature.is_some_and(|temperature| temperature > 0.0)
}

/// How far a fallback may go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// As far as the level permits; going to a less trusted zone is told.
    #[default]
    Permitted,
    /// Never to a less trusted zone than that of the first model the level admits.
    SameZone,
}

/// What answers under a provider's name: a hash of where it is and what it speaks, or, in a
/// simulated run, of how it behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Destination(pub [u8; 32]);

/// A job's rules for its calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallRules {
    /// What answers under each provider's name.
    pub destinations: BTreeMap<ProviderId, Destination>,
    /// Whether the simulator answers: then no answer is ever taken for a real one.
    pub simulated: bool,
    /// Whether kept answers serve.
    pub cache: CacheMode,
    /// How far a fallback may go.
    pub fallback: Fallback,
}

impl CallRules {
    /// What answers under the name of `provider`.
    #[must_use]
    pub fn destination(&self, provider: &ProviderId) -> Destination {
        self.destinations.get(provider).copied().unwrap_or_default()
    }
}

/// A fallback that leaves the zone where the route begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crossing {
    /// Where the first model is that the level admits.
    pub from: Zone,
    /// Where the fallback is; less trusted.
    pub to: Zone,
}

/// A job forbids a fallback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the job's `fallback: same_zone` forbids going on from {} to {}", .0.from, .0.to)]
pub struct Forbidden(pub Crossing);

/// Where data of `level` begins its way along a route through `zones`: the first that admits it.
#[must_use]
pub fn origin(zones: impl IntoIterator<Item = Zone>, level: Level) -> Option<Zone> {
    zones.into_iter().find(|zone| zone.admits(level))
}

/// Whether going to `to` leaves the zone `from` where the route begins, and may.
///
/// # Errors
/// The job forbids it.
pub fn crossing(fallback: Fallback, from: Option<Zone>, to: Zone) -> Result<Option<Crossing>, Forbidden> {
    let crossing = from.filter(|from| to > *from).map(|from| Crossing { from, to });
    match (crossing, fallback) {
        (Some(crossing), Fallback::SameZone) => Err(Forbidden(crossing)),
        (crossing, _) => Ok(crossing),
    }
}

/// A prompt that a model has no room for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the prompt does not fit {model}: about {tokens} tokens with the answer, and its context is {context}"
)]
pub struct TooLong {
    model: String,
    tokens: u64,
    context: u32,
}

/// Whether a prompt of so many bytes, and the answer, fit the model's context. What is close is
/// let through: only the vendor counts tokens exactly.
///
/// # Errors
/// It does not, at four bytes a token.
pub fn fits(model: &Model, bytes: u64, max_tokens: u32) -> Result<(), TooLong> {
    let output = u64::from(max_tokens.min(model.max_output));
    let tokens = bytes.div_ceil(BYTES_PER_TOKEN).saturating_add(output);
    if tokens <= u64::from(model.context) {
        return Ok(());
    }
    Err(TooLong { model: model.id.clone(), tokens, context: model.context })
}

/// In which order the models of a route are tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// As the route lists them.
    #[default]
    Listed,
    /// The cheapest first.
    Price,
    /// The most trusted zone first.
    Privacy,
}

/// The models in the order of `policy`, but `start` first, if it is among them. Models that are
/// equal to the policy stay as listed; under [`Policy::Listed`] those before `start` go last, in
/// their order.
#[must_use]
pub fn arrange(
    mut route: Vec<Arc<Model>>,
    zone_of: impl Fn(&Model) -> Zone,
    policy: Policy,
    start: Option<&str>,
    max_tokens: u32,
) -> Vec<Arc<Model>> {
    match policy {
        Policy::Listed => {}
        Policy::Price => route.sort_by_key(|model| price(model, max_tokens)),
        Policy::Privacy => route.sort_by_key(|model| zone_of(model)),
    }
    let place = start.and_then(|start| route.iter().position(|model| model.id == start));
    match (place, policy) {
        (Some(place), Policy::Listed) => route.rotate_left(place),
        (Some(place), Policy::Price | Policy::Privacy) => route[..=place].rotate_right(1),
        (None, _) => {}
    }
    route
}

/// What a usual call costs; unknown prices are the highest.
fn price(model: &Model, max_tokens: u32) -> Micros {
    let output = u64::from(max_tokens.min(model.max_output));
    model.price.map_or(Micros(u64::MAX), |price| price.bound(COMPARED_INPUT, output))
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{Structured, Thinking};
    use crate::money::Price;

    fn model(id: &str, output: Option<u64>) -> Arc<Model> {
        let price = output.map(|output| Price { output: Micros(output * 1_000_000), ..Price::FREE });
        Arc::new(Model {
            id: id.into(),
            provider: id.into(),
            price,
            context: 1_000,
            max_output: 500,
            thinking: Thinking::Off,
            structured: Structured::PromptOnly,
            temperature: None,
            top_p: None,
            timeout: Duration::from_secs(1),
        })
    }

    fn ids(route: &[Arc<Model>]) -> String {
        route.iter().map(|model| model.id.as_str()).collect()
    }

    #[test]
    fn a_route_is_arranged_as_asked_and_starts_where_the_difficulty_says() {
        let route = || vec![model("a", Some(9)), model("b", None), model("c", Some(0)), model("d", Some(5))];
        let zone = |model: &Model| if model.id == "d" { Zone::Local } else { Zone::Cloud };
        let order = |policy, start| ids(&arrange(route(), zone, policy, start, 100));
        assert_eq!(order(Policy::Listed, None), "abcd");
        assert_eq!(order(Policy::Price, None), "cdab");
        assert_eq!(order(Policy::Privacy, None), "dabc");
        assert_eq!(order(Policy::Listed, Some("c")), "cdab");
        assert_eq!(order(Policy::Price, Some("a")), "acdb");
        assert_eq!(order(Policy::Listed, Some("nobody")), "abcd");
    }

    #[test]
    fn a_prompt_is_skipped_only_where_it_surely_does_not_fit() {
        let model = model("a", None);
        assert_eq!(fits(&model, 2_000, 400), Ok(()));
        assert_eq!(fits(&model, 2_000, 30_000), Ok(()), "the model writes 500 at most");
        let why = fits(&model, 4_000, 400).unwrap_err().to_string();
        assert_eq!(
            why,
            "the prompt does not fit a: about 1400 tokens with the answer, and its context is 1000"
        );
    }

    #[test]
    fn a_model_that_varies_its_answers_is_not_cached_unless_asked() {
        let mut warm = Model::clone(&model("a", None));
        warm.temperature = Some(0.7);
        let cold = model("b", None);
        let table = [
            (CacheMode::Auto, (true, true), (false, false)),
            (CacheMode::On, (true, true), (true, true)),
            (CacheMode::Refresh, (false, true), (false, true)),
            (CacheMode::Off, (false, false), (false, false)),
        ];
        for (mode, of_cold, of_warm) in table {
            assert_eq!((mode.reads(&cold), mode.writes(&cold)), of_cold, "{mode:?}");
            assert_eq!((mode.reads(&warm), mode.writes(&warm)), of_warm, "{mode:?}");
        }
    }

    proptest! {
        #[test]
        fn no_order_loses_or_invents_a_model(
            prices in prop::collection::vec(prop::option::of(0u64..4), 1..8), start in 0usize..9, policy in 0usize..3,
        ) {
            let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
            let route: Vec<_> = prices.iter().zip(names).map(|(price, id)| model(id, *price)).collect();
            let policy = [Policy::Listed, Policy::Price, Policy::Privacy][policy];
            let arranged = arrange(route.clone(), |_| Zone::Cloud, policy, Some(names[start]), 100);
            prop_assert_eq!(arranged.len(), route.len());
            prop_assert!(route.iter().all(|model| arranged.contains(model)));
            if start < route.len() {
                prop_assert_eq!(&arranged[0].id, names[start]);
            }
        }

        #[test]
        fn a_fallback_never_goes_further_out_unseen(from in 1u8..5, to in 1u8..5) {
            let (from, to) = (Zone::try_from(from).unwrap(), Zone::try_from(to).unwrap());
            let permitted = crossing(Fallback::Permitted, Some(from), to);
            prop_assert_eq!(permitted, Ok((to > from).then_some(Crossing { from, to })));
            prop_assert_eq!(crossing(Fallback::SameZone, Some(from), to).is_err(), to > from);
        }
    }
}
