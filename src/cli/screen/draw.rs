//! From what the screen knows to what stands on it. Pure: the same view gives the same picture.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Widget};

use super::columns::{cut, width};
use super::keys::HELP;
use super::paint::Paint;
use super::panes::{self, Part};
use super::view::{Pane, Tone, View, short};
use crate::cli::actors::remarks;
use crate::control::overview::{AccountLine, Overview};
use crate::text;
use empire_actors::money::Micros;

/// Less is too small for anything.
const LEAST: (u16, u16) = (30, 6);
/// From so many lines on the parts are shown together.
const TOGETHER: u16 = 16;
/// Lines that a message may take.
const MOST_SAID: usize = 3;

/// Draws all of it.
pub(super) fn draw(view: &View, paint: Paint, area: Rect, buffer: &mut Buffer) {
    Clear.render(area, buffer);
    if area.width < LEAST.0 || area.height < LEAST.1 {
        too_small(area, buffer);
    } else {
        screen(view, paint, area, buffer);
    }
    scrub(buffer);
}

fn too_small(area: Rect, buffer: &mut Buffer) {
    let (least_wide, least_high) = LEAST;
    let words = format!("{}×{} is too small: {least_wide}×{least_high} at least", area.width, area.height);
    let lines: Vec<Line<'_>> = folded(&words, area.width.into()).into_iter().map(Line::from).collect();
    Paragraph::new(lines).render(area, buffer);
}

fn screen(view: &View, paint: Paint, area: Rect, buffer: &mut Buffer) {
    let room = usize::from(area.width);
    let is_small = area.height < TOGETHER;
    let mut head = head(view, paint, room);
    if is_small {
        head.truncate(1);
    }
    let said = said(view, paint, room);
    let (above, below) = (head.len() as u16, said.len() as u16 + 1);
    let middle = area.height.saturating_sub(above + below);
    lines(head, area.y, area, buffer);
    let mut at = area.y + above;
    for (pane, height) in heights(view, middle, is_small || view.is_zoomed) {
        let part = panes::part(view, paint, pane, room, usize::from(height).saturating_sub(1));
        let area = Rect { y: at, height, ..area };
        show(&part, paint, view.focus == pane, area, buffer);
        at += height;
    }
    let at = area.bottom().saturating_sub(below);
    lines(said, at, area, buffer);
    lines(vec![hints(paint, room)], area.bottom() - 1, area, buffer);
    if view.is_helping {
        help(paint, area, buffer);
    }
}

/// How high each part is, from top to bottom.
fn heights(view: &View, middle: u16, is_alone: bool) -> Vec<(Pane, u16)> {
    if is_alone {
        return vec![(view.focus, middle)];
    }
    let count = |pane| view.paths(pane).len().max(1) as u16;
    // What a taller terminal has more is for all.
    let more = middle.saturating_sub(18) / 4;
    let jobs = 1 + count(Pane::Jobs).min(3 + more);
    let gates = 1 + count(Pane::Gates).min(5 + more);
    let left = middle.saturating_sub(jobs + gates);
    let log = (left * 2 / 5).max(left.saturating_sub(1 + count(Pane::Tree)));
    vec![(Pane::Jobs, jobs), (Pane::Gates, gates), (Pane::Tree, left - log), (Pane::Log, log)]
}

fn lines(lines: Vec<Line<'_>>, from: u16, area: Rect, buffer: &mut Buffer) {
    for (line, y) in lines.into_iter().zip(from..area.bottom()) {
        buffer.set_line(area.x, y, &line, area.width);
    }
}

/// A part: its head, and as many of its lines as there is room for, the selected one among them.
fn show(part: &Part, paint: Paint, is_focused: bool, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let style = paint.head(is_focused);
    buffer.set_line(area.x, area.y, &part.head, area.width);
    buffer.set_style(Rect { height: 1, ..area }, style);
    let rows = usize::from(area.height) - 1;
    let first = match part.selected {
        Some(selected) => selected.saturating_sub(rows / 2).min(part.lines.len().saturating_sub(rows)),
        None => 0,
    };
    for (row, line) in part.lines.iter().enumerate().skip(first).take(rows) {
        let y = area.y + 1 + (row - first) as u16;
        buffer.set_line(area.x, y, line, area.width);
        if is_focused && part.selected == Some(row) {
            buffer.set_style(Rect { y, height: 1, ..area }, paint.selected());
        }
    }
}

/// The process, the machine, the money; and what somebody should look at, if there is something.
fn head(view: &View, paint: Paint, room: usize) -> Vec<Line<'static>> {
    let now = &view.now;
    let mut head =
        vec![title(view, paint, room), machine(now, paint, room), money(&now.accounts, paint, room)];
    if let Some(alert) =
        now.alerts.iter().max_by_key(|alert| (!alert.acknowledged, alert.severity == "critical"))
    {
        let count = text::count(now.alerts.len() as u64, "alert");
        let message = text::one_line(&alert.message, 200);
        let style = if alert.severity == "critical" { paint.bad() } else { paint.warn() };
        let known = if alert.acknowledged { " (acknowledged)" } else { "" };
        let words = format!(" {count}: {} {}: {message}{known}", alert.severity, clean(&alert.kind));
        head.push(Line::styled(cut(&words, room), style));
    }
    head
}

fn title(view: &View, paint: Paint, room: usize) -> Line<'static> {
    let now = &view.now;
    if let Some((why, age)) = &view.lost {
        let words = format!(" NO ANSWER for {}: {}", text::duration(*age), text::one_line(why, 300));
        return Line::styled(cut(&words, room), paint.bad());
    }
    let what = if now.daemon { "empire" } else { "empire, a job in the foreground" };
    let mut parts = vec![Span::styled(format!(" {what}"), paint.strong())];
    if now.simulated {
        parts.push(Span::styled(" SIMULATED ", paint.label()));
    }
    if now.ending {
        parts.push(Span::styled("going down", paint.warn()));
    }
    parts.push(Span::raw(format!("up {}", text::duration(Duration::from_millis(now.up_ms)))));
    if now.unhealthy_count > 0 {
        parts.push(Span::styled(
            format!("{} not well", text::count(now.unhealthy_count as u64, "actor")),
            paint.bad(),
        ));
    }
    parts.push(Span::raw(format!("process {}", now.process)));
    parts.push(Span::raw(clean(&now.version)));
    let clock = clock(now);
    let mut line = joined(parts, "  ", room.saturating_sub(width(&clock) + 1));
    let blanks = room.saturating_sub(line.width() + width(&clock));
    line.push_span(Span::raw(" ".repeat(blanks)));
    line.push_span(Span::styled(cut(&clock, room), paint.quiet()));
    line
}

fn clock(now: &Overview) -> String {
    jiff::Timestamp::from_millisecond(now.at.0)
        .map_or_else(|_| String::new(), |at| at.strftime("%H:%M:%S UTC ").to_string())
}

fn machine(now: &Overview, paint: Paint, room: usize) -> Line<'static> {
    let machine = &now.machine;
    let mut parts =
        vec![Span::raw(" machine"), Span::styled(clean(&machine.level), paint.state(&machine.level))];
    if let Some(binds) = &machine.binds {
        parts.push(Span::styled(clean(binds), paint.warn()));
    }
    let percent = |name: &str, value: f64| Span::raw(format!("{name} {value:.0} %"));
    // What binds is said already.
    let is_said = |name: &str| machine.binds.as_deref().is_some_and(|binds| binds.starts_with(name));
    parts.extend(machine.cpu_percent.filter(|_| !is_said("CPU")).map(|cpu| percent("CPU", cpu)));
    parts.extend(
        machine.memory_percent.filter(|_| !is_said("memory")).map(|memory| percent("memory", memory)),
    );
    parts.extend(machine.own_memory_bytes.map(|own| Span::raw(format!("own {}", text::bytes(own)))));
    if machine.pressure > 0.0 {
        parts.push(Span::raw(format!("pressure {:.2}", machine.pressure)));
    }
    if let Some(low) = &machine.low_disk {
        parts.insert(2, Span::styled(clean(low), paint.bad()));
    }
    joined(parts, "  ", room)
}

fn money(accounts: &[AccountLine], paint: Paint, room: usize) -> Line<'static> {
    let mut parts = vec![Span::raw(" spent")];
    for scope in ["day", "month", "total"] {
        let Some(account) = accounts.iter().find(|account| account.scope == scope) else { continue };
        let (shown, style) = spent(account, paint);
        parts.push(Span::styled(format!("{} {shown}", scope_words(scope)), style));
    }
    let reserved = accounts.iter().find(|account| account.scope == "total");
    if let Some(reserved) = reserved.map(|account| account.reserved_micro_usd).filter(|sum| *sum > 0) {
        parts.push(Span::raw(format!("set aside {}", text::money(Micros(reserved)))));
    }
    joined(parts, "  ", room)
}

/// Which time an account is for.
pub(super) fn scope_words(scope: &str) -> &'static str {
    match scope {
        "day" => "today",
        "month" => "this month",
        _ => "in all",
    }
}

/// What is spent, of what may be.
pub(super) fn spent(account: &AccountLine, paint: Paint) -> (String, Style) {
    let spent = text::money(Micros(account.spent_micro_usd));
    match account.cap_micro_usd {
        None => (spent, paint.plain()),
        Some(cap) => {
            let part = account.spent_micro_usd as f64 / cap.max(1) as f64;
            let style = if part >= 0.8 { paint.fullness(part) } else { paint.plain() };
            (format!("{spent} of {}", text::money(Micros(cap))), style)
        }
    }
}

/// As many of the parts as there is room for, the first ones first.
pub(super) fn joined(parts: Vec<Span<'static>>, between: &'static str, room: usize) -> Line<'static> {
    let mut line = Line::default();
    for part in parts {
        let gap = if line.spans.is_empty() { "" } else { between };
        let left = room.saturating_sub(line.width() + gap.len());
        if part.width() > left {
            // Half a word is better than none only where nothing else stands.
            if line.spans.len() < 2 {
                line.push_span(Span::raw(gap));
                line.push_span(Span::styled(cut(&part.content, left), part.style));
            }
            break;
        }
        line.push_span(Span::raw(gap));
        line.push_span(part);
    }
    line
}

/// The question that waits for an answer, or what was said last, or what is selected.
fn said(view: &View, paint: Paint, room: usize) -> Vec<Line<'static>> {
    if let Some(given) = &view.asked {
        let words = format!(" {}", text::one_line(&view.question(given), 400));
        return fold(&words, paint.label(), room);
    }
    if let Some((tone, words)) = &view.said {
        let style = match tone {
            Tone::Plain => paint.strong(),
            Tone::Good => paint.good(),
            Tone::Bad => paint.bad(),
        };
        return fold(&format!(" {}", text::one_line(words, 400)), style, room);
    }
    let Some(path) = view.path() else { return vec![Line::default()] };
    let mut words = format!(" {}", clean(short(&path)));
    if let Some(node) = view.node() {
        let more = remarks(node);
        if !more.is_empty() {
            words += &format!(": {}", clean(&more));
        }
    }
    vec![Line::styled(cut(&words, room), paint.quiet())]
}

fn fold(words: &str, style: Style, room: usize) -> Vec<Line<'static>> {
    let mut lines = folded(words, room);
    if lines.len() > MOST_SAID {
        lines.truncate(MOST_SAID);
        if let Some(last) = lines.last_mut() {
            *last = cut(&format!("{last} …"), room);
        }
    }
    lines.into_iter().map(|line| Line::styled(line, style)).collect()
}

/// Words on lines of at most `room` columns.
fn folded(words: &str, room: usize) -> Vec<String> {
    let folded = text::wrap(words.trim_start(), room.saturating_sub(1).max(1), 0);
    folded.lines().map(|line| cut(&format!(" {line}"), room)).collect()
}

fn hints(paint: Paint, room: usize) -> Line<'static> {
    let keys = [
        ("q", "quit"),
        ("?", "help"),
        ("Tab", "part"),
        ("↑↓", "select"),
        ("Enter", "open"),
        ("p", "pause"),
        ("r", "resume"),
        ("R", "restart"),
        ("z", "zoom"),
    ];
    let mut line = Line::default();
    for (key, what) in keys {
        let key = Span::styled(format!(" {key}"), paint.strong());
        let what = Span::styled(format!(" {what} "), paint.quiet());
        if line.width() + key.width() + what.width() <= room {
            line.push_span(key);
            line.push_span(what);
        }
    }
    line
}

fn help(paint: Paint, area: Rect, buffer: &mut Buffer) {
    let wide = HELP.iter().map(|(keys, _)| width(keys)).max().unwrap_or(0);
    let lines: Vec<Line<'_>> = HELP
        .iter()
        .map(|(keys, what)| {
            let blanks = " ".repeat(wide - width(keys) + 2);
            Line::from(vec![Span::styled(format!(" {keys}"), paint.strong()), Span::raw(blanks + what)])
        })
        .collect();
    let size = (lines.iter().map(Line::width).max().unwrap_or(0) as u16 + 3, lines.len() as u16 + 2);
    let size = (size.0.min(area.width), size.1.min(area.height));
    let place = Rect {
        x: area.x + (area.width - size.0) / 2,
        y: area.y + (area.height - size.1) / 2,
        width: size.0,
        height: size.1,
    };
    Clear.render(place, buffer);
    let block = Block::bordered().title(" keys: any one closes this ");
    Paragraph::new(lines).block(block).render(place, buffer);
}

/// Foreign words, safe to show.
pub(super) fn clean(words: &str) -> String {
    text::one_line(words, 400)
}

/// Whatever came from outside, nothing that a terminal would obey leaves here.
fn scrub(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        if cell.symbol().contains(text::is_unprintable) {
            cell.set_symbol(" ");
        }
    }
}
