//! `empire top`: a screen that shows the running process, and keys that steer it. It knows what the
//! control API answers, and the end of the log's files, and nothing else.

mod columns;
mod draw;
mod keys;
mod paint;
mod panes;
mod terminal;
#[cfg(test)]
mod tests;
mod view;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use ratatui::crossterm::event::Event;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use self::draw::draw;
use self::keys::{Deed, press};
use self::paint::Paint;
use self::terminal::{Keys, Screen};
use self::view::{Given, Tone, View, short};
use crate::control::client::{Client, ClientError};
use crate::control::overview::Overview;
use crate::control::shapes::{OrderAsked, OrderDone};
use crate::home::Home;
use crate::log::read::{Brief, Entry, Reader, Wanted};
use crate::run::engine::Signals;
use crate::run::error::{CommandError, Exit};
use crate::run::prepare::blocking;
use crate::run::progress::say;

/// What of the log is shown at first.
const FIRST_LINES: usize = 200;
/// About so much of its end is read for that.
const FIRST_BYTES: u64 = 512 << 10;
/// How long a process may be gone before the screen goes, too: a restart takes less.
const GONE_FOR: Duration = Duration::from_secs(5);
/// How often the log is read.
const LISTEN_EVERY: Duration = Duration::from_millis(500);
/// How often it is looked whether the terminal has another size.
const FIT_EVERY: Duration = Duration::from_millis(200);
/// How long an order may take beside a drain, as the commands have it.
const ORDER_TAKES: Duration = Duration::from_secs(60);
/// Orders under way at once.
const MOST_ORDERS: usize = 8;

/// What is looked at.
pub(super) struct Place {
    /// The data folder of the process.
    pub(super) home: Home,
    /// The way to it.
    pub(super) client: Client,
    /// The folder that the log is in.
    pub(super) logs: PathBuf,
}

/// What came of something that was begun.
enum News {
    Seen(Result<Box<(Overview, Arc<Client>)>, Unseen>),
    /// Of which process, how far it was read, and what there was.
    Heard(Box<(u32, Reader, Vec<Brief>)>),
    Given(Box<(Given, Result<OrderDone, ClientError>)>),
}

/// Why there is no newer picture.
#[derive(Debug, thiserror::Error)]
enum Unseen {
    /// Nobody works in the data folder any more.
    #[error("process {0} has ended")]
    Gone(u32),
    /// Somebody does, and does not answer.
    #[error(transparent)]
    Silent(#[from] ClientError),
}

type Begun = FuturesUnordered<BoxFuture<'static, News>>;

/// All that the screen shows, once.
#[derive(Serialize)]
struct Snapshot {
    #[serde(flatten)]
    overview: Overview,
    log: Vec<Box<RawValue>>,
}

/// What the screen would show, as JSON.
pub(super) async fn snapshot(place: Place) -> Result<impl Serialize, CommandError> {
    let overview = look(&place.client, None).await?;
    let (logs, process) = (place.logs, overview.process);
    let lines = blocking(move || first_lines(&logs, process)).await?.1;
    let log = lines.into_iter().filter_map(|entry| RawValue::from_string(entry.raw).ok()).collect();
    Ok(Snapshot { overview, log })
}

/// Shows the process until somebody has seen enough, or it has ended.
pub(super) async fn run(place: Place, every: Duration, is_coloured: bool) -> Result<Exit, CommandError> {
    // Whoever cannot be asked is told of without a screen.
    let overview = look(&place.client, None).await?;
    let signals = Signals::new()?;
    let unusable = |error: io::Error| {
        CommandError::bad_input(format!(
            "no screen can be drawn here ({error}): `empire top --by mailbox` prints once"
        ))
    };
    let screen = Screen::take().map_err(unusable)?;
    let keys = Keys::start().map_err(unusable)?;
    let watcher = Watcher {
        paint: Paint { is_coloured },
        process: overview.process,
        view: View::new(overview),
        client: Arc::new(place.client),
        home: place.home,
        logs: place.logs,
        begun: FuturesUnordered::new(),
        is_looking: false,
        is_wanted: false,
        orders: 0,
        seen_at: Instant::now(),
        gone_since: None,
    };
    let ended = watcher.watch(screen, keys, signals, every).await;
    match ended {
        End::Enough => Ok(Exit::Done),
        End::Told => Ok(Exit::Interrupted),
        End::Gone(process) => {
            say(&format!("process {process} has ended"));
            Ok(Exit::Done)
        }
        End::Terminal(error) => Err(CommandError::internal(format!("the terminal cannot be used: {error}"))),
    }
}

/// Why the screen ends.
enum End {
    Enough,
    Told,
    Gone(u32),
    Terminal(io::Error),
}

/// Who keeps the picture up to date.
struct Watcher {
    view: View,
    paint: Paint,
    client: Arc<Client>,
    home: Home,
    logs: PathBuf,
    /// Whose log is shown.
    process: u32,
    begun: Begun,
    is_looking: bool,
    /// A look is wanted as soon as the one under way has ended.
    is_wanted: bool,
    orders: usize,
    seen_at: Instant,
    gone_since: Option<Instant>,
}

impl Watcher {
    async fn watch(
        mut self,
        mut screen: Screen,
        mut keys: Keys,
        mut signals: Signals,
        every: Duration,
    ) -> End {
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut fit = interval(FIT_EVERY);
        fit.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.listen(None);
        loop {
            if let Err(error) = screen.draw(|area, buffer| draw(&self.view, self.paint, area, buffer)) {
                return End::Terminal(error);
            }
            tokio::select! {
                event = keys.next() => match event {
                    Ok(Event::Key(key)) => {
                        let deed = press(&mut self.view, key);
                        if deed == Some(Deed::Redraw)
                            && let Err(error) = screen.forget()
                        {
                            return End::Terminal(error);
                        }
                        if deed.is_some_and(|deed| self.heed(deed)) {
                            return End::Enough;
                        }
                    }
                    Ok(_) => {}
                    Err(error) => return End::Terminal(error),
                },
                Some(news) = self.begun.next(), if !self.begun.is_empty() => {
                    if let Some(end) = self.take(news) {
                        return end;
                    }
                }
                _ = tick.tick() => self.look(),
                () = changed(&mut fit, &screen) => {}
                () = signals.next() => return End::Told,
            }
        }
    }

    /// Whether that was the end.
    fn heed(&mut self, deed: Deed) -> bool {
        match deed {
            Deed::Quit => return true,
            Deed::Redraw => {}
            Deed::Look => self.look(),
            Deed::Give(given) if self.orders >= MOST_ORDERS => {
                let word = given.verb.word();
                self.view.say(Tone::Bad, format!("no {word} yet: {MOST_ORDERS} orders are under way"));
            }
            Deed::Give(given) => self.give(given),
        }
        false
    }

    /// Begins to look, one look at a time.
    fn look(&mut self) {
        if self.is_looking {
            self.is_wanted = true;
            return;
        }
        self.is_looking = true;
        let (client, home) = (self.client.clone(), self.home.clone());
        let cohorts_of = self.view.cohorts_of().map(str::to_owned);
        let seen = async move {
            // Another process may have come in the place of the one that was.
            let client = match Client::find(&home)? {
                Some(found) if found.process() == client.process() => client,
                Some(found) => Arc::new(found),
                None => return Err(Unseen::Gone(client.process())),
            };
            let seen = look(&client, cohorts_of.as_deref()).await?;
            Ok(Box::new((seen, client)))
        };
        self.begun.push(Box::pin(async move { News::Seen(seen.await) }));
    }

    /// Begins to read what was logged since, a moment later; or the end of what there is.
    fn listen(&mut self, reader: Option<Reader>) {
        let (logs, process) = (self.logs.clone(), self.process);
        self.begun.push(Box::pin(async move {
            if reader.is_some() {
                tokio::time::sleep(LISTEN_EVERY).await;
            }
            let heard = blocking(move || match reader {
                None => first_lines(&logs, process),
                Some(mut reader) => {
                    let mut lines = Vec::new();
                    // A log that cannot be read is shown as far as it could be.
                    let _ = reader.each(&mut |entry| {
                        lines.push(entry);
                        true
                    });
                    (reader, lines)
                }
            });
            match heard.await {
                Ok((reader, lines)) => {
                    let lines = lines.iter().map(Entry::brief).collect();
                    News::Heard(Box::new((process, reader, lines)))
                }
                Err(_) => std::future::pending().await,
            }
        }));
    }

    fn give(&mut self, given: Given) {
        self.orders += 1;
        let client = self.client.clone();
        self.begun.push(Box::pin(async move {
            let asked = OrderAsked {
                path: given.path.clone(),
                order: given.order,
                reason: "from empire top".to_owned(),
            };
            let done = client.post("/v1/order", &asked, None, given.takes() + ORDER_TAKES).await;
            News::Given(Box::new((given, done)))
        }));
    }

    /// What came of something. Gives the end, if it is one.
    fn take(&mut self, news: News) -> Option<End> {
        match news {
            News::Seen(Ok(seen)) => {
                let (seen, client) = *seen;
                if seen.process != self.process {
                    let words =
                        format!("process {} has ended; this is process {}", self.process, seen.process);
                    self.view.say(Tone::Plain, words);
                    self.process = seen.process;
                }
                self.client = client;
                self.view.see(seen);
                (self.seen_at, self.gone_since) = (Instant::now(), None);
            }
            News::Seen(Err(error)) => {
                self.view.lost = Some((error.to_string(), self.seen_at.elapsed()));
                self.gone_since = match error {
                    Unseen::Gone(_) => self.gone_since.or_else(|| Some(Instant::now())),
                    Unseen::Silent(_) => None,
                };
                if self.gone_since.is_some_and(|since| since.elapsed() >= GONE_FOR) {
                    return Some(End::Gone(self.process));
                }
            }
            News::Heard(heard) => {
                let (process, reader, lines) = *heard;
                self.view.hear(lines);
                self.listen(Some(reader).filter(|_| process == self.process));
                return None;
            }
            News::Given(given) => {
                let (given, done) = *given;
                self.orders -= 1;
                match done {
                    Ok(done) => self.view.say(Tone::Good, format!("{}: {}", short(&done.path), done.outcome)),
                    Err(error) => {
                        let words = format!("no {} of {}: {error}", given.verb.word(), short(&given.path));
                        self.view.say(Tone::Bad, words);
                    }
                }
                // What came of it is to be seen at once.
                self.look();
                return None;
            }
        }
        self.is_looking = false;
        if std::mem::take(&mut self.is_wanted) {
            self.look();
        }
        None
    }
}

async fn look(client: &Client, cohorts_of: Option<&str>) -> Result<Overview, ClientError> {
    let query: Vec<_> = cohorts_of.map(|job| ("cohorts_of", job.to_owned())).into_iter().collect();
    client.get("/v1/overview", &query, Duration::ZERO).await
}

/// The last lines of a process. What cannot be read is not shown.
fn first_lines(logs: &Path, process: u32) -> (Reader, Vec<Entry>) {
    let wanted = Wanted { process: Some(process), ..Wanted::default() };
    let mut reader = Reader::new(logs, wanted);
    let lines = reader.skip_to_the_last(FIRST_BYTES).and_then(|()| reader.last(FIRST_LINES));
    (reader, lines.unwrap_or_default())
}

/// Resolves once the terminal has another size.
async fn changed(fit: &mut Interval, screen: &Screen) {
    loop {
        fit.tick().await;
        if screen.is_other_size() {
            return;
        }
    }
}
