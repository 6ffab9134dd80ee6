//! `empire privacy`: what the privacy gate would do with a text, and what it did with a call.

pub(super) mod explain;
mod lines;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use empire_actors::gates::detect::{Class, Detector};
use empire_actors::level::Zone;
use serde::Serialize;
use serde_json::{Value, json};

use self::lines::Broken;
use super::{Context, terminal};
use crate::privacy::decode::decode;
use crate::privacy::screen::{self, Action, Screened};
use crate::run::error::{CommandError, Exit};
use crate::run::prepare::blocking;
use crate::run::progress::say;

/// The longest text that is looked at as one.
const MAX_TEXT_BYTES: u64 = 256 << 20;

/// See and try what the privacy gate does.
#[derive(Debug, Subcommand)]
pub(super) enum Privacy {
    #[command(flatten)]
    Texts(Texts),
    /// Say what was decided about a call or an agent, and why.
    Explain(explain::ExplainArgs),
}

/// What needs no data folder.
#[derive(Debug, Subcommand)]
pub(super) enum Texts {
    /// Say what is found in texts, and where. Exit code 4 if anything is, or if a file is no text.
    /// With --jsonl: 0 if every line was answered, which says what was found.
    Scan(ScanArgs),
    /// Print a text without what may not leave. Exit code 4, and nothing printed, if it stays in
    /// zones 1 and 2 or may go nowhere. With --jsonl: 0 if every line was answered; read `action`.
    Redact(RedactArgs),
    /// Run every rule's own samples.
    Test,
}

#[derive(Debug, Args)]
pub(super) struct ScanArgs {
    /// The files; `-` or none is standard input.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    lines: LineArgs,
}

#[derive(Debug, Args)]
pub(super) struct RedactArgs {
    /// The file; `-` or none is standard input.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    lines: LineArgs,
}

#[derive(Debug, Args)]
struct LineArgs {
    /// A line of JSON a text: {"id", "text"} or {"id", "request": a chat body} in, {"id",
    /// "redacted", "action", "labels"} out, in order. The action is `allow`, `redact`, `local` (a
    /// legal text, for zones 1 and 2 alone) or `block` (nowhere). `redacted` is the text without the
    /// values that were found, also of what stays local, and null if it is blocked. A line that
    /// cannot be read is blocked, with the reason, and the exit code is 2 at the end.
    #[arg(long)]
    jsonl: bool,
    /// Where it would go: 1 this machine, 2 VPN, 3 cloud, 4 internet.
    #[arg(long, value_name = "ZONE", default_value = "3", value_parser = zone)]
    zone: Zone,
}

fn zone(text: &str) -> Result<Zone, String> {
    match text {
        "1" => Ok(Zone::Local),
        "2" => Ok(Zone::Vpn),
        "3" => Ok(Zone::Cloud),
        "4" => Ok(Zone::Internet),
        _ => Err("a zone is 1 (this machine), 2 (VPN), 3 (cloud) or 4 (internet)".to_owned()),
    }
}

pub(super) async fn privacy(context: Context, command: Privacy) -> Result<Exit, CommandError> {
    match command {
        Privacy::Texts(command) => blocking(move || texts(&context, &command)).await?,
        Privacy::Explain(args) => explain::explain(&context, &args).await,
    }
}

fn texts(context: &Context, command: &Texts) -> Result<Exit, CommandError> {
    let rules = context.place.rules(&context.place.load_config()?, None)?;
    let detector = rules.detector();
    match command {
        Texts::Scan(args) if args.lines.jsonl => {
            let mut broken = Broken::default();
            args.each(|path| lines::answer_all(detector, path, args.lines.zone, &mut broken))?;
            broken.told()
        }
        Texts::Scan(args) => scan(context, detector, args),
        Texts::Redact(args) => {
            let path = args.file.as_deref().unwrap_or(Path::new("-"));
            if args.lines.jsonl {
                let mut broken = Broken::default();
                lines::answer_all(detector, path, args.lines.zone, &mut broken)?;
                return broken.told();
            }
            redact(context, detector, path, args.lines.zone)
        }
        Texts::Test => test(context, detector),
    }
}

impl ScanArgs {
    fn each(&self, mut visit: impl FnMut(&Path) -> Result<(), CommandError>) -> Result<(), CommandError> {
        if self.files.is_empty() {
            return visit(Path::new("-"));
        }
        self.files.iter().try_for_each(|path| visit(path))
    }
}

/// One finding, without what was found.
#[derive(Debug, Serialize)]
struct Finding {
    file: String,
    line: usize,
    column: usize,
    class: Class,
    rule: String,
    score: u8,
    characters: usize,
}

fn scan(context: &Context, detector: &Detector, args: &ScanArgs) -> Result<Exit, CommandError> {
    let (mut findings, mut blocked) = (Vec::new(), Vec::new());
    args.each(|path| {
        let (name, bytes) = (shown(path), read(path)?);
        let text = match decode(&bytes) {
            Ok(text) => text,
            Err(why) => {
                blocked.push(json!({"file": name, "why": why.to_string()}));
                return Ok(());
            }
        };
        let scan = detector.scan(&text);
        blocked.extend(scan.blocked.map(|why| json!({"file": name, "why": why.to_string()})));
        let mut hits: Vec<_> = scan.hits.iter().chain(&scan.passages).collect();
        hits.sort_by_key(|hit| hit.range.start);
        let (mut line, mut line_start, mut looked) = (1, 0, 0);
        for hit in hits {
            for (at, _) in text[looked..hit.range.start].match_indices('\n') {
                line += 1;
                line_start = looked + at + 1;
            }
            looked = hit.range.start;
            findings.push(Finding {
                file: name.clone(),
                line,
                column: 1 + text[line_start..hit.range.start].chars().count(),
                class: hit.class,
                rule: hit.rule.to_string(),
                score: hit.score,
                characters: text[hit.range.clone()].chars().count(),
            });
        }
        Ok(())
    })?;
    if context.json {
        terminal::print_json(&json!({"findings": findings, "blocked": blocked}))?;
    } else {
        let mut text = String::new();
        for Finding { file, line, column, class, rule, score, characters } in &findings {
            let class = serde_json::to_value(class).unwrap_or_default();
            let class = class.as_str().unwrap_or_default().to_owned();
            text.push_str(&format!(
                "{file}:{line}:{column}: {class} ({rule}, score {score}, {characters} characters)\n"
            ));
        }
        for file in &blocked {
            text.push_str(&format!(
                "{}: blocked: {}\n",
                file["file"].as_str().unwrap_or_default(),
                file["why"].as_str().unwrap_or_default()
            ));
        }
        terminal::print(&text)?;
        say(&format!("{} found", findings.len()));
    }
    Ok(if findings.is_empty() && blocked.is_empty() { Exit::Done } else { Exit::Refused })
}

fn redact(
    context: &Context,
    detector: &Arc<Detector>,
    path: &Path,
    zone: Zone,
) -> Result<Exit, CommandError> {
    let bytes = read(path)?;
    let screened = match decode(&bytes) {
        Ok(text) => screen::text(detector, zone, &text),
        Err(why) => Screened::blocked(Vec::new(), why.to_string()),
    };
    let exit = match screened.action {
        Action::Allow | Action::Redact => Exit::Done,
        Action::Local | Action::Block => Exit::Refused,
    };
    if context.json {
        terminal::print_json(&screened)?;
        return Ok(exit);
    }
    if exit == Exit::Done {
        terminal::print(screened.redacted.as_deref().unwrap_or_default())?;
    }
    if let Some(reason) = &screened.reason {
        let stays =
            if screened.action == Action::Local { "it stays in zones 1 and 2" } else { "it is blocked" };
        say(&format!("{}: {stays}: {reason}", shown(path)));
    }
    Ok(exit)
}

fn test(context: &Context, detector: &Detector) -> Result<Exit, CommandError> {
    let (rules, misfires) = (detector.rules().len(), detector.misfires());
    if context.json {
        let misfires: Vec<Value> = misfires
            .iter()
            .map(|misfire| json!({"rule": &*misfire.rule, "near_miss": misfire.is_near, "sample": misfire.number}))
            .collect();
        terminal::print_json(&json!({"rules": rules, "misfires": misfires}))?;
    } else {
        for misfire in &misfires {
            let what = if misfire.is_near { "finds its near miss" } else { "does not find its sample" };
            terminal::print(&format!("rule {} {what} (number {})\n", misfire.rule, misfire.number))?;
        }
        say(&format!("{rules} rules, {} samples that do not do what they should", misfires.len()));
    }
    Ok(if misfires.is_empty() { Exit::Done } else { Exit::Refused })
}

fn shown(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

fn unreadable(path: &Path, error: &io::Error) -> CommandError {
    CommandError::bad_input(format!("cannot read {}: {error}", shown(path)))
}

fn open(path: &Path) -> Result<BufReader<Box<dyn Read>>, CommandError> {
    if path == Path::new("-") {
        return Ok(BufReader::new(Box::new(io::stdin())));
    }
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    Ok(BufReader::with_capacity(1 << 20, Box::new(file)))
}

fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    let mut bytes = Vec::new();
    open(path)?.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(CommandError::bad_input(format!(
            "{} is longer than {} MiB: split it",
            shown(path),
            MAX_TEXT_BYTES >> 20
        )));
    }
    Ok(bytes)
}
