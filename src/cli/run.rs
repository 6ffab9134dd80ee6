//! `empire swarm plan`, `run`, `resume` and `retry`.

use std::sync::Arc;

use super::status::{Found, find};
use super::{Context, PlanArgs, ResumeArgs, RunArgs, SpecArgs, attach, daemon, terminal};
use crate::plan::Verdict as PlanVerdict;
use crate::run::error::{CommandError, Exit};
use crate::run::finish::Finished;
use crate::run::launch::{
    Opened, Ready, StoreOf, Wanted, WantedAgain, ready_to_resume, ready_to_run, resumable,
};
use crate::run::prepare::{Past, plan as make_plan, survey};
use crate::run::progress::say;
use crate::run::sample::check_sample;

/// `empire swarm plan`.
pub(super) async fn plan(context: &Context, args: PlanArgs) -> Result<Exit, CommandError> {
    let wanted = wanted(args.spec);
    let opened = Opened::new(&context.place, &wanted, StoreOf::Home).await?;
    let finished = Arc::new(opened.finished().await?);
    let survey = survey(&opened.loaded, wanted.limit, finished.clone()).await?;
    let past = Past::read(&opened.store, &opened.loaded, opened.existing.as_ref()).await?;
    let mut plan = make_plan(&opened.loaded, &survey, &past, None);
    if let Some(size) = args.sample {
        if let PlanVerdict::Impossible(reasons) = plan.verdict(&opened.loaded.thresholds()) {
            return Err(CommandError::refused(reasons.join("\n")));
        }
        check_sample(&plan, &opened.loaded, size)?;
        plan = Box::pin(opened.sampled(&wanted, size)).await?;
    }
    let verdict = plan.verdict(&opened.loaded.thresholds());
    if context.json {
        terminal::print_json(&serde_json::json!({"plan": plan, "verdict": verdict}))?;
    } else {
        terminal::print(&plan.render(terminal::width(), terminal::color()))?;
        for what in &opened.loaded.left_out {
            say(&format!("left out of the route: {what}"));
        }
    }
    opened.store.close().await?;
    Ok(match verdict {
        PlanVerdict::Fits | PlanVerdict::NeedsYes(_) => Exit::Done,
        PlanVerdict::DoesNotFit(_) | PlanVerdict::Impossible(_) => Exit::Refused,
    })
}

/// `empire swarm run`.
pub(super) async fn run(context: &Context, args: RunArgs) -> Result<Exit, CommandError> {
    let RunArgs { spec, out, yes, fresh } = args;
    let wanted = Wanted { out, yes, fresh, ..wanted(spec) };
    let home = context.place.home_of(wanted.sim.is_some())?;
    if let Some((client, _)) = daemon::running(&home).await? {
        return attach::run(context, &client, &home, wanted).await;
    }
    let opened = Opened::new(&context.place, &wanted, StoreOf::Home).await?;
    let ready = ready_to_run(opened, &wanted, &terminal::confirm).await?;
    Box::pin(work(context, ready)).await
}

/// `empire swarm resume`, and `retry` if `dead` agents are to be worked anew.
pub(super) async fn resume(context: &Context, args: ResumeArgs, dead: bool) -> Result<Exit, CommandError> {
    let Found { store, home, job } = find(context, &args.id).await?;
    store.close().await?;
    let wanted = WantedAgain { budget: args.budget, sim: args.sim, dead };
    if let Some((client, _)) = daemon::running(&home).await? {
        return attach::resume(context, &client, &job.id, wanted).await;
    }
    let ready =
        ready_to_resume(&context.place, &home, StoreOf::Home, job, wanted, &terminal::confirm).await?;
    Box::pin(work(context, ready)).await
}

fn wanted(args: SpecArgs) -> Wanted {
    let SpecArgs { job, input, limit, sim, budget } = args;
    Wanted { job, input, limit, sim, budget, out: None, fresh: false, yes: false }
}

/// Runs a job that is ready, and tells how it went.
async fn work(context: &Context, ready: Ready) -> Result<Exit, CommandError> {
    let (store, job) = (ready.store.clone(), ready.job.clone());
    let Finished { exit, report } = ready.work(None).await?;
    store.close().await.map_err(|error| resumable(&error.into(), &job))?;
    if context.json {
        terminal::print(&(report.to_json().map_err(CommandError::internal)? + "\n"))?;
    } else {
        terminal::print(&report.to_terminal(terminal::width(), terminal::color()))?;
    }
    Ok(exit)
}
