//! The closed list of what a run measures: name, unit, which way is better, and how it is measured.

use serde::{Deserialize, Serialize};

/// Which way a measure gets better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    /// A higher value is better.
    More,
    /// A lower value is better.
    Less,
    /// It says what was done, not how well.
    Neither,
}

macro_rules! measures {
    ($($(#[doc = $about:literal])+ $variant:ident $name:literal $unit:literal $better:ident;)+) => {
        /// What can be measured, and bounded by a threshold.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub(crate) enum Measure {
            $($(#[doc = $about])+ #[serde(rename = $name)] $variant,)+
        }

        impl Measure {
            /// All of them, in the order in which they are shown.
            pub(crate) const ALL: &[Measure] = &[$(Measure::$variant,)+];

            /// Its name in scenarios and results.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Measure::$variant => $name,)+ }
            }

            /// Its unit; empty for plain numbers.
            pub(crate) fn unit(self) -> &'static str {
                match self { $(Measure::$variant => $unit,)+ }
            }

            /// Which way is better.
            pub(crate) fn better(self) -> Better {
                match self { $(Measure::$variant => Better::$better,)+ }
            }

            /// How it is measured.
            pub(crate) fn about(self) -> &'static str {
                match self { $(Measure::$variant => concat!($($about),+).trim_ascii(),)+ }
            }
        }
    };
}

measures! {
    /// Agents whose items ended, over the time from the first request for a job to the last report: reading in, planning and writing results included.
    AgentsPerSecond "agents_per_second" "/s" More;
    /// Model calls, over the time from the first to the last that reached the simulator, by the simulator's own clock.
    CallsPerSecond "calls_per_second" "/s" More;
    /// What a bare HTTP loop with as many connections reaches against the same simulator, just before.
    BareCallsPerSecond "bare_calls_per_second" "/s" Neither;
    /// `calls_per_second` over `bare_calls_per_second`.
    RateAgainstBare "rate_against_bare" "" More;
    /// From asking for a job until it is taken in, its input read and stored: the longest.
    AdmissionS "admission_s" "s" Less;
    /// From the first intended start until the first line of any `results.jsonl`.
    FirstResultS "first_result_s" "s" Less;
    /// From the first intended start until the last job's report.
    FinishedS "finished_s" "s" Less;
    /// From a job's intended start until its report: the longest.
    LongestJobS "longest_job_s" "s" Less;
    /// The same of jobs with `priority: interactive`.
    LongestInteractiveJobS "longest_interactive_job_s" "s" Less;
    /// From a job's intended start until an agent's result is durable: half of the agents.
    AgentP50S "agent_p50_s" "s" Less;
    /// The same: 99 % of the agents.
    AgentP99S "agent_p99_s" "s" Less;
    /// Waiting at the rate gate, 99 % of the calls; upper edge of the program's histogram bucket.
    RateWaitP99S "rate_wait_p99_s" "s" Less;
    /// Waiting at the budget gate, 99 % of the calls; upper edge of the bucket.
    BudgetWaitP99S "budget_wait_p99_s" "s" Less;
    /// One model call, 99 %; upper edge of the bucket.
    CallP99S "call_p99_s" "s" Less;
    /// One commit of the store, 99 %; upper edge of the bucket.
    CommitP99S "commit_p99_s" "s" Less;
    /// One scrape of the metrics, 99 %, by the harness's clock; scrapes that a slow one kept from their time are added.
    ScrapeP99Ms "scrape_ms_p99" "ms" Less;
    /// The longest scrape.
    ScrapeMaxMs "scrape_ms_max" "ms" Less;
    /// Resident memory of the idle program before the first job.
    MemoryBeforeMib "memory_before_mib" "MiB" Less;
    /// The highest resident memory, as the system noted it.
    PeakMemoryMib "peak_memory_mib" "MiB" Less;
    /// Resident memory after the last job, once the program is idle again.
    SettledMemoryMib "settled_memory_mib" "MiB" Less;
    /// The most agents that waited at once, at a scrape.
    PeakWaitingAgents "peak_waiting_agents" "" Neither;
    /// Memory at that scrape less memory before the first job, by those agents, if they were 10,000 or more. What is in flight, and what was read in, counts too: it is an upper bound.
    BytesPerWaitingAgent "bytes_per_waiting_agent" "B" Less;
    /// Median memory of the fifth of the run after the warm-up with the highest, over that of the first: growth in percent.
    MemoryGrowthAfterWarmUpPercent "memory_growth_after_warm_up_percent" "%" Less;
    /// Processor time of the program by agent whose item ended.
    CpuUsPerAgent "cpu_us_per_agent" "µs" Less;
    /// Processor time of the program by call.
    CpuUsPerCall "cpu_us_per_call" "µs" Less;
    /// The most messages that waited for actors of one kind, at a scrape.
    DeepestMailbox "deepest_mailbox" "" Less;
    /// Threads of the idle program after the last job, over those before the first.
    ThreadsGrowth "threads_growth" "" Less;
    /// The same of open file handles.
    OpenFilesGrowth "open_files_growth" "" Less;
    /// The same of actors in its tree.
    ActorsGrowth "actors_growth" "" Less;
    /// The most calls at once above a provider's `concurrency`: by the program's permits at a scrape, and by the simulator's own count.
    PermitsOverAllowed "permits_over_allowed" "" Less;
    /// The most calls above a provider's requests by minute, hour or day, over every window of the simulator's own record of arrivals.
    CallsOverRateLimit "calls_over_rate_limit" "" Less;
    /// What the ledger has for all jobs.
    SpentUsd "spent_usd" "$" Neither;
    /// The most that was spent and reserved above any cap: of a job, and of a scope at a scrape; and the simulator's bill above the total cap.
    SpentOverCapUsd "spent_over_cap_usd" "$" Less;
    /// What was spent of the budgets of all jobs.
    SpentOfCapPercent "spent_of_cap_percent" "%" Neither;
    /// What the simulator billed and the ledger does not have.
    BillOverLedgerUsd "bill_over_ledger_usd" "$" Less;
    /// What the ledger has for certain and the simulator never billed.
    LedgerOverBillUsd "ledger_over_bill_usd" "$" Less;
    /// Items of all jobs, an agent each.
    Agents "agents" "" Neither;
    /// Items with an answer.
    Done "done" "" More;
    /// Items that ended without an answer for good.
    Dead "dead" "" Less;
    /// Items that are still to be worked, or were cancelled.
    Undone "undone" "" Less;
    /// Items of which neither results nor report say what became of them.
    Lost "lost" "" Less;
    /// Items that stand more than once in the results.
    Twice "twice" "" Less;
    /// Model calls that reached the simulator.
    Calls "calls" "" Neither;
    /// Calls that the simulator answered with an error, closed, or left hanging.
    RefusedCalls "refused_calls" "" Neither;
    /// Answers that were billed and are in no result: of calls under way at a kill, and those that failed their check.
    PaidInVain "paid_in_vain" "" Less;
    /// Calls of which no answer is in a result, of all calls.
    WastedCallsPercent "wasted_calls_percent" "%" Less;
    /// Agents that did no useful work, of all that were spawned: dead ones, and those that a kill threw away and another had to replace.
    UselessAgentsPercent "useless_agents_percent" "%" Less;
    /// The longest chain of calls of which each waits for the one before: the most tries of one item, and a level of the reduce each.
    CriticalSteps "critical_steps" "" Less;
    /// Kills of the process.
    Kills "kills" "" Neither;
    /// From starting the program again after a kill until its first new call reaches the simulator: the longest.
    FirstCallAfterKillS "first_call_after_kill_s" "s" Less;
    /// Orders to kill an actor that were carried out.
    ActorKills "actor_kills" "" Neither;
    /// Starts of an actor anew, by its supervisor's decision.
    ActorRestarts "actor_restarts" "" Neither;
    /// Seconds in which the resource guard held work back.
    HeldBackS "held_back_s" "s" Neither;
    /// Times a job paused by itself and was told to go on.
    Resumes "resumes" "" Less;
}

impl std::fmt::Display for Measure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A value with its unit, as people read it.
pub(crate) fn show(measure: Measure, value: f64) -> String {
    match measure.unit() {
        "" => number(value),
        "$" if value == value.trunc() => format!("${}", number(value)),
        "$" => format!("${value:.4}"),
        unit @ ("%" | "/s") => format!("{}{}{unit}", number(value), if unit == "%" { " " } else { "" }),
        unit => format!("{} {unit}", number(value)),
    }
}

/// A number with as many digits as say something.
pub(crate) fn number(value: f64) -> String {
    let magnitude = value.abs();
    if value == value.trunc() && magnitude < 1e15 {
        return grouped(value);
    }
    match magnitude {
        m if m >= 1_000.0 => grouped(value.round()),
        m if m >= 100.0 => format!("{value:.1}"),
        m if m >= 1.0 => format!("{value:.2}"),
        m if m >= 0.001 => format!("{value:.4}"),
        _ => format!("{value:.6}"),
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_are_what_scenarios_write() {
        let mut names: Vec<&str> = Measure::ALL.iter().map(|measure| measure.name()).collect();
        for measure in Measure::ALL {
            assert_eq!(serde_json::to_value(measure).unwrap(), measure.name());
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Measure::ALL.len());
    }

    #[test]
    fn the_documentation_lists_every_measure_as_the_program_does() {
        let page = include_str!("../../docs/loadtest.md");
        for measure in Measure::ALL {
            let unit = if measure.unit().is_empty() { "" } else { measure.unit() };
            let row = format!("| `{measure}` | {unit} | {} |", measure.about());
            assert!(page.contains(&row), "docs/loadtest.md lacks this row:\n{row}");
        }
    }

    #[test]
    fn numbers_are_shown_as_people_read_them() {
        assert_eq!(number(1_234_567.0), "1,234,567");
        assert_eq!(number(28_012.4), "28,012");
        assert_eq!(number(12.345), "12.35");
        assert_eq!(number(0.0), "0");
        assert_eq!(number(0.00001), "0.000010");
        assert_eq!(number(-1500.0), "-1,500");
        assert_eq!(show(Measure::SpentUsd, 1.5), "$1.5000");
        assert_eq!(show(Measure::SpentOverCapUsd, 0.0), "$0");
        assert_eq!(show(Measure::ScrapeMaxMs, 3.0), "3 ms");
    }
}
