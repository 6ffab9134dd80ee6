//! Tables of what is found, what is not, and of texts that stay as they are.

mod harmless;
mod properties;

use super::*;

fn hits(text: &str) -> Vec<Hit> {
    let mut hits = Vec::new();
    find(text, &mut hits);
    hits
}

/// What was found, as `rule=text`.
fn found(text: &str) -> Vec<String> {
    hits(text).into_iter().map(|hit| format!("{}={}", hit.rule, &text[hit.range])).collect()
}

/// Each text holds exactly one value, between `[` and `]`, which are taken out before the search.
fn assert_found(rule: &str, marked: &[&str]) {
    let mut faults = Vec::new();
    for marked in marked {
        let (open, close) = (marked.find('[').unwrap(), marked.rfind(']').unwrap());
        let text = marked.replace(['[', ']'], "");
        let want = vec![format!("{rule}={}", &marked[open + 1..close])];
        let got = found(&text);
        if got != want {
            faults.push(format!("{text:?}: {got:?} instead of {want:?}"));
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn assert_silent(texts: &[&str]) {
    let loud: Vec<_> =
        texts.iter().map(|text| (text, found(text))).filter(|(_, got)| !got.is_empty()).collect();
    assert!(loud.is_empty(), "\n{}\n", loud.iter().map(|fault| format!("{fault:?}\n")).collect::<String>());
}

/// Digits as text.
fn text_of(digits: &[u8]) -> String {
    digits.iter().map(|digit| char::from(b'0' + digit)).collect()
}

/// A tax number with its check digit.
fn tax_id(head: &str) -> String {
    let digits: Vec<u8> = head.bytes().map(|c| c - b'0').collect();
    format!("{head}{}", mod_11_10_of(&digits))
}

fn mod_11_10_of(digits: &[u8]) -> u8 {
    germany::mod_11_10(digits)
}

/// A pension number, from its first eleven characters.
fn pension(head: &str) -> String {
    format!("{head}{}", char::from(germany::pension_check(head.as_bytes())))
}

/// A health number, from its first nine characters.
fn health(head: &str) -> String {
    format!("{head}{}", char::from(germany::health_check(head.as_bytes())))
}

/// A paper's number, from its first nine characters.
fn paper(head: &str) -> String {
    format!("{head}{}", char::from(germany::icao_check(head.as_bytes())))
}

/// An account, from its country and the rest.
fn iban(country: &str, rest: &str) -> String {
    let check = 98 - bank::mod_97(format!("{country}00{rest}").as_bytes());
    format!("{country}{check:02}{rest}")
}

/// A card, from all its digits but the last.
fn card(head: &str) -> String {
    let digits: Vec<u8> = head.bytes().chain([b'0']).map(|c| c - b'0').collect();
    format!("{head}{}", (10 - bank::luhn(&digits)) % 10)
}

#[test]
fn phones_of_all_countries_by_their_code() {
    assert_found(
        "phone-international",
        &[
            "Ruf an: [+49 30 1234567].",
            "[+49 (0) 171 1234567] geht auch",
            "[+49 (0)30/123456-78]",
            "tel:[+4917112345678]",
            "Schreib mir auf WhatsApp ([+49 151 23456789])",
            "mein Büro: [0049 89 123456]",
            "[0049(0)711/123456]",
            "call [+1 (212) 555-0123] now",
            "[+1-212-555-0123]",
            "[+12125550123]",
            "London [+44 20 7946 0958], ask for sales",
            "[+43 1 5234567]",
            "Zürich [+41 44 668 18 00]",
            "[+33 1 23 45 67 89]",
            "电话[+8613812345678]",
            "[+351 21 123 4567]",
            "Mobil\u{a0}[+49\u{a0}171\u{202f}1234567]",
        ],
    );
    assert_silent(&[
        "+10 000 000 more views",
        "up +25 500 000 on last year",
        "a +49 b",
        "x+4912345678",
        "+0 123 456 789",
        "+49 000 000 000",
        "UPC 0036000291452",
        "the offset is +1234567890123456789",
        "rated +20 000 000 EUR",
        "0000123456",
    ]);
}

#[test]
fn national_phones_by_shape_or_word() {
    assert_found(
        "phone-national",
        &[
            "Büro [030/1234567]",
            "unter [(030) 123456] erreichst du uns",
            "[0171-1234567]",
            "[01712345678] ist meine",
            "[0171/123 45 67]",
            "Praxis [0711 1234567] bis 17 Uhr",
            "[06221 123456]",
            "Tel. [089 12345-0]",
            "Telefon: [0351 / 1234567]",
            "Fax [04101.123456]",
            "London office [020 7946 0958]",
            "Wien: [0664 1234567]",
        ],
    );
    assert_found(
        "phone-us",
        &[
            "[(212) 555-0123]",
            "at [212-555-0123], thanks",
            "[212.555.0123]",
            "[1-800-555-0199]",
            "my number is [2125550123]",
            "call me: [212 555 0123]",
        ],
    );
    assert_found("phone-named", &["Tel. [12 34 56]", "Call [555-0123].", "Telefon [123456-78]"]);
    assert_silent(&[
        "2125550123 rows",
        "order 0171-1234567",
        "Bestellnummer 01712345678",
        "Artikel 030/1234567",
        "im Jahr 1999-2005",
        "0.12345678 and 0.5 0.7 0.9",
        "Telefon seit 01.02.2024",
        "Anruf am 12.03.2024 um 14:30",
        "Hotline 24/7",
        "ratio 302 555",
        "01067 Dresden",
    ]);
}

#[test]
fn accounts_of_all_lengths_with_their_checksum() {
    assert_found(
        "iban",
        &[
            "IBAN: [DE89 3704 0044 0532 0130 00]",
            "auf [DE89370400440532013000] überweisen",
            "iban [de89370400440532013000].",
            "[DE89-3704-0044-0532-0130-00]",
            "[DE 89 3704 0044 0532 0130 00]",
            "[GB29 NWBK 6016 1331 9268 19]",
            "[FR14 2004 1010 0505 0001 3M02 606]",
            "[CH93 0076 2011 6238 5295 7]",
            "[NL91ABNA0417164300], bitte",
            "[MT84 MALT 0110 0001 2345 MTLC AST0 01S]",
            "[NO93 8601 1117 947]",
            "[AT61\u{a0}1904\u{a0}3002\u{a0}3457\u{a0}3201]",
            "IBAN[DE89370400440532013000]",
        ],
    );
    assert_silent(&[
        "DE88 3704 0044 0532 0130 00",
        "DE89 3704 0044 0532 0130",
        "DE89 3704 0044 0532 0130 001",
        "XX89 3704 0044 0532 0130 00",
    ]);
    for (code, length) in [("NO", 15), ("BE", 16), ("LC", 32), ("RU", 33)] {
        let account = iban(code, &"1".repeat(length - 4));
        assert_eq!(found(&format!("to {account} today")), [format!("iban={account}")]);
    }
}

#[test]
fn cards_with_their_checksum() {
    assert_found(
        "payment-card",
        &[
            "card [4242 4242 4242 4242]",
            "[4111111111111111] exp 12/29",
            "[5555-5555-5555-4444]",
            "[3782 822463 10005]",
            "[378282246310005]",
            "[6011 1111 1111 1117]",
            "[3056 930902 5904]",
            "[3530111333300000]",
            "Kreditkarte: [4000 0566 5566 5556], CVC folgt",
            "[4 2 4 2 4 2 4 2 4 2 4 2 4 2 4 2]",
        ],
    );
    assert_silent(&[
        "4242 4242 4242 4243",
        "order 4242424242424242",
        "tracking 4111111111111111",
        "1700000000000000",
        "0000 0000 0000 0000",
        "4111-1111-1111-1111-abcd",
        "4111111111111111.jpg",
    ]);
}

#[test]
fn german_numbers() {
    let id = tax_id("8609574271");
    assert_found(
        "de-tax-id",
        &[
            &format!("Steuer-ID: [{id}]"),
            &format!("Meine IdNr ist [{} {} {} {}].", &id[..2], &id[2..5], &id[5..8], &id[8..]),
            &format!("die [{id}] bitte"),
        ],
    );
    assert_found(
        "de-tax-number",
        &[
            "Steuernummer [12/345/67890]",
            "St.-Nr.: [133/8150/8159]",
            "Steuernummer: [93815/08152]",
            "Steuer-Nr. [2893081508152]",
            "StNr [013 815 08153]",
        ],
    );
    let vat = format!("DE{}", tax_id("13669597"));
    assert_found(
        "vat-id",
        &[
            &format!("USt-IdNr.: [{vat}]"),
            &format!("[{}]", vat.replace("DE", "DE ")),
            &format!("USt-ID [DE {} {} {}]", &vat[2..5], &vat[5..8], &vat[8..]),
            "VAT [ATU12345678]",
        ],
    );
    let rv = pension("65170839J00");
    assert_found(
        "de-pension-number",
        &[
            &format!("RVNR [{rv}]"),
            &format!("Rentenversicherungsnummer: [{} {} {} {}]", &rv[..2], &rv[2..8], &rv[8..9], &rv[9..]),
            &format!("hier [{}] bitte", rv.to_lowercase()),
        ],
    );
    let kv = health("A12345678");
    assert_found(
        "de-health-number",
        &[
            &format!("Versichertennummer [{kv}]"),
            &format!("KVNR: [{} {} {} {}]", &kv[..1], &kv[1..4], &kv[4..7], &kv[7..]),
        ],
    );
    assert_found(
        "id-card",
        &[
            &format!("Personalausweis [{}]", paper("L01X00T47")),
            "Ausweisnummer: [L01X00T47]",
            &format!("IDD<<[{}]<<<<", paper("L01X00T47")),
        ],
    );
    assert_found("passport", &[&format!("Reisepass [{}]", paper("C01X00T47")), "Passnummer [C01X00T47]"]);
    assert_found(
        "de-commercial-register",
        &[
            "Amtsgericht Musterstadt, HRB [123]",
            "HRB [12345]",
            "Handelsregister: HRA [4711]",
            "HRB-Nr. [98765]",
        ],
    );
    assert_found(
        "de-plate",
        &[
            "Kennzeichen [B-MW 1234]",
            "Kfz-Kennzeichen: [HH AB 12E]",
            "das Nummernschild [M-X 1]",
            "Kennzeichen [TÜ-AB1234]",
        ],
    );
    assert_silent(&[
        "Steuer-ID 12345678901",
        "Sendungsnummer 86095742719",
        "DE123456780 Prüfung",
        "12/345/67890",
        "Typ A123456781",
        "65170839J009",
        "HRB 85 Härte",
        "die Klasse B-MW 1234",
        "Ausweis bitte bis 12345 zeigen",
    ]);
}

#[test]
fn american_and_british_numbers() {
    assert_found(
        "us-ssn",
        &[
            "SSN: [123-45-6789]",
            "her [123-45-6789] is on file",
            "SSN [123456789]",
            "social security number [123 45 6789]",
        ],
    );
    assert_found(
        "us-itin",
        &[
            "ITIN [912-70-1234]",
            "[912-70-1234]",
            "ITIN: 912701234".replace("912701234", "[912701234]").as_str(),
        ],
    );
    assert_found("us-ein", &["EIN: [12-3456789]", "Federal Tax ID [12-3456789]"]);
    assert_found(
        "driving-licence",
        &[
            "Driver's license [D1234567]",
            "DL: [S123-4567-8901]",
            "Führerschein [B072RRE2I55]",
            "driving licence no. [MORGA657054SM9IJ]",
        ],
    );
    assert_found("passport", &["passport no. [123456789]", "Passport: [A12345678]"]);
    assert_found(
        "uk-national-insurance",
        &["NI number [AB 12 34 56 C]", "[AB123456C]", "National Insurance: [QQ123456C]"],
    );
    let nhs = anglo::health_check(&[9, 4, 3, 4, 7, 6, 5, 9, 1]).unwrap();
    assert_found("uk-nhs-number", &[&format!("NHS number [943 476 591{nhs}]")]);
    assert_silent(&[
        "000-12-3456",
        "666-12-3456",
        "123-00-4567",
        "123-45-0000",
        "123456789 bytes",
        "invoice 123-45-6789",
        "12-3456789",
        "ein 12-3456789",
        "BG123456C",
        "AB123456E",
        "NHS number 943 476 5918",
        "part X-123-45-6789",
    ]);
}

#[test]
fn addresses_in_networks() {
    assert_found(
        "ipv4",
        &[
            "server [192.168.1.20] down",
            "from [8.8.8.8]:53",
            "http://[10.0.0.5]/",
            "ping [1.1.1.1]",
            "[203.0.113.7] - - [GET]".replace(" - - [GET]", " - -").as_str(),
            "block [172.16.4.0]/24",
            "IP: [93.184.216.34].",
        ],
    );
    assert_found(
        "ipv6",
        &[
            "[2001:db8::8a2e:370:7334]",
            "[fe80::1]%eth0",
            "http://[2001:db8:0:0:0:0:2:1]/",
            "addr [fd12:3456:789a::1], up",
        ],
    );
    assert_found("mac-address", &["[00:1a:2b:3c:4d:5e]", "[00-1A-2B-3C-4D-5E] joined"]);
    assert_silent(&[
        "127.0.0.1 and 0.0.0.0",
        "version 10.0.19.1",
        "v1.2.3.4",
        "1.2.3.4 Kapitel",
        "Chrome/120.0.0.0",
        "256.1.1.1",
        "255.255.255.0",
        "OID 1.3.6.1.4.1",
        "12:30:45",
        "std::a1::b2",
        "::1",
        "deadbeef::",
        "1.2.3.4.5",
        "01.02.03.04",
        "at 10:20:30:40:50:60",
        "aa:bb:cc:dd:ee:f0:11:22",
        "serde 1.0.229",
        "crate==1.22.33.44",
    ]);
}

#[test]
fn postal_addresses() {
    assert_found(
        "address-de",
        &[
            "Wir sitzen in der [Musterstraße 12, 12345 Musterstadt].",
            "[Hauptstr. 5]",
            "[Hauptstr.5]",
            "Lieferung: [Lange Straße 7a\n01067 Dresden]",
            "[Karl-Marx-Allee 100, 10243 Berlin]",
            "[Am Alten Markt 5, 14467 Potsdam]",
            "[Schlossberg 3, 72070 Tübingen]",
            "bei uns am [Berliner Platz 3]",
            "[Unter den Linden 77, 10117 Berlin]",
            "wohnhaft [Feldweg 3, 12345 Musterdorf]",
            "[Ringstraße 12-14, D-60311 Frankfurt am Main]",
            "Anschrift: [12345 Musterstadt]",
            "Adresse: [Rosenweg 4]",
        ],
    );
    assert_found(
        "address-us",
        &[
            "ship to [123 Main St, Springfield, IL 62704]",
            "[1600 Example Avenue NW, Washington, DC 20500-0003]",
            "[742 Sample Terrace]",
            "I live at [12 Oak Court]",
            "[350 5th Ave, Apt 4B, New York, NY 10118]",
            "[77 Park Place, Suite 200]",
            "[221B Sample Street]",
            "[4 Elm Way\nPortland, OR 97205]",
        ],
    );
    assert_found(
        "post-box",
        &["[12 34 56]".replace('[', "Postfach [").as_str(), "P.O. Box [123]", "PO Box [4711], Musterstadt"],
    );
    assert_silent(&[
        "auf Platz 3 der Tabelle",
        "Arbeitsplatz 5",
        "auf dem Weg 3 Leute getroffen",
        "10000 Euro",
        "im Postfach 100 MB",
        "in 2008 Wall Street fell",
        "Highway 61",
        "top 10 Sample Street songs",
        "3 Ways to win",
        "Bundesstraße 5",
        "Version 3 Road map",
        "5 Dr visits",
        "in 12345 Zeilen",
        "Tabelle 3, 12345 Zeilen",
        "Der Weg 5",
        "2 Drive letters",
        "Kapitel 4, 10115 Wörter",
    ]);
}

#[test]
fn dates_of_birth() {
    assert_found(
        "birth-date",
        &[
            "geboren am [12.03.1980]",
            "geb. [1.2.85] in Musterstadt",
            "Geburtsdatum: [1980-03-12]",
            "DOB [03/12/1980]",
            "born on [March 12, 1980]",
            "born [12 March 1980]",
            "geboren am [12. März 1980]",
            "date of birth: [12th of March, 1980]",
            "geb. am [12. 3. 1980]",
        ],
    );
    assert_silent(&[
        "am 12.03.1980",
        "geboren 1980",
        "Goethe, geboren am 28. August 1749",
        "released March 12, 1980",
        "geboren um 12.30",
    ]);
}
