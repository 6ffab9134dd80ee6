//! A plan as a page for people.

use std::fmt::Write as _;
use std::time::Duration;

use empire_actors::money::Micros;

use super::{Estimate, JobPlan, Plan, StepPlan};
use crate::text::{self, Lean, Paint};

/// Marks the model that takes the job.
const PLANNED: &str = " *";

impl Plan {
    /// The plan as a page of text, the answer in its first line. `width` is in characters (less
    /// than 60 counts as 60); `color` for a terminal.
    #[must_use]
    pub fn render(&self, width: usize, color: bool) -> String {
        let (width, paint) = (width.max(60), Paint(color));
        let mut page = paint.strong(&text::wrap(&self.headline(), width, 2));
        page.push('\n');
        if self.simulated {
            page.push_str(
                &paint.warn("SIMULATED: nothing is called or billed; times and amounts are for real models"),
            );
            page.push('\n');
        }
        let _ = writeln!(page, "\n{}", text::wrap(&self.about(), width, 2));
        page.push_str(&self.table(width));
        if let (Some(planned), Some(step)) = (&self.planned, self.planned_step()) {
            page.push_str(&limits(step));
            page.push_str(&self.sampled(step));
            page.push_str(&self.fit(planned, paint));
        }
        page.push_str(&list("What would help", self.suggestions.iter().map(super::Suggestion::words), width));
        page.push_str(&list("Routing", self.routing.iter().cloned(), width));
        page.push_str(&list("Based on", self.assumptions.iter().cloned(), width));
        page
    }

    /// The answer in one line.
    #[must_use]
    pub fn headline(&self) -> String {
        let (mark, real) =
            if self.simulated { ("[simulated] ", "with real models ") } else { Default::default() };
        let agents = match (self.pending, &self.planned) {
            (0, Some(_)) => "every item has its answer, only the reduce is left".to_owned(),
            (pending, _) => text::count(pending, "agent"),
        };
        match (&self.planned, self.planned_step()) {
            (Some(planned), _) if planned.calls == 0 => {
                format!("{mark}nothing to do: every item has its answer")
            }
            (Some(planned), Some(step)) => format!(
                "{mark}{agents}, {real}about {} on {}, {}; binds: {}",
                text::duration(planned.time),
                text::one_line(step.provider.as_str(), 30),
                text::money(planned.expected_cost),
                planned.binds.words()
            ),
            _ => format!("{mark}{agents}, but no model of the route can be used"),
        }
    }

    fn about(&self) -> String {
        let mut about = format!("{}: {}", text::one_line(&self.job, 40), text::count(self.items, "item"));
        if self.distinct < self.items {
            let _ = write!(about, ", {} distinct", text::thousands(self.distinct));
        }
        if self.already_done > 0 {
            let _ = write!(about, ", {} done already", text::thousands(self.already_done));
        }
        let _ = write!(about, ", level {}", self.level);
        if let Some(raised) = &self.raised {
            let _ = write!(about, " ({})", text::one_line(raised, 200));
        }
        if let Some(step) = self.planned_step() {
            let _ = write!(about, "; {}", text::count(step.calls, "call"));
            if step.items_per_call > 1 {
                let _ = write!(about, " of up to {}", text::count(step.items_per_call, "item"));
            }
            if step.reduce_calls > 0 && step.reduce_calls == step.calls {
                about.push_str(", all of them to reduce");
            } else if step.reduce_calls > 0 {
                let _ = write!(about, ", {} of them to reduce", text::thousands(step.reduce_calls));
            }
            let tokens = step.expected_tokens;
            let (input, output) = (text::thousands(tokens.input), text::thousands(tokens.output));
            let _ = write!(about, "; about {input} tokens in and {output} out");
        }
        about
    }

    fn table(&self, width: usize) -> String {
        let header = ["Model", "Calls", "Expected", "At most", "Time", "Binds"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        let mut remarks = String::new();
        for (index, step) in self.route.iter().enumerate() {
            let model = text::one_line(&step.model, 40);
            if let Some(why) = &step.unusable {
                let why = format!("{model} cannot be used: {}", text::one_line(why, 300));
                let _ = writeln!(remarks, "  {}", text::wrap(&why, width - 2, 4));
                continue;
            }
            for note in &step.notes {
                let note = format!("{model}: {note}");
                let _ = writeln!(remarks, "  {}", text::wrap(&note, width - 2, 4));
            }
            let is_planned = self.planned.as_ref().is_some_and(|planned| planned.step == index);
            rows.push(vec![
                if is_planned { model + PLANNED } else { model },
                text::thousands(step.calls),
                text::money(step.expected_cost),
                text::money(step.worst_cost),
                text::duration(step.binds.time),
                step.binds.words(),
            ]);
        }
        if rows.len() == 1 {
            return format!("\n{remarks}");
        }
        let leans = [Lean::Left, Lean::Right, Lean::Right, Lean::Right, Lean::Right, Lean::Left];
        narrow_first_column(&mut rows, width);
        format!("\n{}{remarks}", text::table(&leans, &rows))
    }

    /// A call's mean, the whole job's, and the interval of that.
    fn sampled(&self, step: &StepPlan) -> String {
        let (Some(sample), Some(totals)) = (&self.sample, &step.sampled) else { return String::new() };
        let row = |name: &str, one: f64, total: Estimate, show: fn(f64) -> String| {
            let interval = format!("{} to {}", show(total.low), show(total.high));
            vec![name.to_owned(), show(one), show(total.mean), interval]
        };
        let number = |number: f64| text::thousands(number.round() as u64);
        let money = |micros: f64| text::money(Micros(micros.round() as u64));
        let time = |seconds: f64| text::duration(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        let rows = [
            ["", "A call", "All calls", "95 % interval"].map(str::to_owned).to_vec(),
            row("output tokens", sample.output_tokens.mean, totals.output_tokens, number),
            row("call time", sample.seconds.mean, totals.call_seconds, time),
            row("cost", sample.cost.mean, totals.cost, money),
        ];
        let table = text::table(&[Lean::Left, Lean::Right, Lean::Right, Lean::Left], &rows);
        let calls = text::count(sample.calls, "call");
        format!("\nSampled {calls} to {}\n{table}", text::one_line(&sample.model, 40))
    }

    fn fit(&self, planned: &JobPlan, paint: Paint) -> String {
        let fit = &planned.fit;
        let mark = |fits: bool| if fits { paint.good("fits") } else { paint.bad("does not fit") };
        let expected = text::money(planned.expected_cost);
        let mut page = "\nFit\n".to_owned();
        if let (Some(left), Some(limit)) = (fit.money_left, fit.money_limit) {
            let (left, limit) = (text::money(left), limit.words());
            let _ = writeln!(
                page,
                "  money     {left} left of the {limit}; expected {expected} {}",
                mark(fit.expected)
            );
            let hard = if fit.worst { String::new() } else { format!(", but never past the {limit}") };
            let _ = writeln!(page, "            at most {}{hard}", text::money(planned.worst_cost));
        } else {
            let _ = writeln!(
                page,
                "  money     no cap; expected {expected}, at most {}",
                text::money(planned.worst_cost)
            );
        }
        if let Some(step) = self.planned_step().filter(|_| !fit.one_call) {
            let reserves = text::money(step.one_call_reserves);
            let _ = writeln!(page, "            one call reserves up to {reserves}: {}", mark(false));
        }
        if let Some(deadline) = fit.deadline {
            let (time, deadline) = (text::duration(planned.time), text::duration(deadline));
            let _ = writeln!(page, "  deadline  {deadline}; about {time} {}", mark(fit.in_time));
        }
        let _ = writeln!(page, "  memory    about {}", text::bytes(self.memory_bytes));
        let _ = writeln!(page, "  disk      about {}", text::bytes(self.disk_bytes));
        page
    }
}

/// Shortens the first column as far as the page's width asks for, down to 8 characters.
fn narrow_first_column(rows: &mut [Vec<String>], width: usize) {
    let longest = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let others: usize = (1..rows.first().map_or(0, Vec::len)).map(|column| longest(column) + 2).sum();
    let room = width.saturating_sub(others + 2).max(8);
    for cell in rows.iter_mut().filter_map(|row| row.first_mut()) {
        *cell = match cell.strip_suffix(PLANNED) {
            Some(model) => text::one_line(model, room - PLANNED.len()) + PLANNED,
            None => text::one_line(cell, room),
        };
    }
}

fn limits(step: &StepPlan) -> String {
    let rows: Vec<Vec<String>> = step
        .limits
        .iter()
        .map(|limit| {
            let binds = if *limit == step.binds { "binds" } else { "" };
            let time = if limit.time.is_zero() { "not reached".into() } else { text::duration(limit.time) };
            vec![limit.words(), time, binds.to_owned()]
        })
        .collect();
    let table = text::table(&[Lean::Left, Lean::Right, Lean::Left], &rows);
    format!("\nTime under each limit of {}\n{table}", text::one_line(step.provider.as_str(), 40))
}

fn list(title: &str, entries: impl Iterator<Item = String>, width: usize) -> String {
    let mut page = String::new();
    for entry in entries {
        if page.is_empty() {
            let _ = write!(page, "\n{title}\n");
        }
        let _ = writeln!(page, "  {}", text::wrap(&format!("- {entry}"), width - 2, 4));
    }
    page
}
