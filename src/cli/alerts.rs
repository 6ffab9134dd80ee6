//! `empire alerts`: what somebody should look at.

use clap::{Args, Subcommand};
use empire_actors::alerts::AlertKind;

use super::status::stores;
use super::{Context, terminal};
use crate::run::approval::who;
use crate::run::error::{CommandError, Exit};
use crate::run::progress::say;
use crate::store::StoredAlert;
use crate::text::{self, Lean};

#[derive(Debug, Args)]
pub(super) struct AlertArgs {
    #[command(subcommand)]
    command: Option<Command>,
    /// Those that are over as well.
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say that you know of one: it is told again only if it gets worse, or comes up anew.
    Ack(AckArgs),
}

#[derive(Debug, Args)]
struct AckArgs {
    /// The alert, as `empire alerts` shows it.
    #[arg(value_name = "KIND/SUBJECT")]
    alert: String,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

pub(super) async fn alerts(context: &Context, args: AlertArgs) -> Result<Exit, CommandError> {
    match args.command {
        None => list(context, args.all).await,
        Some(Command::Ack(args)) => acknowledge(context, &args).await,
    }
}

async fn list(context: &Context, with_over: bool) -> Result<Exit, CommandError> {
    let mut all: Vec<StoredAlert> = Vec::new();
    for (_, store) in stores(context).await? {
        all.extend(store.alerts().await?);
    }
    all.retain(|stored| with_over || stored.alert.is_open());
    all.sort_by_key(|stored| (!stored.alert.is_open(), std::cmp::Reverse(stored.alert.since)));
    if context.json {
        return terminal::print_json(&all).map(|()| Exit::Done);
    }
    if all.is_empty() {
        say(if with_over { "there was no alert yet" } else { "nothing is wrong" });
        return Ok(Exit::Done);
    }
    use Lean::{Left, Right};
    let header = ["ALERT", "SEVERITY", "STATE", "SINCE", "SEEN", "WHAT"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(|stored| {
        let alert = &stored.alert;
        vec![
            format!("{}/{}", alert.kind, text::one_line(&alert.subject, 60)),
            alert.severity.to_string(),
            state(stored),
            alert.since.to_string(),
            format!("{}×", text::thousands(alert.count)),
            text::one_line(&alert.message, 100),
        ]
    }));
    terminal::print(&text::table(&[Left, Left, Left, Left, Right, Left], &rows))?;
    Ok(Exit::Done)
}

fn state(stored: &StoredAlert) -> String {
    match (stored.alert.recovered_at, &stored.acknowledged_by) {
        (Some(at), _) => format!("over {at}"),
        (None, Some(who)) => format!("known to {who}"),
        (None, None) => "on".to_owned(),
    }
}

async fn acknowledge(context: &Context, args: &AckArgs) -> Result<Exit, CommandError> {
    let unknown = |why: String| {
        CommandError::bad_input(format!("`{}` is no alert: {why}", text::one_line(&args.alert, 80)))
    };
    let (kind, subject) = args
        .alert
        .split_once('/')
        .ok_or_else(|| unknown("write KIND/SUBJECT, as `empire alerts` shows it".to_owned()))?;
    let kind: AlertKind =
        kind.parse().map_err(|error: empire_actors::alerts::UnknownWord| unknown(error.to_string()))?;
    let mut acknowledged = false;
    for (_, store) in stores(context).await? {
        acknowledged |= store.acknowledge_alert(kind, subject, &who(), &args.reason).await?;
    }
    if !acknowledged {
        return Err(unknown("it is not on; `empire alerts` lists what is".to_owned()));
    }
    say(&format!("{kind}/{subject} is known from now on"));
    if context.json {
        return list(context, false).await;
    }
    Ok(Exit::Done)
}
