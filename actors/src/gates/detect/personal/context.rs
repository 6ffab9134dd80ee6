//! The words that say what a number is: "Tel.", "IBAN", "Steuernummer", "order".
//!
//! They are only looked for in the stretch before a number, and no byte is read twice.

use std::sync::LazyLock;

use aho_corasick::automaton::StateID;

use crate::gates::detect::lexicon::{Bound, Lexicon};

/// Bytes before a number in which a word still counts.
const REACH: usize = 96;

/// What a word says about the number after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Phone,
    Card,
    Iban,
    TaxId,
    TaxNumber,
    Vat,
    Pension,
    Health,
    IdCard,
    Passport,
    Register,
    RegisterCode,
    Plate,
    Ssn,
    Itin,
    Ein,
    Licence,
    Nino,
    Nhs,
    Birth,
    Address,
    PostBox,
    Ip,
    Version,
    /// It is a number of something else: an order, a parcel, a book.
    Other,
}

const KINDS: usize = Kind::Other as usize + 1;

use Bound::{Capitals, Head, Part, Word};

/// Kind, bound and the words, small letters.
const WORDS: &[(Kind, Bound, &[&str])] = &[
    (
        Kind::Phone,
        Word,
        &[
            "tel",
            "call",
            "dial",
            "sms",
            "cell",
            "text me",
            "ring me",
            "reach me",
            "my number",
            "my cell",
            "meine nummer",
            "seine nummer",
            "ihre nummer",
            "deine nummer",
            "neue nummer",
            "ruf mich",
            "rufen sie",
            "erreichen",
            "her number",
            "his number",
            "new number",
            "your number",
        ],
    ),
    (
        Kind::Phone,
        Head,
        &[
            "telefax",
            "telephone",
            "phone",
            "handy",
            "mobil",
            "fax",
            "anruf",
            "erreichbar",
            "durchwahl",
            "hotline",
            "whatsapp",
            "zurückruf",
            "rückruf",
            "festnetz",
            "kontakt",
            "contact",
            "voicemail",
            "cellphone",
            "ruft ",
        ],
    ),
    (Kind::Phone, Part, &["telefon", "rufnummer", "handynummer", "diensthandy", "mobilnummer"]),
    (Kind::Iban, Part, &["iban", "bankverbindung", "kontonummer", "bank account"]),
    (Kind::Card, Part, &["card", "karte"]),
    (Kind::Card, Word, &["visa", "amex", "cvv", "cvc", "maestro"]),
    (
        Kind::TaxId,
        Part,
        &["steuer-id", "steuerid", "steuer id", "steueridentifikation", "identifikationsnummer"],
    ),
    (Kind::TaxId, Word, &["idnr", "id-nr", "tax id", "tax-id", "tax identification", "tin", "taxpayer"]),
    (
        Kind::TaxNumber,
        Part,
        &["steuernummer", "steuer-nr", "steuernr", "st.-nr", "st-nr", "st.nr", "steuernummern"],
    ),
    (Kind::TaxNumber, Word, &["stnr", "tax number", "finanzamt", "tax no"]),
    (Kind::Vat, Head, &["ust-id", "ustid", "ust.-id", "umsatzsteuer", "mwst"]),
    (Kind::Vat, Word, &["vat", "uid"]),
    (
        Kind::Pension,
        Part,
        &[
            "rentenversicher",
            "sozialversicher",
            "versicherungsnummer",
            "versicherungs-nr",
            "pension insurance",
        ],
    ),
    (Kind::Pension, Word, &["rvnr", "sv-nummer", "svnr", "sv-nr", "vsnr"]),
    (
        Kind::Health,
        Part,
        &["versichert", "krankenkasse", "krankenversicher", "gesundheitskarte", "health insurance"],
    ),
    (Kind::Health, Word, &["kvnr", "egk", "kv-nr", "kv-nummer", "aok", "barmer"]),
    (Kind::IdCard, Part, &["ausweis", "identity card", "id card"]),
    (Kind::IdCard, Word, &["perso", "id number", "identity number", "personalausweisnummer"]),
    (Kind::Passport, Part, &["reisepass", "passnummer", "pass-nr", "pass nr", "passport"]),
    (Kind::RegisterCode, Word, &["hrb", "hra"]),
    (Kind::Register, Part, &["handelsregister", "registergericht", "amtsgericht", "registernummer"]),
    (
        Kind::Plate,
        Part,
        &["kennzeichen", "nummernschild", "license plate", "licence plate", "number plate", "plate number"],
    ),
    (Kind::Plate, Head, &["kfz", "plates"]),
    (Kind::Ssn, Word, &["ssn", "ssns", "soc sec", "my social"]),
    (Kind::Ssn, Head, &["social security", "social-security"]),
    (Kind::Itin, Word, &["itin"]),
    (Kind::Ein, Capitals, &["ein", "fein"]),
    (Kind::Ein, Head, &["employer identification", "federal tax", "employer id"]),
    (
        Kind::Licence,
        Part,
        &[
            "führerschein",
            "fuehrerschein",
            "driver's licen",
            "drivers licen",
            "driver licen",
            "driving licen",
            "driver’s licen",
            "fahrerlaubnis",
        ],
    ),
    (Kind::Licence, Capitals, &["dl", "dln"]),
    (Kind::Nino, Head, &["national insurance"]),
    (Kind::Nino, Word, &["nino", "ni number", "ni no"]),
    (Kind::Nhs, Word, &["nhs"]),
    (Kind::Birth, Head, &["geboren", "geb.", "geburts", "birthdate", "birthday", "born"]),
    (
        Kind::Birth,
        Word,
        &["date of birth", "birth date", "dob", "d.o.b", "gebdat", "geb", "geb.-datum", "day of birth"],
    ),
    (
        Kind::Address,
        Head,
        &["wohnhaft", "wohnt", "wohne", "wohnort", "postleitzahl", "umgezogen", "wohnsitz"],
    ),
    (Kind::Address, Part, &["anschrift", "adresse", "address"]),
    (
        Kind::Address,
        Word,
        &[
            "plz",
            "zip",
            "zip code",
            "lives at",
            "live at",
            "living at",
            "ship to",
            "deliver to",
            "mail to",
            "send to",
            "residing at",
            "resident at",
            "moved to",
            "liefern an",
            "lieferung an",
            "senden an",
            "schick es an",
            "schicken an",
            "deliver it to",
            "send it to",
            "ship it to",
            "located at",
            "sitz in",
        ],
    ),
    (Kind::PostBox, Word, &["postfach", "po box", "p.o. box", "p.o.box", "p. o. box", "post office box"]),
    (Kind::Ip, Word, &["ip", "ips", "dns", "ping", "ssh", "client", "connection from", "peer", "nat", "vpn"]),
    (Kind::Ip, Head, &["ipv", "ip-", "host", "gateway", "router", "subnet", "resolver", "firewall"]),
    (Kind::Ip, Part, &["server", "-ip", "_ip"]),
    (
        Kind::Version,
        Head,
        &["version", "firmware", "release", "build", "driver version", "treiber", "kapitel", "abschnitt"],
    ),
    (Kind::Version, Word, &["ver", "chapter", "section", "sec", "oid", "clause", "ziffer"]),
    (
        Kind::Other,
        Head,
        &[
            "bestell",
            "auftrag",
            "rechnung",
            "invoice",
            "sendung",
            "tracking",
            "paket",
            "parcel",
            "shipment",
            "artikel",
            "ticket",
            "commit",
            "build",
            "serial",
            "serien",
            "vorgang",
            "aktenzeichen",
            "transaction",
            "transaktion",
            "referenz",
            "reference",
            "timestamp",
            "zeitstempel",
            "inventar",
            "batch",
            "modell",
            "model",
            "offset",
            "barcode",
            "strichcode",
            "zähler",
            "fahrgestell",
            "checksum",
            "prüfsumme",
            "koordinate",
            "coordinate",
            "kunden",
            "customer",
            "epoch",
            "material",
            "product",
            "produkt",
            "buchung",
            "booking",
            "lieferschein",
            "tracking",
            "part number",
            "catalog",
            "katalog",
        ],
    ),
    (
        Kind::Other,
        Word,
        &[
            "order", "orders", "isbn", "ean", "gtin", "upc", "sku", "az", "ref", "uuid", "hash", "lot",
            "doi", "issn", "arxiv", "pid", "port", "s/n", "imei", "dhl", "ups", "fedex", "rma", "md5", "po",
            "id=", "nonce", "gps", "pmid", "build", "charge", "seed",
        ],
    ),
    (Kind::Other, Part, &["kundennummer", "bestellnummer", "rechnungsnummer", "sendungsnummer"]),
];

#[allow(clippy::expect_used, reason = "the words are constants, and a test builds them")]
static LEXICON: LazyLock<Lexicon<Kind>> = LazyLock::new(|| {
    let words = WORDS.iter().flat_map(|(kind, bound, words)| words.iter().map(|word| (*kind, *bound, *word)));
    Lexicon::new(&words.collect::<Vec<_>>()).expect("some hundred short words make a small automaton")
});

/// The words before the place that is being judged.
#[derive(Debug)]
pub(super) struct Context {
    /// Up to where the text was read.
    read: usize,
    state: Option<StateID>,
    /// One past the end of the last word of a kind; 0: none.
    last: [usize; KINDS],
    /// The place that is judged.
    at: usize,
}

impl Context {
    pub(super) const fn new() -> Self {
        Self { read: 0, state: None, last: [0; KINDS], at: 0 }
    }

    /// Reads on up to `at`, which never goes back.
    pub(super) fn advance(&mut self, bytes: &[u8], at: usize) {
        let state = match self.state {
            Some(state) if at.saturating_sub(self.read) <= REACH => state,
            _ => {
                self.read = self.read.max(at.saturating_sub(REACH));
                LEXICON.start()
            }
        };
        let last = &mut self.last;
        let state = LEXICON
            .read(bytes, self.read..at.max(self.read), state, |kind, _, end| last[kind as usize] = end);
        self.read = self.read.max(at);
        self.state = Some(state);
        self.at = at;
    }

    /// Bytes between the last word of this kind and the place that is judged.
    pub(super) fn distance(&self, kind: Kind) -> Option<usize> {
        let last = self.last[kind as usize];
        (last > 0).then(|| self.at.saturating_sub(last))
    }

    /// Whether a word of this kind stands at most `within` bytes before.
    pub(super) fn near(&self, kind: Kind, within: usize) -> bool {
        self.distance(kind).is_some_and(|distance| distance <= within)
    }

    /// Whether a word of this kind stands at most `within` bytes before, and none of another kind
    /// behind it.
    pub(super) fn nearest(&self, kind: Kind, within: usize) -> bool {
        let last = self.last[kind as usize];
        self.near(kind, within) && self.last.iter().all(|other| *other <= last)
    }

    /// Whether the nearest word says that it is a number of something else.
    pub(super) fn is_other(&self) -> bool {
        self.nearest(Kind::Other, 40)
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use super::*;

    #[test]
    fn words_count_by_kind_distance_and_bound() {
        let seen = |text: &str| {
            let mut context = Context::new();
            context.advance(text.as_bytes(), text.len());
            context
        };
        assert_eq!(seen("Tel.: ").distance(Kind::Phone), Some(3));
        assert_eq!(seen("im Hotel ").distance(Kind::Phone), None);
        assert!(seen("Telefonnummer ").near(Kind::Phone, 10));
        assert!(seen("EIN ").near(Kind::Ein, 1) && !seen("ein ").near(Kind::Ein, 1));
        assert!(seen("Telefon, Bestellnummer ").is_other());
        assert!(!seen("Bestellung per Telefon ").is_other());
    }

    #[test]
    fn reading_in_steps_is_reading_at_once() {
        let text = "Tel 1 Telefon 2 order 3 Steuer-ID 4 geboren am 5".repeat(3);
        let mut stepped = Context::new();
        for at in 0..=text.len() {
            stepped.advance(text.as_bytes(), at);
            let mut once = Context::new();
            once.advance(text.as_bytes(), at);
            assert!(stepped.nearest(Kind::Phone, 40) == once.nearest(Kind::Phone, 40), "{at}");
        }
    }
}
