//! `empire approvals`: what waits for a human's yes or no.

use clap::{Args, Subcommand};

use super::status::stores;
use super::{Context, terminal};
use crate::run::approval::who;
use crate::run::error::{CommandError, Exit};
use crate::run::progress::say;
use crate::store::{Approval, ApprovalState, Store};
use crate::text::{self, Lean};

#[derive(Debug, Args)]
pub(super) struct ApprovalArgs {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List all approvals, the newest first.
    List,
    /// Show one.
    Show(IdArgs),
    /// Say yes. It holds for the job as it is, and once.
    Approve(AnswerArgs),
    /// Say no.
    Deny(AnswerArgs),
}

#[derive(Debug, Args)]
struct IdArgs {
    /// The approval's id, or a unique beginning of it.
    #[arg(value_name = "ID")]
    id: String,
}

#[derive(Debug, Args)]
struct AnswerArgs {
    #[command(flatten)]
    id: IdArgs,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

pub(super) async fn approvals(context: &Context, args: ApprovalArgs) -> Result<Exit, CommandError> {
    match args.command.unwrap_or(Command::List) {
        Command::List => list(context).await,
        Command::Show(args) => {
            let (_, approval) = find(context, &args.id).await?;
            shown(context, &approval)
        }
        Command::Approve(args) => answer(context, &args, true).await,
        Command::Deny(args) => answer(context, &args, false).await,
    }
}

async fn all(context: &Context) -> Result<Vec<(Store, Approval)>, CommandError> {
    let mut all = Vec::new();
    for (_, store) in stores(context).await? {
        all.extend(store.approvals().await?.into_iter().map(|approval| (store.clone(), approval)));
    }
    all.sort_by(|(_, a), (_, b)| b.asked_at.cmp(&a.asked_at).then(b.id.cmp(&a.id)));
    Ok(all)
}

async fn find(context: &Context, wanted: &str) -> Result<(Store, Approval), CommandError> {
    let mut found = all(context).await?;
    found.retain(|(_, approval)| !wanted.is_empty() && approval.id.starts_with(wanted));
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(CommandError::bad_input(format!(
            "there is no approval `{wanted}`: `empire approvals` lists them"
        ))),
        _ => Err(CommandError::bad_input(format!("`{wanted}` fits several approvals: give more of the id"))),
    }
}

async fn list(context: &Context) -> Result<Exit, CommandError> {
    let all: Vec<Approval> = all(context).await?.into_iter().map(|(_, approval)| approval).collect();
    if context.json {
        return terminal::print_json(&all).map(|()| Exit::Done);
    }
    if all.is_empty() {
        say("nothing was asked for yet");
        return Ok(Exit::Done);
    }
    use Lean::{Left, Right};
    let mut rows = vec![["ID", "STATE", "AMOUNT", "WHAT", "ASKED"].map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(|approval| {
        vec![
            approval.id.clone(),
            state(approval).to_owned(),
            text::money(approval.amount),
            text::one_line(&approval.subject, 60),
            approval.asked_at.to_string(),
        ]
    }));
    terminal::print(&text::table(&[Left, Left, Right, Left, Left], &rows))?;
    Ok(Exit::Done)
}

fn state(approval: &Approval) -> &'static str {
    if approval.used_by.is_some() { "used" } else { approval.state.as_str() }
}

async fn answer(context: &Context, args: &AnswerArgs, yes: bool) -> Result<Exit, CommandError> {
    let (store, approval) = find(context, &args.id.id).await?;
    if !store.answer_approval(&approval.id, yes, &who(), &args.reason).await? {
        let again = match approval.state {
            ApprovalState::Pending | ApprovalState::Expired => {
                "expired, which is a no: run the job again to be asked anew".to_owned()
            }
            _ => format!("{} already", state(&approval)),
        };
        return Err(CommandError::refused(format!("approval {} is {again}", approval.id)));
    }
    tracing::info!(approval = %approval.id, given = yes, who = %who(), "an approval is answered");
    let (_, approval) = find(context, &approval.id).await?;
    say(&format!("{}: {}", approval.subject, approval.state.as_str()));
    if context.json {
        terminal::print_json(&approval)?;
    }
    Ok(Exit::Done)
}

fn shown(context: &Context, approval: &Approval) -> Result<Exit, CommandError> {
    if context.json {
        return terminal::print_json(approval).map(|()| Exit::Done);
    }
    let mut lines = vec![
        format!("{}  {}", approval.id, state(approval)),
        format!("  what     {}", text::one_line(&approval.subject, 200)),
        format!("  amount   {}", approval.amount),
        format!("  asked    {}", approval.asked_at),
    ];
    match approval.answered_at {
        Some(at) => lines.push(format!(
            "  answered {} by {}{}",
            at,
            approval.answered_by.as_deref().unwrap_or("?"),
            if approval.reason.is_empty() { String::new() } else { format!(": {}", approval.reason) }
        )),
        None => lines.push(format!("  denied   {} if nobody answers", approval.expires_at)),
    }
    lines.extend(approval.used_by.as_ref().map(|job| format!("  used by  job {job}")));
    terminal::print(&(lines.join("\n") + "\n")).map(|()| Exit::Done)
}
