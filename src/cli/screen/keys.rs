//! What keys do. Pure: a key changes the view, or is a deed for whoever runs the screen.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::view::{Given, Pane, Tone, Verb, View};

/// Lines of a page.
const PAGE: isize = 10;
/// Further than anything goes.
const FAR: isize = 1 << 20;

/// The keys, as the help names them.
pub(super) const HELP: &[(&str, &str)] = &[
    ("↑ ↓  k j", "select; in the log scroll"),
    ("PgUp PgDn Home End", "the same, further"),
    ("Enter Space", "open or close in the tree"),
    ("← →  h l", "close, open"),
    ("Tab Shift-Tab", "next part, part before"),
    ("z", "this part alone, and back"),
    ("p", "pause what is selected"),
    ("r", "resume it"),
    ("R", "restart it"),
    ("Ctrl-L", "draw it anew"),
    ("? q Esc Ctrl-C", "help, quit"),
];

/// What a key asks of whoever runs the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deed {
    Quit,
    /// Everything is to be drawn anew.
    Redraw,
    /// A newer picture is wanted at once.
    Look,
    Give(Given),
}

/// A key was pressed.
pub(super) fn press(view: &mut View, key: KeyEvent) -> Option<Deed> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Deed::Quit),
            KeyCode::Char('l') => Some(Deed::Redraw),
            _ => None,
        };
    }
    if let Some(given) = view.asked.take() {
        return answer(view, given, key.code);
    }
    // What was said is read when the next key comes.
    view.said = None;
    if view.is_helping {
        view.is_helping = false;
        return (key.code == KeyCode::Char('q')).then_some(Deed::Quit);
    }
    match key.code {
        KeyCode::Char('q') => return Some(Deed::Quit),
        KeyCode::Esc if view.is_zoomed => view.is_zoomed = false,
        KeyCode::Esc => return Some(Deed::Quit),
        KeyCode::Char('?') | KeyCode::F(1) => view.is_helping = true,
        KeyCode::Char('z') => view.is_zoomed = !view.is_zoomed,
        KeyCode::Tab => turn(view, 1),
        KeyCode::BackTab => turn(view, Pane::ALL.len() - 1),
        KeyCode::Char('p') => ask(view, Verb::Pause),
        KeyCode::Char('R') => ask(view, Verb::Restart),
        KeyCode::Char('r') => match view.prepare(Verb::Resume) {
            Ok(given) => return Some(give(view, given)),
            Err(why) => view.say(Tone::Bad, why),
        },
        code => return move_about(view, code),
    }
    None
}

fn move_about(view: &mut View, code: KeyCode) -> Option<Deed> {
    match code {
        KeyCode::Up | KeyCode::Char('k') => view.go(-1),
        KeyCode::Down | KeyCode::Char('j') => view.go(1),
        KeyCode::PageUp => view.go(-PAGE),
        KeyCode::PageDown => view.go(PAGE),
        KeyCode::Home | KeyCode::Char('g') => view.go(-FAR),
        KeyCode::End | KeyCode::Char('G') => view.go(FAR),
        KeyCode::Enter | KeyCode::Char(' ') if view.focus == Pane::Tree => {
            let is_open = view.path().is_some_and(|path| view.is_open(&path));
            view.open(!is_open);
            return view.cohorts_of().map(|_| Deed::Look);
        }
        // From a job or a gate to its place in the tree.
        KeyCode::Enter if view.focus != Pane::Log => {
            if let Some(path) = view.node().map(|node| node.path.clone()) {
                view.reveal(path);
            }
        }
        KeyCode::Right | KeyCode::Char('l') if view.focus == Pane::Tree => {
            view.open(true);
            return view.cohorts_of().map(|_| Deed::Look);
        }
        KeyCode::Left | KeyCode::Char('h') if view.focus == Pane::Tree => {
            let path = view.path()?;
            if view.is_open(&path) {
                view.open(false);
            } else if let Some((above, _)) = path.rsplit_once('/').filter(|(above, _)| !above.is_empty()) {
                view.select(Pane::Tree, above.to_owned());
            }
        }
        _ => {}
    }
    None
}

/// Only a yes is one.
fn answer(view: &mut View, given: Given, code: KeyCode) -> Option<Deed> {
    if matches!(code, KeyCode::Char('y' | 'Y')) {
        return Some(give(view, given));
    }
    view.say(Tone::Plain, format!("no {}", given.verb.word()));
    None
}

fn ask(view: &mut View, verb: Verb) {
    match view.prepare(verb) {
        Ok(given) => view.asked = Some(given),
        Err(why) => view.say(Tone::Bad, why),
    }
}

fn give(view: &mut View, given: Given) -> Deed {
    view.say(Tone::Plain, format!("{} {} …", given.verb.word(), super::view::short(&given.path)));
    Deed::Give(given)
}

fn turn(view: &mut View, by: usize) {
    let place = Pane::ALL.iter().position(|pane| *pane == view.focus).unwrap_or_default();
    view.focus = Pane::ALL[(place + by) % Pane::ALL.len()];
}
