//! The verbs: `restart`, `pause`, `resume`, `drain`, `quarantine`, `release`, `kill`, `scale`, and
//! `chaos kill`.

use std::time::Duration;

use clap::{Args, Subcommand};
use empire_actors::kernel::tree::{NodeKind, NodeState, NodeView, Order};

use super::super::duration;
use super::super::{Context, daemon, terminal};
use super::{Where, millis};
use crate::control::shapes::{OrderAsked, OrderDone};
use crate::run::error::{CommandError, Exit};

/// How long what waits may take before a restart.
const USUAL_DRAIN: Duration = Duration::from_secs(30);
/// How long a supervisor may take to stop what it is told to, beside a drain.
const SLACK: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(in crate::cli) struct OrderArgs {
    /// The actor, such as gates/rate-kimi; `/empire/` may be left out, and a job named by a
    /// beginning of its id.
    #[arg(value_name = "PATH")]
    path: String,
    /// Why, for the journal.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RestartArgs {
    /// The actor, such as gates/rate-kimi; without one the daemon itself, with the jobs that run.
    #[arg(value_name = "PATH")]
    path: Option<String>,
    /// Why, for the journal.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    place: Where,
    /// Do what waits first, as far as this time goes [default: 30s].
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "now")]
    drain: Option<Duration>,
    /// Kill the old one at once.
    #[arg(long)]
    now: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DrainArgs {
    #[command(flatten)]
    order: OrderArgs,
    /// How long what waits may take.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
    within: Duration,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct KillArgs {
    #[command(flatten)]
    order: OrderArgs,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ScaleArgs {
    #[command(flatten)]
    order: OrderArgs,
    /// How many.
    #[arg(value_name = "N", allow_negative_numbers = true)]
    to: u32,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Chaos {
    /// Kill an actor as if it had failed: that counts against its supervisor's limit.
    Kill(OrderArgs),
}

pub(super) async fn restart(context: &Context, args: RestartArgs) -> Result<Exit, CommandError> {
    let RestartArgs { path, reason, place, drain, now } = args;
    let Some(path) = path else {
        let within = if now { Some(Duration::ZERO) } else { drain };
        return daemon::restart(context, place.is_sim(), within).await;
    };
    let order = OrderArgs { path, reason, place };
    let drain = match (drain, now) {
        (Some(drain), _) => Some(drain),
        (None, true) => None,
        (None, false) => usual_drain(context, &order).await?,
    };
    give(context, order, Order::Restart { drain_ms: drain.map(millis) }, drain.unwrap_or_default()).await
}

/// What waits is done first unless somebody says otherwise; but only an actor that runs has
/// something that waits.
async fn usual_drain(context: &Context, order: &OrderArgs) -> Result<Option<Duration>, CommandError> {
    let client = order.place.client(context)?;
    let query = [("path", order.path.clone()), ("depth", "0".to_owned())];
    let node: NodeView = client.get("/v1/tree", &query, Duration::ZERO).await?;
    let drains = node.kind == NodeKind::Actor && node.state == NodeState::Running;
    Ok(drains.then_some(USUAL_DRAIN))
}

pub(super) async fn pause(context: &Context, args: OrderArgs) -> Result<Exit, CommandError> {
    give(context, args, Order::Pause, Duration::ZERO).await
}

pub(super) async fn resume(context: &Context, args: OrderArgs) -> Result<Exit, CommandError> {
    give(context, args, Order::Resume, Duration::ZERO).await
}

pub(super) async fn drain(context: &Context, args: DrainArgs) -> Result<Exit, CommandError> {
    give(context, args.order, Order::Drain { within_ms: millis(args.within) }, args.within).await
}

pub(super) async fn quarantine(context: &Context, args: OrderArgs) -> Result<Exit, CommandError> {
    give(context, args, Order::Quarantine, Duration::ZERO).await
}

pub(super) async fn release(context: &Context, args: OrderArgs) -> Result<Exit, CommandError> {
    give(context, args, Order::Release, Duration::ZERO).await
}

pub(super) async fn kill(context: &Context, args: KillArgs) -> Result<Exit, CommandError> {
    // Before anybody is asked about something that is not there.
    args.order.place.client(context)?;
    if !args.yes {
        let question = format!("kill {} at once, with what it works on?", args.order.path);
        match terminal::confirm(&question) {
            Some(true) => {}
            Some(false) => return Err(CommandError::refused("not killed")),
            None => {
                let why =
                    "nobody is there to be asked: add --yes, or let it end in order with `empire restart`";
                return Err(CommandError::bad_input(why));
            }
        }
    }
    give(context, args.order, Order::Kill, Duration::ZERO).await
}

pub(super) async fn scale(context: &Context, args: ScaleArgs) -> Result<Exit, CommandError> {
    give(context, args.order, Order::Scale { to: args.to }, Duration::ZERO).await
}

pub(super) async fn chaos(context: &Context, command: Chaos) -> Result<Exit, CommandError> {
    let Chaos::Kill(args) = command;
    give(context, args, Order::Crash, Duration::ZERO).await
}

async fn give(
    context: &Context,
    args: OrderArgs,
    order: Order,
    takes: Duration,
) -> Result<Exit, CommandError> {
    let OrderArgs { path, reason, place } = args;
    let asked = OrderAsked { path, order, reason };
    let client = place.client(context)?;
    let done: OrderDone = client.post("/v1/order", &asked, None, takes + SLACK).await?;
    if context.json {
        terminal::print_json(&done)?;
    } else {
        terminal::print(&format!("{}: {}\n", done.path, done.outcome))?;
    }
    Ok(Exit::Done)
}
