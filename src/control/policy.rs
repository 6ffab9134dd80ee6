//! Policies: what is in force, and changing it while it is.

use std::sync::Arc;
use std::time::Duration;

use empire_actors::gates::scope::{Account, Scope};
use empire_actors::house::nodes::standing;
use empire_actors::kernel::journal::{Entry, Event};
use empire_actors::kernel::policies::{Effective, Override, Policies, PolicyPatch, matches};
use empire_actors::kernel::policy::Policy;
use empire_actors::kernel::tree::{NodeKind, ROOT};
use empire_actors::ports::UnixMillis;
use serde_json::Value;

use super::problem::Problem;
use super::routes::Asked;
use super::shapes::{Blast, FieldChange, PolicyAsked, PolicyChanged, PolicyResetAsked, PolicyShown};
use super::steer::checked_reason;
use super::{Control, full_path};

/// How long the store may take.
const CHANGE_WITHIN: Duration = Duration::from_secs(30);
/// An override that holds longer than this has no end.
const LONGEST_OVERRIDE: Duration = Duration::from_secs(366 * 86_400);

/// The policy in force at a node, or at all nodes that a pattern names.
pub(super) fn shown(control: &Control, path: Option<&str>) -> Result<PolicyShown, Problem> {
    let path = control.named(path.unwrap_or_default())?;
    let supervision = control.tree.supervision();
    let now = control.clock.now();
    if path.contains('*') {
        return Ok(effective_without_tree(&supervision.policies, &path, now));
    }
    let (effective, default) = control.tree.policy(&path)?;
    let said = supervision.policies.said(&path, now);
    Ok(PolicyShown { path, effective, default, said })
}

/// The policy that would be in force at `path`, where no process runs, or at all nodes that a pattern
/// names.
#[must_use]
pub fn effective_without_tree(policies: &Policies, path: &str, now: UnixMillis) -> PolicyShown {
    let default = standing(path).map_or_else(Policy::default, |node| node.policy);
    let effective = policies.effective(path, &default, now);
    PolicyShown { path: path.to_owned(), effective, default, said: policies.said(path, now) }
}

/// The fields in which two policies differ, as a file names them.
#[must_use]
pub fn changes(from: &Policy, to: &Policy) -> Vec<FieldChange> {
    let (from, to) = (fields(from), fields(to));
    let differ = from.into_iter().zip(to).filter(|((_, from), (_, to))| from != to);
    differ.map(|((field, from), (_, to))| FieldChange { field, from, to }).collect()
}

fn fields(policy: &Policy) -> Vec<(String, String)> {
    let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut fields = Vec::new();
    if let Ok(Value::Object(policy)) = serde_json::to_value(policy) {
        for (name, value) in policy {
            match value {
                Value::Object(parts) => {
                    fields.extend(
                        parts.into_iter().map(|(part, value)| (format!("{name}_{part}"), text(value))),
                    );
                }
                value => fields.push((name, text(value))),
            }
        }
    }
    fields
}

pub(super) async fn set(
    control: Arc<Control>,
    asked: Asked,
    body: PolicyAsked,
) -> Result<PolicyChanged, Problem> {
    body.patch.check()?;
    if body.patch.is_empty() {
        return Err(Problem::bad("nothing is said: give at least one field, such as intensity"));
    }
    let expires = checked_expiry(body.expires_ms)?;
    let reason = needed_reason(&body.reason)?;
    let path = control.named(&body.path)?;
    let nodes = control.tree.nodes();
    refuse_idle(&path, &body.patch, nodes.iter().map(|node| (node.path.as_str(), node.kind)))?;
    let own = control.clone();
    control
        .carry_out(Duration::ZERO, CHANGE_WITHIN, async move {
            let _changing = own.changing.lock().await;
            let now = own.clock.now();
            let policies = &own.tree.supervision().policies;
            own.check_version(&path, &asked)?;
            let before = policies.said(&path, now).map(|said| said.patch).unwrap_or_default();
            let said = Override {
                path: path.clone(),
                patch: before.under(&body.patch),
                version: policies.version() + 1,
                by: asked.peer.name(),
                reason,
                at: now,
                expires_at: expires.map(|expires| expires.after(now)),
            };
            own.change(Change::Say(said), path, body.dry_run).await
        })
        .await
}

pub(super) async fn reset(
    control: Arc<Control>,
    asked: Asked,
    body: PolicyResetAsked,
) -> Result<PolicyChanged, Problem> {
    let reason = needed_reason(&body.reason)?;
    // What was said of a node that is gone can be taken back as well.
    let path = control.named(&body.path).unwrap_or_else(|_| full_path(&body.path));
    let own = control.clone();
    control
        .carry_out(Duration::ZERO, CHANGE_WITHIN, async move {
            let _changing = own.changing.lock().await;
            let now = own.clock.now();
            let policies = &own.tree.supervision().policies;
            own.check_version(&path, &asked)?;
            if policies.said(&path, now).is_none() {
                let why =
                    format!("nothing was said of exactly {path}: `empire policy get` shows what is in force");
                return Err(Problem::not_found("nothing-said", why));
            }
            let version = policies.version() + 1;
            own.change(Change::TakeBack { version, by: asked.peer.name(), reason }, path, body.dry_run).await
        })
        .await
}

/// What is to become of the override of a path.
enum Change {
    /// This is said.
    Say(Override),
    /// What was said is taken back.
    TakeBack {
        /// The version that this makes.
        version: u64,
        /// Who does it.
        by: String,
        /// Why.
        reason: String,
    },
}

/// How long an override holds.
#[derive(Debug, Clone, Copy)]
pub struct Expiry(i64);

impl Expiry {
    /// When one that is said at `now` ends.
    #[must_use]
    pub fn after(self, now: UnixMillis) -> UnixMillis {
        UnixMillis(now.0.saturating_add(self.0))
    }
}

/// # Errors
/// An override cannot hold so long, or not at all.
pub fn checked_expiry(expires_ms: Option<u64>) -> Result<Option<Expiry>, Problem> {
    let Some(expires_ms) = expires_ms else { return Ok(None) };
    let time = Duration::from_millis(expires_ms);
    if time.is_zero() || time > LONGEST_OVERRIDE {
        let why = "an override holds for more than 0 ms and at most a year, or without an end";
        return Err(Problem::bad(why));
    }
    Ok(Some(Expiry(i64::try_from(expires_ms).unwrap_or(i64::MAX))))
}

/// A reason as the journal keeps it.
///
/// # Errors
/// There is none, or too much of it.
pub fn needed_reason(reason: &str) -> Result<String, Problem> {
    let reason = checked_reason(reason)?;
    if reason.trim().is_empty() {
        return Err(Problem::bad(
            "a change of a policy needs a reason, for who reads the journal: --reason TEXT",
        ));
    }
    Ok(reason)
}

impl Control {
    /// Changes the override of `path`, durably and then in force; on a dry run, says what it would be.
    async fn change(&self, change: Change, path: String, is_dry: bool) -> Result<PolicyChanged, Problem> {
        let policies = &self.tree.supervision().policies;
        let was = self.effective(&path);
        if is_dry {
            let would_be = match change {
                Change::Say(said) => policies.with(said),
                Change::TakeBack { .. } => policies.without(&path),
            };
            let would_be = would_be.effective(&path, &self.default_of(&path), self.clock.now());
            return Ok(self.changed(path, false, &was, would_be));
        }
        match change {
            Change::Say(said) => {
                self.store.say_policy(said.clone()).await?;
                policies.say(said.clone());
                let says = serde_json::to_string(&said.patch).ok();
                self.enter(&path, said.by, said.reason, says, said.version);
            }
            Change::TakeBack { version, by, reason } => {
                self.store.unsay_policy(&path, version).await?;
                policies.unsay(&path, version);
                self.enter(&path, by, reason, None, version);
            }
        }
        let is = self.effective(&path);
        Ok(self.changed(path, true, &was, is))
    }

    /// The node that is meant, or the pattern.
    fn named(&self, given: &str) -> Result<String, Problem> {
        if given.contains('*') {
            let path = full_path(given);
            if self.tree.reach(&path).nodes.is_empty() {
                return Err(Problem::not_found("no-such-node", format!("{path} names no node of the tree")));
            }
            return Ok(path);
        }
        self.resolve(Some(given))
    }

    fn default_of(&self, path: &str) -> Policy {
        let of_the_kind = || standing(path).map_or_else(Policy::default, |node| node.policy);
        self.tree.policy(path).map_or_else(|_| of_the_kind(), |(_, default)| default)
    }

    fn effective(&self, path: &str) -> Effective {
        let policies = &self.tree.supervision().policies;
        policies.effective(path, &self.default_of(path), self.clock.now())
    }

    fn check_version(&self, path: &str, asked: &Asked) -> Result<(), Problem> {
        let version = self.effective(path).version;
        match asked.if_match {
            Some(expected) if expected != version => Err(Problem::conflict(path, expected, version)),
            _ => Ok(()),
        }
    }

    fn enter(&self, path: &str, by: String, reason: String, says: Option<String>, version: u64) {
        let event = Event::Policy { by, reason, says, version };
        self.tree.supervision().journal.enter(Entry { at: self.clock.now(), path: path.to_owned(), event });
    }

    fn changed(&self, path: String, in_force: bool, was: &Effective, effective: Effective) -> PolicyChanged {
        let changes = changes(&was.policy, &effective.policy);
        let reaches = Some(self.blast(&path));
        PolicyChanged { path, in_force, effective, changes, reaches }
    }

    /// What a change at `path` reaches.
    pub(super) fn blast(&self, path: &str) -> Blast {
        let reach = self.tree.reach(path);
        let users = match relied_on(&reach.nodes) {
            Reliance::Everybody => self.tree.reach(&format!("{ROOT}/swarm")).users,
            Reliance::Lanes(providers) if providers.is_empty() => reach.users,
            Reliance::Lanes(providers) => self.tree.users(&providers),
        };
        Blast {
            reserved_micro_usd: reserved(&reach.nodes, &self.watch.every_account()),
            actors: reach.actors,
            agents: users.agents,
            calls_in_flight: users.calls_in_flight,
            nodes: reach.nodes,
        }
    }
}

/// Refuses to say how children are treated where there are none. `nodes` are all that there are.
///
/// # Errors
/// None of those that `path` names is a supervisor.
pub fn refuse_idle<'a>(
    path: &str,
    patch: &PolicyPatch,
    nodes: impl IntoIterator<Item = (&'a str, NodeKind)>,
) -> Result<(), Problem> {
    let fields = [
        ("strategy", patch.strategy.is_some()),
        ("intensity", patch.intensity.is_some()),
        ("window", patch.window.is_some()),
    ];
    let Some((field, _)) = fields.iter().find(|(_, is_said)| *is_said) else { return Ok(()) };
    let mut named = nodes.into_iter().filter(|(node, _)| matches(path, node));
    if named.any(|(_, kind)| kind == NodeKind::Supervisor) {
        return Ok(());
    }
    let above = path.rsplit_once('/').map_or(ROOT, |(above, _)| above);
    Err(Problem::bad(format!(
        "`{field}` says how a supervisor treats its children, and {path} is none: say it of {above}"
    )))
}

/// Who makes calls that pass nodes.
#[derive(Debug, PartialEq, Eq)]
enum Reliance<'a> {
    /// Every job.
    Everybody,
    /// Jobs that can call these providers; there may be none.
    Lanes(Vec<&'a str>),
}

fn relied_on(nodes: &[String]) -> Reliance<'_> {
    const LANES: &str = "/gates/rate-";
    let below = || nodes.iter().map(|node| node.strip_prefix(ROOT).unwrap_or_default());
    let is_everybodys = |below: &str| {
        matches!(below, "" | "/gates" | "/swarm" | "/guard")
            || below.starts_with("/gates/") && !below.starts_with(LANES)
    };
    match below().any(is_everybodys) {
        true => Reliance::Everybody,
        false => Reliance::Lanes(below().filter_map(|below| below.strip_prefix(LANES)).collect()),
    }
}

/// Money that is set aside for calls that pass these nodes.
fn reserved(nodes: &[String], accounts: &[(Scope, Account)]) -> u64 {
    let of = |wanted: &dyn Fn(&Scope) -> bool| -> u64 {
        accounts.iter().filter(|(scope, _)| wanted(scope)).map(|(_, account)| account.reserved.0).sum()
    };
    let Reliance::Lanes(providers) = relied_on(nodes) else { return of(&|scope| *scope == Scope::Total) };
    of(&|scope| match scope {
        Scope::Job(job) => nodes.iter().any(|node| node.ends_with(&format!("/swarm/job-{job}"))),
        Scope::Provider(provider) => providers.contains(&provider.as_str()),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use empire_actors::money::Micros;

    use super::*;

    #[test]
    fn a_change_is_told_field_by_field_as_a_file_names_them() {
        let patch: PolicyPatch =
            serde_json::from_str(r#"{"intensity": 9, "backoff_min": "1s", "on_exhausted": "quarantine"}"#)
                .unwrap();
        let told: Vec<String> = changes(&Policy::default(), &patch.over(&Policy::default()))
            .into_iter()
            .map(|change| format!("{} {} {}", change.field, change.from, change.to))
            .collect();
        assert_eq!(told, ["intensity 5 9", "backoff_min 50ms 1s", "on_exhausted escalate quarantine"]);
    }

    #[test]
    fn money_is_that_of_the_calls_which_pass_the_nodes() {
        let account = |reserved| Account { reserved: Micros(reserved), ..Account::default() };
        let accounts = [
            (Scope::Total, account(30)),
            (Scope::Job("a".into()), account(10)),
            (Scope::Job("b".into()), account(20)),
            (Scope::Provider("kimi".into()), account(25)),
        ];
        for (nodes, money) in [
            (vec!["/empire/gates/budget"], 30),
            (vec!["/empire/swarm"], 30),
            (vec!["/empire/swarm/job-a"], 10),
            (vec!["/empire/swarm/job-a", "/empire/swarm/job-b"], 30),
            (vec!["/empire/gates/rate-kimi"], 25),
            (vec!["/empire/gates/rate-claude"], 0),
        ] {
            let nodes: Vec<String> = nodes.into_iter().map(str::to_owned).collect();
            assert_eq!(reserved(&nodes, &accounts), money, "{nodes:?}");
        }
    }

    #[test]
    fn whoever_calls_a_provider_relies_on_its_lane_and_everybody_on_the_other_gates() {
        let relied_on_by = |nodes: &[&str]| {
            let nodes: Vec<String> = nodes.iter().map(|node| format!("{ROOT}{node}")).collect();
            match relied_on(&nodes) {
                Reliance::Everybody => "everybody".to_owned(),
                Reliance::Lanes(providers) => providers.join(" "),
            }
        };
        assert_eq!(relied_on_by(&["/gates/rate-claude", "/gates/rate-kimi"]), "claude kimi");
        assert_eq!(relied_on_by(&["/swarm/job-a"]), "");
        for node in ["", "/guard", "/gates", "/gates/budget", "/gates/privacy-3", "/swarm"] {
            assert_eq!(relied_on_by(&["/gates/rate-kimi", node]), "everybody", "{node}");
        }
    }
}
