//! The turnstile: lets so many agents at a time out of their sleep. The others wait as idle
//! cells, without a prompt, a call or a place in any lock's queue: a waiting agent costs the
//! turnstile eight bytes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::vec;

use parking_lot::Mutex;

use super::agent::{AgentRef, Note};
use crate::kernel::mailbox::SendError;

/// Gives turns first come, first served.
#[derive(Debug)]
pub(crate) struct Turnstile {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Agents that have waited before and go first.
    front: VecDeque<AgentRef>,
    line: VecDeque<vec::IntoIter<AgentRef>>,
    /// How many may be through at a time.
    width: usize,
    through: usize,
    /// Nobody is let through for now: the machine is pressed.
    held: bool,
    /// Nobody is let through for now: a person said so.
    paused: bool,
    closed: bool,
}

impl State {
    fn next(&mut self) -> Option<AgentRef> {
        if let Some(agent) = self.front.pop_front() {
            return Some(agent);
        }
        while let Some(batch) = self.line.front_mut() {
            if let Some(agent) = batch.next() {
                return Some(agent);
            }
            self.line.pop_front();
        }
        None
    }
}

impl Turnstile {
    /// Lets `width` agents through at a time.
    pub(crate) fn new(width: usize) -> Arc<Turnstile> {
        let state = State {
            front: VecDeque::new(),
            line: VecDeque::new(),
            width: width.max(1),
            through: 0,
            held: false,
            paused: false,
            closed: false,
        };
        Arc::new(Turnstile { state: Mutex::new(state) })
    }

    /// Puts agents at the end of the line.
    pub(crate) fn enqueue(self: &Arc<Self>, agents: Vec<AgentRef>) {
        self.state.lock().line.push_back(agents.into_iter());
        self.let_through();
    }

    /// Puts an agent at its front.
    pub(crate) fn enqueue_first(self: &Arc<Self>, agent: AgentRef) {
        self.state.lock().front.push_back(agent);
        self.let_through();
    }

    /// Gives no turns while `held`.
    pub(crate) fn hold(self: &Arc<Self>, held: bool) {
        let was_held = std::mem::replace(&mut self.state.lock().held, held);
        if was_held && !held {
            self.let_through();
        }
    }

    /// Gives no turns while `paused`.
    pub(crate) fn pause(self: &Arc<Self>, paused: bool) {
        self.state.lock().paused = paused;
        self.let_through();
    }

    /// Whether a person said so.
    pub(crate) fn is_paused(&self) -> bool {
        self.state.lock().paused
    }

    /// Lets `width` agents through at a time from now on. Those beyond that are not called back.
    pub(crate) fn widen(self: &Arc<Self>, width: usize) {
        self.state.lock().width = width.max(1);
        self.let_through();
    }

    /// How many may be through at a time, and how many are.
    pub(crate) fn width(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.width, state.through)
    }

    /// Gives no more turns.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.front.clear();
        state.line.clear();
    }

    fn let_through(self: &Arc<Self>) {
        loop {
            let mut state = self.state.lock();
            if state.closed || state.held || state.paused || state.through >= state.width {
                return;
            }
            let Some(agent) = state.next() else { return };
            state.through += 1;
            drop(state);
            let turn = Turn { turnstile: Some(self.clone()) };
            if let Err(SendError::Ended(Note::Go(turn)) | SendError::Full(Note::Go(turn))) =
                agent.send(Note::Go(turn))
            {
                // Taken back by hand: dropping it here would come back into this function.
                self.take_back(turn);
            }
        }
    }

    fn take_back(&self, mut turn: Turn) {
        turn.turnstile = None;
        self.state.lock().through -= 1;
    }
}

/// A turn; dropping it lets the next agent through.
#[derive(Debug)]
pub(crate) struct Turn {
    turnstile: Option<Arc<Turnstile>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turnstile) = self.turnstile.take() {
            turnstile.state.lock().through -= 1;
            turnstile.let_through();
        }
    }
}
