//! The busiest nodes over a window: two looks at every pulse, and what lies between them.

use std::collections::HashMap;
use std::time::Duration;

use empire_actors::gates::scope::{Account, Scope};
use empire_actors::kernel::tree::{NodeView, ROOT};
use empire_actors::money::Micros;

use super::Control;
use super::problem::Problem;
use super::shapes::{Top, TopBy, TopQuery, TopRow};
use crate::text;

const USUAL_WINDOW: Duration = Duration::from_secs(5);
const LONGEST_WINDOW: Duration = Duration::from_secs(60);
const USUAL_ROWS: usize = 10;
const MOST_ROWS: usize = 1_000;

/// One look.
struct Sample {
    nodes: Vec<NodeView>,
    accounts: Vec<(Scope, Account)>,
}

impl Sample {
    fn of(control: &Control) -> Sample {
        Sample { nodes: control.tree.nodes(), accounts: control.watch.every_account() }
    }
}

pub(super) async fn top(control: &Control, query: &TopQuery) -> Result<Top, Problem> {
    let window = query.window_ms.map_or(USUAL_WINDOW, Duration::from_millis);
    if window > LONGEST_WINDOW {
        return Err(Problem::bad("a window is a minute at most"));
    }
    let before = Sample::of(control);
    tokio::time::sleep(window).await;
    let mut rows = rows(query.by, &before, &Sample::of(control));
    rows.sort_by(|a, b| b.value.cmp(&a.value).then_with(|| a.path.cmp(&b.path)));
    rows.truncate(query.limit.unwrap_or(USUAL_ROWS).min(MOST_ROWS));
    let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    Ok(Top { by: query.by, window_ms, rows })
}

fn rows(by: TopBy, before: &Sample, after: &Sample) -> Vec<TopRow> {
    if by == TopBy::Cost {
        return costs(&before.accounts, &after.accounts);
    }
    let earlier: HashMap<&str, &NodeView> =
        before.nodes.iter().map(|node| (node.path.as_str(), node)).collect();
    let row = |node: &NodeView| {
        let earlier = earlier.get(node.path.as_str()).copied();
        let (value, words) = match by {
            TopBy::Mailbox => mailbox(node),
            TopBy::Restarts => restarts(earlier, node),
            TopBy::Latency | TopBy::Cost => latency(earlier, node)?,
        };
        (value > 0).then(|| TopRow { path: node.path.clone(), value, words })
    };
    after.nodes.iter().filter_map(row).collect()
}

fn mailbox(node: &NodeView) -> (u64, String) {
    let waiting = node.pulse.map_or(0, |pulse| pulse.waiting);
    (waiting, format!("{} waiting", text::count(waiting, "message")))
}

fn restarts(earlier: Option<&NodeView>, node: &NodeView) -> (u64, String) {
    // What is new was started once, which is no restart.
    let before = earlier.map_or(1, |earlier| earlier.incarnation);
    let restarts = u64::from(node.incarnation.saturating_sub(before));
    let last = node.last_exit.as_ref().map_or_else(String::new, |last| match last.exit.why() {
        Some(why) => format!(", last {}: {why}", last.exit.word()),
        None => format!(", last {}", last.exit.word()),
    });
    (restarts, format!("{}, incarnation {}{last}", text::count(restarts, "restart"), node.incarnation))
}

fn latency(earlier: Option<&NodeView>, node: &NodeView) -> Option<(u64, String)> {
    let now = node.pulse?;
    let then = earlier.and_then(|earlier| earlier.pulse).unwrap_or_default();
    let handled = now.handled.saturating_sub(then.handled);
    let mean = |now: u64, then: u64| now.saturating_sub(then).checked_div(handled).unwrap_or(0);
    let (took, waited) = (mean(now.handled_us, then.handled_us), mean(now.waited_us, then.waited_us));
    // What it is still at counts as well, or the slowest of all would not be seen.
    let busy = now.busy_us.filter(|busy| *busy > took + waited);
    let words = format!(
        "{}, {} each after {} in line{}",
        text::count(handled, "message"),
        text::micros(took),
        text::micros(waited),
        busy.map(|busy| format!("; busy with one for {}", text::micros(busy))).unwrap_or_default(),
    );
    Some((busy.unwrap_or(took + waited), words))
}

fn costs(before: &[(Scope, Account)], after: &[(Scope, Account)]) -> Vec<TopRow> {
    let row = |(scope, account): &(Scope, Account)| {
        let path = match scope {
            Scope::Job(job) => format!("{ROOT}/swarm/job-{job}"),
            Scope::Provider(provider) => format!("{ROOT}/gates/rate-{provider}"),
            _ => return None,
        };
        let earlier = before.iter().find(|(other, _)| other == scope);
        let earlier = earlier.map_or(Micros::ZERO, |(_, account)| account.spent);
        let spent = account.spent.saturating_sub(earlier);
        let words = format!(
            "{} billed, {} in all, {} set aside",
            text::money(spent),
            text::money(account.spent),
            text::money(account.reserved)
        );
        (spent > Micros::ZERO).then_some(TopRow { path, value: spent.0, words })
    };
    after.iter().filter_map(row).collect()
}
