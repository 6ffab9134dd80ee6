//! Texts that nothing may be cut out of.

/// Each with its kind.
pub(crate) fn all() -> Vec<(&'static str, String)> {
    let mut random = fastrand::Rng::with_seed(5);
    let mut texts = Vec::new();
    for round in 0..50 {
        texts.extend(made(&mut random, round));
    }
    for corpus in [
        include_str!("../../actors/tests/corpus/near_misses.txt"),
        include_str!("../../actors/tests/corpus/broad_clean.txt"),
        include_str!("../../actors/tests/corpus/later_clean.txt"),
        include_str!("../../actors/tests/corpus/held_out_clean.txt"),
    ] {
        texts.extend(corpus.split("\n%%\n").map(|text| ("prose, talk, lists", text.to_owned())));
    }
    let sources = [
        include_str!("../../src/cli.rs"),
        include_str!("../architecture.rs"),
        include_str!("../../actors/src/gates.rs"),
    ];
    for source in sources {
        texts.extend(source.split("\n\n").map(|part| ("source code", part.to_owned())));
    }
    texts
}

fn hex(random: &mut fastrand::Rng, length: usize) -> String {
    (0..length).map(|_| random.digit(16)).collect()
}

fn made(random: &mut fastrand::Rng, round: usize) -> Vec<(&'static str, String)> {
    const WORDS: &[&str] = &[
        "lorem",
        "ipsum",
        "dolor",
        "sit",
        "amet",
        "consectetur",
        "adipiscing",
        "elit",
        "sed",
        "do",
        "eiusmod",
        "tempor",
        "incididunt",
        "labore",
        "magna",
        "aliqua",
        "veniam",
        "nostrud",
        "ullamco",
        "laboris",
        "aliquip",
        "commodo",
    ];
    let n = |random: &mut fastrand::Rng, from: u32, to: u32| random.u32(from..to);
    let sentence: Vec<&str> = (0..30).map(|_| WORDS[random.usize(0..WORDS.len())]).collect();
    let uuid = format!(
        "{}-{}-4{}-a{}-{}",
        hex(random, 8),
        hex(random, 4),
        hex(random, 3),
        hex(random, 3),
        hex(random, 12)
    );
    let image: String =
        super::spelled::base64(&(0..60).map(|_| char::from(random.u8(1..9))).collect::<String>());
    vec![
        ("lorem", sentence.join(" ") + "."),
        (
            "commits",
            format!("commit {}\nfix off-by-one in the parser (#{})", hex(random, 40), n(random, 10, 9999)),
        ),
        ("commits", format!("see {} for details", hex(random, 7 + round % 5))),
        ("checksums", format!("sha256:{}  archive-{}.tar.gz", hex(random, 64), n(random, 1, 99))),
        ("checksums", format!("md5 {} ok", hex(random, 32))),
        ("UUIDs", format!("request {uuid} finished in {} ms", n(random, 1, 900))),
        (
            "versions",
            format!(
                "upgrade tokio from 1.{}.{} to 1.{}.0 and openssl to 3.0.{}",
                n(random, 1, 40),
                n(random, 0, 9),
                n(random, 41, 60),
                n(random, 1, 20)
            ),
        ),
        (
            "versions",
            format!(
                "version {}.{}.{}.{} of the driver",
                n(random, 1, 9),
                n(random, 0, 9),
                n(random, 0, 9),
                n(random, 0, 99)
            ),
        ),
        (
            "dates",
            format!(
                "2026-{:02}-{:02} {:02}:{:02}:{:02},123 INFO worker-{} took {} ms for {} rows",
                n(random, 1, 13),
                n(random, 1, 28),
                n(random, 0, 24),
                n(random, 0, 60),
                n(random, 0, 60),
                n(random, 1, 30),
                n(random, 1, 9999),
                n(random, 1, 99999)
            ),
        ),
        (
            "dates",
            format!(
                "Am {}.{}.2026 um {}:{:02} Uhr treffen wir uns in Raum {}.",
                n(random, 1, 28),
                n(random, 1, 13),
                n(random, 8, 20),
                n(random, 0, 60),
                n(random, 100, 400)
            ),
        ),
        (
            "books",
            format!(
                "ISBN 978-3-{}-{}-{}, 2. Auflage",
                n(random, 100, 999),
                n(random, 10000, 99999),
                n(random, 0, 9)
            ),
        ),
        (
            "orders",
            format!(
                "order {}-{}-{} shipped, invoice {}",
                n(random, 1000, 9999),
                n(random, 1000, 9999),
                n(random, 2020, 2027),
                n(random, 100_000, 999_999)
            ),
        ),
        (
            "orders",
            format!("Bestellnummer {}{} vom Montag", n(random, 10000, 99999), n(random, 100_000, 999_999)),
        ),
        ("images", format!("<img src=\"data:image/png;base64,iVBORw0KGgo{image}\">")),
        (
            "stack traces",
            format!(
                "thread 'main' panicked at src/main.rs:{}:{}\n  at core::panicking::panic_fmt (library/core/src/panicking.rs:{})\n  0x{} in run",
                n(random, 1, 900),
                n(random, 1, 80),
                n(random, 1, 200),
                hex(random, 12)
            ),
        ),
        (
            "sums",
            format!(
                "Der Umsatz stieg um {},{} % auf {}.{:03}.{:03} Euro, die Kosten auf {}.{:03}.",
                n(random, 1, 30),
                n(random, 0, 9),
                n(random, 1, 99),
                n(random, 0, 999),
                n(random, 0, 999),
                n(random, 1, 99),
                n(random, 0, 999)
            ),
        ),
        (
            "sums",
            format!(
                "Revenue was ${},{:03},{:03}; {} people in {} cities took part.",
                n(random, 1, 99),
                n(random, 0, 999),
                n(random, 0, 999),
                n(random, 100, 9999),
                n(random, 2, 90)
            ),
        ),
        (
            "code",
            format!(
                "let token = lexer.next_token()?; // token {}\nlet key = map.get(&keys[{}]);\nassert_eq!(hash, 0x{});",
                round,
                n(random, 0, 9),
                hex(random, 8)
            ),
        ),
        (
            "code",
            format!(
                "def check(password, limit={}):\n    return len(password) > limit and password != user.name",
                n(random, 8, 20)
            ),
        ),
        (
            "settings",
            format!(
                "max_tokens: {}\npassword_min_length: {}\ntoken_ttl: {}s\nkey_file: /etc/app/key.pem\npassword: ${{DB_PASSWORD}}",
                n(random, 100, 9000),
                n(random, 8, 20),
                n(random, 60, 900)
            ),
        ),
        (
            "questions",
            format!(
                "Warum ist Regel {} so streng? Das Passwort ist mir egal, ich frage nach dem Schlüssel zur Aufgabe {}.",
                n(random, 1, 30),
                n(random, 1, 30)
            ),
        ),
        (
            "tables",
            format!(
                "| name | size | key |\n|---|---|---|\n| a | {} | primary |\n| b | {} | foreign |",
                n(random, 1, 999),
                n(random, 1, 999)
            ),
        ),
        (
            "measures",
            format!(
                "{}.{} kg, {} mm x {} mm, {} °C, {} rpm, GPS 52.{}, 13.{}",
                n(random, 1, 90),
                n(random, 0, 9),
                n(random, 10, 900),
                n(random, 10, 900),
                n(random, 1, 90),
                n(random, 1000, 9000),
                n(random, 10000, 99999),
                n(random, 10000, 99999)
            ),
        ),
    ]
}
