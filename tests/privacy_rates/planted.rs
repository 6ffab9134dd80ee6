//! Values that must go: one of every rule, and made personal data, each with the words around it.

use empire_actors::gates::detect::{Detector, Rules};

pub(crate) struct Planted {
    pub(crate) class: &'static str,
    pub(crate) before: String,
    pub(crate) value: String,
    pub(crate) after: String,
    /// It is a text of its own: a table, a key file.
    pub(crate) is_whole: bool,
}

/// All of them as round `round` makes them: each round has values of its own.
pub(crate) fn all(rules: &Rules, round: u64) -> Vec<Planted> {
    let mut random = fastrand::Rng::with_seed(11 + round);
    let mut planted = of_rules(rules, round);
    planted.extend(passwords(&mut random));
    for _ in 0..12 {
        planted.extend(personal(&mut random));
    }
    planted
}

/// A sample of every rule.
fn of_rules(rules: &Rules, round: u64) -> Vec<Planted> {
    // Each sample of a rule is made so often, each time another.
    const SAMPLES: u64 = 3;
    let number = usize::try_from(round % SAMPLES).unwrap_or_default();
    // Where the value stands in its sample, the search itself tells; that it goes at all, in the
    // plain column, is what the rules' own samples promise.
    let search =
        Detector::new(empire::privacy::rules::load(&Default::default()).expect("the rules that ship"));
    let samples = rules.samples().filter(|(sample, _)| !sample.is_near && sample.number == number);
    samples
        .filter_map(|(_, text)| {
            let hit = search.scan(&text).hits.into_iter().max_by_key(|hit| hit.score)?;
            // Some rules take the name along.
            let name = text[hit.range.clone()].rfind("= ").map_or(0, |sign| sign + 2);
            let start = hit.range.start + name;
            let (before, after) = (text[..start].to_owned(), text[hit.range.end..].to_owned());
            let value = text[start..hit.range.end].to_owned();
            Some(Planted { class: "tokens and keys", before, value, after, is_whole: false })
        })
        .collect()
}

fn word(random: &mut fastrand::Rng, length: usize) -> String {
    (0..length).map(|_| random.lowercase()).collect()
}

fn digits(random: &mut fastrand::Rng, length: usize) -> String {
    (0..length).map(|n| if n == 0 { char::from(b'1' + random.u8(0..9)) } else { random.digit(10) }).collect()
}

fn passwords(random: &mut fastrand::Rng) -> Vec<Planted> {
    let frames = [
        ("password: ", ""),
        ("DB_PASSWORD=", ""),
        ("\"password\": \"", "\""),
        ("Das Passwort ist ", "."),
        ("das Kennwort lautet ", "."),
        ("the password is ", "."),
        ("my password is ", ", ok?"),
        ("pw: ", ""),
        ("PW ", ""),
        ("login anna / ", ""),
        ("Zugang: admin / ", ""),
        ("login is bob / ", ""),
        ("Zugangsdaten: admin:", ""),
        ("use ", " to log in"),
        ("nimm ", " zum Einloggen"),
        ("mysql -u root -p", " db"),
        ("sshpass -p ", " ssh host"),
        ("curl -u anna:", " https://x.example"),
        ("postgres://app:", "@db/x"),
        ("Server=db;User Id=sa;Password=", ";Timeout=3"),
        ("export PGPASSWORD=", ""),
        ("tool --password ", " go"),
        ("<password>", "</password>"),
        ("api_key = \"", "\""),
        ("client_secret: ", ""),
        ("Authorization: Bearer ", ""),
        ("redis-cli -a ", " ping"),
        ("passphrase: \"", "\""),
        ("CREATE USER x IDENTIFIED BY '", "'"),
        ("echo 'root:", "' | chpasswd"),
    ];
    let mut planted = Vec::new();
    for (before, after) in frames {
        for _ in 0..3 {
            let length = 9 + random.usize(0..12);
            let mut value: String = (0..length).map(|_| random.alphanumeric()).collect();
            value.insert(3, random.digit(10));
            value.insert(6, 'q');
            if before.contains("Bearer") {
                value = value.repeat(2);
            }
            planted.push(Planted {
                class: "passwords by name",
                before: before.to_owned(),
                value,
                after: after.to_owned(),
                is_whole: false,
            });
        }
    }
    for (head, row_before, row_after) in [
        ("user,password\n", "anna,", "\n"),
        ("name;Passwort;Rolle\n", "anna;", ";admin\n"),
        ("| user | password |\n|---|---|\n", "| anna | ", " |\n"),
        ("host\ttoken\n", "db1\t", "\n"),
    ] {
        for _ in 0..3 {
            let value = format!("{}{}K", word(random, 6), random.digit(10));
            let before = format!("{head}{row_before}");
            planted.push(Planted {
                class: "passwords in tables",
                before,
                value,
                after: row_after.into(),
                is_whole: true,
            });
        }
    }
    planted
}

fn personal(random: &mut fastrand::Rng) -> Vec<Planted> {
    let mut planted = Vec::new();
    let mut add = |class, before: &str, value: String, after: &str| {
        planted.push(Planted { class, before: before.into(), value, after: after.into(), is_whole: false });
    };
    let (name, host) = (word(random, 7), word(random, 8));
    add("e-mail", "mail to ", format!("{name}.x@{host}.example"), " please");
    add("e-mail", "", format!("{name}+news@{host}.de"), "");
    add("telephone", "Tel. ", format!("+49 30 {}", digits(random, 7)), "");
    add("telephone", "ruf an: ", format!("0171 {}", digits(random, 8)), "");
    add("telephone", "call ", format!("(212) 555-{}", 1000 + random.u32(0..9000)), " now");
    let account = digits(random, 18);
    let spaced = |text: &str| {
        text.as_bytes()
            .chunks(4)
            .map(|four| String::from_utf8_lossy(four).into_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    add("bank account", "IBAN ", format!("DE{:02}{account}", 98 - mod_97(&format!("{account}131400"))), "");
    add(
        "bank account",
        "auf ",
        spaced(&format!("DE{:02}{account}", 98 - mod_97(&format!("{account}131400")))),
        " überweisen",
    );
    add("bank account", "IBAN: ", format!("DE{:02}{account}", 97 - mod_97(&format!("{account}131400"))), "");
    let card = luhn(&format!("4{}", digits(random, 14)));
    add("payment card", "card ", card.clone(), "");
    add("payment card", "zahlt mit ", spaced(&card), "");
    add("tax number", "Steuer-ID ", tax_id(random), "");
    add(
        "tax number",
        "Steuernummer ",
        format!("{}/{}/{}", digits(random, 3), digits(random, 3), digits(random, 5)),
        "",
    );
    add("tax number", "Steuer-ID: ", digits(random, 11), "");
    add(
        "social number",
        "SSN ",
        format!("{}-{}-{}", 101 + random.u32(0..500), 11 + random.u32(0..80), 1001 + random.u32(0..8000)),
        "",
    );
    add("social number", "KVNR ", format!("{}{}", random.uppercase(), digits(random, 9)), "");
    add("social number", "Versichertennummer: ", format!("{}{}", random.uppercase(), digits(random, 9)), "");
    let house = 1 + random.u32(0..90);
    add(
        "address",
        "wohnt in der ",
        format!("Lindenstraße {house}, 10{} Berlin", 115 + random.u32(0..800)),
        "",
    );
    add(
        "address",
        "ship to ",
        format!("{} Maple Street, Springfield, IL 62{}", 100 + house, 701 + random.u32(0..90)),
        "",
    );
    add("network address", "client ", format!("203.0.113.{}", random.u8(1..255)), " connected");
    add(
        "network address",
        "IP: ",
        format!("2001:db8:85a3::8a2e:370:{:x}", 0x1000 + random.u16(0..0xeff)),
        "",
    );
    add(
        "identity paper",
        "Personalausweisnummer ",
        format!("L{}C{}T{}", digits(random, 2), digits(random, 2), digits(random, 2)),
        "",
    );
    planted
}

/// The remainder by 97 of a number of any length (ISO 7064).
fn mod_97(number: &str) -> u32 {
    number.bytes().fold(0, |rest, digit| (rest * 10 + u32::from(digit - b'0')) % 97)
}

/// With its check digit (ISO/IEC 7812-1).
fn luhn(head: &str) -> String {
    let sum: u32 = head
        .bytes()
        .rev()
        .enumerate()
        .map(|(index, digit)| {
            let value = u32::from(digit - b'0') << ((index + 1) % 2);
            if value > 9 { value - 9 } else { value }
        })
        .sum();
    format!("{head}{}", (10 - sum % 10) % 10)
}

/// Eleven digits with one of them twice and a check digit (§ 139b AO).
fn tax_id(random: &mut fastrand::Rng) -> String {
    let mut digits: Vec<u32> = (0..10).collect();
    random.shuffle(&mut digits);
    digits.truncate(9);
    if digits[0] == 0 {
        digits.swap(0, 1);
    }
    digits.push(digits[2]);
    let product = digits.iter().fold(10, |product, digit| {
        let sum = (digit + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    digits.push((11 - product) % 10);
    digits.iter().map(u32::to_string).collect()
}
