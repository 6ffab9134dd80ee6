//! The terminal as the log writes to it. While a screen is drawn there, lines are kept back, so that
//! they do not tear it; they are shown when it is over.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes that are kept back at most; what comes then is only in the file.
const MOST_KEPT: usize = 64 << 10;

static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Says whether a screen is drawn on the terminal of this process.
pub fn take_terminal(is_taken: bool) {
    IS_TAKEN.store(is_taken, Ordering::SeqCst);
}

/// Writes to `to` unless a screen is drawn there.
pub(super) struct Patient<W> {
    to: W,
    kept: Vec<u8>,
    is_taken: fn() -> bool,
}

impl Patient<io::Stderr> {
    pub(super) fn stderr() -> Self {
        Patient { to: io::stderr(), kept: Vec::new(), is_taken: || IS_TAKEN.load(Ordering::SeqCst) }
    }
}

impl<W: Write> Patient<W> {
    fn show_kept(&mut self) -> io::Result<()> {
        let kept = std::mem::take(&mut self.kept);
        self.to.write_all(&kept)
    }
}

impl<W: Write> Write for Patient<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.is_taken)() {
            if self.kept.len() + bytes.len() <= MOST_KEPT {
                self.kept.extend_from_slice(bytes);
            }
            return Ok(bytes.len());
        }
        self.show_kept()?;
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        if !(self.is_taken)() {
            self.show_kept()?;
        }
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_logged_under_a_screen_is_shown_after_it() {
        let mut patient = Patient { to: Vec::new(), kept: Vec::new(), is_taken: || true };
        patient.write_all(b"one\n").unwrap();
        patient.flush().unwrap();
        patient.write_all(&vec![b'x'; MOST_KEPT]).unwrap();
        assert!(patient.to.is_empty(), "and what is too much is not kept");
        patient.is_taken = || false;
        patient.write_all(b"two\n").unwrap();
        assert_eq!(patient.to, b"one\ntwo\n");
    }
}
