//! How many items share one call. Pure; the plan and the run choose by the same functions.

use empire_actors::model::{Limits, Model};
use serde::{Deserialize, Serialize};

/// The most items that `auto` puts into one call.
const MOST: usize = 20;

/// What a job asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PackChoice {
    /// A call an item.
    #[default]
    One,
    /// This many items in a call, or as many as fit if that is fewer.
    Fixed(u16),
    /// As many as are sensible, and only where the number of calls is limited.
    Auto,
}

/// The size of one item's call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemSize {
    /// The longest prompt of an item, in bytes.
    pub max_prompt_bytes: u64,
    /// The system prompt, in bytes.
    pub system_bytes: u64,
    /// The answer's schema as JSON, in bytes.
    pub schema_bytes: u64,
    /// Output tokens requested for one item.
    pub max_tokens: u32,
}

/// How many items share one call to `model`; at least 1.
#[must_use]
pub fn pack_for(choice: PackChoice, model: &Model, limits: &Limits, size: &ItemSize) -> usize {
    match choice {
        PackChoice::One => 1,
        PackChoice::Fixed(wanted) => usize::from(wanted).min(most_that_fit(model, size)).max(1),
        PackChoice::Auto => choose_pack(model, limits, size),
    }
}

/// What `auto` means for `model`: the largest number up to 20 whose answers the model can write
/// in one go and whose prompts fill at most half its context; 1 where only slots limit the pace,
/// since a longer call would then just hold its slot for longer.
#[must_use]
pub fn choose_pack(model: &Model, limits: &Limits, size: &ItemSize) -> usize {
    if limits_requests(limits) { largest_pack(model, size) } else { 1 }
}

/// The most items that are worth trying in one call to `model`: what `auto` would choose if the
/// number of calls were limited.
pub(super) fn largest_pack(model: &Model, size: &ItemSize) -> usize {
    most_that_fit(model, size).clamp(1, MOST)
}

pub(super) fn limits_requests(limits: &Limits) -> bool {
    limits.requests_per_minute.is_some()
        || limits.requests_per_hour.is_some()
        || limits.requests_per_day.is_some()
}

/// Two bytes a token is safe for most scripts, so half the context in tokens is as many bytes as
/// the context has tokens.
fn most_that_fit(model: &Model, size: &ItemSize) -> usize {
    let by_output = u64::from(model.max_output) / u64::from(size.max_tokens.max(1));
    let left = u64::from(model.context).saturating_sub(size.system_bytes);
    let by_input = left / (size.max_prompt_bytes + size.schema_bytes).max(1);
    usize::try_from(by_output.min(by_input)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::fixtures::{limits, model};

    const SIZE: ItemSize =
        ItemSize { max_prompt_bytes: 600, system_bytes: 200, schema_bytes: 400, max_tokens: 400 };

    #[test]
    fn auto_packs_only_where_calls_are_counted() {
        let model = model("kimi", 950_000, 4_000_000);
        assert_eq!(choose_pack(&model, &limits(4), &SIZE), 1);
        let mut counted = limits(50);
        counted.requests_per_day = Some(10_000);
        assert_eq!(choose_pack(&model, &counted, &SIZE), 20);
        assert_eq!(choose_pack(&model, &counted, &ItemSize { max_tokens: 2_000, ..SIZE }), 4);
        assert_eq!(choose_pack(&model, &counted, &ItemSize { max_prompt_bytes: 1 << 40, ..SIZE }), 1);
    }

    proptest! {
        #[test]
        fn a_pack_fits_its_model(
            prompt in 0u64..1_000_000, system in 0u64..1_000_000, schema in 0u64..100_000,
            max_tokens in 1u32..10_000, wanted in 0u16..2_000,
        ) {
            let size = ItemSize { max_prompt_bytes: prompt, system_bytes: system, schema_bytes: schema, max_tokens };
            let model = model("kimi", 1, 1);
            let mut counted = limits(50);
            counted.requests_per_minute = Some(100);
            for choice in [PackChoice::One, PackChoice::Fixed(wanted), PackChoice::Auto] {
                let pack = pack_for(choice, &model, &counted, &size);
                prop_assert!(pack >= 1);
                if pack > 1 {
                    prop_assert!(pack as u64 * u64::from(max_tokens) <= u64::from(model.max_output));
                    prop_assert!(system + pack as u64 * (prompt + schema) <= u64::from(model.context));
                }
            }
        }
    }
}
