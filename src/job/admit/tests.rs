use std::convert::Infallible;
use std::path::Path;

use super::*;
use crate::job::JobSpec;

fn admit_text(
    name: &str,
    text: &str,
    lines: &str,
    limit: Option<u32>,
) -> Result<(Totals, Vec<ChunkRows>), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    let spec = JobSpec::parse(&format!("name: a\nprivacy: P1\n{lines}\n"), Path::new("job.yaml")).unwrap();
    let source = InputSource::resolve(&spec, Some(&path)).unwrap();
    let mut chunks = Vec::new();
    let totals = admit(&JobScript::new(&spec, false), &source, limit, |chunk| {
        chunks.push(chunk);
        Ok::<(), Infallible>(())
    });
    let totals =
        totals.map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))?;
    Ok((totals, chunks))
}

#[test]
fn totals_count_every_item_and_each_distinct_one_once() {
    let text = "w,privacy,note\nab,,1\nab,P0,2\nab,P3,3\nc,,4\n";
    let (totals, chunks) = admit_text("a.csv", text, "system: sys\nprompt: '{{ w }}'", None).unwrap();
    assert_eq!((totals.items, totals.distinct), (4, 3), "P3 is above the job, so that row stands alone");
    assert_eq!((totals.prompt_bytes, totals.distinct_prompt_bytes), (7, 5));
    assert_eq!((totals.system_bytes, totals.distinct_system_bytes), (12, 9));
    assert_eq!((totals.max_prompt_bytes, totals.max_system_bytes), (2, 3));
    assert_eq!((totals.levels, totals.distinct_levels), ([0, 3, 0, 1], [0, 2, 0, 1]));
    let [chunk] = &chunks[..] else { panic!("one chunk") };
    assert_eq!(chunk.levels, [None, Some(Level::P0), Some(Level::P3), None]);
    assert_eq!(chunk.keys[0], chunk.keys[1]);
    assert_ne!(chunk.keys[0], chunk.keys[2]);
    assert_eq!(totals.rows_bytes, chunk.rows.iter().map(|row| row.len() as u64).sum::<u64>());
}

#[test]
fn chunks_are_full_but_the_last_and_a_limit_takes_the_first_items() {
    let text: String = (0..2100).map(|n| format!("{n}\n")).collect();
    let (totals, chunks) = admit_text("a.txt", &text, "prompt: '{{ text }}'", None).unwrap();
    assert_eq!(totals.items, 2100);
    let shape: Vec<_> =
        chunks.iter().map(|c| (c.cohort, c.first, c.rows.len(), c.keys.len(), c.levels.len())).collect();
    assert_eq!(shape, [(0, 0, 1024, 1024, 1024), (1, 1024, 1024, 1024, 1024), (2, 2048, 52, 52, 52)]);
    let (limited, first) = admit_text("a.txt", &text, "prompt: '{{ text }}'", Some(1024)).unwrap();
    assert_eq!((limited.items, first.len()), (1024, 1));
    assert_eq!(first[0], chunks[0]);
    assert_ne!(limited.input_fingerprint, totals.input_fingerprint);
    let (edited, _) = admit_text("a.txt", &text, "prompt: 'Define {{ text }}'", None).unwrap();
    assert_eq!(edited.input_fingerprint, totals.input_fingerprint, "templates are no part of the input");
    assert_eq!(
        admit_text("a.txt", "x", "prompt: x", Some(0)).unwrap_err(),
        "a limit of 0 leaves no items: give `--limit` 1 or more"
    );
}

#[test]
fn a_column_that_is_not_there_stops_the_job_before_it_starts() {
    assert_eq!(
        admit_text("a.csv", "Name\nx\n", "prompt: |\n  hello\n  {{ nme }}", None).unwrap_err(),
        "row 1 (a.csv, line 2): template `prompt`, line 2: unknown field `nme`: the row has Name (name); beside them \
         there are row, item, goal, role, job"
    );
    assert_eq!(
        admit_text("a.jsonl", "{\"a\":1}\n\n{\"b\":1}\n", "prompt: '{{ a }}'", None).unwrap_err(),
        "row 2 (a.jsonl, line 3): template `prompt`, line 1: unknown field `a`: the row has b; beside them there are \
         row, item, goal, role, job"
    );
}

#[test]
fn the_taker_of_chunks_can_stop_it() {
    let spec =
        JobSpec::parse("name: a\nprivacy: P0\nprompt: x\ninput: {count: 9}", Path::new("job.yaml")).unwrap();
    let source = InputSource::resolve(&spec, None).unwrap();
    let stopped = admit(&JobScript::new(&spec, false), &source, None, |_| Err("disk full"));
    assert_eq!(stopped.unwrap_err().to_string(), "disk full");
}

#[test]
fn the_shipped_jobs_are_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/jobs");
    let schema = jsonschema::options().offline().build(&crate::job::spec_json_schema()).unwrap();
    for (name, items) in [("leads", 503), ("posts", 10), ("words", 2)] {
        let path = folder.join(format!("{name}.yaml"));
        let text = std::fs::read_to_string(&path).unwrap();
        let spec = JobSpec::parse(&text, &path).unwrap();
        let written: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert!(schema.is_valid(&written), "{name} fits the published schema");
        assert_eq!((spec.name.as_str(), spec.privacy), (name, Level::P0));
        let words = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(words.path(), "apple\nto run\n").unwrap();
        let given = (name == "words").then(|| words.path());
        let source = InputSource::resolve(&spec, given).unwrap();
        let script = JobScript::new(&spec, false);
        let totals = admit(&script, &source, None, |_| Ok::<(), Infallible>(())).unwrap();
        assert_eq!((totals.items, totals.distinct), (items, items), "{name}");
    }
}
