//! The parts of the screen: jobs, gates, tree, log. Pure.

use std::time::Duration;

use empire_actors::kernel::tree::{NodeKind, NodeView, ROOT};
use empire_actors::money::Micros;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::columns::{Cell, Column, cut, lay, width};
use super::draw::{clean, scope_words, spent};
use super::paint::Paint;
use super::view::{Pane, TreeRow, View};
use crate::cli::actors::remarks;
use crate::control::overview::{JobLine, LaneLine, find};
use crate::text::{self, Lean};
use Lean::{Left, Right};

/// Nothing is cut that is not wider.
const WIDE: usize = 1_000;

/// A part, ready to be shown.
pub(super) struct Part {
    pub(super) head: Line<'static>,
    pub(super) lines: Vec<Line<'static>>,
    pub(super) selected: Option<usize>,
}

/// A part in `room` columns and `high` lines.
pub(super) fn part(view: &View, paint: Paint, pane: Pane, room: usize, high: usize) -> Part {
    match pane {
        Pane::Jobs => jobs(view, paint, room),
        Pane::Gates => gates(view, paint, room),
        Pane::Tree => tree(view, paint, room),
        Pane::Log => log(view, paint, room, high),
    }
}

/// Columns as a part, a blank before each line.
fn listed(columns: Vec<Column>, selected: Option<usize>, room: usize) -> Part {
    let indented = |mut line: Line<'static>| {
        line.spans.insert(0, Span::raw(" "));
        line
    };
    let (head, lines) = lay(columns, room.saturating_sub(1));
    Part { head: indented(head), lines: lines.into_iter().map(indented).collect(), selected }
}

/// Nothing to list, and why.
fn empty(title: &'static str, why: &str, paint: Paint, room: usize) -> Part {
    let line = Line::styled(cut(&format!(" {why}"), room), paint.quiet());
    Part { head: Line::raw(format!(" {title}")), lines: vec![line], selected: None }
}

fn time(millis: u64) -> String {
    text::duration(Duration::from_millis(millis))
}

/// A number, or nothing for none.
fn some(number: u64) -> String {
    if number == 0 { String::new() } else { text::thousands(number) }
}

fn jobs(view: &View, paint: Paint, room: usize) -> Part {
    let jobs = &view.now.jobs;
    if jobs.is_empty() {
        return empty("JOBS", "no job runs: `empire swarm run JOB.yaml` starts one", paint, room);
    }
    let plain = paint.plain();
    let texts = |text: &dyn Fn(&JobLine) -> String, style: Style| -> Vec<Cell> {
        jobs.iter().map(|job| Cell::text(text(job), style)).collect()
    };
    let part = |job: &JobLine| (job.done + job.dead) as f64 / job.total.max(1) as f64;
    let state = |job: &JobLine| Cell::text(clean(&job.state).replace('_', " "), paint.state(&job.state));
    let dead = |job: &JobLine| Cell::text(some(job.dead), if job.dead > 0 { paint.bad() } else { plain });
    let binds = |job: &JobLine| match (&job.budget_reached, &job.binds) {
        (Some(at), _) => Cell::text(format!("budget reached at {}", clean(at)), paint.warn()),
        (None, Some(binds)) => Cell::text(format!("waits for {}", clean(binds)), paint.quiet()),
        (None, None) => Cell::text("", plain),
    };
    let columns = vec![
        Column::new("JOB", Left, 0, texts(&|job| clean(&job.name), paint.strong())).between(8, 24),
        Column::new("STATE", Left, 2, jobs.iter().map(state).collect()),
        Column::new("", Left, 7, jobs.iter().map(|job| Cell::Bar(part(job), paint.good())).collect())
            .between(6, 24),
        Column::new("DONE", Right, 0, texts(&|job| percent(job.done + job.dead, job.total), plain)),
        Column::new(
            "ITEMS",
            Right,
            1,
            texts(&|job| format!("{}/{}", text::thousands(job.done), text::thousands(job.total)), plain),
        ),
        Column::new("DEAD", Right, 2, jobs.iter().map(dead).collect()),
        Column::new("CALLS/S", Right, 5, texts(&|job| rate(job.calls_per_s), plain)),
        Column::new("SPENT", Right, 3, texts(&money_of, plain)),
        // Nobody knows how long a pause takes.
        Column::new(
            "LEFT",
            Right,
            4,
            texts(
                &|job| match job.eta_ms {
                    Some(eta) if job.state == "running" => time(eta),
                    _ => String::new(),
                },
                plain,
            ),
        ),
        Column::new("WAITING", Right, 8, texts(&|job| some(job.waiting), plain)),
        Column::new("CALLS", Right, 9, texts(&|job| some(job.in_flight), plain)),
        Column::new("", Left, 10, jobs.iter().map(binds).collect()).between(12, 48),
    ];
    listed(columns, Some(view.selected(Pane::Jobs)), room)
}

/// Whole percents, which are 100 only if nothing is missing.
fn percent(part: u64, whole: u64) -> String {
    let part = u128::from(part.min(whole)) * 100 / u128::from(whole.max(1));
    format!("{part} %")
}

fn rate(rate: f64) -> String {
    match rate {
        rate if rate <= 0.0 => String::new(),
        rate if rate < 10.0 => format!("{rate:.1}"),
        rate => text::thousands(rate.round() as u64),
    }
}

fn money_of(job: &JobLine) -> String {
    let spent = text::money(Micros(job.spent_micro_usd));
    match job.budget_micro_usd {
        Some(budget) => format!("{spent}/{}", text::money(Micros(budget))),
        None => spent,
    }
}

/// A gate as a line: who, how it is, what it has under way of how much, who waits, the meter that
/// is fullest, more in words.
struct Gate {
    name: String,
    state: String,
    slots: Option<(u64, u64)>,
    waiting: u64,
    meter: Option<(f64, String)>,
    more: (String, Style),
}

fn gates(view: &View, paint: Paint, room: usize) -> Part {
    let mut gates = vec![privacy(view, paint), budget(view, paint)];
    gates.extend(view.now.lanes.iter().map(|line| lane(view, line, paint)));
    let plain = paint.plain();
    let share = |(used, limit): (u64, u64)| used as f64 / limit.max(1) as f64;
    let bar = |part: Option<f64>| match part {
        Some(part) => Cell::Bar(part, paint.fullness(part)),
        None => Cell::text("", plain),
    };
    let slots = |gate: &Gate| gate.slots.map(|(used, all)| format!("{used}/{all}")).unwrap_or_default();
    let cells = |cell: &dyn Fn(&Gate) -> Cell| gates.iter().map(cell).collect::<Vec<_>>();
    let text = |text: String| Cell::text(text, plain);
    let columns = vec![
        Column::new("GATE", Left, 0, cells(&|gate| Cell::text(gate.name.clone(), paint.strong())))
            .between(7, 16),
        Column::new(
            "STATE",
            Left,
            0,
            cells(&|gate| Cell::text(gate.state.clone(), paint.state(&gate.state))),
        ),
        Column::new("CALLS", Right, 1, cells(&|gate| text(slots(gate)))),
        Column::new(
            "",
            Left,
            7,
            cells(&|gate| match gate.slots {
                // All slots taken is as it should be.
                Some(slots) => Cell::Bar(share(slots), paint.good()),
                None => Cell::text("", plain),
            }),
        )
        .between(4, 10),
        Column::new("WAITING", Right, 2, cells(&|gate| text(some(gate.waiting)))),
        Column::new("METER", Left, 6, cells(&|gate| bar(gate.meter.as_ref().map(|(part, _)| *part))))
            .between(5, 14),
        Column::new(
            "",
            Left,
            3,
            cells(&|gate| text(gate.meter.clone().map(|(_, words)| words).unwrap_or_default())),
        )
        .between(26, 40),
        Column::new("", Left, 4, cells(&|gate| Cell::text(gate.more.0.clone(), gate.more.1)))
            .between(16, WIDE),
    ];
    listed(columns, Some(view.selected(Pane::Gates)), room)
}

/// All workers of the privacy gate.
fn privacy(view: &View, paint: Paint) -> Gate {
    let gates = find(&view.now.tree, &format!("{ROOT}/gates"));
    let is_worker =
        |node: &&NodeView| node.path.rsplit('/').next().is_some_and(|name| name.starts_with("privacy"));
    let workers: Vec<&NodeView> =
        gates.into_iter().flat_map(|gates| &gates.children).filter(is_worker).collect();
    let unwell = workers.iter().find(|worker| !worker.healthy);
    let state = unwell.or(workers.first()).map_or("stopped", |worker| worker.state.word());
    Gate {
        name: "privacy".to_owned(),
        state: state.replace('_', " "),
        slots: None,
        waiting: workers.iter().filter_map(|worker| worker.pulse).map(|pulse| pulse.waiting).sum(),
        meter: None,
        more: (text::count(workers.len() as u64, "worker"), paint.quiet()),
    }
}

/// The budget gate, with the account that is fullest.
fn budget(view: &View, paint: Paint) -> Gate {
    let node = find(&view.now.tree, &format!("{ROOT}/gates/budget"));
    let full = |(spent, cap): (u64, u64)| spent as f64 / cap.max(1) as f64;
    let accounts = view.now.accounts.iter().filter_map(|account| {
        let cap = account.cap_micro_usd?;
        Some((full((account.spent_micro_usd + account.reserved_micro_usd, cap)), account))
    });
    let fullest = accounts.reduce(|fullest, other| if other.0 > fullest.0 { other } else { fullest });
    let meter = fullest.map(|(part, account)| {
        let what = account.name.as_deref().map_or_else(|| scope_words(&account.scope).to_owned(), clean);
        (part, format!("{what} {}", spent(account, paint).0))
    });
    Gate {
        name: "budget".to_owned(),
        state: node.map_or("stopped", |node| node.state.word()).replace('_', " "),
        slots: None,
        waiting: node.and_then(|node| node.pulse).map_or(0, |pulse| pulse.waiting),
        meter,
        more: (String::new(), paint.plain()),
    }
}

/// A provider's lane, with the limit that is fullest.
fn lane(view: &View, lane: &LaneLine, paint: Paint) -> Gate {
    let node = find(&view.now.tree, &lane.path).filter(|node| !node.healthy);
    let share = |used: u64, limit: u64| used as f64 / limit.max(1) as f64;
    let fullest = lane.meters.iter().reduce(|fullest, other| {
        let is_fuller = share(other.used, other.limit) > share(fullest.used, fullest.limit);
        if is_fuller { other } else { fullest }
    });
    let meter = fullest.map(|meter| {
        let words = format!(
            "{} {}/{}",
            clean(&meter.counts),
            text::thousands(meter.used),
            text::thousands(meter.limit)
        );
        (share(meter.used, meter.limit), words)
    });
    let more = match (&lane.why, lane.closed_for_ms, &lane.binds, lane.next_permit_in_ms) {
        (Some(why), Some(left), ..) => (format!("{} for {}", clean(why), time(left)), paint.warn()),
        (Some(why), None, ..) => (clean(why), paint.warn()),
        (None, _, Some(binds), Some(next)) if next > 0 => {
            (format!("waits for {}: next in {}", clean(binds), time(next)), paint.quiet())
        }
        (None, _, Some(binds), _) => (format!("waits for {}", clean(binds)), paint.quiet()),
        _ => (String::new(), paint.plain()),
    };
    Gate {
        name: clean(&lane.provider),
        // An actor that is down matters more than what its lane would allow.
        state: node.map_or_else(|| clean(&lane.state), |node| node.state.word().replace('_', " ")),
        slots: Some((lane.in_flight, lane.slots)),
        waiting: lane.waiting,
        meter,
        more,
    }
}

fn tree(view: &View, paint: Paint, room: usize) -> Part {
    let rows = view.tree();
    let plain = paint.plain();
    let state = |row: &TreeRow<'_>| {
        let word = row.node.state.word();
        let mark = if row.node.healthy { "" } else { " !" };
        let style = if row.node.healthy { paint.good() } else { paint.bad() };
        Cell::text(format!("{}{mark}", word.replace('_', " ")), style)
    };
    let waiting = |row: &TreeRow<'_>| {
        let agents = row.node.counts.as_ref().and_then(|counts| counts["agents"]["waiting"].as_u64());
        some(agents.or(row.node.pulse.map(|pulse| pulse.waiting)).unwrap_or_default())
    };
    let cells = |cell: &dyn Fn(&TreeRow<'_>) -> Cell| rows.iter().map(cell).collect::<Vec<_>>();
    let text = |text: String| Cell::text(text, plain);
    let columns = vec![
        Column::new("ACTOR", Left, 0, cells(&|row| text(name(view, row)))).between(16, 44),
        Column::new("STATE", Left, 0, cells(&state)),
        Column::new("FOR", Right, 3, cells(&|row| text(time(row.node.for_ms)))),
        Column::new("WAITING", Right, 1, cells(&|row| text(waiting(row)))),
        Column::new("STARTS", Right, 2, cells(&|row| text(row.node.incarnation.to_string()))),
        Column::new("", Left, 4, cells(&|row| Cell::text(clean(&remarks(row.node)), paint.quiet())))
            .between(10, WIDE),
    ];
    listed(columns, Some(view.selected(Pane::Tree)), room)
}

/// What a node is called, with how deep it is and whether there is more below it.
fn name(view: &View, row: &TreeRow<'_>) -> String {
    let indent = "  ".repeat(row.depth);
    let mark = match (row.below, row.is_open) {
        (0, _) => " ",
        (_, true) => "▾",
        (_, false) => "▸",
    };
    let node = row.node;
    let last = node.path.rsplit('/').next().unwrap_or(&node.path);
    let own = match view.job_name(&node.path) {
        Some(job) => format!("{} {}", clean(job), last.get(..12).unwrap_or(last)),
        None if row.depth == 0 => "empire".to_owned(),
        None => clean(last),
    };
    let hidden = match unwell_below(node) {
        0 if row.is_open || row.below == 0 || node.kind == NodeKind::Actor => String::new(),
        0 => format!(" ({})", row.below),
        _ if row.is_open => String::new(),
        unwell => format!(" ({} not well)", text::thousands(unwell)),
    };
    format!("{indent}{mark} {own}{hidden}")
}

fn unwell_below(node: &NodeView) -> u64 {
    node.children.iter().map(|child| u64::from(!child.healthy) + unwell_below(child)).sum()
}

fn log(view: &View, paint: Paint, room: usize, high: usize) -> Part {
    let end = view.log.len().saturating_sub(view.back);
    let first = end.saturating_sub(high.max(1));
    let lines: Vec<Line<'static>> = view
        .log
        .range(first..end)
        .map(|line| {
            let style = match line.level.as_str() {
                "ERROR" => paint.bad(),
                "WARN" => paint.warn(),
                "INFO" => paint.good(),
                _ => paint.quiet(),
            };
            let before = format!(" {} ", clean(&line.time));
            let level = format!("{:<5} ", clean(&line.level));
            let words = cut(&clean(&line.words), room.saturating_sub(width(&before) + width(&level)));
            Line::from(vec![
                Span::styled(before, paint.quiet()),
                Span::styled(level, style),
                Span::raw(words),
            ])
        })
        .collect();
    if lines.is_empty() {
        return empty("LOG", "nothing was logged yet", paint, room);
    }
    let head = match view.back {
        0 => " LOG".to_owned(),
        back => format!(" LOG, {} further on: End goes there", text::count(back as u64, "line")),
    };
    Part { head: Line::raw(head), lines, selected: None }
}
