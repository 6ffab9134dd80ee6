//! The terminal, taken for a screen and given back as it was: at the end, on an error, on a panic.

use std::io::{self, Stdout, stdout};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{Event, poll, read};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};
use tokio::sync::mpsc;

use crate::log::take_terminal;

/// How soon the thread that reads keys sees that the screen is over.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Keys that may wait.
const MOST_KEYS: usize = 256;
/// Where the terminal does not say how large it is.
const USUAL: (u16, u16) = (80, 24);

/// Whether the terminal of this process is taken.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// A terminal that is taken. Dropping it gives it back.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    size: (u16, u16),
}

type Hook = Arc<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

impl Screen {
    /// Takes the terminal that standard output is.
    pub(super) fn take() -> io::Result<Screen> {
        let size = size();
        give_back_on_panic();
        IS_TAKEN.store(true, Ordering::SeqCst);
        take_terminal(true);
        let taken = enable_raw_mode()
            .and_then(|()| execute!(stdout(), EnterAlternateScreen, Hide))
            .and_then(|()| empty(size));
        match taken {
            Ok(terminal) => Ok(Screen { terminal, size }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// Draws what changed.
    pub(super) fn draw(&mut self, draw: impl FnOnce(Rect, &mut Buffer)) -> io::Result<()> {
        self.fit()?;
        self.terminal.draw(|frame| draw(frame.area(), frame.buffer_mut())).map(drop)
    }

    /// Draws everything anew the next time.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        self.terminal = empty(self.size)?;
        Ok(())
    }

    /// Whether the terminal has another size by now. Asked for, since not every way to a terminal
    /// sends a signal.
    pub(super) fn is_other_size(&self) -> bool {
        size() != self.size
    }

    fn fit(&mut self) -> io::Result<()> {
        let now = size();
        if now != self.size {
            self.size = now;
            self.forget()?;
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// An empty screen of this size. Ratatui's own ways to clear one ask the terminal where its cursor is,
/// which not every terminal answers.
fn empty((width, height): (u16, u16)) -> io::Result<Terminal<CrosstermBackend<Stdout>>> {
    execute!(stdout(), Clear(ClearType::All))?;
    let viewport = Viewport::Fixed(Rect::new(0, 0, width, height));
    Terminal::with_options(CrosstermBackend::new(stdout()), TerminalOptions { viewport })
}

/// How large the terminal is that standard output is.
fn size() -> (u16, u16) {
    #[cfg(unix)]
    let size = rustix::termios::tcgetwinsize(stdout()).ok().map(|size| (size.ws_col, size.ws_row));
    #[cfg(not(unix))]
    let size = ratatui::crossterm::terminal::size().ok();
    size.filter(|(width, height)| *width > 0 && *height > 0).unwrap_or(USUAL)
}

/// As it was, once. A terminal that is gone needs nothing.
fn give_back() {
    if !IS_TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
    take_terminal(false);
}

/// What a panic says must be read on the terminal as it was, not on a screen that goes away.
fn give_back_on_panic() {
    static IS_SET: AtomicBool = AtomicBool::new(false);
    if IS_SET.swap(true, Ordering::SeqCst) {
        return;
    }
    let before: Hook = Arc::from(std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        give_back();
        before(panic);
    }));
}

/// Reads keys on a thread of its own, until it is dropped.
pub(super) struct Keys {
    events: mpsc::Receiver<io::Result<Event>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keys {
    pub(super) fn start() -> io::Result<Keys> {
        let (sender, events) = mpsc::channel(MOST_KEYS);
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let thread = std::thread::Builder::new().name("keys".to_owned()).spawn(move || {
            while !over.load(Ordering::SeqCst) {
                let event = match poll(LOOK_EVERY) {
                    Ok(false) => continue,
                    Ok(true) => read(),
                    Err(error) => Err(error),
                };
                let is_last = event.is_err();
                if sender.blocking_send(event).is_err() || is_last {
                    return;
                }
            }
        })?;
        Ok(Keys { events, is_over, thread: Some(thread) })
    }

    /// The next one. An error is the end: nobody can be heard any more.
    pub(super) async fn next(&mut self) -> io::Result<Event> {
        let gone = || io::Error::new(io::ErrorKind::UnexpectedEof, "the terminal is gone");
        self.events.recv().await.unwrap_or_else(|| Err(gone()))
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.events.close();
        if let Some(thread) = self.thread.take() {
            // It ends at its next look; a panic of it was told.
            let _ = thread.join();
        }
    }
}
