//! How a node is and why, in words. Pure.

use std::time::Duration;

use empire_actors::kernel::policies::{Effective, Source};
use empire_actors::kernel::scale::Scaled;
use empire_actors::kernel::tree::{NodeState, NodeView};

use super::shapes::PolicyShown;
use crate::text;

/// How a node is, a thought a line.
#[must_use]
pub fn explain(node: &NodeView, policy: Option<&PolicyShown>) -> Vec<String> {
    let lasts = text::duration(Duration::from_millis(node.for_ms));
    let state = match node.state {
        NodeState::Starting => "is being started".to_owned(),
        NodeState::Running if node.healthy => format!("runs, for {lasts}"),
        NodeState::Running => format!("runs, for {lasts}, and is not well"),
        NodeState::Draining => format!("takes nothing new and does what waits, for {lasts}"),
        NodeState::BackingOff => "failed and waits for its restart".to_owned(),
        NodeState::Exhausted => format!("failed too often, is down for {lasts} and starts again by itself"),
        NodeState::Paused => {
            format!("holds back its messages for {lasts}, until `empire resume {}`", node.path)
        }
        NodeState::Quarantined => format!("is down for {lasts}, until `empire release {}`", node.path),
        NodeState::Stopping => "was told to stop".to_owned(),
        NodeState::Stopped => format!("is down for {lasts}; `empire release {}` starts it", node.path),
    };
    let mut words = vec![format!("{} {state}; incarnation {}", node.path, node.incarnation)];
    if let Some(pulse) = &node.pulse {
        if let Some(busy) = pulse.busy_us.filter(|busy| *busy > 1_000_000) {
            let busy = text::duration(Duration::from_micros(busy));
            words.push(format!("it has been busy with one message for {busy}"));
        }
        if pulse.waiting > 0 {
            words.push(format!("{} wait for it", text::count(pulse.waiting, "message")));
        }
    }
    if let Some(last) = &node.last_exit {
        let why = last.exit.why().map(|why| format!(": {why}")).unwrap_or_default();
        words.push(format!("it ended last at {}, {}{why}", last.at, last.exit.word()));
    }
    if let Some(restarts) = &node.restarts {
        let leaves = restarts.oldest_leaves_in_ms.map_or_else(String::new, |ms| {
            format!(", the oldest counts for {} more", text::duration(Duration::from_millis(ms)))
        });
        words.push(format!(
            "of its children, {} of {} restarts in {} count{leaves}",
            restarts.in_window,
            restarts.limit,
            text::duration(Duration::from_millis(restarts.window_ms)),
        ));
    }
    if let Some(scaled) = node.scaled.as_ref().filter(|scaled| scaled.to < scaled.at_most) {
        words.push(format!(
            "it is {}, until this process ends or `empire scale {} {}`",
            scaled_words(scaled),
            node.path,
            scaled.at_most
        ));
    }
    words.extend(policy.map(|policy| format!("policy: {}", policy_source(&policy.effective))));
    words
}

/// How many of what there are, in words.
#[must_use]
pub fn scaled_words(scaled: &Scaled) -> String {
    format!("scaled to {} of {} {}", scaled.to, scaled.at_most, scaled.of)
}

/// Where a policy is from, in words.
#[must_use]
pub fn policy_source(effective: &Effective) -> String {
    match &effective.source {
        Source::Default => "as the program has it".to_owned(),
        Source::File => "as supervision.toml has it".to_owned(),
        Source::Override { by, reason, expires_at } => {
            let until =
                expires_at.map_or_else(|| "until it is taken back".to_owned(), |at| format!("until {at}"));
            format!("v{} by {by} ({reason}), {until}", effective.version)
        }
    }
}
