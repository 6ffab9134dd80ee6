//! `empire sim [SCENARIO]`: the simulator alone.

use std::net::SocketAddr;

use clap::Args;

use super::{Context, terminal};
use crate::run::error::{CommandError, Exit};
use crate::run::prepare::DEFAULT_SCENARIO;
use crate::run::progress::say;
use crate::sim::{Scenario, Simulator};

#[derive(Debug, Args)]
pub(super) struct SimArgs {
    /// A built-in scenario's name, or a scenario file.
    #[arg(value_name = "SCENARIO", default_value = DEFAULT_SCENARIO)]
    scenario: String,
    /// Where to listen; loopback only. Port 0 takes any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:11999")]
    listen: SocketAddr,
    /// List the built-in scenarios.
    #[arg(long)]
    list: bool,
}

pub(super) async fn sim(context: &Context, args: SimArgs) -> Result<Exit, CommandError> {
    if args.list {
        let names: Vec<_> = Scenario::names().collect();
        if context.json {
            terminal::print_json(&names)?;
        } else {
            terminal::print(&format!("{}\n", names.join("\n")))?;
        }
        return Ok(Exit::Done);
    }
    let config = context.place.load_config()?;
    let scenario = Scenario::load(&args.scenario)?;
    let name = scenario.name().to_owned();
    let prices = config.models.iter().filter_map(|(id, model)| Some((id.clone(), model.price?))).collect();
    let simulator = Simulator::start(scenario, prices, args.listen).await?;
    let base_url = simulator.base_url();
    if context.json {
        terminal::print_json(
            &serde_json::json!({"simulator": true, "scenario": name, "base_url": base_url}),
        )?;
    } else {
        terminal::print(&format!("SIMULATOR of Ollama, Kimi and Claude at {base_url} (scenario {name})\n"))?;
    }
    say(&format!(
        "use it with `empire swarm run JOB.yaml --sim {base_url}`; what it received: {base_url}/_sim/requests"
    ));
    say("Ctrl-C stops it");
    tokio::signal::ctrl_c().await.map_err(CommandError::internal)?;
    simulator.shutdown().await;
    Ok(Exit::Done)
}
