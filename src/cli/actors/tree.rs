//! `empire tree`.

use std::time::Duration;

use crate::control::scaled_words;
use clap::Args;
use empire_actors::kernel::tree::{NodeKind, NodeView};

use super::super::{Context, terminal};
use super::{Where, path_query};
use crate::run::error::{CommandError, Exit};
use crate::text::{self, Lean};

#[derive(Debug, Args)]
pub(in crate::cli) struct TreeArgs {
    /// The topmost actor, such as gates/budget; all if it is not given. A job may be named by a
    /// beginning of its id: swarm/job-0193. Of a job that is named, the cohorts are shown.
    #[arg(value_name = "PATH")]
    path: Option<String>,
    /// How many levels below it.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    depth: Option<usize>,
    /// Only what is not well, and what leads there.
    #[arg(long)]
    unhealthy: bool,
    #[command(flatten)]
    place: Where,
}

pub(super) async fn tree(context: &Context, args: TreeArgs) -> Result<Exit, CommandError> {
    let mut query = path_query(args.path.as_deref());
    query.extend(args.depth.map(|depth| ("depth", depth.to_string())));
    query.push(("unhealthy", args.unhealthy.to_string()));
    let node: NodeView = args.place.client(context)?.get("/v1/tree", &query, Duration::ZERO).await?;
    if context.json {
        terminal::print_json(&node)?;
    } else if args.unhealthy && node.healthy && node.children.is_empty() {
        terminal::print("all is well\n")?;
    } else {
        terminal::print(&shown(&node))?;
    }
    Ok(Exit::Done)
}

fn shown(node: &NodeView) -> String {
    let mut rows = vec![["ACTOR", "STATE", "FOR", "WAITING", "STARTS", ""].map(str::to_owned).to_vec()];
    rows.push(row(node, &node.path));
    below(node, "", &mut rows);
    use Lean::{Left, Right};
    text::table(&[Left, Left, Right, Right, Right, Left], &rows)
}

fn below(node: &NodeView, indent: &str, rows: &mut Vec<Vec<String>>) {
    let more = node.children_left_out;
    for (place, child) in node.children.iter().enumerate() {
        let is_last = place + 1 == node.children.len() && more == 0;
        let name = child.path.rsplit('/').next().unwrap_or(&child.path);
        rows.push(row(child, &format!("{indent}{}{name}", if is_last { "└─ " } else { "├─ " })));
        below(child, &format!("{indent}{}", if is_last { "   " } else { "│  " }), rows);
    }
    if more > 0 {
        let what = if node.kind == NodeKind::Supervisor { "actor" } else { "cohort" };
        let more = if node.children.is_empty() {
            text::count(more as u64, what)
        } else {
            format!("{} more", text::thousands(more as u64))
        };
        rows.push(vec![format!("{indent}└─ {more}")]);
    }
}

fn row(node: &NodeView, name: &str) -> Vec<String> {
    let waiting = node.pulse.map_or(0, |pulse| pulse.waiting);
    vec![
        name.to_owned(),
        if node.healthy { node.state.word().to_owned() } else { format!("{} !", node.state.word()) },
        text::duration(Duration::from_millis(node.for_ms)),
        if waiting == 0 { String::new() } else { text::thousands(waiting) },
        node.incarnation.to_string(),
        remarks(node),
    ]
}

/// What else is worth a word.
pub(in crate::cli) fn remarks(node: &NodeView) -> String {
    let mut remarks = Vec::new();
    if let Some(busy) = node.pulse.and_then(|pulse| pulse.busy_us).filter(|busy| *busy > 1_000_000) {
        remarks.push(format!("busy for {}", text::duration(Duration::from_micros(busy))));
    }
    if let Some(restarts) = node.restarts.filter(|restarts| restarts.in_window > 0) {
        let window = text::duration(Duration::from_millis(restarts.window_ms));
        remarks.push(format!("{} of {} restarts in {window}", restarts.in_window, restarts.limit));
    }
    if let Some(counts) = &node.counts {
        remarks.extend(counted(counts));
    }
    if let Some(last) = &node.last_exit {
        remarks.push(match last.exit.why() {
            Some(why) => format!("last {}: {}", last.exit.word(), text::one_line(why, 48)),
            None => format!("last {}", last.exit.word()),
        });
    }
    remarks.extend(node.scaled.as_ref().filter(|scaled| scaled.to < scaled.at_most).map(scaled_words));
    if node.policy > 0 {
        remarks.push(format!("policy v{}", node.policy));
    }
    remarks.join("; ")
}

/// What a job or a cohort counts, as far as it is not nothing.
fn counted(counts: &serde_json::Value) -> Option<String> {
    let part = |value: &serde_json::Value, word: &str| {
        value.as_u64().filter(|count| *count > 0).map(|count| format!("{} {word}", text::thousands(count)))
    };
    let agents = &counts["agents"];
    let parts: Vec<String> = if agents.is_object() {
        let words = ["waiting", "awake", "done", "dead", "parked"];
        words.iter().filter_map(|word| part(&agents[word], word)).collect()
    } else {
        ["finished", "crashes"].iter().filter_map(|word| part(&counts[word], word)).collect()
    };
    let of = counts["items"].as_u64().map(|items| format!("of {} items", text::thousands(items)));
    let dead = counts["dead_percent"].as_f64().filter(|percent| *percent > 0.0);
    let dead = dead.map(|percent| format!("({percent} % of the ended dead)"));
    let all: Vec<String> = parts.into_iter().chain(of).chain(dead).collect();
    (!all.is_empty()).then(|| all.join(", ").replace(", of ", " of ").replace(", (", " ("))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(path: &str, more: &serde_json::Value) -> NodeView {
        let mut node = json!({
            "path": path, "kind": "actor", "state": "running", "for_ms": 61_000, "incarnation": 1,
            "healthy": true, "policy": 0,
        });
        node.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(node).unwrap()
    }

    #[test]
    fn a_tree_is_drawn_with_what_is_worth_a_word() {
        let job = node(
            "/empire/swarm/job-7",
            &json!({
                "children_left_out": 489,
                "counts": {"agents": {"waiting": 499_000, "awake": 40, "done": 960, "dead": 0}, "dead_percent": 0.0},
            }),
        );
        let lane = node(
            "/empire/gates/rate-kimi",
            &json!({
                "state": "exhausted", "healthy": false, "incarnation": 6, "policy": 3,
                "last_exit": {"exit": "failed", "why": "boom", "at": 0},
            }),
        );
        let swarm = node("/empire/swarm", &json!({"kind": "supervisor", "children": [job]}));
        let gates = node(
            "/empire/gates",
            &json!({
                "kind": "supervisor", "children": [lane],
                "restarts": {"in_window": 5, "limit": 5, "window_ms": 60_000, "oldest_leaves_in_ms": 1},
            }),
        );
        let root = node("/empire", &json!({"kind": "supervisor", "children": [gates, swarm]}));
        insta::assert_snapshot!(shown(&root), @"
        ACTOR                 STATE              FOR  WAITING  STARTS
        /empire               running      1 min 1 s                1
        ├─ gates              running      1 min 1 s                1  5 of 5 restarts in 1 min
        │  └─ rate-kimi       exhausted !  1 min 1 s                6  last failed: boom; policy v3
        └─ swarm              running      1 min 1 s                1
           └─ job-7           running      1 min 1 s                1  499,000 waiting, 40 awake, 960 done
              └─ 489 cohorts
        ");
    }
}
