use empire_actors::money::{Micros, Usage};
use serde_json::json;

use super::*;

fn report() -> ReportData {
    ReportData {
        job: "leads".into(),
        id: "0199-a".into(),
        goal: Some("qualify *every* company".into()),
        state: EndState::CompletedWithDead,
        reason: None,
        simulated: true,
        started: "2026-01-02T03:04:05Z".parse().unwrap(),
        finished: "2026-01-02T03:06:17Z".parse().unwrap(),
        seconds: 132.0,
        totals: Totals { items: 503, distinct: 500, done: 501, dead: 2, ..Totals::default() },
        work: Tallied {
            calls: 510,
            retries: 10,
            redactions: 4,
            usage: Usage { input: 75_000, cached_input: 400, output: 200_000, ..Usage::default() },
            tries: [("answered".to_owned(), 498), ("rate limited".to_owned(), 12)].into(),
            dead_letters: vec![DeadReason {
                reason: "answer | <b>broken</b>".into(),
                count: 2,
                example_item: 17,
            }],
            slowest: vec![SlowCall { ms: 4_500, item: 3, model: "kimi".into(), outcome: "answered".into() }],
            ..Tallied::default()
        },
        saved_by_equal_items: 3,
        providers: vec![
            ProviderCost { provider: "ollama".into(), calls: 400, cost: Micros(0), unknown: Micros(0) },
            ProviderCost {
                provider: "kimi".into(),
                calls: 110,
                cost: Micros(190_300),
                unknown: Micros(2_700),
            },
        ],
        prompt_cache: PromptCache { read: 400, written: 0, saved: 316 },
        over_share: 0,
        budget: Some(Micros(1_000_000)),
        agents_per_second: 3.81,
        peak_memory_bytes: Some(52 << 20),
        guard: GuardTimes::default(),
        reduce: Some(json!({"best": ["A", "B"]})),
        outputs: vec![Output { what: "results".into(), path: "out/results.jsonl".into() }],
    }
}

#[test]
fn the_terminal_gets_the_short_form() {
    let shown = report().to_terminal(80, false);
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    insta::assert_snapshot!(shown, @r#"
    SIMULATED: no model was asked and no money was spent; amounts are as if
    [simulated] leads completed, with dead agents; 501 of 503 done, 2 dead, $0.1903

      items: 503
      distinct: 500
      done: 501
      dead: 2
      calls: 510
      calls saved by equal items: 3
      retries: 10
      tries: answered 498, rate limited 12
      values redacted: 4
      tokens in: 75,000
      tokens in, from cache: 400
      tokens out: 200,000
      cost: $0.1903
      budget: $1.00, 19 % used
      vendors' prompt caches: $0.0003 saved; 400 tokens read, 0 written
      of the cost unknown: $0.0027, billed as reserved until reconciled
      worked for: 2 min 12 s, 3.8 agents/s
      peak memory: 52.0 MiB

    Paid
      ollama  400 calls    $0.00
      kimi    110 calls  $0.1903

    Dead, by reason
      2 x answer | <b>broken</b> (such as item 17)

    Answer of the reduce
      {"best":["A","B"]}

    Written
      results  out/results.jsonl

    Next
      empire swarm results 0199-a --failed
      empire swarm retry 0199-a
    "#);
}

#[test]
fn the_page_says_everything_and_obeys_nothing() {
    insta::assert_snapshot!(report().to_markdown(), @r#"
    # leads

    > **SIMULATED.** No model was asked and no money was spent; amounts are as if.

    **\[simulated\] leads completed, with dead agents; 501 of 503 done, 2 dead, $0.1903**

    Goal: qualify \*every\* company

    Job `0199-a`, from 2026-01-02T03:04:05Z to 2026-01-02T03:06:17Z.

    |  |  |
    | --- | --- |
    | items | 503 |
    | distinct | 500 |
    | done | 501 |
    | dead | 2 |
    | calls | 510 |
    | calls saved by equal items | 3 |
    | retries | 10 |
    | tries | answered 498, rate limited 12 |
    | values redacted | 4 |
    | tokens in | 75,000 |
    | tokens in, from cache | 400 |
    | tokens out | 200,000 |
    | cost | $0.1903 |
    | budget | $1.00, 19 % used |
    | vendors' prompt caches | $0.0003 saved; 400 tokens read, 0 written |
    | of the cost unknown | $0.0027, billed as reserved until reconciled |
    | worked for | 2 min 12 s, 3.8 agents/s |
    | peak memory | 52.0 MiB |

    ## Cost by provider

    | Provider | Calls | Cost | Of that, billed as reserved |
    | --- | --- | --- | --- |
    | ollama | 400 | $0.00 | $0.00 |
    | kimi | 110 | $0.1903 | $0.0027 |

    ## Dead agents by reason

    | Agents | Reason | One of them: item |
    | --- | --- | --- |
    | 2 | answer \| &lt;b&gt;broken&lt;/b&gt; | 17 |

    ## Slowest calls

    | Time | Item | Model | Outcome |
    | --- | --- | --- | --- |
    | 4.5 s | 3 | kimi | answered |

    ## Answer of the reduce

    ```json
    {
      "best": [
        "A",
        "B"
      ]
    }
    ```

    ## Files

    | What | Where |
    | --- | --- |
    | results | out/results.jsonl |

    ## Next

    ```sh
    empire swarm results 0199-a --failed
    empire swarm retry 0199-a
    ```
    "#);
}

#[test]
fn json_holds_sums_and_next_steps() {
    let json: Value = serde_json::from_str(&report().to_json().unwrap()).unwrap();
    assert_eq!(json["simulated"], true);
    assert_eq!(json["state"], "completed_with_dead");
    assert_eq!(json["spent"], 190_300);
    assert_eq!(json["unknown"], 2_700);
    assert_eq!(json["units"]["money"], "micro_usd");
    assert_eq!(json["started"], "2026-01-02T03:04:05Z");
    assert_eq!(json["next"], json!(["empire swarm results 0199-a --failed", "empire swarm retry 0199-a"]));
}

#[test]
fn what_is_next_depends_on_how_it_ended() {
    let pending = Totals { items: 10, distinct: 10, done: 3, pending: 7, ..Totals::default() };
    let ended = |state| ReportData { state, totals: pending, ..report() }.next_steps();
    assert_eq!(ended(EndState::OutOfBudget), ["empire swarm resume 0199-a --budget AMOUNT"]);
    assert_eq!(ended(EndState::Interrupted), ["empire swarm resume 0199-a"]);
    assert!(ended(EndState::Cancelled).is_empty());
}
