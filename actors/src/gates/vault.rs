//! The money itself and who waits for it: the budget gate's state, which outlives the incarnations
//! of its actor. It decides under one lock and neither waits nor does I/O.
//!
//! Who cannot be served yet waits in line at the scope that lacks the money, first come first
//! served: when money gets free, only the head of each line is looked at.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::book::{Book, Cap, Line, Payer, Scope, Shortage};
use super::budget::Claim;
use super::calendar::Day;
use crate::model::ProviderId;
use crate::money::{Micros, Price};
use crate::ports::{LedgerState, UnixMillis};

/// Where a clamped answer ends: no fewer output tokens than this …
const LEAST_TOKENS: u32 = 64;
/// … and no less than this part of what was asked for.
const LEAST_PART: u32 = 4;

/// The fewest output tokens that are worth a call for which `asked` are wanted.
#[must_use]
pub fn least_tokens(asked: u32) -> u32 {
    LEAST_TOKENS.max(asked.div_ceil(LEAST_PART)).min(asked)
}

/// What holds for a job's money beside the caps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// The standing agent that the job belongs to.
    pub role: Option<Arc<str>>,
    /// Whether a call may ask for less output than wanted, where the whole is not affordable.
    pub clamp: bool,
    /// The most that one call may set aside; more needs an approval.
    pub most_at_once: Option<Micros>,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) enum Want {
    /// A model call.
    Tokens { price: Price, input: u64, output: u32 },
    /// An action of fixed price.
    Fixed(Micros),
    /// An allowance up to `wanted` and no less than `least`, with what was spent in it before.
    Allowance { path: Arc<str>, wanted: Micros, least: Micros },
}

/// Who asks, and for what.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) job: Arc<str>,
    pub(super) child: Option<Arc<str>>,
    /// `None` for an allowance.
    pub(super) provider: Option<ProviderId>,
    pub(super) want: Want,
}

/// What was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) line: Line,
    pub(super) amount: Micros,
    /// Output tokens that it covers.
    pub(super) tokens: u32,
    pub(super) number: u64,
    pub(super) role: Option<Arc<str>>,
    /// The allowance, if that is what was asked for.
    pub(super) allowance: Option<Scope>,
    pub(super) at: UnixMillis,
}

/// Why nothing was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Denied {
    Short(Shortage),
    /// One call for more than may be set aside at once.
    NeedsApproval {
        amount: Micros,
        most: Micros,
    },
    /// The allowance of this path is open already.
    Open(Arc<str>),
}

type Answer = Result<Granted, Denied>;
pub(super) type Reply = oneshot::Sender<Result<Claim, Denied>>;

struct Waiter {
    request: Request,
    reply: Reply,
}

/// Answers that are to be sent once the vault is unlocked.
pub(super) type Answers = Vec<(Reply, Answer)>;

#[derive(Default)]
pub(super) struct Vault {
    pub(super) book: Book,
    pub(super) terms: HashMap<Arc<str>, Terms>,
    next_hold: u64,
    pub(super) loaded: bool,
    /// By the account that lacks the money.
    lines: HashMap<u32, Queue>,
}

/// Who waits at one account.
#[derive(Default)]
struct Queue {
    waiters: VecDeque<Waiter>,
    /// How many there were when those who had gone were last let out.
    stayed: usize,
}

impl Queue {
    fn push(&mut self, waiter: Waiter) {
        // Who leaves says so to nobody: before the line gets twice as long, they are let out. So it
        // holds no more than twice those who wait, and that costs each of them two looks at most.
        if self.waiters.len() >= 2 * self.stayed + 64 {
            self.waiters.retain(|waiter| !waiter.reply.is_closed());
            self.stayed = self.waiters.len();
        }
        self.waiters.push_back(waiter);
    }
}

impl Vault {
    /// Takes over what the ledger knows. Caps hold from then on.
    pub(super) fn open(&mut self, state: &LedgerState, caps: Vec<Cap>) {
        self.book.replay(state, caps);
        // What was passed before is no news.
        self.book.take_alerts();
        self.next_hold = state.next_hold;
        self.loaded = true;
    }

    /// Serves a request, or puts it in line.
    pub(super) fn ask(&mut self, request: Request, reply: Reply, now: UnixMillis) -> Answers {
        match self.serve(&request, now, true) {
            Err(Denied::Short(shortage)) if shortage.waiting_may_help() => {
                self.wait(&shortage.scope, Waiter { request, reply });
                // If those before it have gone, nobody else would look at it.
                self.serve_waiters(now)
            }
            answer => vec![(reply, answer)],
        }
    }

    pub(super) fn has_waiters(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Looks at the head of every line.
    pub(super) fn serve_waiters(&mut self, now: UnixMillis) -> Answers {
        let mut answers = Vec::new();
        for place in self.lines.keys().copied().collect::<Vec<_>>() {
            while let Some(waiter) = self.lines.get_mut(&place).and_then(|line| line.waiters.pop_front()) {
                if waiter.reply.is_closed() {
                    continue;
                }
                match self.serve(&waiter.request, now, false) {
                    Err(Denied::Short(shortage)) if shortage.waiting_may_help() => {
                        let lacks = self.book.place(shortage.scope.clone());
                        if lacks == place {
                            self.lines.entry(place).or_default().waiters.push_front(waiter);
                            break;
                        }
                        self.wait(&shortage.scope, waiter);
                    }
                    answer => answers.push((waiter.reply, answer)),
                }
            }
        }
        self.lines.retain(|_, line| !line.waiters.is_empty());
        answers
    }

    fn wait(&mut self, scope: &Scope, waiter: Waiter) {
        let place = self.book.place(scope.clone());
        self.lines.entry(place).or_default().push(waiter);
    }

    /// Sets money aside. Who comes new does not overtake those in line.
    fn serve(&mut self, request: &Request, now: UnixMillis, is_new: bool) -> Answer {
        let terms = self.terms.get(&request.job).cloned().unwrap_or_default();
        let payer = Payer {
            job: &request.job,
            role: terms.role.as_ref(),
            child: request.child.as_ref(),
            provider: request.provider.as_ref(),
            day: Day::of(now),
        };
        let line = self.book.line(&payer);
        let (least, full) = self.bounds(request, &terms)?;
        let money = self.book.quote(&line, least, full).map_err(Denied::Short)?;
        if is_new && let Some(place) = line.places().iter().find(|place| self.lines.contains_key(place)) {
            let shortage = self.book.shortage_at(*place, least, full);
            if shortage.waiting_may_help() {
                return Err(Denied::Short(shortage));
            }
        }
        let (amount, tokens) = match &request.want {
            Want::Tokens { price, input, output } => {
                let tokens = price.affordable_output(*input, money).unwrap_or(0);
                let tokens = u32::try_from(tokens).unwrap_or(u32::MAX).min(*output);
                (price.bound(*input, u64::from(tokens)), tokens)
            }
            Want::Fixed(amount) => (*amount, 0),
            Want::Allowance { path, .. } => {
                let child = Scope::Child(request.job.clone(), path.clone());
                if !self.book.open(&line, child.clone(), money) {
                    return Err(Denied::Open(path.clone()));
                }
                let (role, allowance) = (terms.role, Some(child));
                return Ok(Granted { line, amount: money, tokens: 0, number: 0, role, allowance, at: now });
            }
        };
        self.book.take(&line, amount);
        let number = self.next_hold;
        self.next_hold += 1;
        Ok(Granted { line, amount, tokens, number, role: terms.role, allowance: None, at: now })
    }

    /// The least and the most that a request makes do with.
    fn bounds(&self, request: &Request, terms: &Terms) -> Result<(Micros, Micros), Denied> {
        let (least, full) = match &request.want {
            Want::Tokens { price, input, output } => {
                let least = if terms.clamp { least_tokens(*output) } else { *output };
                (price.bound(*input, least.into()), price.bound(*input, u64::from(*output)))
            }
            Want::Fixed(amount) => (*amount, *amount),
            Want::Allowance { path, wanted, least } => {
                let child = Scope::Child(request.job.clone(), path.clone());
                let before = self.book.account(&child).spent;
                return Ok((least.saturating_sub(before), wanted.saturating_sub(before)));
            }
        };
        match terms.most_at_once {
            Some(most) if least > most => Err(Denied::NeedsApproval { amount: full, most }),
            Some(most) => Ok((least, full.min(most.max(least)))),
            None => Ok((least, full)),
        }
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use super::*;

    #[test]
    fn who_left_the_line_takes_no_room_for_long() {
        let mut vault = Vault::default();
        vault.book.set_cap(Scope::Job("j".into()), Some(Micros(10)));
        let want = |amount| Request {
            job: "j".into(),
            child: None,
            provider: None,
            want: Want::Fixed(Micros(amount)),
        };
        let held = vault.serve(&want(6), UnixMillis(0), true).unwrap();
        let ask = |vault: &mut Vault| {
            let (reply, answer) = oneshot::channel();
            assert!(vault.ask(want(5), reply, UnixMillis(0)).is_empty(), "it waits");
            answer
        };
        let mut stay: Vec<_> = (0..100).map(|_| ask(&mut vault)).collect();
        for _ in 0..100_000 {
            drop(ask(&mut vault));
            let line = vault.lines.values().map(|line| line.waiters.len()).sum::<usize>();
            assert!(line <= 2 * stay.len() + 64, "{line} in line");
        }
        // None of those who stayed was let out, and they are served in their order.
        stay.truncate(2);
        vault.book.settle(&held.line, Micros(6), Micros(0));
        let answers = vault.serve_waiters(UnixMillis(0));
        assert_eq!(answers.iter().filter(|(_, answer)| answer.is_ok()).count(), 2);
    }
}
