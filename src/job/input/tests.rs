use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

const SPEC: &str = "name: a\nprivacy: P0\nprompt: x\n";

/// Writes `bytes` to `name` in a fresh folder and reads it as input; messages call it by `name`.
fn read_with(name: &str, bytes: &[u8], input: &str) -> Result<Vec<Row>, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), bytes).unwrap();
    let spec = JobSpec::parse(&format!("{SPEC}{input}\n"), &folder.path().join("job.yaml")).unwrap();
    let given = folder.path().join(name);
    let read =
        || InputSource::resolve(&spec, Some(&given))?.rows()?.collect::<Result<Vec<Row>, InputError>>();
    read().map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
}

fn read(name: &str, bytes: impl AsRef<[u8]>) -> Result<Vec<Row>, String> {
    read_with(name, bytes.as_ref(), "")
}

fn jsons(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(|row| &*row.json).collect()
}

#[track_caller]
fn refused(name: &str, bytes: impl AsRef<[u8]>, message: &str) {
    assert_eq!(read(name, bytes).unwrap_err(), message);
}

#[test]
fn csv_copes_with_marks_line_ends_quotes_and_blank_lines() {
    let rows =
        read("a.csv", "\u{feff}Name,\"GICS Sector\"\r\nA,\"x, \"\"y\"\"\"\r\n\r\n\"B\nb\",é\r\n").unwrap();
    assert_eq!(
        jsons(&rows),
        [r#"{"Name":"A","GICS Sector":"x, \"y\""}"#, r#"{"Name":"B\nb","GICS Sector":"é"}"#]
    );
    assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [2, 4]);
    let rows = read_with("a.csv", b"a;b\n1;2\n", "input: {format: csv, delimiter: ';'}").unwrap();
    assert_eq!(jsons(&rows), [r#"{"a":"1","b":"2"}"#]);
}

#[test]
fn lines_are_counted_right_through_many_reads() {
    for end in ["\n", "\r\n"] {
        let (mut text, mut line, mut expected) = (format!("a,b{end}"), 2, Vec::new());
        for number in 0..20_000 {
            expected.push(line);
            let inside = number % 3;
            text.push_str(&format!(
                "{number},\"x{}\"{end}{}",
                end.repeat(inside),
                if number % 7 == 0 { end } else { "" }
            ));
            line += 1 + inside as u64 + u64::from(number % 7 == 0);
        }
        // A blank line comes before the row after it, so each row's line is where its text is.
        let rows = read("a.csv", text).unwrap();
        assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn bad_csv_names_its_line() {
    refused("a.csv", "", "a.csv holds no items: add at least one, or pass another file with `--input FILE`");
    refused(
        "a.csv",
        "a,b\n",
        "a.csv holds no items: add at least one, or pass another file with `--input FILE`",
    );
    refused(
        "a.csv",
        "a,b,a\n1,2,3\n",
        "a.csv, line 1: the column `a` comes twice in the header: rename one of them",
    );
    refused(
        "a.csv",
        "a,b\n1,2\n3\n",
        "a.csv, line 3: 1 value, but the header has 2 columns: quote values that hold the delimiter, and fill up rows \
         that are short",
    );
    refused(
        "a.csv",
        b"a,b\n1,2\n3,\"x\"\"\xff\"\n",
        "a.csv, line 3: invalid UTF-8 at byte 14 of the file: save it as UTF-8",
    );
    let open = format!("a\n1\n\"{}", "x\n".repeat(MAX_RECORD_BYTES));
    assert!(read("a.csv", open).unwrap_err().ends_with("a record of more than 1 MiB: is a quote left open?"));
}

#[test]
fn a_character_split_between_two_reads_is_no_error() {
    let long = format!("a\n{}é\n", "x".repeat(BUFFER_BYTES - 3));
    assert_eq!(read("a.csv", long).unwrap().len(), 1);
    let mut torn = format!("a\n{}", "x".repeat(BUFFER_BYTES - 3)).into_bytes();
    torn.push(0xc3);
    torn.extend(b"\n1\n");
    let place = BUFFER_BYTES - 1;
    refused(
        "a.csv",
        torn,
        &format!("a.csv, line 2: invalid UTF-8 at byte {place} of the file: save it as UTF-8"),
    );
}

#[test]
fn json_lines_take_objects_and_scalars_and_skip_blank_lines() {
    let rows = read("a.jsonl", "\u{feff}{\"a\" : [1, \"x y\"]}\r\n\n \"word\"\n7\n").unwrap();
    assert_eq!(jsons(&rows), [r#"{"a":[1,"x y"]}"#, r#"{"text":"word"}"#, r#"{"text":7}"#]);
    assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [1, 3, 4]);
}

#[test]
fn a_broken_line_far_down_is_named() {
    let mut text = "{\"a\":1}\n".repeat(40_122);
    text.push_str("{\"a\":1,}\n{\"a\":1}\n");
    refused(
        "big.jsonl",
        text,
        "big.jsonl, line 40123: trailing comma (column 8): correct or remove this item",
    );
    refused(
        "a.jsonl",
        "{\"a\":1}\n[1]\n",
        "a.jsonl, line 2: invalid type: sequence, expected an object, or a string, number or boolean (column 1): correct or remove this item",
    );
    refused(
        "a.jsonl",
        b"1\n{\"a\":\"\xff\"}\n",
        "a.jsonl, line 2: invalid UTF-8 at byte 8 of the file: save it as UTF-8",
    );
    refused(
        "a.jsonl",
        "\n \n",
        "a.jsonl holds no items: add at least one, or pass another file with `--input FILE`",
    );
    let long = format!("1\n\"{}\"\n", "x".repeat(MAX_RECORD_BYTES));
    refused(
        "a.jsonl",
        long,
        "a.jsonl, line 2: a record of more than 1 MiB: put each item on a line of its own, or shorten it",
    );
}

#[test]
fn a_rows_own_level_is_read_or_refused() {
    let rows = read("a.csv", "w,Privacy\na,P2\nb,\n").unwrap();
    assert_eq!(rows.iter().map(|row| row.level).collect::<Vec<_>>(), [Some(Level::P2), None]);
    let message = "line 3: column `privacy`: unknown privacy level `high`: use P0 (public), P1 (low sensitivity), P2 \
                   (confidential, stays on your machines) or P3 (secret, never leaves this machine)";
    refused("a.csv", "w,privacy\na,P1\nb,high\n", &format!("a.csv, {message}"));
    refused("a.jsonl", "1\n2\n{\"privacy\":\"high\"}\n", &format!("a.jsonl, {message}"));
}

#[test]
fn arrays_are_split_where_their_elements_end() {
    let rows = read("a.json", "[\n {\"a\": \"],[\\\"\"},\n [], 3]\n");
    assert!(rows.unwrap_err().starts_with("a.json, line 3: invalid type: sequence"));
    let rows = read("a.json", " [\n {\"a\": \"],[\\\"\",\n  \"b\": {\"c\": [1, 2]}}, \"x\"\n, 3]\n").unwrap();
    assert_eq!(jsons(&rows), [r#"{"a":"],[\"","b":{"c":[1,2]}}"#, r#"{"text":"x"}"#, r#"{"text":3}"#]);
    assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [2, 3, 4]);
    refused(
        "a.json",
        "[]",
        "a.json holds no items: add at least one, or pass another file with `--input FILE`",
    );
    refused(
        "a.json",
        "{}",
        "a.json, line 1: not a JSON array: put the items in [ ], or one a line in a .jsonl file",
    );
    refused(
        "a.json",
        "[1,\n2,\n]",
        "a.json, line 3: an item is missing before this comma or bracket: remove the extra comma",
    );
    refused(
        "a.json",
        "[1,\n{\"a\":",
        "a.json, line 2: the file ends inside the array: is it cut off, or is a `]` missing?",
    );
    refused("a.json", "[1]\n2", "a.json, line 2: something follows the end of the array: remove it");
    refused(
        "a.json",
        "[1,\n{\"a\":\n tru}]",
        "a.json, line 3: expected ident (column 5): correct or remove this item",
    );
}

#[test]
fn the_input_is_found_by_the_spec_or_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("words"), "b\n\n a \n").unwrap();
    let resolve = |input: &str, given: Option<&str>| {
        let spec = JobSpec::parse(&format!("{SPEC}{input}\n"), &folder.path().join("job.yaml")).unwrap();
        InputSource::resolve(&spec, given.map(Path::new))
    };
    let all = |source: InputSource| {
        let rows: Vec<Row> = source.rows().unwrap().map(Result::unwrap).collect();
        rows.into_iter().map(|row| row.json.into_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        all(resolve("input: {file: words, format: lines, field: w}", None).unwrap()),
        [r#"{"w":"b"}"#, r#"{"w":" a"}"#]
    );
    assert_eq!(all(resolve("input: {count: 2}", None).unwrap()), [r#"{"n":1}"#, r#"{"n":2}"#]);
    assert_eq!(
        all(resolve("input: [x, {a: 1}]", None).unwrap()),
        [r#"{"text":"x","item":"x"}"#, r#"{"a":1}"#]
    );

    let refused = |input: &str, given: Option<&str>| {
        let error = resolve(input, given)
            .map(|source| source.rows().map(drop))
            .map_or_else(|e| e, |rows| rows.unwrap_err());
        error.to_string().replace(&format!("{}/", folder.path().display()), "")
    };
    assert_eq!(refused("", None), "job.yaml has no input: add `input: FILE` to it, or give `--input FILE`");
    assert_eq!(refused("input: {format: lines}", None), refused("", None));
    assert!(refused("input: words", None).starts_with("cannot tell the format of words: name it .csv"));
    assert_eq!(
        refused("input: {file: a.csv, field: w}", None),
        "`input.field` means nothing for a.csv, which is read as csv: remove it or change `input.format`"
    );
    assert!(refused("input: gone.csv", None).starts_with("cannot open the input gone.csv: No such file"));
    assert!(refused("", Some("-")).starts_with("cannot tell the format of standard input"));

    let stdin = resolve("input: {format: lines, field: w}", Some("-")).unwrap();
    assert!(matches!(stdin.rows(), Err(InputError::NotSpooled)));
    let spooled = stdin.spool(&mut "x\ny".as_bytes(), &folder.path().join("spool")).unwrap();
    assert_eq!(all(spooled), [r#"{"w":"x"}"#, r#"{"w":"y"}"#]);
}

proptest! {
    /// The same table, whichever way it is written down, gives the same rows.
    #[test]
    fn every_format_gives_the_same_rows(
        table in prop::collection::vec(prop::array::uniform3("[a-zé\"\\\\,;{}\\[\\]\n\t ]{0,10}"), 1..12),
        pretty in any::<bool>(),
    ) {
        let names = ["a", "b c", "d\"e"];
        let rows: Vec<Json> = table.iter().map(|cells| {
            Json::Object(names.iter().zip(cells).map(|(name, cell)| ((*name).to_owned(), json!(cell))).collect())
        }).collect();
        let mut csv = ::csv::Writer::from_writer(Vec::new());
        csv.write_record(names).unwrap();
        table.iter().for_each(|cells| csv.write_record(cells).unwrap());
        let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
        let array = if pretty { serde_json::to_string_pretty(&rows).unwrap() } else { json!(rows).to_string() };

        let expected: Vec<String> = rows.iter().map(Json::to_string).collect();
        let csv = csv.into_inner().unwrap();
        for (name, bytes) in [("a.csv", csv), ("a.jsonl", lines.into_bytes()), ("a.json", array.into_bytes())] {
            let read = read(name, bytes).unwrap();
            prop_assert_eq!(jsons(&read), expected.iter().map(String::as_str).collect::<Vec<_>>(), "{}", name);
        }
    }

    /// No bytes make a reader panic, and what it takes is JSON.
    #[test]
    fn no_bytes_bring_a_reader_down(bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"{}[],\":\n 1a".to_vec())], 0..80)) {
        for name in ["a.csv", "a.jsonl", "a.json", "a.txt"] {
            for row in read(name, &bytes).unwrap_or_default() {
                prop_assert!(serde_json::from_str::<Json>(&row.json).is_ok_and(|row| row.is_object()));
            }
        }
    }
}
