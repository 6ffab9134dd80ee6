//! The two corpora, and promises for any text.

use proptest::prelude::*;

use super::*;

const LEGAL: &str = include_str!("../../../../tests/corpus/legal.txt");
const NEAR_MISSES: &str = include_str!("../../../../tests/corpus/near_misses.txt");

fn texts(corpus: &'static str) -> Vec<&'static str> {
    corpus.split("\n%%\n").map(str::trim_end).collect()
}

/// The highest score of a text without regard to what is reported.
fn score(text: &str) -> i32 {
    let mut marks = marks(text);
    structure::marks(text, &(0..text.len()), &mut marks);
    Sums::of(&mut marks).score()
}

/// How many of the texts are reported, of how many.
fn reported(texts: &[&str], half: usize) -> (usize, usize) {
    let half: Vec<_> = texts.iter().skip(half).step_by(2).collect();
    (half.iter().filter(|text| !passages(text).is_empty()).count(), half.len())
}

#[test]
fn legal_texts_are_found_and_near_misses_are_not() {
    let (legal, near) = (texts(LEGAL), texts(NEAR_MISSES));
    assert!(legal.len() >= 40 && near.len() >= 60, "{} {}", legal.len(), near.len());
    println!("half      recall        false alarms");
    for (half, name) in ["tuned on", "kept out"].into_iter().enumerate() {
        let (found, of_legal) = reported(&legal, half);
        let (alarms, of_near) = reported(&near, half);
        println!(
            "{name}  {found:>2}/{of_legal:<2} {:>3} %   {alarms:>2}/{of_near:<2} {:>3} %",
            100 * found / of_legal,
            100 * alarms / of_near
        );
    }
    for half in 0..2 {
        for (index, text) in legal.iter().enumerate().skip(half).step_by(2) {
            if passages(text).is_empty() {
                println!(
                    "missed {index} (half {half}, {}): {}",
                    score(text),
                    text.chars().take(70).collect::<String>()
                );
            }
        }
        for (index, text) in near.iter().enumerate().skip(half).step_by(2) {
            for (_, _, reason) in explain(text) {
                println!(
                    "alarm {index} (half {half}): {} – {reason}",
                    text.chars().take(50).collect::<String>()
                );
            }
        }
    }
    for half in 0..2 {
        let ((found, of_legal), (alarms, of_near)) = (reported(&legal, half), reported(&near, half));
        assert!(10 * found >= 9 * of_legal, "{found} of {of_legal} in half {half}");
        assert!(20 * alarms <= of_near, "{alarms} of {of_near} in half {half}");
    }
}

#[test]
fn fresh() {
    for (name, corpus) in [
        ("legal", include_str!("../../../../tests/corpus/fresh_legal.txt")),
        ("near", include_str!("../../../../tests/corpus/fresh_near_misses.txt")),
    ] {
        let texts = texts(corpus);
        println!(
            "{name}: {} of {}",
            texts.iter().filter(|text| !passages(text).is_empty()).count(),
            texts.len()
        );
        for text in texts {
            println!("  {} {}", score(text), text.chars().take(60).collect::<String>());
        }
    }
}
