//! Every metric there is: its name, kind, unit, labels and meaning. `docs/metrics.md` shows this
//! table, and what ships for Prometheus and Grafana asks for nothing else.

use empire_actors::tally::name;

/// A counter goes up only, a gauge goes anywhere, a histogram counts what it is told by size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MetricKind {
    /// Goes up only, from zero at the start of the process.
    Counter,
    /// Goes anywhere.
    Gauge,
    /// By these upper bounds.
    Histogram(&'static [f64]),
}

impl MetricKind {
    /// The word for it, as Prometheus has it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram(_) => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// What it is counted in.
    pub unit: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

/// Seconds of a call, as the semantic conventions of OpenTelemetry for generative AI recommend
/// (metric `gen_ai.client.operation.duration`).
const CALL_SECONDS: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// Tokens of a call, from the same source (metric `gen_ai.client.token.usage`).
const CALL_TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
/// A gate decides in microseconds, or has calls wait until the next day.
const WAIT_SECONDS: &[f64] = &[
    0.000_01, 0.000_1, 0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0, 3_600.0, 21_600.0,
    86_400.0,
];
const COMMIT_BUCKETS: &[f64] = &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
const BATCH_BUCKETS: &[f64] = &[1.0, 4.0, 16.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 2_000.0];

/// Seconds of a commit.
pub const COMMIT_SECONDS: &str = "empire_store_commit_seconds";
/// Operations in a commit.
pub const COMMIT_OPERATIONS: &str = "empire_store_commit_operations";
/// Commits that failed.
pub const COMMIT_FAILURES: &str = "empire_store_commit_failures_total";

const PROVIDER: &str = "gen_ai_provider_name";
const MODEL: &str = "gen_ai_request_model";
const TOKEN_TYPE: &str = "gen_ai_token_type";
const OPERATION: &str = "gen_ai_operation_name";
const KIND: &str = "actor_kind";

const fn counter(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: MetricKind::Counter, unit, labels, help }
}

const fn gauge(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: MetricKind::Gauge, unit, labels, help }
}

const fn histogram(
    name: &'static str,
    buckets: &'static [f64],
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: MetricKind::Histogram(buckets), unit, labels, help }
}

/// All of them, in the order of the documentation.
pub const METRICS: &[Metric] = &[
    // Actors
    gauge("empire_actors", "actors", &[KIND, "state"], "Control actors, supervisors and cohorts by state."),
    gauge(
        "empire_actors_unhealthy",
        "actors",
        &[KIND],
        "Of them those that are not running well: down, paused, or busy for more than half of their deadline.",
    ),
    gauge("empire_mailbox_depth", "messages", &[KIND], "Messages that wait."),
    counter(
        "empire_mailbox_wait_seconds_total",
        "seconds",
        &[KIND],
        "What messages waited in all before they were handled.",
    ),
    counter("empire_messages_handled_total", "messages", &[KIND], "Messages handled."),
    counter("empire_handler_seconds_total", "seconds", &[KIND], "What handling them took in all."),
    gauge(
        "empire_handler_longest_seconds",
        "seconds",
        &[KIND],
        "What the longest took, since its actor first started.",
    ),
    gauge(
        "empire_handler_busy_seconds",
        "seconds",
        &[KIND],
        "How long the slowest has been busy with one message; 0 while idle.",
    ),
    counter(
        name::DECISIONS,
        "decisions",
        &[KIND, "exit", "decision"],
        "What supervisors decided when an actor ended, as the journal has it.",
    ),
    counter(name::RESTARTS, "restarts", &[KIND], "Actors that run again."),
    gauge(
        "empire_restarts_in_window",
        "restarts",
        &[KIND],
        "Restarts of a supervisor's children that count now.",
    ),
    gauge(
        "empire_restarts_allowed",
        "restarts",
        &[KIND],
        "How many may, before it does what its policy says of failing too often.",
    ),
    // Agents and jobs
    counter(name::SPAWNED, "agents", &[], "Agents that were started; its rate is the spawn rate."),
    counter(name::ENDED, "agents", &["outcome"], "Agents that ended: done, dead or parked; and panics."),
    gauge("empire_agents", "agents", &["state"], "Agents of the jobs that run, by state."),
    gauge("empire_jobs_running", "jobs", &[], "Jobs that run in this process."),
    gauge("empire_jobs", "jobs", &["state"], "Jobs in the data folder by state, at most 10 s old."),
    gauge(
        "empire_approvals",
        "approvals",
        &["state"],
        "Approvals in the data folder by state, at most 10 s old.",
    ),
    // Calls
    counter(
        name::CALLS,
        "calls",
        &[PROVIDER, MODEL, "outcome"],
        "Model calls that were sent, by what came of them: answered, lost (its agent was stopped), or the kind of failure.",
    ),
    gauge("empire_calls_in_flight", "calls", &[], "Model calls under way."),
    counter(
        name::TOKENS,
        "tokens",
        &[PROVIDER, MODEL, TOKEN_TYPE],
        "Tokens as providers counted them: input, cached_input, cache_write, output.",
    ),
    counter("empire_cost_usd_total", "dollars", &[PROVIDER, MODEL], "What calls were billed."),
    histogram(
        name::DURATION,
        CALL_SECONDS,
        "seconds",
        &[OPERATION, PROVIDER, MODEL],
        "How long a call took, as `gen_ai.client.operation.duration` of OpenTelemetry.",
    ),
    histogram(
        name::TOKEN_USAGE,
        CALL_TOKENS,
        "tokens",
        &[OPERATION, PROVIDER, MODEL, TOKEN_TYPE],
        "Tokens of a call, as `gen_ai.client.token.usage` of OpenTelemetry; input with what was cached.",
    ),
    counter(
        name::SAVED,
        "calls",
        &["by"],
        "Calls that were not made: their answer was kept, or they joined the same call of another.",
    ),
    counter(name::REJECTED, "answers", &[], "Answers that failed their check."),
    // Gates
    counter(
        name::GATE_DECISIONS,
        "calls",
        &["gate", "outcome"],
        "What gates decided of calls: passed, redacted, denied, parked, too_late, down, store.",
    ),
    histogram(
        name::GATE_WAIT,
        WAIT_SECONDS,
        "seconds",
        &["gate"],
        "How long that took, waiting in line included.",
    ),
    counter(name::REDACTED, "values", &[], "Values that were cut out of calls."),
    counter(
        name::CROSSED,
        "calls",
        &[],
        "Pieces of work that went on to a less trusted zone than their route begins in.",
    ),
    // Lanes
    gauge(
        "empire_permits_limit",
        "calls",
        &[PROVIDER],
        "Calls that may be in flight at once, as configured.",
    ),
    gauge("empire_permits_in_use", "calls", &[PROVIDER], "Calls in flight, and permits given for some."),
    gauge(
        "empire_lane_waiting",
        "calls",
        &[PROVIDER, "class"],
        "Calls that wait for a permit, by class of urgency.",
    ),
    gauge(
        "empire_meter_used",
        "calls or tokens",
        &[PROVIDER, MODEL, "meter"],
        "What counts in the window of a limit over time; without a model, the provider's.",
    ),
    gauge(
        "empire_meter_limit",
        "calls or tokens",
        &[PROVIDER, MODEL, "meter"],
        "That limit as it holds now.",
    ),
    gauge(
        "empire_breaker_state",
        "1 or 0",
        &[PROVIDER, MODEL, "state"],
        "1 for the state a breaker is in; without a model, the provider's.",
    ),
    // Money
    gauge(
        "empire_budget_cap_usd",
        "dollars",
        &["scope", PROVIDER],
        "Caps that hold: total, month, day, provider. None where there is no cap.",
    ),
    gauge("empire_budget_spent_usd", "dollars", &["scope", PROVIDER], "What is billed under them."),
    gauge(
        "empire_budget_reserved_usd",
        "dollars",
        &["scope", PROVIDER],
        "What is set aside under them for calls under way.",
    ),
    gauge(
        "empire_job_budget_spent_ratio_max",
        "ratio",
        &[],
        "What the job that runs and has spent most of its own budget has spent of it.",
    ),
    // The machine
    gauge("empire_pressure_level", "1 or 0", &["level"], "1 for the level of the resource guard."),
    gauge("empire_pressure_ratio", "ratio", &[], "How hard the machine is pressed, 0 to 1."),
    gauge("empire_pressure_binding", "1 or 0", &["reading"], "1 for the reading that decides the level."),
    counter("empire_emergencies_total", "emergencies", &[], "Emergencies of the machine."),
    counter("empire_held_back_seconds_total", "seconds", &["level"], "How long each level has held."),
    gauge("empire_host_cpu_ratio", "ratio", &[], "Processors in use, of those that may be used."),
    gauge("empire_host_load_per_core", "tasks", &[], "Tasks that run or want to, by core, over a minute."),
    gauge("empire_host_memory_ratio", "ratio", &[], "Memory in use, of what may be used."),
    gauge(
        "empire_host_memory_stall_ratio",
        "ratio",
        &["tasks"],
        "Time of the last ten seconds in which some or all tasks waited for memory (Linux).",
    ),
    gauge(
        "empire_disk_free_bytes",
        "bytes",
        &["folder"],
        "Free space on the disks of the data folder and the output folder.",
    ),
    // The store
    histogram(COMMIT_SECONDS, COMMIT_BUCKETS, "seconds", &[], "How long a commit took."),
    histogram(COMMIT_OPERATIONS, BATCH_BUCKETS, "operations", &[], "Operations in one commit."),
    counter(COMMIT_FAILURES, "commits", &[], "Commits that failed."),
    // The process
    gauge("empire_build_info", "1", &["version"], "Always 1."),
    gauge("empire_last_scrape_seconds", "seconds", &[], "How long the scrape before this one took."),
    counter("process_cpu_seconds_total", "seconds", &[], "Processor time of this process."),
    gauge("process_resident_memory_bytes", "bytes", &[], "Memory of this process."),
    gauge("process_virtual_memory_bytes", "bytes", &[], "Its address space."),
    gauge("process_open_fds", "handles", &[], "File handles that it has open."),
    gauge("process_max_fds", "handles", &[], "How many it may have."),
    gauge("process_start_time_seconds", "seconds", &[], "When it started, in seconds since 1970."),
];

/// The metric of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// The metric that a series of this name belongs to: a histogram has three.
#[must_use]
pub fn of_series(series: &str) -> Option<&'static Metric> {
    find(series).or_else(|| {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| series.strip_suffix(end))?;
        find(histogram).filter(|metric| matches!(metric.kind, MetricKind::Histogram(_)))
    })
}

/// The table for people, in Markdown.
#[must_use]
pub fn table() -> String {
    let mut table = String::from("| metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n");
    for metric in METRICS {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, unit) = (metric.name, metric.kind.word(), metric.unit);
        table += &format!("| `{name}` | {kind} | {unit} | {} | {} |\n", labels.join(", "), metric.help);
    }
    table
}
