//! How much work a scan may do. Counted, not timed: a decision has no clock.

use super::Blocked;

/// Bytes that may be looked at for each byte of the text.
const STEPS_PER_BYTE: u64 = 64;
/// What a short text gets on top.
const FREE_STEPS: u64 = 1 << 20;
/// Steps between two looks at the caller's deadline.
const STEPS_PER_LOOK: u64 = 1 << 18;

/// Counts the steps of one scan and ends it when they are used up, or its caller says so.
pub(crate) struct Meter<'a> {
    steps: u64,
    limit: u64,
    next_look: u64,
    is_over: &'a dyn Fn() -> bool,
    end: Option<Blocked>,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(bytes: usize, is_over: &'a dyn Fn() -> bool) -> Meter<'a> {
        let limit = FREE_STEPS + STEPS_PER_BYTE * bytes as u64;
        Meter { steps: 0, limit, next_look: STEPS_PER_LOOK, is_over, end: None }
    }

    #[inline]
    pub(crate) fn spend(&mut self, steps: usize) {
        self.steps += steps as u64;
        if self.steps >= self.next_look {
            self.look();
        }
    }

    #[cold]
    fn look(&mut self) {
        self.next_look = self.steps + STEPS_PER_LOOK;
        if self.steps > self.limit {
            self.block(Blocked::TooMuchWork);
        } else if (self.is_over)() {
            self.block(Blocked::Deadline);
        }
    }

    /// Ends the scan; the first reason stays.
    pub(crate) fn block(&mut self, reason: Blocked) {
        self.end.get_or_insert(reason);
    }

    #[inline]
    pub(crate) fn is_blocked(&self) -> bool {
        self.end.is_some()
    }

    pub(crate) fn end(&self) -> Option<Blocked> {
        self.end
    }

    /// Bytes that were looked at so far.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }
}
