//! What stands on the screen, at several sizes; that nothing foreign reaches a terminal; what keys do.

use std::time::Duration;

use empire_actors::kernel::tree::Order;
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};
use serde_json::{Value, json};

use super::draw::draw;
use super::keys::{Deed, press};
use super::paint::Paint;
use super::view::{Pane, Tone, Verb, View};
use crate::control::overview::Overview;
use crate::log::read::Brief;
use crate::text::is_unprintable;

const JOB: &str = "/empire/swarm/job-0199c0de-0000-7000-8000-000000000001";
const LANE: &str = "/empire/gates/rate-kimi";

fn node(path: &str, kind: &str, more: Value) -> Value {
    let node = json!({
        "path": path, "kind": kind, "state": "running", "for_ms": 3_723_000, "incarnation": 1,
        "healthy": true, "policy": 0, "pulse": {
            "waiting": 0, "paused": false, "busy_us": null, "idle_us": 5, "handled": 7, "handled_us": 70,
            "longest_us": 20, "waited_us": 9,
        },
    });
    with(node, more)
}

/// `value` with more fields, or other ones.
fn with(mut value: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("no fields: {more}") };
    value.as_object_mut().unwrap().extend(more);
    value
}

/// A simulated run in the middle of a job, with one lane that is closed and one actor that is down.
fn sample() -> Value {
    let counts = json!({"counts": {"agents": {"waiting": 498_700, "awake": 66, "done": 1_200, "dead": 34}}});
    let job = with(node(JOB, "actor", counts), json!({"children_left_out": 489}));
    let down = json!({
        "state": "exhausted", "healthy": false, "incarnation": 6,
        "last_exit": {"exit": "failed", "why": "boom", "at": 0},
    });
    let gates = json!({"children": [
        node("/empire/gates/privacy-0", "actor", json!({})),
        node("/empire/gates/privacy-1", "actor", json!({})),
        node("/empire/gates/budget", "actor", json!({})),
        node("/empire/gates/rate-claude", "actor", down),
        node(LANE, "actor", json!({})),
        node("/empire/gates/rate-ollama", "actor", json!({})),
    ]});
    let tree = json!({"children": [
        node("/empire/guard", "actor", json!({})),
        node("/empire/gates", "supervisor", gates),
        node("/empire/swarm", "supervisor", json!({"children": [job]})),
    ]});
    let lane = |provider: &str, more: Value| {
        let lane = json!({
            "provider": provider, "path": format!("/empire/gates/rate-{provider}"), "state": "open", "why": null,
            "closed_for_ms": null, "in_flight": 0, "slots": 4, "waiting": 0, "binds": null,
            "next_permit_in_ms": null, "meters": [],
        });
        with(lane, more)
    };
    let meter = |counts: &str, used: u64, limit: u64| json!({"model": null, "counts": counts, "used": used, "limit": limit});
    let account = |scope: &str, name: Value, spent: u64, cap: Option<u64>| json!({"scope": scope, "name": name, "cap_micro_usd": cap, "spent_micro_usd": spent, "reserved_micro_usd": 20_000});
    json!({
        "at": 1_800_014_400_000_i64, "version": "0.1.0", "process": 4711, "up_ms": 3_725_000,
        "home": "sim", "simulated": true, "daemon": true, "ending": false,
        "machine": {
            "level": "throttled", "pressure": 0.25, "binds": "CPU at 81 % (throttled from 70 %)",
            "cpu_percent": 81.4, "memory_percent": 42.0, "own_memory_bytes": 238_542_848, "low_disk": null,
        },
        "jobs": [
            {
                "id": "0199c0de-0000-7000-8000-000000000001", "name": "words", "path": JOB, "state": "running",
                "ended": null, "total": 500_000, "done": 1_200, "dead": 34, "waiting": 498_700, "awake": 66,
                "in_flight": 50, "reused": 0, "calls_per_s": 12.54, "spent_micro_usd": 1_234_567,
                "budget_micro_usd": 5_000_000, "eta_ms": 12_000_000, "budget_reached": null,
                "binds": "kimi: calls/min",
            },
            {
                "id": "0199c0de-0000-7000-8000-000000000000", "name": "leads", "path": "/empire/swarm/job-0199c0de-0000-7000-8000-000000000000",
                "state": "done", "ended": 1_800_014_000_000_i64, "total": 12, "done": 12, "dead": 0, "waiting": 0,
                "awake": 0, "in_flight": 0, "reused": 0, "calls_per_s": 0.0, "spent_micro_usd": 0,
                "budget_micro_usd": 1_000_000, "eta_ms": null, "budget_reached": null, "binds": null,
            },
        ],
        "lanes": [
            lane("claude", json!({"state": "closed", "why": "overloaded", "closed_for_ms": 12_000})),
            lane("kimi", json!({
                "in_flight": 50, "slots": 50, "waiting": 16, "binds": "calls/min", "next_permit_in_ms": 700,
                "meters": [meter("calls/min", 98, 100), meter("tokens/min", 40_000, 128_000)],
            })),
            lane("ollama", json!({"in_flight": 3})),
        ],
        "accounts": [
            account("total", Value::Null, 1_234_567, Some(15_000_000)),
            account("month", Value::Null, 1_234_567, None),
            account("day", Value::Null, 1_234_567, Some(1_500_000)),
            account("provider", json!("kimi"), 1_200_000, Some(5_000_000)),
        ],
        "alerts": [{
            "kind": "actor", "subject": "/empire/gates/rate-claude", "severity": "critical",
            "message": "/empire/gates/rate-claude failed too often: 6th failure in 60 s, limit 5",
            "since": 1_800_014_300_000_i64, "acknowledged": false,
        }],
        "unhealthy": [{"path": "/empire/gates/rate-claude", "state": "exhausted", "for_ms": 9_000, "why": "last failed: boom"}],
        "unhealthy_count": 1,
        "tree": node("/empire", "supervisor", tree),
    })
}

fn overview(sample: Value) -> Overview {
    serde_json::from_value(sample).unwrap()
}

fn line(level: &str, words: &str) -> Brief {
    Brief { time: "12:00:00".to_owned(), level: level.to_owned(), words: words.to_owned() }
}

fn view() -> View {
    let mut view = View::new(overview(sample()));
    view.hear(vec![
        line("INFO", "a job started items=500000 cohorts=489"),
        line("WARN", "the machine is pressed from=normal to=throttled binds=\"CPU at 81 %\""),
        line(
            "ERROR",
            "an actor failed path=/empire/gates/rate-claude why=boom decision=exhausted failures=6",
        ),
    ]);
    view
}

fn drawn(view: &View, is_coloured: bool, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let paint = Paint { is_coloured };
    terminal.draw(|frame| draw(view, paint, frame.area(), frame.buffer_mut())).unwrap();
    terminal.backend().buffer().clone()
}

fn shown(view: &View, width: u16, height: u16) -> String {
    let buffer = drawn(view, false, width, height);
    let rows = buffer.content.chunks(usize::from(width));
    let row =
        |row: &[ratatui::buffer::Cell]| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>();
    rows.map(|cells| row(cells).trim_end().to_owned() + "\n").collect()
}

fn key(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

fn typed(view: &mut View, keys: &str) -> Option<Deed> {
    keys.chars().map(|character| press(view, key(KeyCode::Char(character)))).last().flatten()
}

#[test]
fn at_80_by_24_everything_is_there() {
    insta::assert_snapshot!(shown(&view(), 80, 24));
}

#[test]
fn at_120_by_40_there_is_more_of_it() {
    let mut view = view();
    view.reveal(LANE.to_owned());
    insta::assert_snapshot!(shown(&view, 120, 40));
}

#[test]
fn at_40_by_10_the_part_where_the_person_is_is_there_alone() {
    let mut view = view();
    insta::assert_snapshot!(shown(&view, 40, 10));
    press(&mut view, key(KeyCode::BackTab));
    assert_eq!(view.focus, Pane::Gates);
    assert!(shown(&view, 40, 10).contains("kimi"));
}

#[test]
fn what_is_asked_said_and_lost_is_there() {
    let mut view = view();
    view.reveal(JOB.to_owned());
    typed(&mut view, "p");
    assert!(shown(&view, 80, 24).contains("pause the job words; agents that are awake end their call? y/n"));
    typed(&mut view, "n");
    view.say(Tone::Bad, "no restart of gates: ".to_owned() + &"a long reason ".repeat(30));
    view.lost = Some(("process 4711 has ended".to_owned(), Duration::from_secs(3)));
    let shown_now = shown(&view, 80, 24);
    assert!(shown_now.contains("NO ANSWER for 3 s: process 4711 has ended"), "{shown_now}");
    assert_eq!(
        shown_now.lines().filter(|line| line.contains("reason")).count(),
        3,
        "three lines at most:\n{shown_now}"
    );
    view.is_helping = true;
    assert!(shown(&view, 80, 24).contains("open or close in the tree"));
}

#[test]
fn real_runs_are_not_called_simulated_and_an_idle_process_says_so() {
    let mut idle = sample();
    (idle["simulated"], idle["jobs"], idle["alerts"]) = (json!(false), json!([]), json!([]));
    let shown = shown(&View::new(overview(idle)), 80, 24);
    assert!(!shown.contains("SIMULATED") && shown.contains("no job runs"), "{shown}");
    assert!(shown.contains("nothing was logged yet"));
}

#[test]
fn without_colour_there_is_none_and_with_it_only_those_that_every_terminal_has() {
    let plain = drawn(&view(), false, 80, 24);
    assert!(plain.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    assert!(plain.content.iter().any(|cell| cell.modifier.contains(Modifier::REVERSED)));
    let coloured = drawn(&view(), true, 80, 24);
    let usual = [Color::Reset, Color::Red, Color::Green, Color::Yellow, Color::Cyan];
    assert!(coloured.content.iter().all(|cell| usual.contains(&cell.fg) && cell.bg == Color::Reset));
}

/// All texts of a document, by hand of whoever wants to do harm.
fn spoil(value: &mut Value, with: &str) {
    match value {
        Value::String(text) if !text.starts_with("/empire") && !is_word(text) => text.push_str(with),
        Value::Array(values) => values.iter_mut().for_each(|value| spoil(value, with)),
        Value::Object(fields) => fields.values_mut().for_each(|value| spoil(value, with)),
        _ => {}
    }
}

/// What only one of a few words can be.
fn is_word(text: &str) -> bool {
    ["actor", "supervisor", "running", "exhausted", "failed"].contains(&text)
}

#[test]
fn nothing_foreign_moves_the_cursor() {
    let evil = "\u{1b}[2J\u{1b}]0;own\u{7}\u{9b}31m\r\n\u{8}\u{7f}\u{202e}\u{200b}";
    let mut all = sample();
    spoil(&mut all, evil);
    all["tree"]["children"][1]["children"][3]["path"] = json!(format!("/empire/gates/rate-{evil}"));
    let mut view = View::new(overview(all));
    view.hear(vec![line(evil, evil)]);
    for (width, height) in [(80, 24), (120, 40), (40, 10), (20, 3)] {
        for pane in Pane::ALL {
            view.focus = pane;
            view.lost = (width == 40).then(|| (evil.to_owned(), Duration::ZERO));
            view.say(Tone::Bad, evil);
            let buffer = drawn(&view, true, width, height);
            let symbols = buffer.content.iter().map(ratatui::buffer::Cell::symbol);
            assert!(symbols.into_iter().all(|symbol| !symbol.contains(is_unprintable)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_shown_in_whatever_size_is_shown_without_a_panic_and_without_controls(
        words in "\\PC{0,20}|.{0,20}|[漢字👩‍🔬]{0,9}",
        width in 1u16..140,
        height in 1u16..50,
        keys in prop::collection::vec(prop::sample::select(vec![
            KeyCode::Up, KeyCode::Down, KeyCode::Tab, KeyCode::Enter, KeyCode::Left, KeyCode::Right,
            KeyCode::End, KeyCode::Home, KeyCode::PageDown, KeyCode::Char('z'), KeyCode::Char('?'),
            KeyCode::Char('p'), KeyCode::Char('R'), KeyCode::Char('y'), KeyCode::Char('r'),
        ]), 0..24),
    ) {
        let mut all = sample();
        spoil(&mut all, &words);
        let mut view = View::new(overview(all));
        view.hear(vec![line("WARN", &words); 30]);
        for code in keys {
            press(&mut view, key(code));
            let buffer = drawn(&view, true, width, height);
            prop_assert!(buffer.content.iter().all(|cell| !cell.symbol().contains(is_unprintable)));
        }
        // What is gone meanwhile is not missed.
        let mut less = sample();
        (less["jobs"], less["lanes"], less["tree"]["children"]) = (json!([]), json!([]), json!([]));
        view.see(overview(less));
        drawn(&view, true, width, height);
        press(&mut view, key(KeyCode::Down));
    }
}

#[test]
fn an_order_needs_a_yes_but_for_a_resume() {
    let mut view = view();
    view.reveal(LANE.to_owned());
    assert_eq!(typed(&mut view, "pn"), None);
    for no in [KeyCode::Char('n'), KeyCode::Esc, KeyCode::Enter, KeyCode::Char('q')] {
        typed(&mut view, "R");
        assert!(view.asked.is_some());
        assert_eq!(press(&mut view, key(no)), None, "anything but y is a no, and nothing else");
        assert!(view.asked.is_none());
    }
    let Some(Deed::Give(given)) = typed(&mut view, "Ry") else { panic!("no order") };
    assert_eq!((given.verb, given.path.as_str()), (Verb::Restart, LANE));
    assert_eq!(given.order, Order::Restart { drain_ms: Some(30_000) });
    assert_eq!(given.takes(), Duration::from_secs(30));
    let Some(Deed::Give(given)) = typed(&mut view, "r") else { panic!("no order") };
    assert_eq!(given.order, Order::Resume);
    // One that is down has nothing to drain.
    view.reveal("/empire/gates/rate-claude".to_owned());
    let Some(Deed::Give(given)) = typed(&mut view, "Ry") else { panic!("no order") };
    assert_eq!(given.order, Order::Restart { drain_ms: None });
    // What is asked is about what was selected then, whatever comes.
    typed(&mut view, "p");
    let mut less = sample();
    less["tree"]["children"] = json!([]);
    view.see(overview(less));
    let Some(Deed::Give(given)) = typed(&mut view, "y") else { panic!("no order") };
    assert_eq!(given.path, "/empire/gates/rate-claude");
}

#[test]
fn what_cannot_be_told_anything_says_why() {
    let mut view = view();
    view.focus = Pane::Jobs;
    typed(&mut view, "jp");
    assert!(
        view.said.as_ref().is_some_and(|(_, words)| words.contains("has ended: there is nothing to pause"))
    );
    view.focus = Pane::Gates;
    typed(&mut view, "p");
    assert!(view.said.as_ref().is_some_and(|(_, words)| words.contains("several actors")));
    view.focus = Pane::Log;
    typed(&mut view, "r");
    assert!(view.said.as_ref().is_some_and(|(_, words)| words.contains("nothing is selected")));
    assert!(view.asked.is_none());
}

#[test]
fn the_tree_opens_and_closes_and_keeps_what_is_selected() {
    let mut view = view();
    let paths = |view: &View| view.paths(Pane::Tree).len();
    assert_eq!((paths(&view), view.path().as_deref()), (5, Some("/empire")), "gates are closed");
    typed(&mut view, "jjl");
    assert_eq!((paths(&view), view.path().as_deref()), (11, Some("/empire/gates")));
    typed(&mut view, "jjjj");
    assert_eq!(view.path().as_deref(), Some("/empire/gates/rate-claude"));
    typed(&mut view, "h");
    assert_eq!(view.path().as_deref(), Some("/empire/gates"), "to what it is in");
    press(&mut view, key(KeyCode::Enter));
    assert_eq!(paths(&view), 5);
    typed(&mut view, "G");
    assert_eq!(view.path().as_deref(), Some(JOB));
    assert_eq!(press(&mut view, key(KeyCode::Char(' '))), Some(Deed::Look), "its cohorts are asked for");
    assert_eq!(view.cohorts_of(), Some(JOB));
    let mut more = sample();
    let cohorts = json!([node(&format!("{JOB}/cohort-0"), "cohort", json!({}))]);
    more["tree"]["children"][2]["children"][0]["children"] = cohorts;
    view.see(overview(more));
    typed(&mut view, "j");
    assert!(view.path().is_some_and(|path| path.ends_with("/cohort-0")));
    view.see(overview(sample()));
    assert_eq!(view.path().as_deref(), Some(JOB), "what it was in, once it is gone");
    view.see(overview({
        let mut less = sample();
        less["tree"]["children"][2]["children"] = json!([]);
        less
    }));
    assert_eq!(view.path().as_deref(), Some("/empire/swarm"));
}

#[test]
fn quitting_zooming_and_helping() {
    let control = |character| KeyEvent::new(KeyCode::Char(character), KeyModifiers::CONTROL);
    let mut view = view();
    typed(&mut view, "p");
    assert_eq!(press(&mut view, control('c')), Some(Deed::Quit), "whatever is asked");
    view.asked = None;
    assert_eq!(typed(&mut view, "q"), Some(Deed::Quit));
    assert_eq!(press(&mut view, control('l')), Some(Deed::Redraw));
    typed(&mut view, "?");
    assert!(view.is_helping);
    assert_eq!(press(&mut view, key(KeyCode::Esc)), None, "closes the help");
    typed(&mut view, "z");
    assert!(!shown(&view, 80, 24).contains("WAITING METER"));
    assert_eq!(press(&mut view, key(KeyCode::Esc)), None, "shows all parts again");
    assert!(!view.is_zoomed);
    assert_eq!(press(&mut view, key(KeyCode::Esc)), Some(Deed::Quit));
}

#[test]
fn the_log_stays_where_it_was_scrolled_to_and_is_bounded() {
    let mut view = view();
    view.hear((0..1_000).map(|number| line("INFO", &format!("line {number}"))).collect());
    assert_eq!(view.log.len(), 500);
    view.focus = Pane::Log;
    typed(&mut view, "kkk");
    assert!(shown(&view, 80, 24).contains("line 996") && !shown(&view, 80, 24).contains("line 997"));
    view.hear(vec![line("INFO", "newer")]);
    assert!(shown(&view, 80, 24).contains("line 996") && !shown(&view, 80, 24).contains("line 997"));
    press(&mut view, key(KeyCode::End));
    assert!(shown(&view, 80, 24).contains("newer"));
    press(&mut view, key(KeyCode::Home));
    assert_eq!(view.back, 499);
}
