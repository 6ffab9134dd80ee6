//! The `empire` program.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use empire::cli::{self, Cli};
use empire::run::progress::say;

// Half a million small allocations come and go: this allocator is fast at that and gives memory
// back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the end waits for the log to be written.
const LOG_WITHIN: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed terminal leaves nobody to tell.
            let _ = error.print();
            if let Some(tip) = cli::tip(&error, std::env::args_os()) {
                say(&tip);
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let log = empire::log::init(empire::config::system_env("EMPIRE_LOG").as_deref());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("error: cannot start the runtime: {error}"));
            return ExitCode::from(1);
        }
    };
    let exit = runtime.block_on(async {
        let exit = cli::main(cli).await;
        log.exported(LOG_WITHIN).await;
        exit
    });
    let exit = exit.unwrap_or_else(|error| {
        say(&format!("error: {error}"));
        error.exit
    });
    // Tasks that still wait for a timer must not hold up the end.
    runtime.shutdown_background();
    log.flush(LOG_WITHIN);
    ExitCode::from(exit as u8)
}
