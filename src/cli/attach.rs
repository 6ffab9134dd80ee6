//! A job that runs in the daemon, followed from the terminal.

use std::io::{self, IsTerminal, stderr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Context, terminal};
use crate::control::client::Client;
use crate::control::jobs::{ADMITS_WITHIN, Admission, ResumeAsked};
use crate::daemon::{NotTaken, Taken};
use crate::home::{Home, open_private_file};
use crate::run::engine::Signals;
use crate::run::error::{CommandError, Exit};
use crate::run::feed::{Ended, Heard};
use crate::run::launch::{Wanted, WantedAgain};
use crate::run::prepare::read_spec;
use crate::run::progress::say;

const ASK_EVERY: Duration = Duration::from_millis(250);
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);

/// Has the daemon run a job, and follows it.
pub(super) async fn run(
    context: &Context,
    client: &Client,
    home: &Home,
    wanted: Wanted,
) -> Result<Exit, CommandError> {
    let wanted = from_here(wanted, home)?;
    let taken = match admit(client, &wanted).await? {
        Admission::Taken(taken) => taken,
        Admission::NotTaken(not_taken) => {
            not_taken.said.iter().for_each(|line| say(line));
            let Some(question) = &not_taken.question else { return Err(refused(&not_taken)) };
            match terminal::confirm(question) {
                Some(true) => match admit(client, &Wanted { yes: true, ..wanted }).await? {
                    Admission::Taken(taken) => taken,
                    Admission::NotTaken(not_taken) => return Err(refused(&not_taken)),
                },
                Some(false) => return Err(CommandError::refused("not started")),
                None => return Err(refused(&not_taken)),
            }
        }
    };
    follow(context, client, &taken).await
}

/// Has the daemon take a stored job up again, and follows it.
pub(super) async fn resume(
    context: &Context,
    client: &Client,
    id: &str,
    wanted: WantedAgain,
) -> Result<Exit, CommandError> {
    let asked = ResumeAsked { id: id.to_owned(), wanted };
    let admission: Admission =
        client.post("/v1/jobs/resume", &asked, None, ADMITS_WITHIN).await.map_err(CommandError::internal)?;
    match admission {
        Admission::Taken(taken) => follow(context, client, &taken).await,
        Admission::NotTaken(not_taken) => {
            not_taken.said.iter().for_each(|line| say(line));
            Err(refused(&not_taken))
        }
    }
}

async fn admit(client: &Client, wanted: &Wanted) -> Result<Admission, CommandError> {
    client.post("/v1/jobs", wanted, None, ADMITS_WITHIN).await.map_err(CommandError::internal)
}

fn refused(not_taken: &NotTaken) -> CommandError {
    CommandError { exit: Exit::of(not_taken.exit), message: not_taken.error.clone() }
}

/// The daemon works elsewhere, and has another standard input.
fn from_here(wanted: Wanted, home: &Home) -> Result<Wanted, CommandError> {
    let spec = read_spec(&wanted.job)?;
    let place = |path: &Path| std::path::absolute(path).map_err(CommandError::internal);
    let input = match wanted.input.as_deref() {
        Some(path) if path == Path::new("-") => Some(keep_stdin(home, &spec.name)?),
        Some(path) => Some(place(path)?),
        None => None,
    };
    let out = match &wanted.out {
        Some(out) => out.clone(),
        None => {
            let out = spec.out.clone().unwrap_or_else(|| Path::new("out").join(&spec.name));
            if wanted.sim.is_some() { out.join("simulated") } else { out }
        }
    };
    Ok(Wanted { job: place(&wanted.job)?, input, out: Some(place(&out)?), ..wanted })
}

fn keep_stdin(home: &Home, name: &str) -> Result<PathBuf, CommandError> {
    let path = home.dir().join(format!("stdin-{name}"));
    let kept = open_private_file(&path).and_then(|mut file| {
        file.set_len(0)?;
        io::copy(&mut io::stdin().lock(), &mut file)
    });
    kept.map_err(|error| {
        CommandError::bad_input(format!("cannot keep standard input in {}: {error}", path.display()))
    })?;
    Ok(path)
}

/// Shows what a job says until it ends. Ctrl-C ends the showing, not the job.
async fn follow(context: &Context, client: &Client, taken: &Taken) -> Result<Exit, CommandError> {
    let mut signals = Signals::new()?;
    let bar = Bar::new();
    let mut from = 0;
    loop {
        let query = [("id", taken.id.clone()), ("from", from.to_string())];
        let heard: Heard = client
            .get("/v1/jobs/feed", &query, ANSWERS_WITHIN)
            .await
            .map_err(|error| lost(taken, &error.to_string()))?;
        bar.show(&heard);
        from = heard.next;
        if let Some(ended) = heard.ended {
            bar.clear();
            return tell_end(context, &ended);
        }
        tokio::select! {
            () = tokio::time::sleep(ASK_EVERY) => {}
            () = signals.next() => {
                bar.clear();
                let (id, name) = (&taken.id, &taken.name);
                say(&format!("{name} goes on in the daemon: `empire swarm status {id}` shows it, `empire swarm pause {id}` pauses it"));
                return Ok(Exit::Interrupted);
            }
        }
    }
}

fn lost(taken: &Taken, error: &str) -> CommandError {
    CommandError {
        exit: Exit::Interrupted,
        message: format!(
            "the daemon is gone ({error}); {} goes on with the next `empire up`\n  empire swarm status {}",
            taken.name, taken.id
        ),
    }
}

fn tell_end(context: &Context, ended: &Ended) -> Result<Exit, CommandError> {
    if let Some(error) = &ended.error {
        return Err(CommandError { exit: Exit::of(ended.exit), message: error.clone() });
    }
    let page = if context.json {
        ended.report.as_ref().map(|report| format!("{report}\n"))
    } else {
        ended.words.clone()
    };
    terminal::print(&page.unwrap_or_default())?;
    Ok(Exit::of(ended.exit))
}

/// Lines, and below them a bar where there is a terminal.
struct Bar(Option<ProgressBar>);

impl Bar {
    fn new() -> Bar {
        Bar(stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{wide_bar:.green} {pos}/{len}\n{msg}") {
                bar.set_style(style);
            }
            bar
        }))
    }

    fn show(&self, heard: &Heard) {
        let say_all = || heard.lines.iter().for_each(|line| say(line));
        match &self.0 {
            None => say_all(),
            Some(bar) => {
                bar.suspend(say_all);
                bar.set_length(heard.done.1.max(1));
                bar.set_position(heard.done.0);
                bar.set_message(heard.progress.clone());
            }
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
