//! How much of what must not leave is found, and how many clean texts are touched: made values of
//! every rule and class, in every spelling and kind of text. The table in `docs/privacy.md` is what
//! `cargo test --test privacy_rates -- --nocapture` prints.

#[path = "privacy_rates/clean.rs"]
mod clean;
#[path = "privacy_rates/planted.rs"]
mod planted;
#[path = "privacy_rates/spelled.rs"]
mod spelled;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use empire::privacy::rules;
use empire_actors::gates::detect::{Detector, Redactor};

#[allow(clippy::expect_used, reason = "without rules there is nothing to measure")]
static DETECTOR: LazyLock<Arc<Detector>> = LazyLock::new(|| {
    Arc::new(Detector::new(rules::load(&rules::Look::default()).expect("the rules that ship")))
});

/// The text as it would leave; empty where it may not leave at all.
fn cut(text: &str) -> String {
    match Redactor::new(DETECTOR.clone()).cut(text) {
        Ok(cut) => cut.unwrap_or_else(|| text.to_owned()),
        Err(_) => String::new(),
    }
}

#[derive(Default, Clone, Copy)]
struct Rate {
    found: usize,
    all: usize,
}

impl Rate {
    fn add(&mut self, is_found: bool) {
        self.all += 1;
        self.found += usize::from(is_found);
    }

    fn percent(self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "some thousand texts")]
        let share = self.found as f64 / self.all.max(1) as f64;
        100.0 * share
    }
}

#[test]
fn what_is_planted_goes() {
    let mut rates: BTreeMap<(&str, &str), Rate> = BTreeMap::new();
    let mut missed = Vec::new();
    let planted = planted::all(&DETECTOR.rules(), 0);
    for (number, planted) in planted.iter().enumerate() {
        for (turn, spelling) in spelled::ALL.iter().enumerate() {
            // Each value in each way of writing, and each time in another kind of text.
            let frame = spelled::FRAMES[(number + turn) % spelled::FRAMES.len()];
            let Some((text, spelled)) = spelling.plant(planted, frame) else { continue };
            let is_found = !spelled::remains(&cut(&text), &spelled);
            rates.entry((planted.class, spelling.group)).or_default().add(is_found);
            if !is_found {
                missed.push(format!("{} / {}: {text:?}", planted.class, spelling.name));
            }
        }
    }
    println!("| class | values | {} |", spelled::GROUPS.join(" | "));
    println!("|---|---|{}", "---|".repeat(spelled::GROUPS.len()));
    let classes: Vec<&str> = rates.keys().map(|(class, _)| *class).collect();
    let mut last = "";
    for class in classes {
        if class != last {
            let values = planted.iter().filter(|planted| planted.class == class).count();
            let rate = |group: &&str| {
                rates.get(&(class, group)).map_or("–".into(), |rate| format!("{:.1} %", rate.percent()))
            };
            println!(
                "| {class} | {values} | {} |",
                spelled::GROUPS.iter().map(rate).collect::<Vec<_>>().join(" | ")
            );
        }
        last = class;
    }
    let total = rates
        .values()
        .fold(Rate::default(), |sum, rate| Rate { found: sum.found + rate.found, all: sum.all + rate.all });
    println!("{} values in {} texts: {:.2} % gone", planted.len(), total.all, total.percent());
    missed.iter().take(60).for_each(|text| println!("  left: {text}"));
    assert!(planted.len() >= 500, "{} values", planted.len());
    assert!(missed.is_empty(), "{} of {} left", missed.len(), total.all);
}

#[test]
fn clean_texts_stay() {
    let mut rates: BTreeMap<&str, Rate> = BTreeMap::new();
    for (kind, text) in clean::all() {
        let cut = cut(&text);
        rates.entry(kind).or_default().add(cut != text);
        if cut != text {
            println!("  touched: {kind}: {text:?} became {cut:?}");
        }
    }
    println!("| clean texts | number | touched |\n|---|---|---|");
    rates.iter().for_each(|(kind, rate)| println!("| {kind} | {} | {} |", rate.all, rate.found));
    let (touched, all) = rates.values().fold((0, 0), |sum, rate| (sum.0 + rate.found, sum.1 + rate.all));
    println!("{touched} of {all} touched");
    assert!(all >= 1_000 && 100 * touched <= all, "{touched} of {all}");
}
