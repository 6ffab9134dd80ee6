//! The rate gate: one actor a provider, its lane. Calls wait in line here, first come first
//! served, until the provider's limits let them go.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::call::{Call, Cleared, Funded};
use super::meter::{Admission, Binding, Health, Lane, Now, Reading, Trip};
use super::throttle::Throttle;
use crate::guard::pressure::Pressure;
use crate::kernel::control::{Address, Control, Down, Failure};
use crate::kernel::supervisor::ChildSpec;
use crate::model::{Limits, ProviderSpec};
use crate::ports::{Ledger, Random, StoreError, UnixMillis, WallClock};

const DAY_MILLIS: i64 = 86_400_000;

/// Why a call was not cleared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RateRefusal {
    /// Nothing goes to this provider until a person acts.
    #[error(transparent)]
    Tripped(Trip),
    /// That it leaves could not be journalled.
    #[error("the call could not be journalled: {0}")]
    Store(#[from] StoreError),
    /// The gate is being restarted.
    #[error("the rate gate is down")]
    Down(#[from] Down),
}

pub(crate) enum Message {
    Enter {
        tokens: u64,
        reply: oneshot::Sender<Result<Permit, Trip>>,
    },
    /// A permit came back, or more may be out.
    Freed,
    /// The time has come that the first in line waited for.
    Look,
    Read(oneshot::Sender<LaneReading>),
}

/// How a lane stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LaneReading {
    /// Its meters.
    #[serde(flatten)]
    pub meters: Reading,
    /// Calls that wait here.
    pub waiting: usize,
    /// What makes the first of them wait.
    pub binding: Option<Binding>,
}

struct Waiter {
    tokens: u64,
    reply: oneshot::Sender<Result<Permit, Trip>>,
}

struct LaneActor {
    waiters: VecDeque<Waiter>,
    gate: RateGate,
    /// When the earliest pending `Look` fires.
    look_at: Option<Instant>,
    binding: Option<Binding>,
}

impl Control for LaneActor {
    type Message = Message;
    type Observed = LaneReading;

    async fn handle(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Enter { tokens, reply } => self.waiters.push_back(Waiter { tokens, reply }),
            Message::Freed => {}
            Message::Look => self.look_at = None,
            Message::Read(reply) => {
                let _ = reply.send(self.read());
            }
        }
        self.serve();
        Ok(())
    }

    fn observe(&self) -> LaneReading {
        self.read()
    }
}

impl LaneActor {
    fn read(&self) -> LaneReading {
        let (now, in_flight) = (self.gate.now(), self.gate.in_flight());
        let meters = self.gate.shared.lane.lock().read(now, in_flight);
        LaneReading { meters, waiting: self.waiters.len(), binding: self.binding }
    }

    /// Lets go whoever may. The lane is locked for a moment each time only: a permit that nobody
    /// takes locks it too.
    fn serve(&mut self) {
        let tripped = self.gate.shared.lane.lock().tripped().cloned();
        if let Some(trip) = tripped {
            for waiter in self.waiters.drain(..) {
                let _ = waiter.reply.send(Err(trip.clone()));
            }
            return;
        }
        self.binding = None;
        while let Some(waiter) = self.waiters.front() {
            if waiter.reply.is_closed() {
                self.waiters.pop_front();
                self.gate.shared.lane.lock().head_left();
                continue;
            }
            let (now, in_flight) = (self.gate.now(), self.gate.in_flight());
            if self.gate.throttle.holds(in_flight, self.gate.spec.limits.concurrency) {
                self.binding = Some(Binding::Machine);
                return;
            }
            let (admission, epoch) = {
                let mut lane = self.gate.shared.lane.lock();
                (lane.admit(now, in_flight, waiter.tokens), lane.epoch())
            };
            match admission {
                Admission::Go => {
                    self.gate.shared.in_flight.fetch_add(1, Ordering::Relaxed);
                    let permit = Permit { gate: self.gate.clone(), epoch, reported: false };
                    if let Some(waiter) = self.waiters.pop_front() {
                        // A caller that left in this moment drops the permit, which gives it back.
                        let _ = waiter.reply.send(Ok(permit));
                    }
                }
                Admission::Wait(wait, binding) => {
                    self.binding = Some(binding);
                    self.look_in(wait);
                    return;
                }
                Admission::Full(binding) => {
                    self.binding = Some(binding);
                    return;
                }
            }
        }
    }

    fn look_in(&mut self, wait: Duration) {
        let at = Instant::now() + wait;
        if self.look_at.is_none_or(|earlier| at < earlier) {
            self.look_at = Some(at);
            // A millisecond more: timers may fire that much early.
            self.gate.address.send_after(wait + Duration::from_millis(1), Message::Look);
        }
    }
}

/// What outlives the actor's incarnations, since calls in flight do too: a restart neither
/// forgets what was sent nor that the provider closed or tripped.
struct Shared {
    lane: Mutex<Lane>,
    remembers: AtomicBool,
    in_flight: AtomicU32,
}

/// The way to one provider's lane. Cheap to clone.
#[derive(Clone)]
pub struct RateGate {
    address: Address<Message>,
    spec: Arc<ProviderSpec>,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn WallClock>,
    random: Arc<dyn Random>,
    started: Instant,
    throttle: Throttle,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for RateGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RateGate({})", self.spec.id)
    }
}

impl RateGate {
    /// The lane of one provider; its actor starts with [`child`](Self::child).
    #[must_use]
    pub fn new(
        spec: Arc<ProviderSpec>,
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn WallClock>,
        random: Arc<dyn Random>,
    ) -> RateGate {
        let shared = Shared {
            lane: Mutex::new(Lane::new(&spec.limits, &[])),
            remembers: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
        };
        RateGate {
            address: Address::new(format!("/empire/gates/rate-{}", spec.id)),
            spec,
            ledger,
            clock,
            random,
            started: Instant::now(),
            throttle: Throttle::default(),
            shared: Arc::new(shared),
        }
    }

    /// The same lane, narrower while the machine is pressed. `look` tells it of a
    /// change.
    #[must_use]
    pub fn throttled_by(self, pressure: watch::Receiver<Pressure>) -> RateGate {
        RateGate { throttle: Throttle::new(pressure), ..self }
    }

    /// Looks whether more calls may be out than before.
    pub(crate) fn look(&self) {
        // An actor that is down has nobody in line.
        let _ = self.address.send(Message::Freed);
    }

    /// The lane's actor. Its first incarnation reads what was sent in the last day.
    #[must_use]
    pub fn child(&self) -> ChildSpec {
        let gate = self.clone();
        ChildSpec::actor(format!("rate-{}", self.spec.id), &self.address, move || {
            let gate = gate.clone();
            Box::pin(async move {
                if remembers(&gate.spec.limits) && !gate.shared.remembers.load(Ordering::Relaxed) {
                    let since = UnixMillis(gate.clock.now().0 - DAY_MILLIS);
                    let sent = gate.ledger.sent_since(&gate.spec.id, since).await;
                    let sent = sent.map_err(|error| Failure(error.to_string()))?;
                    *gate.shared.lane.lock() = Lane::new(&gate.spec.limits, &sent);
                    gate.shared.remembers.store(true, Ordering::Relaxed);
                }
                // Whoever was first in line went with the last incarnation.
                gate.shared.lane.lock().head_left();
                Ok(LaneActor { waiters: VecDeque::new(), gate, look_at: None, binding: None })
            })
        })
    }

    /// Waits in line for leave to make the call. Dropping the future leaves the line.
    ///
    /// # Errors
    /// The provider is tripped, the gate is down, or the store fails. The call's reservation is
    /// given back.
    pub async fn clear(&self, call: Call<Funded>) -> Result<Call<Cleared>, RateRefusal> {
        let request = call.request();
        let tokens = request.input_token_bound() + u64::from(request.max_tokens);
        let is_free = request.model.is_free();
        let permit = self.address.ask(|reply| Message::Enter { tokens, reply }).await?;
        let permit = permit.map_err(RateRefusal::Tripped)?;
        if is_free && remembers(&self.spec.limits) {
            self.ledger.note_sent(&self.spec.id, self.clock.now()).await?;
        }
        Ok(call.cleared(permit)?)
    }

    /// How the lane stands.
    ///
    /// # Errors
    /// The gate is being restarted.
    pub async fn read(&self) -> Result<LaneReading, Down> {
        self.address.ask(Message::Read).await
    }

    fn in_flight(&self) -> u32 {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    fn now(&self) -> Now {
        Now { running: self.started.elapsed(), wall: self.clock.now() }
    }
}

fn remembers(limits: &Limits) -> bool {
    limits.requests_per_hour.is_some() || limits.requests_per_day.is_some()
}

/// Leave to make one call now. Dropping it frees its place.
#[derive(Debug)]
pub struct Permit {
    gate: RateGate,
    epoch: u64,
    reported: bool,
}

impl Permit {
    /// Gives the permit back with what the call told about the provider.
    pub(crate) fn report(mut self, health: Health) {
        let (now, jitter) = (self.gate.now(), self.gate.random.unit());
        let health = self.gate.throttle.excuse(self.gate.spec.zone, health);
        // Told to the lane itself: nobody gets a permit after this that it should prevent.
        self.gate.shared.lane.lock().report(now, self.epoch, health, jitter);
        self.reported = true;
        self.free();
    }

    fn free(&self) {
        self.gate.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.gate.look();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.reported {
            self.gate.shared.lane.lock().returned(self.epoch);
            self.free();
        }
    }
}
