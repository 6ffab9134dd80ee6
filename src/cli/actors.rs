//! The commands that look at the actors of a running process and steer them.

mod history;
mod look;
mod offline;
mod order;
mod policy;
mod simulate;
mod top;
mod tree;
mod watch;

pub(super) use self::tree::remarks;

use std::time::Duration;

use clap::{Args, Subcommand};

use super::Context;
use crate::control::Problem;
use crate::control::client::{Client, ClientError};
use crate::home::Home;
use crate::run::error::{CommandError, Exit};

#[derive(Debug, Subcommand)]
pub(super) enum Actors {
    /// Show the actors of the running process, and how each is.
    Tree(tree::TreeArgs),
    /// Show one actor in full: state, mailbox, restarts, last exit, what it shows of itself.
    Show(look::PathArgs),
    /// Say in words how an actor is, and why.
    Explain(look::PathArgs),
    /// List what supervisors decided and what people told actors, oldest first.
    History(history::HistoryArgs),
    /// Print what happens to actors, as it happens.
    Watch(look::PathArgs),
    /// Watch the running process on a screen: tree, jobs, gates, spend, pressure, log; with keys to
    /// pause, resume and restart. With --by: list the busiest actors over a window, once.
    Top(top::TopArgs),
    /// Start an actor anew, which counts as no failure; or the daemon, without a path.
    Restart(order::RestartArgs),
    /// Let an actor, or all below it, hold back its messages. It can still be seen and stopped.
    Pause(order::OrderArgs),
    /// Let an actor go on after a pause.
    Resume(order::OrderArgs),
    /// Let an actor take nothing new, do what waits, and stay down.
    Drain(order::DrainArgs),
    /// Stop an actor and leave it down.
    Quarantine(order::OrderArgs),
    /// Start an actor again that is down after a drain, a quarantine, or too many failures.
    Release(order::OrderArgs),
    /// Kill an actor at once; its policy says what follows.
    Kill(order::KillArgs),
    /// Let an actor have so many workers, permits, or agents awake.
    Scale(order::ScaleArgs),
    /// See and change how actors are restarted, while they run.
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Make actors fail, for drills: refused unless `[chaos]` is switched on.
    #[command(subcommand)]
    Chaos(order::Chaos),
}

pub(super) async fn run(context: &Context, command: Actors) -> Result<Exit, CommandError> {
    match command {
        Actors::Tree(args) => tree::tree(context, args).await,
        Actors::Show(args) => look::show(context, args).await,
        Actors::Explain(args) => look::explain(context, args).await,
        Actors::History(args) => history::history(context, args).await,
        Actors::Watch(args) => watch::watch(context, args).await,
        Actors::Top(args) => top::top(context, args).await,
        Actors::Restart(args) => order::restart(context, args).await,
        Actors::Pause(args) => order::pause(context, args).await,
        Actors::Resume(args) => order::resume(context, args).await,
        Actors::Drain(args) => order::drain(context, args).await,
        Actors::Quarantine(args) => order::quarantine(context, args).await,
        Actors::Release(args) => order::release(context, args).await,
        Actors::Kill(args) => order::kill(context, args).await,
        Actors::Scale(args) => order::scale(context, args).await,
        Actors::Policy(command) => policy::policy(context, command).await,
        Actors::Chaos(command) => order::chaos(context, command).await,
    }
}

/// Which of the two processes that may run for one data folder.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Where {
    /// The process of simulated runs, even if one of real runs works as well.
    #[arg(long)]
    sim: bool,
}

impl Where {
    /// Whether it is that of simulated runs.
    fn is_sim(self) -> bool {
        self.sim
    }

    /// The data folders that may be meant, the likelier first.
    fn homes(self, context: &Context) -> Result<Vec<Home>, CommandError> {
        let mut homes = Vec::new();
        if !self.sim {
            homes.push(context.place.home_of(false)?);
        }
        if self.sim || context.place.home.dir().join("sim").is_dir() {
            homes.push(context.place.home_of(true)?);
        }
        Ok(homes)
    }

    /// The running process, if there is one.
    fn running(self, context: &Context) -> Result<Option<Client>, CommandError> {
        Ok(self.found(context)?.map(|(_, client)| client))
    }

    /// The same, with its data folder.
    fn found(self, context: &Context) -> Result<Option<(Home, Client)>, CommandError> {
        for home in self.homes(context)? {
            if let Some(client) = Client::find(&home)? {
                return Ok(Some((home, client)));
            }
        }
        Ok(None)
    }

    /// The running process, where the store knows as well what is asked: one that cannot be asked
    /// counts as none.
    fn running_to_ask(self, context: &Context) -> Result<Option<Client>, CommandError> {
        for home in self.homes(context)? {
            match Client::find(&home) {
                Ok(Some(client)) => return Ok(Some(client)),
                Ok(None) | Err(ClientError::Closed { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// The running process.
    pub(super) fn client(self, context: &Context) -> Result<Client, CommandError> {
        self.running(context)?.ok_or_else(|| self.nothing_runs(context))
    }

    fn nothing_runs(self, context: &Context) -> CommandError {
        let what = if self.sim { " with simulated runs" } else { "" };
        CommandError::refused(format!(
            "nothing runs in {}{what}: `empire up` starts the daemon, `empire swarm run JOB.yaml` a job in the foreground",
            context.place.home.dir().display()
        ))
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Home(error) => error.into(),
            ClientError::Problem(problem) => problem.into(),
            ClientError::Closed { .. } | ClientError::Unreachable { .. } => CommandError::refused(error),
            ClientError::Late { .. } | ClientError::Unreadable(_) => CommandError::internal(error),
        }
    }
}

impl From<Problem> for CommandError {
    fn from(problem: Problem) -> Self {
        match problem.status {
            400 | 404 | 413 => CommandError::bad_input(problem),
            401 | 403 | 409 | 503 => CommandError::refused(problem),
            _ => CommandError::internal(problem),
        }
    }
}

/// A path as a query.
fn path_query(path: Option<&str>) -> Vec<(&'static str, String)> {
    path.map(|path| ("path", path.to_owned())).into_iter().collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
