//! A terminal of a size of its own, with a program on it, and what stands on its screen.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::common::wait_for;

/// A terminal with a program on it; killed when dropped.
pub(crate) struct Pty {
    ours: File,
    /// Kept open: what the program changed is looked at when it has ended.
    theirs: OwnedFd,
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
    size: (u16, u16),
    before: Termios,
}

impl Pty {
    /// Starts the program on a terminal of so many columns and lines.
    #[expect(clippy::disallowed_methods, reason = "it ends with the terminal")]
    pub(crate) fn start(mut command: Command, size: (u16, u16)) -> Pty {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let theirs = open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        tcsetwinsize(&theirs, winsize(size)).unwrap();
        let before = tcgetattr(&theirs).unwrap();
        let end = || File::from(theirs.try_clone().unwrap());
        command.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().unwrap();
        let ours = File::from(ours);
        let (said, mut reader) = (Arc::new(Mutex::new(Vec::new())), ours.try_clone().unwrap());
        let heard = said.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 16 << 10];
            while let Ok(read @ 1..) = reader.read(&mut bytes) {
                heard.lock().unwrap().extend_from_slice(&bytes[..read]);
            }
        });
        Pty { ours, theirs, child, said, size, before }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.ours.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn resize(&mut self, size: (u16, u16)) {
        self.size = size;
        tcsetwinsize(&self.theirs, winsize(size)).unwrap();
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that was written there.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    /// What stands on it.
    pub(crate) fn screen(&self) -> String {
        screen(&self.said(), self.size)
    }

    /// Waits until this stands on it.
    pub(crate) fn wait_for(&mut self, words: &str) -> String {
        wait_for(&format!("`{words}` on the screen"), || {
            let screen = self.screen();
            let has_ended = self.child.try_wait().unwrap().is_some();
            assert!(screen.contains(words) || !has_ended, "it ended without `{words}`:\n{screen}");
            screen.contains(words).then_some(screen)
        })
    }

    /// Waits for its end, and checks that the terminal is as it was. Gives the exit code.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let status = wait_for("the end of the screen", || self.child.try_wait().unwrap());
        let after = tcgetattr(&self.theirs).unwrap();
        assert_eq!(format!("{:?}", self.before), format!("{after:?}"), "the terminal is not as it was");
        wait_for("the screen to be left", || {
            let said = self.said();
            (said.contains("\u{1b}[?1049l") && said.ends_with(|last| last != '\u{1b}')).then_some(())
        });
        let said = self.said();
        let (screen, after) = said.rsplit_once("\u{1b}[?1049l").unwrap();
        assert!(screen.contains("\u{1b}[?1049h") && after.contains("\u{1b}[?25h"), "the cursor is hidden");
        (status.code(), after.to_owned())
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn winsize((columns, lines): (u16, u16)) -> Winsize {
    Winsize { ws_col: columns, ws_row: lines, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Plays what was written on a screen: places, erasing, text. Everything else changes no text.
fn screen(said: &str, (columns, lines): (u16, u16)) -> String {
    let (columns, lines) = (usize::from(columns), usize::from(lines));
    let mut cells = vec![vec![' '; columns]; lines];
    let (mut line, mut column) = (0, 0);
    let mut rest = said.chars();
    while let Some(character) = rest.next() {
        match character {
            '\u{1b}' if rest.clone().next() == Some('[') => {
                rest.next();
                let numbers: String = rest.clone().take_while(|next| !next.is_ascii_alphabetic()).collect();
                let order = rest.nth(numbers.chars().count());
                let mut numbers = numbers.split(';').map(|number| number.parse().unwrap_or(1_usize));
                match order {
                    Some('H') => {
                        (line, column) = (numbers.next().unwrap() - 1, numbers.next().unwrap_or(1) - 1);
                    }
                    Some('J') => cells.iter_mut().for_each(|cells| cells.fill(' ')),
                    _ => {}
                }
            }
            '\n' => line += 1,
            '\r' => column = 0,
            _ => {
                if let Some(cell) = cells.get_mut(line).and_then(|cells| cells.get_mut(column)) {
                    *cell = character;
                }
                column += 1;
            }
        }
    }
    cells.iter().map(|cells| cells.iter().collect::<String>().trim_end().to_owned() + "\n").collect()
}
