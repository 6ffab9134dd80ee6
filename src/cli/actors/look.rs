//! `empire show` and `empire explain`.

use std::time::Duration;

use clap::Args;
use empire_actors::kernel::tree::NodeView;

use super::super::{Context, terminal};
use super::offline;
use super::{Where, path_query};
use crate::control::policy_source;
use crate::control::shapes::{Explained, Shown};
use crate::run::error::{CommandError, Exit};
use crate::text;

/// Entries that an explanation from the store rests on.
const EXPLAINED_BY: u32 = 20;

#[derive(Debug, Args)]
pub(in crate::cli) struct PathArgs {
    /// The actor, such as gates/budget; `/empire/` may be left out, and a job named by a beginning
    /// of its id. The root if it is not given.
    #[arg(value_name = "PATH")]
    pub(super) path: Option<String>,
    #[command(flatten)]
    pub(super) place: Where,
}

pub(super) async fn show(context: &Context, args: PathArgs) -> Result<Exit, CommandError> {
    let query = path_query(args.path.as_deref());
    let shown: Shown = args.place.client(context)?.get("/v1/node", &query, Duration::ZERO).await?;
    if context.json {
        terminal::print_json(&shown)?;
    } else {
        terminal::print(&words(&shown))?;
    }
    Ok(Exit::Done)
}

fn words(shown: &Shown) -> String {
    let node = &shown.node;
    let lasts = text::duration(Duration::from_millis(node.for_ms));
    let mut lines = vec![
        format!("{} ({})", node.path, node.kind.word()),
        format!(
            "  state       {} for {lasts}{}",
            node.state.word(),
            if node.healthy { "" } else { ", not well" }
        ),
        format!("  starts      {}", node.incarnation),
    ];
    lines.extend(pulse(node));
    if let Some(restarts) = &node.restarts {
        let leaves = restarts.oldest_leaves_in_ms.map_or_else(String::new, |ms| {
            format!(", the oldest counts for {} more", text::duration(Duration::from_millis(ms)))
        });
        lines.push(format!(
            "  restarts    {} of {} in {}{leaves}",
            restarts.in_window,
            restarts.limit,
            text::duration(Duration::from_millis(restarts.window_ms))
        ));
    }
    if let Some(last) = &node.last_exit {
        let why = last.exit.why().map(|why| format!(": {}", text::one_line(why, 200))).unwrap_or_default();
        lines.push(format!("  last exit   {} at {}{why}", last.exit.word(), last.at));
    }
    if let Some(scaled) = &node.scaled {
        lines.push(format!("  scale       {} of at most {} {}", scaled.to, scaled.at_most, scaled.of));
    }
    if let Some(policy) = &shown.policy {
        lines.push(format!("  policy      {}", policy_source(&policy.effective)));
    }
    for (name, value) in [("counts", &node.counts), ("shows", &shown.observed)] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_null()) {
            let text = serde_json::to_string_pretty(value).unwrap_or_default();
            lines.push(format!("  {name:<12}{}", text.replace('\n', "\n              ")));
        }
    }
    if shown.observed.is_none() && node.pulse.is_some_and(|pulse| pulse.busy_us.is_some()) {
        lines.push("  shows       nothing at once: it is busy".to_owned());
    }
    lines.join("\n") + "\n"
}

fn pulse(node: &NodeView) -> Vec<String> {
    let Some(pulse) = &node.pulse else { return Vec::new() };
    let micros = text::micros;
    let mean = |all: u64| micros(all.checked_div(pulse.handled).unwrap_or(0));
    let busy = match pulse.busy_us {
        Some(busy) => format!("1 message, for {}", micros(busy)),
        None => "nothing".to_owned(),
    };
    vec![
        format!("  mailbox     {} waiting{}", pulse.waiting, if pulse.paused { ", held back" } else { "" }),
        format!("  in flight   {busy}"),
        format!(
            "  handled     {}, {} each after {} in line, the longest {}",
            text::count(pulse.handled, "message"),
            mean(pulse.handled_us),
            mean(pulse.waited_us),
            micros(pulse.longest_us)
        ),
    ]
}

pub(super) async fn explain(context: &Context, args: PathArgs) -> Result<Exit, CommandError> {
    let explained: Explained = match args.place.running_to_ask(context)? {
        Some(client) => client.get("/v1/explain", &path_query(args.path.as_deref()), Duration::ZERO).await?,
        None => offline::explained(context, args.place, args.path.as_deref(), EXPLAINED_BY).await?,
    };
    if context.json {
        terminal::print_json(&explained)?;
        return Ok(Exit::Done);
    }
    let mut lines = explained.words;
    for told in &explained.entries {
        // Whose it is goes without saying where it is asked for.
        let whose = told.entry.path.strip_prefix(&explained.path).unwrap_or(&told.entry.path);
        let whose = whose.trim_start_matches('/');
        let whose = if whose.is_empty() { String::new() } else { format!("{whose}: ") };
        lines.push(format!("  {}  {whose}{}", told.entry.at, told.words));
    }
    if explained.entries.is_empty() {
        lines.push("nothing was decided about it, and nobody told it anything".to_owned());
    }
    terminal::print(&(lines.join("\n") + "\n"))?;
    Ok(Exit::Done)
}
