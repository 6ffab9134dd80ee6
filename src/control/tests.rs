//! The document of the API.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{document, full_path};

/// What is published; a change of the API shows in it.
const PUBLISHED: &str = include_str!("../../docs/openapi.json");

#[test]
fn the_published_document_is_that_of_this_program() {
    let published: Value = serde_json::from_str(PUBLISHED).unwrap();
    assert!(published == document(), "write it anew: empire schema api > docs/openapi.json");
}

#[test]
fn the_document_holds_together() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{path}");
            assert_eq!(operation.get("requestBody").is_some(), method == "post", "{path}");
            let is_open = operation["security"] == Value::Array(Vec::new());
            assert_eq!(is_open, matches!(path.as_str(), "/live" | "/ready"), "{path}");
        }
    }
    assert!(ids.len() >= 14);
    let mut open = vec![&document];
    while let Some(value) = open.pop() {
        if let Some(place) = value.get("$ref").and_then(Value::as_str) {
            assert!(document.pointer(place.trim_start_matches('#')).is_some(), "{place}");
        }
        match value {
            Value::Object(fields) => open.extend(fields.values()),
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
}

#[test]
fn a_path_may_be_given_without_its_beginning() {
    for (given, path) in [
        ("", "/empire"),
        ("/", "/empire"),
        ("empire", "/empire"),
        ("/empire/", "/empire"),
        ("gates/budget", "/empire/gates/budget"),
        ("/empire/gates/budget/", "/empire/gates/budget"),
        ("empire/gates", "/empire/gates"),
        ("empires", "/empire/empires"),
    ] {
        assert_eq!(full_path(given), path, "{given}");
    }
}
