//! Behaviour of the search: what goes, what stays, and at what cost.

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use serde_json::json;

use super::*;

mod disguise;
mod harmless;
mod named;

fn rules() -> Rules {
    let rule = |id: &str, shape: &str, near: &str| json!({"id": id, "about": id, "shape": shape, "positive": [shape], "near": [near]});
    let file = json!({"rule": [
        rule("host-token", "ghp_{alnum:30-}", "ghp_{alnum:5}"),
        rule("sk-key", "sk-{token:20-}", "sk-{token:5}"),
        rule("cloud-key", "AKIA{unum:16}", "AKIA{unum:6}"),
        rule("bot-token", "{digit:8-10}:AA{token:30-}", "{digit:4}:AA{token:6}"),
        json!({"id": "told", "about": "x", "shape": "{hex:32}", "context": ["acme"],
               "positive": ["acme api key {hex:32}"], "near": ["acme page {hex:32}"]}),
    ]});
    Rules::compile(&[serde_json::from_value(file).unwrap()]).unwrap()
}

static DETECTOR: LazyLock<Arc<Detector>> = LazyLock::new(|| Arc::new(Detector::new(rules())));

/// The text as it would leave; restoring it must give the text again.
fn cut(text: &str) -> String {
    let mut redactor = Redactor::new(DETECTOR.clone());
    let cut = redactor.cut(text).unwrap().unwrap_or_else(|| text.to_owned());
    assert_eq!(redactor.restore(&cut), text);
    cut
}

/// Samples are put together here, so that the repository holds no token.
fn token(head: &str, body: &str, length: usize) -> String {
    let body: String = body.chars().cycle().take(length).collect();
    format!("{head}{body}")
}

fn host_token() -> String {
    token("ghp_", "aB3dE5xQ9", 36)
}

#[test]
fn the_rules_do_what_their_samples_say() {
    assert_eq!(DETECTOR.misfires(), []);
}

#[test]
fn cuts_keys_and_tokens_out_of_prose_mail_and_code() {
    let line = token("", "MIIEow7Kd", 64);
    let samples = [
        token("AKIA", "QZ7XV2", 16),
        host_token(),
        token("sk-ant-api03-", "Zk8_q-", 60),
        token("123456789:AA", "Hk3_x-", 33),
        token("eyJ", "hbGci1", 20) + "." + &token("eyJ", "zdWIi2", 30) + "." + &token("", "s1Gn4t", 43),
        format!("-----BEGIN RSA PRIVATE KEY-----\n{line}\n{line}\n-----END RSA PRIVATE KEY-----"),
        format!(
            "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: 1\n\n{line}\n=x1Yz\n-----END PGP PRIVATE KEY BLOCK-----"
        ),
        format!(
            "PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 1\n{line}\nPrivate-MAC: {}",
            token("", "0a1b2c", 64)
        ),
    ];
    for sample in samples {
        for frame in [
            "use {} now.",
            "key=\"{}\"",
            "({}), thanks",
            "Nimm „{}“ bitte",
            "see {}。 ok",
            "{}\n-- \nsent from my phone",
            "it is {}🙂 yes",
            "<td>{}</td>",
            "[link]({})",
        ] {
            let text = frame.replace("{}", &sample);
            let cut = cut(&text);
            assert_eq!(cut, frame.replace("{}", "<SECRET_1>"), "{text}");
        }
    }
}

#[test]
fn a_key_that_is_cut_off_goes_to_the_end() {
    let body = token("", "MIIEow7Kd", 64);
    let text = format!("here: -----BEGIN PRIVATE KEY-----\n{body}\n{body}\nmore");
    assert_eq!(cut(&text), "here: <SECRET_1>");
    let prose = "A key file begins with -----BEGIN PRIVATE KEY----- and then has its body.";
    assert_eq!(cut(prose), prose);
    let public = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----");
    assert_eq!(cut(&public), public);
}

#[test]
fn finds_addresses_in_all_spellings() {
    for address in [
        "anna.muster@example.org",
        "o'neil+news@mail.example.co.uk",
        "jürgen@müller.example",
        "root@localhost",
        "svc_backup@fileserver",
        "eve%40example.com",
        "bob&#64;example.com",
        "carl＠example.com",
        "anna (at) example (dot) org",
        "anna[at]example.org",
        "anna at example dot org",
        "\"john doe\"@example.org",
        "ops@[192.0.2.7]",
    ] {
        for frame in ["write to {} today", "<{}>", "mail: {}.", "({}), please", "mailto:{}?subject=x"] {
            let text = frame.replace("{}", address);
            assert_eq!(cut(&text), frame.replace("{}", "<EMAIL_1>"), "{text}");
        }
    }
}

#[test]
fn the_same_value_goes_everywhere_and_gets_the_same_placeholder() {
    let mut redactor = Redactor::new(DETECTOR.clone());
    redactor.learn("the password is Tr0ub4dor&3, write to anna@example.org or bert@example.org").unwrap();
    assert_eq!(redactor.found(), 3);
    let restored = "anna@example.org, again anna@example.org; bert@example.org, Tr0ub4dor&3!";
    let cut = redactor.cut(restored).unwrap().unwrap();
    assert_eq!(cut, "<EMAIL_1>, again <EMAIL_1>; <EMAIL_2>, <SECRET_1>!");
    assert_eq!(redactor.restore(&cut), restored);
    for spelt in [
        "x=Tr0ub4dor%263",
        "Tr0ub4dor\\u00263",
        "Tr0ub4dor&amp;3",
        "VHIwdWI0ZG9yJjM=",
        "5472307562346 5472307562346f7226336",
    ] {
        let cut = redactor.cut(spelt).unwrap();
        assert!(cut.is_some() || spelt.contains(' '), "{spelt}");
    }
}

#[test]
fn a_text_that_is_written_like_a_placeholder_comes_back_as_it_was() {
    let text = "<EMAIL_1> is not anna@example.org, nor is <EMAIL_2>";
    assert_eq!(cut(text), "<EMAIL_1> is not <EMAIL_3>, nor is <EMAIL_2>");
}

#[test]
fn walks_every_part_of_a_body() {
    let secret = host_token();
    let body = json!({
        "model": "m",
        "who@example.org": ["x", {"note": "ask who@example.org"}],
        "n": 1,
        "metadata": {"password": "summer", "card": 1, "deep": [{"api_key": "zzTop99"}], "max_tokens": 100},
        "env": [{"name": "DB_PASSWORD", "value": "winter"}],
        "pin": 4711,
        "tools": [{"function": {"arguments": format!("{{\"token\": \"{secret}\", \"pin\": 4711}}")}}],
        "stop": [secret],
        "schema": {"properties": {"password": {"type": "string", "description": "the password"}}},
    });
    let mut redactor = Redactor::new(DETECTOR.clone());
    let cut = redactor.cut_json(&body).unwrap();
    let text = cut.to_string();
    for gone in ["who@", "summer", "zzTop99", "winter", "4711", secret.as_str()] {
        assert!(!text.contains(gone), "{gone}: {text}");
    }
    assert_eq!(cut["metadata"]["max_tokens"], 100);
    assert_eq!(cut["schema"], body["schema"]);
    let arguments: serde_json::Value =
        serde_json::from_str(cut["tools"][0]["function"]["arguments"].as_str().unwrap()).unwrap();
    assert!(arguments["pin"].is_string());
    assert_eq!(redactor.restore_json(&cut)["env"], body["env"]);
}

#[test]
fn names_the_parts_that_nobody_can_read() {
    let data = token("", "/9jKd8Qx0", 2_000);
    let body = json!({"messages": [{"role": "user", "content": [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}")}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}},
        {"type": "document", "source": {"type": "base64", "data": data}},
        {"type": "unheard", "blob": data},
    ]}]});
    let paths: Vec<String> = unread(&body).into_iter().map(|part| part.path).collect();
    let at = |n: usize, rest: &str| format!("/messages/0/content/{n}{rest}");
    assert_eq!(paths, [at(1, ""), at(3, ""), at(4, "/blob")]);
}

#[test]
fn rules_can_be_changed_while_it_works() {
    let detector = Detector::new(Rules::compile(&[]).unwrap());
    let text = host_token();
    assert!(detector.scan(&text).hits.is_empty());
    detector.swap(rules());
    assert_eq!(detector.scan(&text).hits.len(), 1);
}

#[test]
fn past_the_deadline_the_answer_is_block() {
    let text = "word ".repeat(200_000);
    assert_eq!(DETECTOR.scan_until(&text, &|| true).blocked, Some(Blocked::Deadline));
    assert_eq!(DETECTOR.scan(&text).blocked, None);
    let mut redactor = Redactor::until(DETECTOR.clone(), Box::new(|| true));
    assert_eq!(redactor.cut(&text), Err(Blocked::Deadline));
}

/// What costs a byte of a hostile text, in bytes looked at.
#[test]
fn no_text_costs_more_than_a_bounded_number_of_steps_a_byte() {
    const BYTES: usize = 400_000;
    const MOST_STEPS: u64 = 40;
    let secret = host_token();
    for part in [
        "word and word, ",
        "ghp_",
        "sk-",
        "sk-a-",
        "AKIA",
        "eyJ",
        "eyJaaaaaaaaa.",
        "-----BEGIN PRIVATE KEY-----",
        "a@",
        "a@b.",
        "password:",
        "password is ",
        "password=a ",
        "://",
        "a://b:c",
        "a://b:c@",
        "bearer ",
        "basic ",
        "mysql -p",
        "mysql ",
        "curl -u a:b ",
        "login ",
        "\\u0067",
        "%41",
        "&#65;",
        "\\\\\\\\",
        "a\n",
        "abc1\n",
        "A B ",
        "aGVsbG8gd29ybGQh",
        "67",
        "\u{200b}",
        "а",
        "key 0123456789abcdef ",
        " at ",
        "x at y dot ",
        "\"a\" + ",
        "<b>",
        "a=\n",
        "PuTTY-User-Key-File-2",
        "insert into ",
        "insert into(",
        "token ",
        "<SECRET_1>",
        "a\u{301}",
        "'",
        "\"",
        "password for the ",
        "1:AA",
        "acme api key ",
        &secret,
        "AccountKey=",
    ] {
        let text = part.repeat(BYTES / part.len());
        let scan = DETECTOR.scan(&text);
        let each = scan.steps / text.len() as u64;
        assert!(each <= MOST_STEPS, "{part:?}: {each} steps a byte");
        assert!(scan.blocked.is_none() || part == "aGVsbG8gd29ybGQh", "{part:?}: {:?}", scan.blocked);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_address_survives_in_any_frame(
        local in "[a-z][a-z0-9._+-]{0,15}[a-z0-9]", host in "[a-z][a-z0-9-]{0,10}[a-z0-9]", tld in "[a-z]{2,6}",
        before in "[ -~\n]{0,20}", after in "[ -~\n]{0,20}",
    ) {
        let address = format!("{local}@{host}.{tld}");
        let cut = cut(&format!("{before} {address} {after}"));
        prop_assert!(!cut.contains(&address), "{}", cut);
    }

    #[test]
    fn what_is_cut_comes_back(text in "\\PC{0,80}", parts in proptest::collection::vec(0_usize..8, 0..6)) {
        let pieces = [host_token(), "password: ".into(), "x@example.org".into(), "%40".into(), "<EMAIL_1>".into(), "\\u0067".into(), "\u{200b}".into(), "\n".into()];
        let text: String = parts.iter().map(|part| pieces[*part].as_str()).chain([text.as_str()]).collect();
        cut(&text);
    }
}
