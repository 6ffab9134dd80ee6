//! `empire top` on a terminal of its own: the real program, looking at the real daemon.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod common;
mod top {
    pub(crate) mod pty;
}

use std::process::Command;

use common::{Running, Sim, World, csv_rows, kimi_job, wait_for};
use top::pty::Pty;

const SLOW: &str = "name: slow\nkimi: {latency: {fixed: 150}}";
const CTRL_C: &str = "\u{3}";

/// A daemon of simulated jobs.
fn up(more: &str) -> (World, Sim, Running) {
    let world = World::new(more);
    let sim = Sim::start(&world, SLOW);
    let mut daemon = world.start(&["up", &format!("--sim={}", sim.url)]);
    wait_for("the daemon", || {
        assert!(!daemon.has_ended(), "{}", daemon.said());
        (world.run(&["status", "--sim"]).code() == Some(0)).then_some(())
    });
    (world, sim, daemon)
}

fn top(world: &World, args: &[&str]) -> Command {
    world.command(&[&["top", "--sim", "--every", "200ms"], args].concat())
}

#[test]
fn a_person_sees_a_job_pauses_it_lets_it_go_on_and_leaves_the_terminal_as_it_was() {
    let (world, _sim, daemon) = up("");
    world.write("rows.csv", &csv_rows(5_000));
    let job = world.write("job.yaml", &kimi_job("job", "rows.csv", "budget: 100\n")).display().to_string();
    let _run = world.start(&["swarm", "run", &job, "--sim", "--yes"]);
    let mut pty = Pty::start(top(&world, &[]), (80, 24));
    for words in ["SIMULATED", "/5,000", "kimi", "spent", "machine", "a job started", "q quit"] {
        pty.wait_for(words);
    }
    // To the end of the tree, where the job is.
    pty.press("Gp");
    pty.wait_for("pause the job job");
    pty.press("n");
    pty.wait_for("no pause");
    pty.press("py");
    pty.wait_for("paused: no further agent wakes");
    pty.wait_for("paused !");
    pty.press("r");
    pty.wait_for("resumed: its agents wake");
    world.run(&["history", "--sim"]).exits(0).shows("said pause (from empire top)");
    pty.press("G\r");
    pty.wait_for("cohort-0");
    // The root is what only a restart of the daemon restarts.
    pty.press("gR");
    pty.wait_for("restart /empire and");
    pty.press("y");
    pty.wait_for("no restart of /empire");
    pty.resize((120, 40));
    let screen = pty.wait_for("z zoom");
    assert!(screen.lines().nth(39).unwrap().contains("q quit"), "it fills the larger terminal:\n{screen}");
    pty.press("?");
    pty.wait_for("open or close in the tree");
    pty.press(" q");
    let (code, after) = pty.end();
    assert_eq!(code, Some(0), "{after}");
    daemon.signal("TERM");
    daemon.end().exits(0);
}

#[test]
fn ctrl_c_a_signal_and_the_end_of_the_process_leave_the_terminal_as_it_was() {
    let (world, _sim, daemon) = up("");
    let mut plain = top(&world, &[]);
    plain.env("NO_COLOR", "1");
    let mut pty = Pty::start(plain, (80, 24));
    pty.wait_for("no job runs");
    let said = pty.said();
    assert!(!said.contains("[38;") && !said.contains("[48;"), "NO_COLOR, and there is colour");
    pty.press(CTRL_C);
    assert_eq!(pty.end().0, Some(0));

    let mut pty = Pty::start(top(&world, &[]), (40, 10));
    pty.wait_for("SIMULATED");
    assert!(pty.said().contains("[38;"), "colour, where nobody minds");
    let sent = Command::new("kill").args(["-TERM", &pty.id().to_string()]).status();
    assert!(sent.unwrap().success());
    assert_eq!(pty.end().0, Some(130));

    let mut pty = Pty::start(top(&world, &[]), (80, 24));
    pty.wait_for("SIMULATED");
    daemon.kill();
    pty.wait_for("NO ANSWER");
    let (code, after) = pty.end();
    assert_eq!(code, Some(0));
    assert!(after.contains("has ended"), "{after}");
}

#[test]
fn without_a_terminal_there_is_no_screen_and_with_json_there_is_what_it_shows() {
    let (world, _sim, _daemon) = up("");
    world.run(&["top", "--sim"]).exits(2).says("`empire top --by mailbox` prints a list");
    world.run(&["top", "--sim", "--window", "1s"]).exits(2).says("--by");
    world.run(&["top", "--sim", "--by", "mailbox", "--window", "50ms"]).exits(0);
    let shown = world.run(&["top", "--sim", "--json"]).exits(0).json();
    assert_eq!((&shown["simulated"], &shown["daemon"]), (&true.into(), &true.into()), "{shown}");
    assert_eq!(shown["lanes"].as_array().unwrap().len(), 3);
    assert_eq!(shown["tree"]["path"], "/empire");
    assert!(shown["log"].is_array());
    let mut dumb = top(&world, &[]);
    dumb.env("TERM", "dumb");
    world.start_command(dumb).end().exits(2);
    world.run(&["top"]).exits(2);
}
