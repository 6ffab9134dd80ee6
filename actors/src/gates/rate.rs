//! The rate gate: one lane a provider, with an actor that wakes it in time. Calls wait in the
//! lane's room until the provider's limits let them go. All that decides is in
//! [`lane`](super::lane); here are the tickets, the clock and the ledger.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::time::Instant;

use super::call::{Call, Cleared, Funded, Request, Screened};
pub use super::lane::LaneReading;
pub(crate) use super::lane::News;
use super::lane::{Ask, Lane, Outcome, Pass, Place, Refused, TooLate};
use super::meter::{BreakerReading, Cost, Health, Now, Trip, Used};
use super::room::Entry;
use super::throttle::Throttle;
use crate::guard::pressure::Pressure;
use crate::kernel;
use crate::kernel::control::{Address, Control, Down, Failure, Timer};
use crate::kernel::supervisor::ChildSpec;
use crate::model::{Limits, ProviderId, ProviderSpec};
use crate::ports::{Ledger, Random, Sent, StoreError, UnixMillis, WallClock};

mod scale;

/// How far back is read what was sent: a day, and what a full window waits beyond it.
const REMEMBERED_MILLIS: i64 = 86_400_000 + 60_000;

/// Why a call was not cleared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RateRefusal {
    /// Nothing goes to this provider or model: the trip says why, and when to try again.
    #[error(transparent)]
    Tripped(Trip),
    /// It cannot leave before its deadline.
    #[error("{}", Refused::TooLate(*.0))]
    TooLate(TooLate),
    /// That it leaves could not be journalled.
    #[error("the call could not be journalled: {0}")]
    Store(#[from] StoreError),
    /// The gate is being restarted.
    #[error("the rate gate is down")]
    Down(#[from] Down),
}

impl From<Refused> for RateRefusal {
    fn from(refused: Refused) -> RateRefusal {
        match refused {
            Refused::Tripped(trip) => RateRefusal::Tripped(trip),
            Refused::TooLate(late) => RateRefusal::TooLate(late),
        }
    }
}

pub(crate) enum Message {
    /// The lane has to be looked at then.
    LookAt(Duration),
    /// That time has come; `None` when the actor starts.
    Look(Option<Duration>),
}

/// Wakes the lane when somebody's time has come.
struct LaneActor {
    gate: RateGate,
    /// Which incarnation it is.
    number: u64,
    /// The one timer that is set. Another takes its place: timers that nobody waits for any more
    /// would pile up.
    timer: Option<Timer>,
}

impl Control for LaneActor {
    type Message = Message;
    type Observed = LaneReading;

    async fn handle(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::LookAt(at) => {
                if !self.gate.is_awaited(at) {
                    return Ok(());
                }
                let wait = at.saturating_sub(self.gate.0.started.elapsed());
                // A millisecond more: timers may fire that much early.
                let delay = wait + Duration::from_millis(1);
                let message = Message::Look(Some(at));
                self.timer = Some(self.gate.0.address.timer(delay, message));
            }
            // Fired just before another took its place.
            Message::Look(Some(at)) if !self.gate.is_awaited(at) => {}
            Message::Look(_) => self.gate.look_now(),
        }
        Ok(())
    }

    /// Timers of the last incarnation are gone.
    fn first_message(&self) -> Option<Message> {
        Some(Message::Look(None))
    }

    /// Whoever came while nobody was let out.
    fn resumed(&mut self) {
        self.gate.serve();
    }

    fn observe(&self) -> LaneReading {
        self.gate.reading()
    }
}

impl Drop for LaneActor {
    /// Whoever waits is told that the gate is down: nobody would wake them in time.
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.gate.0.state.lock();
            // One that was killed may be dropped when the next one runs already, who looks after all.
            if state.incarnations != self.number {
                return;
            }
            state.is_up = false;
            state.lane.send_all_away()
        };
        waiting.into_iter().for_each(|ticket| ticket.waker.wake());
    }
}

/// What a waiter leaves in the room: half a million may wait, so it is no more than this.
struct Ticket {
    number: u64,
    waker: Waker,
}

struct State {
    lane: Lane<Ticket>,
    /// Waiters so far.
    tickets: u64,
    /// What has come of those who have been woken and have not looked yet, by their tickets.
    outcomes: HashMap<u64, Outcome>,
    /// Whether the lane knows what was sent before.
    remembers: bool,
    /// Whether there is an actor to wake those who wait, …
    is_up: bool,
    /// … and which one that is, or was.
    incarnations: u64,
    /// When the earliest pending `Look` fires.
    look_at: Option<Duration>,
}

/// The way to one provider's lane. Cheap to clone. What it holds outlives the actor's
/// incarnations, since calls in flight do too: a restart forgets neither what was sent nor that
/// the provider closed or tripped.
#[derive(Clone)]
pub struct RateGate(Arc<Gate>);

struct Gate {
    address: Address<Message>,
    spec: Arc<ProviderSpec>,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn WallClock>,
    random: Arc<dyn Random>,
    started: Instant,
    throttle: Throttle,
    /// How many calls at once a person lets be in flight: as many as are configured, or fewer.
    scaled: AtomicU32,
    state: Mutex<State>,
}

impl std::fmt::Debug for RateGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RateGate({})", self.0.spec.id)
    }
}

impl RateGate {
    /// The lane of one provider; its actor starts with [`child`](Self::child). With a guard's
    /// `pressure` it is narrower while the machine is pressed: `look` tells it of a
    /// change.
    #[must_use]
    pub fn new(
        spec: Arc<ProviderSpec>,
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn WallClock>,
        random: Arc<dyn Random>,
        pressure: Option<watch::Receiver<Pressure>>,
    ) -> RateGate {
        let now = Now { running: Duration::ZERO, wall: clock.now() };
        let lane = Lane::new(spec.clone(), Vec::new(), now);
        RateGate(Arc::new(Gate {
            address: Address::new(format!("/empire/gates/rate-{}", spec.id)),
            scaled: AtomicU32::new(spec.limits.concurrency),
            spec,
            ledger,
            clock,
            random,
            started: Instant::now(),
            throttle: Throttle::new(pressure),
            state: Mutex::new(State {
                lane,
                tickets: 0,
                outcomes: HashMap::new(),
                remembers: false,
                is_up: false,
                incarnations: 0,
                look_at: None,
            }),
        }))
    }

    /// Looks whether more calls may be out than before.
    pub(crate) fn look(&self) {
        self.serve();
    }

    /// Whether the earliest timer is the one for `at`.
    fn is_awaited(&self, at: Duration) -> bool {
        self.0.state.lock().look_at == Some(at)
    }

    fn look_now(&self) {
        self.0.state.lock().look_at = None;
        self.serve();
    }

    /// The lane's actor. Its first incarnation reads what was sent in the last day; nothing goes
    /// before that.
    #[must_use]
    pub fn child(&self) -> ChildSpec {
        let gate = self.clone();
        ChildSpec::actor(format!("rate-{}", self.0.spec.id), &self.0.address, move || {
            let gate = gate.clone();
            Box::pin(async move {
                gate.remember().await?;
                let number = {
                    let mut state = gate.0.state.lock();
                    state.is_up = true;
                    state.incarnations += 1;
                    state.incarnations
                };
                Ok(LaneActor { gate, number, timer: None })
            })
        })
        .with_scale(Arc::new(self.clone()))
    }

    async fn remember(&self) -> Result<(), Failure> {
        if self.0.state.lock().remembers {
            return Ok(());
        }
        let past = if self.all_limits().any(Limits::remembers) {
            let since = UnixMillis(self.0.clock.now().0 - REMEMBERED_MILLIS);
            let sent = self.0.ledger.sent_since(&self.0.spec.id, since).await;
            sent.map_err(|error| Failure(error.to_string()))?
        } else {
            Vec::new()
        };
        let now = self.now();
        let mut state = self.0.state.lock();
        state.lane = Lane::new(self.0.spec.clone(), past, now);
        state.remembers = true;
        Ok(())
    }

    fn all_limits(&self) -> impl Iterator<Item = &Limits> {
        std::iter::once(&self.0.spec.limits).chain(self.0.spec.model_limits.values())
    }

    /// Whether a call may wait here at all: to be asked before money is set aside for it.
    ///
    /// # Errors
    /// The provider is tripped, or the call cannot leave before its deadline.
    pub fn foresee(&self, call: &Call<Screened>) -> Result<(), RateRefusal> {
        let ask = self.ask_of(call.request(), call.input_bound());
        Ok(self.0.state.lock().lane.foresee(self.now(), &ask)?)
    }

    /// Waits in line for leave to make the call. Dropping the future leaves the line.
    ///
    /// # Errors
    /// The provider is tripped, the deadline cannot be met, the gate is down, or the store fails.
    /// The call's reservation is given back.
    pub async fn clear(&self, call: Call<Funded>) -> Result<Call<Cleared>, RateRefusal> {
        let ask = self.ask_of(call.request(), call.input_bound());
        let is_free = call.request().model.is_free();
        loop {
            let permit = self.permit(&ask).await?;
            self.note(&ask, is_free).await?;
            // The disk may have taken longer than a permit lasts, or the lane may have closed.
            if permit.is_good() {
                return Ok(call.cleared(permit)?);
            }
        }
    }

    fn ask_of(&self, request: &Request, input_bound: u64) -> Ask {
        let input = u32::try_from(input_bound).unwrap_or(u32::MAX);
        let cost = Cost { input, output: request.max_tokens };
        let standing = request.standing;
        Ask {
            model: request.model.id.as_str().into(),
            entry: Entry {
                job: request.job.clone(),
                class: standing.class,
                weight: standing.weight,
                cost: u32::try_from(cost.total()).unwrap_or(u32::MAX),
                deadline: standing.deadline.map(|at| at.saturating_duration_since(self.0.started)),
            },
            is_retry: standing.is_retry,
            has_other: standing.has_other,
            cost,
        }
    }

    async fn permit(&self, ask: &Ask) -> Result<Permit, RateRefusal> {
        let in_line = {
            let mut state = self.lane();
            if !state.is_up {
                return Err(RateRefusal::Down(Down));
            }
            let now = self.now();
            if let Some(pass) = state.lane.go_at_once(now, ask) {
                return Ok(self.hand_out(pass));
            }
            state.tickets += 1;
            let number = state.tickets;
            // Who has not looked yet has left no way to be woken, and looks at once.
            let ticket = Ticket { number, waker: Waker::noop().clone() };
            let place = state.lane.enter(now, ask, ticket).map_err(|(_, refused)| refused)?;
            InLine { gate: self, place, number }
        };
        self.serve();
        in_line.await
    }

    /// The lane, as narrow as the machine and people want it now.
    fn lane(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.state.lock();
        let machine = self.0.throttle.permits(self.0.spec.limits.concurrency);
        let is_paused = self.0.address.is_paused();
        let person = if is_paused { 0 } else { self.0.scaled.load(Ordering::Relaxed) };
        state.lane.narrow(machine, person);
        state
    }

    fn hand_out(&self, pass: Pass) -> Permit {
        Permit { gate: self.clone(), pass, stage: Stage::Unused }
    }

    /// Notes what the ledger's own rows will not tell the next process.
    async fn note(&self, ask: &Ask, is_free: bool) -> Result<(), StoreError> {
        let remembers_tokens = self.remembers_tokens();
        let remembers_calls = is_free && self.all_limits().any(Limits::remembers);
        if !remembers_tokens && !remembers_calls {
            return Ok(());
        }
        let sent = Sent {
            at: self.0.clock.now(),
            model: ask.model.clone(),
            calls: u32::from(is_free),
            tokens: if remembers_tokens { ask.cost.total() } else { 0 },
            owed: 0,
        };
        self.0.ledger.note_sent(&self.0.spec.id, sent).await
    }

    /// The same of what a call owes. Nobody waits for that to be durable: a process that is killed
    /// in this moment remembers what was held for the call.
    fn note_debt(&self, model: Arc<str>, owed: u64) {
        if owed == 0 || !self.remembers_tokens() {
            return;
        }
        let sent = Sent { at: self.0.clock.now(), model, calls: 0, tokens: 0, owed };
        let noted = self.0.ledger.note_sent(&self.0.spec.id, sent);
        kernel::spawn(async move {
            if let Err(error) = noted.await {
                tracing::warn!(%error, owed, "tokens that a vendor claims beyond what was asked for could not be noted");
            }
        });
    }

    fn remembers_tokens(&self) -> bool {
        self.all_limits().any(Limits::limits_tokens)
    }

    /// Lets go whoever may. The lane is locked for a moment each time only, and nobody is told
    /// under the lock: a permit that nobody takes locks it too.
    fn serve(&self) {
        loop {
            let mut state = self.lane();
            let served = state.lane.serve(self.now());
            let Some((ticket, outcome)) = served else {
                self.look_when_due(&mut state);
                return;
            };
            state.outcomes.insert(ticket.number, outcome);
            drop(state);
            ticket.waker.wake();
        }
    }

    fn look_when_due(&self, state: &mut State) {
        let Some(at) = state.lane.look_at() else { return };
        if state.look_at.is_none_or(|earlier| at < earlier) {
            state.look_at = Some(at);
            // An actor that is down looks when it starts.
            let _ = self.0.address.send(Message::LookAt(at));
        }
    }

    /// How the lane stands, whether its actor runs or not.
    #[must_use]
    pub fn reading(&self) -> LaneReading {
        let now = self.now();
        self.lane().lane.read(now)
    }

    fn now(&self) -> Now {
        Now { running: self.0.started.elapsed(), wall: self.0.clock.now() }
    }
}

/// Tells once what closed a provider, or a model of it. What the vendor said stays out of the log.
fn log_closed(provider: &ProviderId, model: &str, closed: &[Option<BreakerReading>; 2]) {
    for (reading, model) in closed.iter().zip([None, Some(model)]) {
        let Some(reading) = reading else { continue };
        let why = reading.why;
        match (&reading.tripped, reading.closed_for) {
            (Some(trip), _) => {
                let retry_at = trip.retry_at.map(tracing::field::display);
                let why = trip.kind.words();
                tracing::warn!(%provider, model, why, retry_at, "a breaker tripped: nothing goes there");
            }
            (None, Some(seconds)) => {
                tracing::info!(%provider, model, why, seconds, "a lane closed for a while");
            }
            (None, None) => {}
        }
    }
}

/// Whoever waits; gone from the line when dropped.
struct InLine<'a> {
    gate: &'a RateGate,
    place: Place,
    number: u64,
}

impl Future for InLine<'_> {
    type Output = Result<Permit, RateRefusal>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.gate.0.state.lock();
        if let Some(outcome) = state.outcomes.remove(&self.number) {
            return Poll::Ready(outcome.map(|pass| self.gate.hand_out(pass)).map_err(RateRefusal::from));
        }
        match state.lane.ticket_mut(&self.place) {
            Some(ticket) => {
                ticket.waker.clone_from(context.waker());
                Poll::Pending
            }
            None => Poll::Ready(Err(RateRefusal::Down(Down))),
        }
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.0.state.lock();
        match state.outcomes.remove(&self.number) {
            Some(Ok(pass)) => state.lane.give_back(&pass),
            Some(Err(_)) => return,
            None => return state.lane.leave(&self.place),
        }
        drop(state);
        self.gate.serve();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Unused,
    Sent,
    Ended,
}

/// Leave to make one call now. Dropping it frees its place.
#[derive(Debug)]
pub struct Permit {
    gate: RateGate,
    pass: Pass,
    stage: Stage,
}

impl Permit {
    fn is_good(&self) -> bool {
        self.gate.0.state.lock().lane.is_good(&self.pass)
    }

    /// Its call leaves now: from now on it counts. Whether it may leave after all.
    pub(crate) fn sent(&mut self) -> bool {
        let now = self.gate.now();
        let may_leave = self.gate.lane().lane.sent(now, &mut self.pass);
        self.stage = if may_leave { Stage::Sent } else { Stage::Unused };
        may_leave
    }

    /// Gives the permit back with what the call told.
    pub(crate) fn report(mut self, news: News) {
        if self.stage != Stage::Sent {
            return;
        }
        let health = self.gate.0.throttle.excuse(self.gate.0.spec.zone, news.health);
        self.end(&News { health, ..news });
    }

    fn end(&mut self, news: &News) {
        self.stage = Stage::Ended;
        let (now, jitter) = (self.gate.now(), self.gate.0.random.unit());
        let (owed, model, closed) = {
            let lane = &mut self.gate.0.state.lock().lane;
            let before = lane.closures(&self.pass);
            let owed = lane.ended(now, &self.pass, news, jitter);
            let after = lane.closures(&self.pass);
            let closed = (after != before).then(|| lane.closed(now, &self.pass));
            let closed = closed.map(|[provider, model]| {
                [(after[0] != before[0]).then_some(provider), (after[1] != before[1]).then_some(model)]
            });
            (owed, lane.model_of(&self.pass), closed)
        };
        if let Some(closed) = closed {
            log_closed(&self.gate.0.spec.id, &model, &closed);
        }
        self.gate.note_debt(model, owed);
        self.gate.serve();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        match self.stage {
            Stage::Unused => {
                self.gate.0.state.lock().lane.give_back(&self.pass);
                self.gate.serve();
            }
            Stage::Sent => {
                self.end(&News { health: Health::Neutral, used: Used::Unknown, told: Vec::new() });
            }
            Stage::Ended => {}
        }
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_costs_tens_of_bytes() {
        const { assert!(Lane::<Ticket>::WAITER_BYTES <= 80) }
    }
}
