//! Merges JSON Schemas that must hold together into one.

use serde_json::{Map, Value, json};

/// Makes `into` demand what `from` demands too. Where both name a keyword whose demands cannot
/// be merged, the first one's stays.
pub(super) fn merge(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (word, theirs) in from {
        let Some(ours) = into.get_mut(word) else {
            into.insert(word.clone(), theirs.clone());
            continue;
        };
        match word.as_str() {
            "properties" => properties(ours, theirs),
            "required" => union(ours, theirs),
            "enum" => intersect(ours, theirs, |theirs, value| theirs.contains(value)),
            "type" => types(ours, theirs),
            "minimum" | "exclusiveMinimum" | "minLength" | "minItems" | "minProperties" => {
                pick(ours, theirs, f64::gt);
            }
            "maximum" | "exclusiveMaximum" | "maxLength" | "maxItems" | "maxProperties" => {
                pick(ours, theirs, f64::lt);
            }
            "items" | "additionalProperties" | "contains" => both(ours, theirs),
            "uniqueItems" => *ours = Value::Bool(*ours == true || *theirs == true),
            _ => {}
        }
    }
}

fn properties(ours: &mut Value, theirs: &Value) {
    let (Value::Object(ours), Value::Object(theirs)) = (ours, theirs) else { return };
    for (name, schema) in theirs {
        match ours.get_mut(name) {
            Some(known) => both(known, schema),
            None => {
                ours.insert(name.clone(), schema.clone());
            }
        }
    }
}

fn both(ours: &mut Value, theirs: &Value) {
    if *ours == Value::Bool(true) || *theirs == Value::Bool(false) {
        *ours = theirs.clone();
    } else if *theirs != Value::Bool(true) && ours != theirs && *ours != Value::Bool(false) {
        *ours = json!({ "allOf": [ours, theirs] });
    }
}

fn union(ours: &mut Value, theirs: &Value) {
    let (Value::Array(ours), Value::Array(theirs)) = (ours, theirs) else { return };
    for value in theirs {
        if !ours.contains(value) {
            ours.push(value.clone());
        }
    }
}

fn intersect(ours: &mut Value, theirs: &Value, keeps: impl Fn(&[Value], &Value) -> bool) {
    let (Value::Array(ours), Value::Array(theirs)) = (ours, theirs) else { return };
    ours.retain(|value| keeps(theirs, value));
}

/// `integer` is a kind of `number`.
fn types(ours: &mut Value, theirs: &Value) {
    let list = |value: &Value| match value {
        Value::Array(kinds) => kinds.clone(),
        single => vec![single.clone()],
    };
    let (mine, yours) = (list(ours), list(theirs));
    let mut common: Vec<Value> = mine.iter().filter(|kind| yours.contains(kind)).cloned().collect();
    for (some, others) in [(&mine, &yours), (&yours, &mine)] {
        if some.contains(&json!("integer"))
            && others.contains(&json!("number"))
            && !common.contains(&json!("integer"))
        {
            common.push(json!("integer"));
        }
    }
    *ours = if common.len() == 1 { common.swap_remove(0) } else { Value::Array(common) };
}

fn pick(ours: &mut Value, theirs: &Value, stricter: fn(&f64, &f64) -> bool) {
    if let (Some(mine), Some(yours)) = (ours.as_f64(), theirs.as_f64())
        && stricter(&yours, &mine)
    {
        *ours = theirs.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stricter_demand_holds() {
        let mut ours = json!({"type": ["number", "string"], "minimum": 1, "maximum": 9, "required": ["a"], "enum": [1, 2, 3]});
        let theirs = json!({"type": "integer", "minimum": 2, "maximum": 20, "required": ["b", "a"], "enum": [2, 3, 4]});
        merge(ours.as_object_mut().unwrap(), theirs.as_object().unwrap());
        assert_eq!(
            ours,
            json!({"type": "integer", "minimum": 2, "maximum": 9, "required": ["a", "b"], "enum": [2, 3]})
        );
    }
}
