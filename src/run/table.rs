//! Results as a table (CSV): the columns of all rows, then those of all answers. Lines are read
//! without making a tree of each: there may be millions.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead, Write};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The columns of a table, in the order in which they first came.
#[derive(Default)]
pub(super) struct Columns {
    input: Map<String, Value>,
    answer: Map<String, Value>,
    /// Whether some answer is not an object: it gets a column of its own.
    plain_answer: bool,
}

impl Columns {
    /// Takes the columns of a row and its answer, both JSON.
    pub(super) fn learn(&mut self, row: &str, answer: Option<&str>) {
        if let Ok(row) = serde_json::from_str::<Fields<'_>>(row) {
            row.name(&mut self.input);
        }
        match answer.map(serde_json::from_str::<Fields<'_>>) {
            Some(Ok(answer)) => answer.name(&mut self.answer),
            Some(Err(_)) => self.plain_answer = true,
            None => {}
        }
    }

    /// The same from a line of `results.jsonl`.
    pub(super) fn learn_line(&mut self, line: &str) -> io::Result<()> {
        let line: Fields<'_> = serde_json::from_str(line)?;
        let text = |name: &str| line.get(name).map(RawValue::get);
        self.learn(text("input").unwrap_or_default(), text("answer"));
        Ok(())
    }

    /// Writes the table of `lines`, as in `results.jsonl`, whose columns these are.
    pub(super) fn write(&self, lines: impl BufRead, to: &mut impl Write) -> io::Result<()> {
        let mut table = csv::Writer::from_writer(to);
        let mut header: Vec<String> = vec!["item".into()];
        header.extend(self.input.keys().cloned());
        header.extend(self.answer.keys().map(|name| format!("answer.{name}")));
        if self.plain_answer {
            header.push("answer".into());
        }
        header.extend(["model", "provider", "cost_usd"].map(str::to_owned));
        table.write_record(&header)?;
        for line in lines.lines() {
            self.write_row(&line?, &mut table)?;
        }
        table.flush()
    }

    fn write_row(&self, line: &str, table: &mut csv::Writer<impl Write>) -> io::Result<()> {
        let line: Fields<'_> = serde_json::from_str(line)?;
        let part = |name: &str| {
            let part = line.get(name)?;
            serde_json::from_str::<Fields<'_>>(part.get()).ok()
        };
        let (input, answer) = (part("input").unwrap_or_default(), part("answer"));
        let mut put =
            |value: Option<&RawValue>| -> io::Result<()> { Ok(table.write_field(cell(value)?.as_bytes())?) };
        put(line.get("item"))?;
        self.input.keys().try_for_each(|name| put(input.get(name)))?;
        self.answer.keys().try_for_each(|name| put(answer.as_ref().and_then(|answer| answer.get(name))))?;
        if self.plain_answer {
            put(line.get("answer").filter(|_| answer.is_none()))?;
        }
        put(line.get("model"))?;
        put(line.get("provider"))?;
        let cost = line.get("cost_micros").and_then(|cost| cost.get().parse().ok()).unwrap_or(0_u64);
        table.write_field(format!("{}.{:06}", cost / 1_000_000, cost % 1_000_000))?;
        Ok(table.write_record(None::<&[u8]>)?)
    }
}

/// The fields of a JSON object in their order, their values unread.
#[derive(Default)]
struct Fields<'a>(Vec<(Text<'a>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// The value of the field, the last one of several.
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rfind(|(own, _)| own.0 == name).map(|(_, value)| *value)
    }

    fn name(self, columns: &mut Map<String, Value>) {
        for (name, _) in self.0 {
            if !columns.contains_key(&*name.0) {
                columns.insert(name.0.into_owned(), Value::Null);
            }
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields<'a>, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

/// A text that is borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A value as a table shows it. A text that a spreadsheet would take for a formula is disarmed.
fn cell(value: Option<&RawValue>) -> io::Result<Cow<'_, str>> {
    let Some(json) = value.map(RawValue::get) else { return Ok(Cow::Borrowed("")) };
    if json.starts_with('"') {
        let Text(text) = serde_json::from_str(json)?;
        let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<f64>().is_err();
        return Ok(if is_formula { Cow::Owned(format!("'{text}")) } else { text });
    }
    Ok(match serde_json::from_str(json)? {
        Value::Null => Cow::Borrowed(""),
        other => Cow::Owned(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(lines: &[&str]) -> String {
        let text = lines.join("\n");
        let mut columns = Columns::default();
        lines.iter().for_each(|line| columns.learn_line(line).unwrap());
        let mut table = Vec::new();
        columns.write(text.as_bytes(), &mut table).unwrap();
        String::from_utf8(table).unwrap()
    }

    #[test]
    fn columns_are_those_of_all_rows_then_those_of_all_answers() {
        let lines = [
            r#"{"item":1,"status":"done","input":{"word":"a","n":1.50},"answer":{"fit":7},"model":"m","provider":"p","cost_micros":1500000}"#,
            r#"{"item":2,"status":"done","input":{"word":"b, \"c\"","own":[1, 2]},"answer":{"why":null,"fit":true},"model":"m","provider":null,"cost_micros":0}"#,
        ];
        assert_eq!(
            table(&lines),
            "item,word,n,own,answer.fit,answer.why,model,provider,cost_usd\n\
             1,a,1.5,,7,,m,p,1.500000\n\
             2,\"b, \"\"c\"\"\",,\"[1,2]\",true,,m,,0.000000\n"
        );
    }

    #[test]
    fn an_answer_that_is_no_object_has_a_column_of_its_own() {
        let lines = [
            r#"{"item":1,"input":{"w":"a"},"answer":"one\ntwo","cost_micros":0}"#,
            r#"{"item":2,"input":{"w":"b"},"answer":{"n":1},"cost_micros":0}"#,
            r#"{"item":3,"input":{"w":"c"},"cost_micros":0}"#,
        ];
        assert_eq!(
            table(&lines),
            "item,w,answer.n,answer,model,provider,cost_usd\n\
             1,a,,\"one\ntwo\",,,0.000000\n2,b,1,,,,0.000000\n3,c,,,,,0.000000\n"
        );
    }

    #[test]
    fn what_a_spreadsheet_would_run_is_disarmed_and_numbers_stay() {
        let row = |value: &str| format!(r#"{{"item":1,"input":{{"v":{value}}},"cost_micros":0}}"#);
        for (value, shown) in [
            (r#""=1+1""#, "'=1+1"),
            (r#""@SUM(A1)""#, "'@SUM(A1)"),
            (r#""-5""#, "-5"),
            (r#""-x""#, "'-x"),
            (r#""\tx""#, "'\tx"),
            ("-5", "-5"),
        ] {
            let line = row(value);
            assert_eq!(table(&[&line]).lines().nth(1), Some(&*format!("1,{shown},,,0.000000")));
        }
    }

    #[test]
    fn the_last_of_fields_with_one_name_counts() {
        let line = r#"{"item":1,"input":{"v":1,"v":2},"cost_micros":0}"#;
        assert_eq!(table(&[line]), "item,v,model,provider,cost_usd\n1,2,,,0.000000\n");
    }
}
