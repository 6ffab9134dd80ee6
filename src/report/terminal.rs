//! The last words on the terminal.

use std::fmt::Write as _;

use super::{EndState, Facts, ReportData};
use crate::text::{self, Lean, Paint};

/// Dead-letter reasons shown on the terminal; the report has more.
const REASONS: usize = 5;

impl ReportData {
    /// The report in short, for the terminal.
    #[must_use]
    pub fn to_terminal(&self, width: usize, color: bool) -> String {
        let (width, paint) = (width.max(60), Paint(color));
        let mut page = String::new();
        if self.simulated {
            page.push_str(
                &paint.warn("SIMULATED: no model was asked and no money was spent; amounts are as if"),
            );
            page.push('\n');
        }
        let headline = text::wrap(&self.headline(), width, 2);
        page.push_str(&match self.state {
            EndState::Completed => paint.good(&headline),
            EndState::CompletedWithDead | EndState::Paused | EndState::Interrupted => paint.warn(&headline),
            EndState::OutOfBudget | EndState::Cancelled => paint.bad(&headline),
        });
        page.push_str("\n\n");
        for (name, value) in Facts::of(self).rows {
            let _ = writeln!(page, "  {}", text::wrap(&format!("{name}: {value}"), width - 2, 4));
        }
        page.push_str(&self.provider_table());
        page.push_str(&self.dead_list(width));
        page.push_str(&self.reduce_text(width));
        let outputs = self
            .outputs
            .iter()
            .map(|output| vec![text::one_line(&output.what, 30), text::one_line(&output.path, 1_000)]);
        page.push_str(&titled("Written", &[Lean::Left, Lean::Left], &outputs.collect::<Vec<_>>()));
        let next = self.next_steps().into_iter().map(|step| vec![step]);
        page.push_str(&titled("Next", &[Lean::Left], &next.collect::<Vec<_>>()));
        page
    }

    /// How it ended, in one line.
    #[must_use]
    pub fn headline(&self) -> String {
        let totals = &self.totals;
        let mark = if self.simulated { "[simulated] " } else { "" };
        let mut line = format!("{mark}{} {}", text::one_line(&self.job, 40), self.state.words());
        if let Some(reason) = &self.reason {
            let _ = write!(line, ": {}", text::one_line(reason, 300));
        }
        let _ = write!(line, "; {} of {} done", text::thousands(totals.done), text::thousands(totals.items));
        for (number, word) in
            [(totals.dead, "dead"), (totals.cancelled, "cancelled"), (totals.pending, "pending")]
        {
            if number > 0 {
                let _ = write!(line, ", {} {word}", text::thousands(number));
            }
        }
        let _ = write!(line, ", {}", text::money(self.spent()));
        line
    }

    fn provider_table(&self) -> String {
        let rows = self.providers.iter().map(|paid| {
            let calls = text::count(paid.calls, "call");
            vec![text::one_line(paid.provider.as_str(), 30), calls, text::money(paid.cost)]
        });
        titled("Paid", &[Lean::Left, Lean::Right, Lean::Right], &rows.collect::<Vec<_>>())
    }

    fn dead_list(&self, width: usize) -> String {
        let work = &self.work;
        let mut page = String::new();
        for letter in work.dead_letters.iter().take(REASONS) {
            if page.is_empty() {
                page.push_str("\nDead, by reason\n");
            }
            let count = text::thousands(letter.count);
            let line = format!(
                "{count} x {} (such as item {})",
                text::one_line(&letter.reason, 200),
                letter.example_item
            );
            let _ = writeln!(page, "  {}", text::wrap(&line, width - 2, 4));
        }
        let rest: u64 = work.dead_letters.iter().skip(REASONS).map(|letter| letter.count).sum();
        let rest = rest + work.dead_of_other_reasons;
        if rest > 0 {
            let _ = writeln!(page, "  {} of other reasons", text::thousands(rest));
        }
        page
    }

    fn reduce_text(&self, width: usize) -> String {
        let Some(answer) = &self.reduce else { return String::new() };
        let answer = answer.as_str().map_or_else(|| answer.to_string(), str::to_owned);
        let answer = text::wrap(&text::one_line(&answer, 1_000), width - 2, 2);
        format!("\nAnswer of the reduce\n  {answer}\n")
    }
}

fn titled(title: &str, leans: &[Lean], rows: &[Vec<String>]) -> String {
    if rows.is_empty() { String::new() } else { format!("\n{title}\n{}", text::table(leans, rows)) }
}
