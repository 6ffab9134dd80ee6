//! `report.md`. Whatever a model or an input wrote is shown, never obeyed: it is escaped inside
//! lines and fenced as blocks.

use std::fmt::Write as _;

use super::{Facts, ReportData};
use crate::text;

impl ReportData {
    /// `report.md`.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut page = format!("# {}\n\n", inline(&self.job, 200));
        if self.simulated {
            page.push_str(
                "> **SIMULATED.** No model was asked and no money was spent; amounts are as if.\n\n",
            );
        }
        let _ = writeln!(page, "**{}**\n", inline(&self.headline(), 1_000));
        if let Some(goal) = &self.goal {
            let _ = writeln!(page, "Goal: {}\n", inline(goal, 2_000));
        }
        let (started, finished) = (self.started, self.finished);
        let _ = writeln!(page, "Job `{}`, from {started:.0} to {finished:.0}.\n", code(&self.id));
        let facts = Facts::of(self).rows;
        page.push_str(&table(
            &["", ""],
            facts.into_iter().map(|(name, value)| vec![name.to_owned(), inline(&value, 1_000)]).collect(),
        ));
        self.providers_section(&mut page);
        self.dead_section(&mut page);
        self.slow_section(&mut page);
        if let Some(answer) = &self.reduce {
            let (language, answer) = match answer.as_str() {
                Some(text) => ("text", text.to_owned()),
                None => ("json", format!("{answer:#}")),
            };
            let _ = writeln!(page, "\n## Answer of the reduce\n\n{}", fenced(language, &answer));
        }
        self.files_section(&mut page);
        page
    }

    fn providers_section(&self, page: &mut String) {
        if self.providers.is_empty() {
            return;
        }
        page.push_str("\n## Cost by provider\n\n");
        let rows = self.providers.iter().map(|paid| {
            vec![
                inline(paid.provider.as_str(), 60),
                text::thousands(paid.calls),
                paid.cost.to_string(),
                paid.unknown.to_string(),
            ]
        });
        page.push_str(&table(&["Provider", "Calls", "Cost", "Of that, billed as reserved"], rows.collect()));
    }

    fn dead_section(&self, page: &mut String) {
        let work = &self.work;
        if work.dead_letters.is_empty() {
            return;
        }
        page.push_str("\n## Dead agents by reason\n\n");
        let rows = work.dead_letters.iter().map(|letter| {
            let (count, item) = (text::thousands(letter.count), letter.example_item.to_string());
            vec![count, inline(&letter.reason, 400), item]
        });
        page.push_str(&table(&["Agents", "Reason", "One of them: item"], rows.collect()));
        if work.dead_of_other_reasons > 0 {
            let _ =
                writeln!(page, "\n{} more of other reasons.", text::thousands(work.dead_of_other_reasons));
        }
    }

    fn slow_section(&self, page: &mut String) {
        if self.work.slowest.is_empty() {
            return;
        }
        page.push_str("\n## Slowest calls\n\n");
        let rows = self.work.slowest.iter().map(|slow| {
            let time = text::duration(std::time::Duration::from_millis(slow.ms.into()));
            vec![time, slow.item.to_string(), inline(&slow.model, 60), inline(&slow.outcome, 60)]
        });
        page.push_str(&table(&["Time", "Item", "Model", "Outcome"], rows.collect()));
    }

    fn files_section(&self, page: &mut String) {
        if !self.outputs.is_empty() {
            page.push_str("\n## Files\n\n");
            let rows =
                self.outputs.iter().map(|output| vec![inline(&output.what, 60), inline(&output.path, 2_000)]);
            page.push_str(&table(&["What", "Where"], rows.collect()));
        }
        let next = self.next_steps();
        if !next.is_empty() {
            let _ = writeln!(page, "\n## Next\n\n{}", fenced("sh", &next.join("\n")));
        }
    }
}

/// Rows of cells that are escaped already.
fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut shown = format!("| {} |\n|{}\n", header.join(" | "), " --- |".repeat(header.len()));
    for row in rows {
        let _ = writeln!(shown, "| {} |", row.join(" | "));
    }
    shown
}

/// Foreign text inside a line: one line, and no character that Markdown or HTML would act on.
fn inline(text: &str, max: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(max) + 16);
    for character in text::one_line(text, max).chars() {
        match character {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => {
                shown.push('\\');
                shown.push(character);
            }
            // Breaks the automatic links of bare addresses, which a reader could follow unaware.
            ':' => shown.push_str("&#58;"),
            '@' => shown.push_str("&#64;"),
            other => shown.push(other),
        }
    }
    shown
}

/// Foreign text inside backticks.
fn code(text: &str) -> String {
    text::one_line(text, 100).replace('`', "'")
}

/// Foreign text as a block of its own, in a fence that is longer than any inside it.
fn fenced(language: &str, content: &str) -> String {
    let longest = content.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat((longest + 1).max(3));
    let content: String = content
        .chars()
        .filter(|character| matches!(character, '\n' | '\t') || !text::is_unprintable(*character))
        .collect();
    format!("{fence}{language}\n{content}\n{fence}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_text_is_shown_and_not_obeyed() {
        assert_eq!(
            inline("a|b\n# <img src=x onerror=1> [x](http://e.org) `c` \u{1b}[31m\u{202e}", 200),
            "a\\|b \\# &lt;img src=x onerror=1&gt; \\[x\\](http&#58;//e.org) \\`c\\` \\[31m"
        );
        assert_eq!(fenced("text", "x\n```\n# out\u{7}"), "````text\nx\n```\n# out\n````");
    }

    proptest! {
        #[test]
        fn a_cell_stays_a_cell(text in "[|\\\\`<>\n\r#*a-z\\[\\]\u{0}-\u{1f}\u{2028}]{0,60}") {
            let row = table(&["x"], vec![vec![inline(&text, 100)]]);
            prop_assert_eq!(row.lines().count(), 3);
            let last = row.lines().last().unwrap();
            let unescaped = last.replace("\\\\", "").replace("\\|", "");
            prop_assert_eq!(unescaped.matches('|').count(), 2);
            let has_tag = last.contains('<') || last.contains('>');
            prop_assert!(!has_tag);
        }

        #[test]
        fn nothing_gets_out_of_a_fence(text in "[`a\n]{0,80}") {
            let block = fenced("text", &text);
            let fence = block.lines().last().unwrap();
            let closing = block.lines().skip(1).filter(|line| line.trim().starts_with(fence)).count();
            prop_assert_eq!(closing, 1);
        }
    }
}
