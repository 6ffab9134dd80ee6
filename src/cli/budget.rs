//! `empire budget`: what is spent and what may be.

mod ledger;
mod reconcile;
mod set;
mod show;

use std::sync::Arc;

use clap::Subcommand;

use super::Context;
use crate::run::error::{CommandError, Exit};
use crate::run::system::SystemClock;
use crate::store::Store;

#[derive(Debug, Subcommand)]
pub(super) enum Budget {
    /// Show every cap, what is spent and set aside of it, when it is reached at this rate, and
    /// what calls cost.
    Show(show::ShowArgs),
    /// Set a cap by hand: it overrides the configuration, a running job takes it up at once, and
    /// it is audited.
    Set(set::SetArgs),
    /// List reservations, from their making to what they were billed at.
    Ledger(ledger::LedgerArgs),
    /// Compare the ledger with what a vendor says is left in the account, and settle calls whose
    /// outcome is unknown.
    Reconcile(reconcile::ReconcileArgs),
}

pub(super) async fn budget(context: &Context, command: Budget) -> Result<Exit, CommandError> {
    match command {
        Budget::Show(args) => show::show(context, args).await,
        Budget::Set(args) => set::set(context, args).await,
        Budget::Ledger(args) => ledger::ledger(context, args).await,
        Budget::Reconcile(args) => Box::pin(reconcile::reconcile(context, args)).await,
    }
}

/// The money of real or of simulated runs, for looking and for small changes.
pub(super) async fn watch(context: &Context, simulated: bool) -> Result<Store, CommandError> {
    let home = context.place.home_of(simulated)?;
    Ok(Store::watch(&home, Arc::new(SystemClock)).await?)
}
