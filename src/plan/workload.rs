//! Calls and tokens of a job at one number of items a call.

use empire_actors::model::{Model, Thinking};
use empire_actors::money::{Price, Usage};
use serde::Serialize;

use super::{ItemSize, PlanInput, RouteStep, SampleStats, SampledTotals, pack_for};

/// Bytes of text that make a token, on average.
pub(super) const BYTES_PER_TOKEN: u64 = 4;
/// What a call is counted for beside its texts; as `Request::input_token_bound` does.
const CALL_FRAME: u64 = 512 + 16;
/// What the wording around the items of a packed call adds.
const PACK_FRAME: u64 = 512;
/// What the wording around one item of a packed call adds.
const PACKED_ITEM_FRAME: u64 = 32;
/// What the program's turn in a repair adds, beside the answer that it repeats.
const REPAIR_FRAME: u64 = 1_024;

/// Tokens in and out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// In.
    pub input: u64,
    /// Out, thinking included.
    pub output: u64,
}

impl Tokens {
    pub(super) fn usage(self) -> Usage {
        Usage { input: self.input, output: self.output, ..Usage::default() }
    }
}

/// The part of the input that decides calls and tokens, so that a suggestion can vary it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Workload {
    pub(super) pending: u64,
    pub(super) pack: u64,
    pub(super) max_tokens: u64,
    pub(super) reduce_calls: u64,
    distinct: u64,
    prompt_bytes: u64,
    max_prompt_bytes: u64,
    system_bytes: u64,
    schema_bytes: u64,
    retries: u64,
}

impl Workload {
    /// The job's work, an item a call.
    pub(super) fn of(input: &PlanInput) -> Workload {
        Workload {
            pending: input.distinct.saturating_sub(input.already_done),
            pack: 1,
            max_tokens: u64::from(input.max_tokens),
            reduce_calls: input.reduce.map_or(0, |reduce| reduce.calls),
            distinct: input.distinct,
            prompt_bytes: input.prompt_bytes,
            max_prompt_bytes: input.max_prompt_bytes,
            system_bytes: input.system_bytes,
            schema_bytes: input.schema_bytes,
            retries: u64::from(input.retries),
        }
    }

    /// The same, packed for `step` as the job asks.
    pub(super) fn packed(self, input: &PlanInput, step: &RouteStep) -> Workload {
        let pack = pack_for(input.pack, &step.model, &step.provider.limits, &self.item_size());
        self.with_pack(pack as u64)
    }

    /// The same with `pack` items a call, or as many as there are.
    pub(super) fn with_pack(self, pack: u64) -> Workload {
        Workload { pack: pack.clamp(1, self.pending.max(1)), ..self }
    }

    /// The same with answers of at most `max_tokens`.
    pub(super) fn with_max_tokens(self, max_tokens: u64) -> Workload {
        Workload { max_tokens, ..self }
    }

    pub(super) fn item_size(&self) -> ItemSize {
        ItemSize {
            max_prompt_bytes: self.max_prompt_bytes,
            system_bytes: self.system_bytes,
            schema_bytes: self.schema_bytes,
            max_tokens: u32::try_from(self.max_tokens).unwrap_or(u32::MAX),
        }
    }

    fn item_calls(&self) -> u64 {
        self.pending.div_ceil(self.pack)
    }

    pub(super) fn calls(&self) -> u64 {
        self.item_calls().saturating_add(self.reduce_calls)
    }

    /// Of the calls, those of more than one item.
    pub(super) fn packed_calls(&self) -> u64 {
        match self.pack {
            1 => 0,
            pack => self.item_calls() - u64::from(self.pending % pack == 1),
        }
    }

    /// Output tokens that all calls request.
    pub(super) fn requested_output(&self) -> u64 {
        self.pending.saturating_add(self.reduce_calls).saturating_mul(self.max_tokens)
    }

    /// Tokens if nothing fails.
    pub(super) fn expected(&self, model: &Model, sample: Option<&SampleStats>) -> Tokens {
        let out = self.expected_output(model, sample);
        let calls = self.calls();
        let wording =
            if self.pack > 1 { self.item_calls() * PACK_FRAME + self.pending * PACKED_ITEM_FRAME } else { 0 };
        let sent = calls.saturating_mul(self.system_bytes + self.schema_bytes) + self.prompt_bytes + wording;
        let answers_read = if self.reduce_calls > 0 { (self.distinct + self.reduce_calls) * out } else { 0 };
        Tokens {
            input: sent.div_ceil(BYTES_PER_TOKEN).saturating_add(answers_read),
            output: self.pending.saturating_add(self.reduce_calls).saturating_mul(out),
        }
    }

    /// Output tokens that one item is expected to take.
    fn expected_output(&self, model: &Model, sample: Option<&SampleStats>) -> u64 {
        let guessed = match (sample, model.thinking) {
            (Some(sample), _) => (sample.output_tokens.mean / sample.items_per_call as f64).ceil() as u64,
            (None, Thinking::Off) => self.max_tokens.div_ceil(2),
            (None, Thinking::On | Thinking::VendorDefault) => self.max_tokens,
        };
        guessed.min(self.max_tokens)
    }

    /// Tokens at most: every token a byte, every retry and the repair turn used; packs fail as a
    /// whole and all their items go back as single calls.
    pub(super) fn worst(&self) -> Tokens {
        let fixed = CALL_FRAME + self.system_bytes + 2 * self.schema_bytes;
        let repairs = u64::from(self.schema_bytes > 0);
        let tries = 1 + self.retries + repairs;
        let once = self.pending.saturating_mul(fixed).saturating_add(self.prompt_bytes);
        let repairing =
            (repairs * self.pending).saturating_mul(BYTES_PER_TOKEN * self.max_tokens + REPAIR_FRAME);
        let mut input = once.saturating_mul(tries).saturating_add(repairing);
        let mut rounds = tries;
        if self.pack > 1 {
            let frames = self.item_calls().saturating_mul(CALL_FRAME + PACK_FRAME + self.system_bytes);
            let each = self.pending.saturating_mul(PACKED_ITEM_FRAME + 2 * self.schema_bytes);
            input = input.saturating_add(frames).saturating_add(each).saturating_add(self.prompt_bytes);
            rounds += 1;
        }
        let reduce_tries = self.reduce_calls.saturating_mul(1 + self.retries);
        let read = (self.distinct + self.reduce_calls).saturating_mul(BYTES_PER_TOKEN * self.max_tokens);
        if self.reduce_calls > 0 {
            input = input
                .saturating_add(reduce_tries.saturating_mul(fixed))
                .saturating_add(read.saturating_mul(1 + self.retries));
        }
        let answers = self.pending.saturating_mul(rounds).saturating_add(reduce_tries);
        Tokens { input, output: answers.saturating_mul(self.max_tokens) }
    }

    /// What one call's input is reserved at, at most.
    pub(super) fn one_call_input_bound(&self) -> u64 {
        let wording = if self.pack > 1 { PACK_FRAME + self.pack * PACKED_ITEM_FRAME } else { 0 };
        let items = self.pack.saturating_mul(self.max_prompt_bytes + 2 * self.schema_bytes);
        (CALL_FRAME + self.system_bytes + wording).saturating_add(items)
    }

    /// What one call's output is reserved at.
    pub(super) fn one_call_output(&self) -> u64 {
        self.pack.saturating_mul(self.max_tokens)
    }

    /// The longest call, in tokens, as expected.
    pub(super) fn longest_call_tokens(&self) -> u64 {
        let items = self.pack.saturating_mul(self.max_prompt_bytes + self.schema_bytes);
        items
            .saturating_add(self.system_bytes)
            .div_ceil(BYTES_PER_TOKEN)
            .saturating_add(self.one_call_output())
    }

    /// The sample scaled to the items that remain, and the reduce by its tokens.
    pub(super) fn sampled(&self, sample: &SampleStats, price: &Price) -> SampledTotals {
        let per_item = self.pending as f64 / self.item_calls().max(1) as f64 / sample.items_per_call as f64;
        let calls = self.item_calls();
        let reduce = self.sampled_reduce_cost(sample, price);
        SampledTotals {
            output_tokens: sample.total_output_tokens(calls).times(per_item),
            call_seconds: sample.total_seconds(calls).times(per_item),
            cost: sample.total_cost(calls).times(per_item).plus(reduce),
        }
    }

    fn sampled_reduce_cost(&self, sample: &SampleStats, price: &Price) -> f64 {
        if self.reduce_calls == 0 {
            return 0.0;
        }
        let out = (sample.output_tokens.mean / sample.items_per_call as f64).ceil() as u64;
        let fixed = (self.system_bytes + self.schema_bytes) / BYTES_PER_TOKEN;
        let input = (self.distinct + self.reduce_calls) * out + self.reduce_calls * fixed;
        price.cost(&Usage { input, output: self.reduce_calls * out, ..Usage::default() }).0 as f64
    }
}
