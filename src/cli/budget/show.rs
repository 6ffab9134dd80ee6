//! `empire budget show`.

use std::time::Duration;

use clap::Args;
use empire_actors::gates::book::{Book, Payer};
use empire_actors::gates::calendar::Day;
use empire_actors::gates::forecast::runs_out;
use empire_actors::gates::scope::{Account, Cap, Scope};
use empire_actors::model::ProviderId;
use empire_actors::money::Micros;
use empire_actors::ports::{UnixMillis, WallClock};
use serde::Serialize;

use super::super::{Context, terminal};
use crate::config::Config;
use crate::run::caps;
use crate::run::error::{CommandError, Exit};
use crate::run::system::SystemClock;
use crate::store::{AuditLine, RecentSpend, Store, StoredCap, scope_word};
use crate::text::{self, Lean};

/// How far back the rate of spending looks.
const RATE_OVER: Duration = Duration::from_secs(3_600);
/// Money that was spent in less time is taken to be spent over so much: a burst is no pace.
const LEAST_SPAN: Duration = Duration::from_secs(600);
/// Changes by hand that are shown.
const SHOWN_CHANGES: u32 = 10;

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// The money of simulated runs.
    #[arg(long)]
    sim: bool,
}

/// One cap and its account.
#[derive(Debug, Serialize)]
struct Line {
    scope: String,
    cap_micros: Option<Micros>,
    spent_micros: Micros,
    reserved_micros: Micros,
    left_micros: Option<Micros>,
    /// The highest threshold that is passed.
    alert_percent: Option<u8>,
    /// When it is reached at the rate of the last hour, if that is within a day.
    reached_at: Option<UnixMillis>,
    /// Why the cap was set by hand.
    set_by_hand: Option<String>,
}

/// What a call costs.
#[derive(Debug, Serialize)]
struct PriceLine {
    name: String,
    provider: String,
    /// In micro-dollars a million tokens; `None` for a model without a price.
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<empire_actors::money::Price>,
    /// In percent of the price.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_percent: Option<u8>,
    /// In micro-dollars each.
    #[serde(skip_serializing_if = "Option::is_none")]
    fixed: Option<Micros>,
    date: Option<String>,
    source: Option<String>,
}

#[derive(Debug, Serialize)]
struct Shown {
    simulated: bool,
    scopes: Vec<Line>,
    prices: Vec<PriceLine>,
    changes: Vec<AuditLine>,
}

pub(super) async fn show(context: &Context, args: ShowArgs) -> Result<Exit, CommandError> {
    let config = context.place.load_config()?;
    let store = super::watch(context, args.sim).await?;
    let shown = Shown {
        simulated: args.sim,
        scopes: lines(&config, &store, SystemClock.now()).await?,
        prices: prices(&config),
        changes: store.budget_audit(SHOWN_CHANGES).await?,
    };
    store.close().await?;
    if context.json {
        terminal::print_json(&shown)?;
    } else {
        terminal::print(&render(&shown))?;
    }
    Ok(Exit::Done)
}

async fn lines(config: &Config, store: &Store, now: UnixMillis) -> Result<Vec<Line>, CommandError> {
    let by_hand = store.caps().await?;
    let mut caps = caps::caps(config, &by_hand);
    for job in store.list_jobs().await?.into_iter().filter(|job| !job.state.is_final()) {
        let cap = caps::job_cap(&by_hand, &job.id).unwrap_or(job.setup.budget);
        caps.push(Cap { scope: Scope::Job(job.id.as_str().into()), cap });
    }
    let mut book = caps::book(&store.ledger_state().await?, &caps);
    let today = Day::of(now);
    let since = UnixMillis(now.0 - i64::try_from(RATE_OVER.as_millis()).unwrap_or(0));
    let recent = store.spent_since(since).await?;
    let line = |cap: &Cap| {
        let account = account(&mut book, &cap.scope, today);
        let left = caps::left(&account);
        Line {
            scope: scope_word(&cap.scope).unwrap_or_default(),
            cap_micros: account.cap,
            spent_micros: account.spent,
            reserved_micros: account.reserved,
            left_micros: left,
            alert_percent: passed(&account, &config.budget.alerts),
            reached_at: left.and_then(|left| reached(&recent, &cap.scope, left, now)),
            set_by_hand: reason(&by_hand, &cap.scope),
        }
    };
    let mut lines: Vec<Line> = caps.iter().map(line).collect();
    lines.retain(|line| line.cap_micros.is_some() || line.spent_micros > Micros::ZERO);
    Ok(lines)
}

/// The account of a scope; of the running one, for a month or a day.
fn account(book: &mut Book, scope: &Scope, today: Day) -> Account {
    let (job, provider) = ("".into(), ProviderId::from(""));
    let _ = book.line(&Payer { job: &job, role: None, child: None, provider: Some(&provider), day: today });
    match scope {
        Scope::EachMonth => book.account(&Scope::Month(today.month())),
        Scope::EachDay => book.account(&Scope::Day(today)),
        scope => book.account(scope),
    }
}

fn passed(account: &Account, alerts: &[u8]) -> Option<u8> {
    let cap = account.cap?;
    let is_passed = |percent: &&u8| {
        u128::from(account.spent.0) * 100 >= u128::from(cap.0) * u128::from(**percent)
            && account.spent > Micros::ZERO
    };
    alerts.iter().filter(is_passed).max().copied()
}

fn reached(recent: &[RecentSpend], scope: &Scope, left: Micros, now: UnixMillis) -> Option<UnixMillis> {
    let is_in = |row: &&RecentSpend| match scope {
        Scope::Provider(provider) => row.provider == *provider,
        Scope::Role(role) => row.role.as_deref() == Some(&**role),
        Scope::Job(job) => row.job == **job,
        _ => true,
    };
    let rows: Vec<&RecentSpend> = recent.iter().filter(is_in).collect();
    let first = rows.iter().map(|row| row.first_at).min()?;
    let over = Duration::from_millis(u64::try_from(now.0 - first.0).unwrap_or(0)).max(LEAST_SPAN);
    let at = runs_out(rows.iter().map(|row| row.billed).sum(), over, left, now)?;
    // A day's or a month's money comes back before that.
    let today = Day::of(now);
    let renews = match scope {
        Scope::EachDay => Scope::Day(today).renews_at(),
        Scope::EachMonth => Scope::Month(today.month()).renews_at(),
        _ => None,
    };
    renews.is_none_or(|renews| at < renews).then_some(at)
}

fn reason(by_hand: &[StoredCap], scope: &Scope) -> Option<String> {
    by_hand.iter().find(|stored| stored.cap.scope == *scope).map(|stored| stored.reason.clone())
}

fn prices(config: &Config) -> Vec<PriceLine> {
    let models = config.models.iter().map(|(id, model)| {
        let facts = config.model_facts.get(id);
        PriceLine {
            name: id.clone(),
            provider: model.provider.to_string(),
            price: model.price,
            batch_percent: facts.and_then(|facts| facts.batch_discount),
            fixed: None,
            date: facts.and_then(|facts| facts.price_date).map(|date| date.to_string()),
            source: facts.and_then(|facts| facts.price_source.clone()),
        }
    });
    let actions = config.actions.iter().map(|(name, action)| PriceLine {
        name: name.clone(),
        provider: action.provider.to_string(),
        price: None,
        batch_percent: None,
        fixed: Some(action.price),
        date: Some(action.price_date.to_string()),
        source: Some(action.price_source.clone()),
    });
    models.chain(actions).collect()
}

fn render(shown: &Shown) -> String {
    use Lean::{Left, Right};
    let money = |amount: Option<Micros>| amount.map_or_else(|| "-".to_owned(), |amount| amount.to_string());
    let mut out = String::new();
    if shown.simulated {
        out += "SIMULATED: each simulated job counts against these caps by itself\n";
    }
    let mut rows = vec![["SCOPE", "CAP", "SPENT", "RESERVED", "LEFT", ""].map(str::to_owned).to_vec()];
    rows.extend(shown.scopes.iter().map(|line| {
        let mut notes = Vec::new();
        notes.extend(line.alert_percent.map(|percent| format!("over {percent} %")));
        notes.extend(line.reached_at.map(|at| format!("at this rate reached at {}", text::minute(at))));
        notes.extend(line.set_by_hand.as_ref().map(|reason| match reason.as_str() {
            "" => "set by hand".to_owned(),
            reason => format!("set by hand: {}", text::one_line(reason, 40)),
        }));
        vec![
            line.scope.clone(),
            money(line.cap_micros),
            line.spent_micros.to_string(),
            line.reserved_micros.to_string(),
            money(line.left_micros),
            notes.join("; "),
        ]
    }));
    out += &text::table(&[Left, Right, Right, Right, Right, Left], &rows);
    out += "\n";
    out += &text::table(
        &[Left, Left, Right, Right, Right, Right, Right, Right, Left],
        &price_rows(&shown.prices),
    );
    if !shown.changes.is_empty() {
        out += "\nset by hand:\n";
        for change in &shown.changes {
            let reason = if change.reason.is_empty() { "no reason given" } else { &change.reason };
            out += &format!("  {}  {} {}: {}\n", change.at, change.scope, change.detail, reason);
        }
    }
    out
}

fn price_rows(prices: &[PriceLine]) -> Vec<Vec<String>> {
    let header =
        ["PRICE", "PROVIDER", "INPUT/M", "CACHED/M", "CACHE WRITE/M", "OUTPUT/M", "BATCH", "EACH", "AS OF"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(prices.iter().map(|line| {
        let column = |pick: fn(&empire_actors::money::Price) -> Micros| match &line.price {
            Some(price) if price.is_free() => "free".to_owned(),
            Some(price) => pick(price).to_string(),
            None if line.fixed.is_some() => "-".to_owned(),
            None => "none".to_owned(),
        };
        vec![
            text::one_line(&line.name, 32),
            line.provider.clone(),
            column(|price| price.input),
            column(|price| price.cached_input),
            column(|price| price.cache_write),
            column(|price| price.output),
            line.batch_percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent} %")),
            line.fixed.map_or_else(|| "-".to_owned(), |price| price.to_string()),
            line.date.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    }));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_no_pace_and_a_pace_tells_the_day() {
        let now = UnixMillis(1_800_000_000_000);
        let spent = |micros: u64, seconds_ago: i64| RecentSpend {
            job: "job".to_owned(),
            role: None,
            provider: ProviderId::from("kimi"),
            billed: Micros(micros),
            first_at: UnixMillis(now.0 - 1_000 * seconds_ago),
        };
        let of = |recent: RecentSpend| reached(&[recent], &Scope::Total, Micros(15_000_000), now);
        assert_eq!(of(spent(5_000, 5)), None);
        assert_eq!(of(spent(15_000_000, 5)), Some(UnixMillis(now.0 + 600_000)));
        assert_eq!(of(spent(15_000_000, 1_200)), Some(UnixMillis(now.0 + 1_200_000)));
        assert_eq!(text::minute(now), "2027-01-15 08:00 UTC");
    }
}
