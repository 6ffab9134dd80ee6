//! The report as one HTML page that needs nothing else: no script, no font, no picture.

mod plot;

use std::fmt::Write as _;

use plot::{Line, Plot, Thin};

use crate::measure::{Measure, number, show};
use crate::outcome::Outcome;
use crate::sample::{MIB, Sample};

const STYLE: &str = include_str!("report/style.css");
/// Rows of jobs and events that the page shows; the JSON has all.
const SHOWN: usize = 100;
/// What a reader looks for first.
const CARDS: [Measure; 8] = [
    Measure::Agents,
    Measure::AgentsPerSecond,
    Measure::RateAgainstBare,
    Measure::PeakMemoryMib,
    Measure::BytesPerWaitingAgent,
    Measure::FirstResultS,
    Measure::FinishedS,
    Measure::SpentUsd,
];

/// The page.
pub(crate) fn page(outcome: &Outcome) -> String {
    let title = escape(&outcome.scenario);
    let (class, verdict) = if outcome.passed { ("good", "passed") } else { ("bad", "failed") };
    let held = outcome.verdicts.iter().filter(|verdict| verdict.holds).count();
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"content-security-policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}: {verdict}</title><style>{STYLE}</style></head><body><main>\
         <header><h1>{title}</h1><span class=\"badge {class}\">{verdict}: {held} of {} thresholds hold</span></header>\
         <p>{}</p>",
        outcome.verdicts.len(),
        escape(&outcome.about)
    );
    html += &cards(outcome);
    html += &thresholds(outcome);
    html += &plots(outcome);
    html += &percentiles(outcome);
    html += &events(outcome);
    html += &jobs(outcome);
    html += &measures(outcome);
    html += &circumstances(outcome);
    html + "</main></body></html>\n"
}

/// Text that cannot be taken for HTML.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// A number that fits beside an axis.
fn compact(value: f64) -> String {
    let trimmed = |scaled: f64, suffix: &str| {
        let text = format!("{scaled:.2}");
        format!("{}{suffix}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match value.abs() {
        m if m >= 1e6 => trimmed(value / 1e6, "M"),
        m if m >= 1e4 => trimmed((value / 1e2).round() / 10.0, "k"),
        m if m >= 100.0 => format!("{value:.0}"),
        _ => trimmed(value, ""),
    }
}

/// A measure's name for people: its unit stands beside its value.
fn words(measure: Measure) -> String {
    let name = measure.name();
    let units = ["_mib", "_usd", "_percent", "_ms", "_s"];
    let bare = units.iter().find_map(|unit| name.strip_suffix(unit)).unwrap_or(name);
    bare.replace('_', " ")
}

fn cards(outcome: &Outcome) -> String {
    let mut html = String::from("<ul class=\"cards\">");
    for measure in CARDS {
        let value = outcome.measures.get(&measure);
        if let Some(value) = value.filter(|value| **value != 0.0 || measure != Measure::SpentUsd) {
            let shown = escape(&show(measure, *value));
            let _ = write!(html, "<li><b>{shown}</b><span>{}</span></li>", words(measure));
        }
    }
    html + "</ul>"
}

fn thresholds(outcome: &Outcome) -> String {
    let mut html = String::from(
        "<h2>Thresholds</h2><div class=\"sheet\"><table><tr><th></th><th>measure</th><th class=\"n\">measured</th><th>wanted</th></tr>",
    );
    for verdict in &outcome.verdicts {
        let (class, mark) = if verdict.holds { ("good", "✓ holds") } else { ("bad", "✗ fails") };
        let value = verdict.value.map_or("not measured".to_owned(), |value| show(verdict.measure, value));
        let _ = write!(
            html,
            "<tr><td class=\"m {class}\">{mark}</td><td>{}</td><td class=\"n\">{}</td><td class=\"w\">{}</td></tr>",
            words(verdict.measure),
            escape(&value),
            escape(&verdict.wanted.words(verdict.measure))
        );
    }
    for fault in &outcome.faults {
        let _ =
            write!(html, "<tr><td class=\"m bad\">✗ fault</td><td colspan=\"3\">{}</td></tr>", escape(fault));
    }
    html + "</table></div>"
}

fn plots(outcome: &Outcome) -> String {
    let times: Vec<f64> = outcome.samples.iter().map(|sample| sample.t).collect();
    let line = |name: &'static str, colour: u8, thin: Thin, value: fn(&Sample) -> Option<f64>| Line {
        name,
        colour,
        is_limit: false,
        thin,
        values: outcome.samples.iter().map(|sample| value(sample).filter(|_| sample.up)).collect(),
    };
    let limit = |line: Line<'static>| Line { is_limit: true, ..line };
    let (mean, most) = (Thin::Mean, Thin::Most);
    let all = [
        (
            "Throughput",
            "a second",
            false,
            vec![
                line("agents ended", 1, mean, |s| Some(s.agents_per_s)),
                line("model calls", 2, mean, |s| Some(s.calls_per_s)),
            ],
        ),
        (
            "Latency",
            "milliseconds, upper edges of the program's buckets",
            true,
            vec![
                line("call p50", 1, most, |s| s.call_p50_ms),
                line("call p99", 2, most, |s| s.call_p99_ms),
                line("rate gate p50", 3, most, |s| s.rate_wait_p50_ms),
                line("rate gate p99", 4, most, |s| s.rate_wait_p99_ms),
            ],
        ),
        ("Memory", "MiB resident", false, vec![line("the program", 1, most, |s| Some(s.memory_mib))]),
        (
            "Agents",
            "",
            false,
            vec![line("waiting", 1, most, |s| Some(s.waiting)), line("awake", 2, most, |s| Some(s.awake))],
        ),
        (
            "Permits",
            "calls at once, all providers",
            false,
            vec![
                line("in use", 1, most, |s| Some(s.permits_used)),
                limit(line("allowed", 2, mean, |s| Some(s.permits_limit))),
            ],
        ),
        (
            "Pressure",
            "percent",
            false,
            vec![
                line("machine's pressure", 1, most, |s| Some(s.pressure * 100.0)),
                line("CPU of the program, of one core", 2, mean, |s| Some(s.cpu_percent)),
            ],
        ),
        (
            "Queues",
            "waiting",
            false,
            vec![
                line("calls for a permit", 1, most, |s| Some(s.lane_waiting)),
                line("messages in the fullest mailboxes", 2, most, |s| Some(s.mailbox)),
            ],
        ),
        (
            "Threads and open files",
            "",
            false,
            vec![
                line("threads", 1, most, |s| Some(s.threads)),
                line("open files", 2, most, |s| Some(s.files)),
            ],
        ),
        ("Scrape", "milliseconds", false, vec![line("one scrape", 1, most, |s| Some(s.scrape_ms))]),
        (
            "Money",
            "dollars spent in all",
            false,
            vec![line("ledger", 1, most, |s| Some(s.spent_usd).filter(|spent| *spent > 0.0))],
        ),
    ];
    let mut html = String::from("<h2>Over time</h2>");
    if !outcome.events.is_empty() {
        html += "<p class=\"soft\">Dashed lines down mark what was done on purpose; it is listed below.</p>";
    }
    html += "<div class=\"plots\">";
    for (title, unit, is_log, lines) in all {
        html += &Plot { title, unit, is_log, times: &times, events: &outcome.events, lines }.html();
    }
    html + "</div>"
}

fn percentiles(outcome: &Outcome) -> String {
    let mut html = String::from(
        "<h2>Latency by stage</h2><div class=\"sheet\"><table><tr><th>stage</th><th class=\"n\">count</th>\
         <th class=\"n\">p50</th><th class=\"n\">p90</th><th class=\"n\">p99</th><th class=\"n\">p99.9</th>\
         <th class=\"n\">longest</th></tr>",
    );
    for stage in &outcome.percentiles {
        let _ = write!(
            html,
            "<tr><td>{}</td><td class=\"n\">{}</td>",
            escape(&stage.stage),
            number(stage.count as f64)
        );
        for seconds in [stage.p50, stage.p90, stage.p99, stage.p999, stage.max] {
            let upto = if stage.from_buckets { "≤ " } else { "" };
            let _ = write!(html, "<td class=\"n\">{upto}{}</td>", time(seconds));
        }
        html += "</tr>";
    }
    html + "</table></div><p class=\"soft\">≤: the upper edge of the program's own histogram bucket. Agents and scrapes are timed by the harness, with what a stall kept from its time.</p>"
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{} s", compact(s)),
        s if s >= 1e-3 => format!("{} ms", compact(s * 1e3)),
        s => format!("{} µs", compact(s * 1e6)),
    }
}

fn events(outcome: &Outcome) -> String {
    if outcome.events.is_empty() {
        return String::new();
    }
    let mut html = String::from(
        "<h2>What was done to it</h2><div class=\"sheet\"><table><tr><th class=\"n\">at</th><th>what</th></tr>",
    );
    for event in outcome.events.iter().take(SHOWN) {
        let _ =
            write!(html, "<tr><td class=\"n\">{:.1} s</td><td>{}</td></tr>", event.t, escape(&event.what));
    }
    html + "</table></div>" + &left_out(outcome.events.len())
}

fn jobs(outcome: &Outcome) -> String {
    let mut html = format!(
        "<details><summary>Jobs ({})</summary><div class=\"sheet\"><table><tr><th>job</th><th class=\"n\">agents</th>\
         <th class=\"n\">due</th><th class=\"n\">taken in after</th><th class=\"n\">ended after</th><th>exit</th></tr>",
        outcome.jobs.len()
    );
    for job in outcome.jobs.iter().take(SHOWN) {
        let after = |at: Option<f64>| at.map_or("-".to_owned(), |at| time((at - job.intended_s).max(0.0)));
        let exit = job.exit.map_or("-".to_owned(), |exit| exit.to_string());
        let error = job.error.as_deref().map_or(String::new(), |error| format!(": {}", escape(error)));
        let _ = write!(
            html,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{exit}{error}</td></tr>",
            escape(&job.name),
            number(f64::from(job.items)),
            time(job.intended_s),
            after(job.taken_s),
            after(job.ended_s),
        );
    }
    html + "</table></div>" + &left_out(outcome.jobs.len()) + "</details>"
}

fn left_out(all: usize) -> String {
    if all > SHOWN {
        format!("<p class=\"soft\">{} more are in the JSON.</p>", all - SHOWN)
    } else {
        String::new()
    }
}

fn measures(outcome: &Outcome) -> String {
    let mut html = String::from(
        "<details><summary>Everything measured, and how</summary><div class=\"sheet\"><table>\
         <tr><th>measure</th><th class=\"n\">value</th><th>how</th></tr>",
    );
    for (measure, value) in &outcome.measures {
        let _ = write!(
            html,
            "<tr><td class=\"w\">{}</td><td class=\"n\">{}</td><td class=\"soft\">{}</td></tr>",
            words(*measure),
            escape(&show(*measure, *value)),
            escape(measure.about())
        );
    }
    html + "</table></div></details>"
}

fn circumstances(outcome: &Outcome) -> String {
    let machine = &outcome.machine;
    let memory = format!("{} GiB", compact(machine.memory as f64 / MIB / 1_024.0));
    let load = format!(
        "{:.2} before the run{}",
        machine.load_before,
        if machine.load_before > 0.5 {
            ": something else was busy, so times and rates say little"
        } else {
            ""
        }
    );
    let rows = [
        ("processor", format!("{}, {} cores", machine.cpu, machine.cores)),
        ("memory", memory),
        ("system", machine.system.clone()),
        ("load", load),
        ("program", outcome.program.clone()),
        ("harness", format!("empire-loadtest {}", outcome.harness)),
        ("seed", outcome.seed.to_string()),
        ("began", outcome.began.to_string()),
        ("command", outcome.command.clone()),
    ];
    let mut html = String::from("<h2>Measured on</h2><div class=\"sheet\"><dl>");
    for (what, value) in rows {
        let value = escape(&value);
        let value = if what == "command" { format!("<code>{value}</code>") } else { value };
        let _ = write!(html, "<dt>{what}</dt><dd>{value}</dd>");
    }
    html + "</dl></div>"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::outcome;
    use crate::stage::Event;

    #[test]
    fn the_page_needs_nothing_else_and_no_text_becomes_html() {
        let mut outcome = outcome(&[(Measure::PeakMemoryMib, 400.0)]);
        outcome.faults.push("<script>alert('x')</script>".to_owned());
        outcome.events.push(Event { t: 1.0, what: "kill <b>".to_owned() });
        outcome.samples = (0..5).map(|t| Sample { t: f64::from(t), up: true, ..Sample::default() }).collect();
        let page = page(&outcome);
        assert!(page.contains("a &lt;small&gt; one &amp; only"), "{page}");
        assert!(!page.contains("<script") && !page.contains("<b>\""));
        for outside in ["http://", "https://", "src=", "url(", "@import", "<link", "onclick"] {
            assert!(!page.contains(outside), "the page refers to {outside}");
        }
        assert!(page.contains("✗ fails") && page.contains("at most 350 MiB"));
    }

    #[test]
    fn numbers_beside_axes_are_short() {
        let shown = [0.0, 0.25, 12.5, 250.0, 12_500.0, 500_000.0, 1_250_000.0].map(compact);
        assert_eq!(shown, ["0", "0.25", "12.5", "250", "12.5k", "500k", "1.25M"]);
    }
}
