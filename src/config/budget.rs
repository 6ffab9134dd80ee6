//! `[budget]`, `[actions]` and the parts of other tables that are about money.

use std::collections::BTreeMap;
use std::time::Duration;

use empire_actors::model::ProviderId;
use empire_actors::money::Micros;

use super::error::ConfigError;
use super::money::EuroRate;
use super::tree::{Field, Fields};
use crate::job::Role;

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Money: caps that are not a provider's own, and when to ask and to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// The most that may ever be spent from one data folder.
    pub total: Micros,
    /// The most that may be spent in a calendar month (UTC).
    pub month: Option<Micros>,
    /// The most that may be spent in a calendar day (UTC).
    pub day: Option<Micros>,
    /// The most that jobs of a role may ever spend.
    pub roles: BTreeMap<Role, Micros>,
    /// For jobs that name no budget.
    pub job_default: Micros,
    /// What a euro is taken to be worth.
    pub euro: EuroRate,
    /// When to tell that a cap is used up, in percent of it.
    pub alerts: Vec<u8>,
    /// Above this, spending in one go needs an approval; `None` never asks.
    pub approval_above: Option<Micros>,
    /// How long an approval is waited for; after that it is denied.
    pub approval_timeout: Duration,
}

/// An action that is no model call and has a fixed price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionPrice {
    /// Who is paid.
    pub provider: ProviderId,
    /// What one costs.
    pub price: Micros,
    /// When the price was last read.
    pub price_date: jiff::civil::Date,
    /// Where the price was read.
    pub price_source: String,
}

/// The rate comes first: every other amount may be in euros.
pub(super) fn euro(fields: &mut Fields) -> Result<EuroRate, ConfigError> {
    let field = fields.need("eur_usd", "say what a euro is worth in dollars, like \"1.10\"")?;
    above_zero(&field, field.money()?).map(EuroRate)
}

pub(super) fn budget(mut fields: Fields, euro: EuroRate) -> Result<Budget, ConfigError> {
    let need = |fields: &mut Fields, name, remedy| {
        let field = fields.need(name, remedy)?;
        let amount = above_zero(&field, field.amount(euro)?)?;
        Ok::<_, ConfigError>((field, amount))
    };
    let (_, total) = need(&mut fields, "total", "say what may be spent at most, like \"15.00\"")?;
    let (job_field, job_default) =
        need(&mut fields, "job_default", "say what a job may spend, like \"1.00\"")?;
    if job_default > total {
        return Err(job_field.invalid(
            format_args!("is {job_default}, more than budget.total ({total})"),
            "lower it or raise the total",
        ));
    }
    let month = cap(fields.take("month"), euro)?;
    let day = cap(fields.take("day"), euro)?;
    let mut roles = BTreeMap::new();
    if let Some(field) = fields.take("roles") {
        for (name, field) in field.table()?.named() {
            let Some(role) = Role::ALL.into_iter().find(|role| role.as_str() == name) else {
                let known = Role::ALL.map(Role::as_str).join(", ");
                return Err(field.invalid("names no role", format_args!("the roles are {known}")));
            };
            if let Some(amount) = cap(Some(field), euro)? {
                roles.insert(role, amount);
            }
        }
    }
    let alerts = match fields.take("alerts") {
        Some(field) => field.numbers(1..=100u8, "[50, 80, 95]")?,
        None => Vec::new(),
    };
    let approval_above = cap(fields.take("approval_above"), euro)?;
    let timeout = fields.need("approval_timeout", "say how long an approval is waited for, like \"30m\"")?;
    let approval_timeout = timeout.duration(YEAR)?;
    fields.finish()?;
    Ok(Budget { total, month, day, roles, job_default, euro, alerts, approval_above, approval_timeout })
}

/// A cap; absent or `"none"` is none.
pub(super) fn cap(field: Option<Field>, euro: EuroRate) -> Result<Option<Micros>, ConfigError> {
    match field {
        Some(field) if !field.says_none() => field.amount(euro).map(Some),
        _ => Ok(None),
    }
}

fn above_zero(field: &Field, amount: Micros) -> Result<Micros, ConfigError> {
    if amount == Micros::ZERO {
        return Err(field.invalid(
            "is $0.00",
            "give it more than 0; to spend nothing, name only local models in the route",
        ));
    }
    Ok(amount)
}

pub(super) fn actions(
    root: &mut Fields,
    euro: EuroRate,
) -> Result<BTreeMap<String, ActionPrice>, ConfigError> {
    let mut actions = BTreeMap::new();
    let Some(field) = root.take("actions") else { return Ok(actions) };
    for (name, field) in field.table()?.named() {
        if name.is_empty() || name.len() > 80 {
            return Err(field.invalid("is no name for an action", "use up to 80 characters, like \"x.post\""));
        }
        let mut fields = field.table()?;
        let provider = fields.need("provider", "say who is paid, like \"x\"")?;
        let price = fields.need("price", "say what one costs, like \"0.015\"")?.amount(euro)?;
        let date = fields.need("price_date", "say when the price was read, like \"2026-09-02\"")?;
        let source = fields.need("price_source", "say where the price was read")?;
        let action = ActionPrice {
            provider: provider.text()?.into(),
            price,
            price_date: date.day()?,
            price_source: source.text()?.to_owned(),
        };
        fields.finish()?;
        actions.insert(name, action);
    }
    Ok(actions)
}
