//! The `empire` program.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use empire::cli::{self, Cli};
use empire::run::progress::say;
use tracing_subscriber::EnvFilter;

// Half a million small allocations come and go: this allocator is fast at that and gives memory
// back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    start_log();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("error: cannot start the runtime: {error}"));
            return ExitCode::from(1);
        }
    };
    let exit = runtime.block_on(cli::main(cli)).unwrap_or_else(|error| {
        say(&format!("error: {error}"));
        error.exit
    });
    // Tasks that still wait for a timer must not hold up the end.
    runtime.shutdown_background();
    ExitCode::from(exit as u8)
}

/// Logs go to standard error; `EMPIRE_LOG` sets what is logged, as `RUST_LOG` does elsewhere.
fn start_log() {
    let wanted = empire::config::system_env("EMPIRE_LOG").unwrap_or_else(|| "warn,sqlx=error".to_owned());
    let filter = EnvFilter::try_new(&wanted).unwrap_or_else(|error| {
        say(&format!("warning: EMPIRE_LOG is not understood ({error}); logging warnings"));
        EnvFilter::new("warn")
    });
    // Colours are for eyes: in a file they are noise.
    let is_coloured = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(is_coloured)
        .with_writer(std::io::stderr)
        .init();
}
