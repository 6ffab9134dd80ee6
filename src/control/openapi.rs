//! The document of the API (OpenAPI 3.1), made from the table of routes.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::problem::Problem;
use super::routes::{Output, Route, routes};

/// Counts what no older client would understand.
const VERSION: &str = "1.0.0";

/// The document.
#[must_use]
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let problem = json!({
        "description": "What is wrong, and what to do.",
        "content": {"application/problem+json": {"schema": generator.subschema_for::<Problem>()}},
    });
    let mut paths = Map::new();
    for route in routes() {
        let method = if route.changes { "post" } else { "get" };
        paths.insert(route.path.to_owned(), json!({ method: operation(&route, &mut generator) }));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "empire control API",
            "version": VERSION,
            "description": "Looks at a running process and steers it. Over its socket, which is its owner's alone, no token is needed; over loopback TCP the one in the data folder's file control.token is.",
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "responses": {"Problem": problem},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let input = (route.input)(generator);
    let content = match &route.output {
        Output::Json(describe) => json!({"application/json": {"schema": describe(generator)}}),
        Output::Events(events) => {
            let of = |(name, describe): &(&str, fn(&mut SchemaGenerator) -> schemars::Schema)| {
                ((*name).to_owned(), describe(generator).to_value())
            };
            let events: Map<String, Value> = events.iter().map(of).collect();
            json!({"text/event-stream": {"schema": {"type": "string"}, "x-events": events}})
        }
    };
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.about,
        "responses": {
            "200": {"description": "Done.", "content": content},
            "default": {"$ref": "#/components/responses/Problem"},
        },
        "security": if route.open { json!([]) } else { json!([{"token": []}]) },
    });
    if route.changes {
        operation["parameters"] = json!([{
            "name": "if-match", "in": "header", "required": false, "schema": {"type": "string"},
            "description": "The version of the policy that is expected, where one is changed.",
        }]);
        operation["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": input}}});
    } else {
        operation["parameters"] = parameters(input.as_value());
    }
    operation
}

/// The fields of what the query says.
fn parameters(query: &Value) -> Value {
    let needed =
        |name: &str| query["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
    let fields = query["properties"].as_object().into_iter().flatten();
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = schema.clone();
        let about = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        json!({
            "name": name, "in": "query", "required": needed(name), "schema": schema,
            "description": about.unwrap_or_default(),
        })
    };
    fields.map(parameter).collect()
}
