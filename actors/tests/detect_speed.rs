//! How fast the detectors of personal data and legal passages are. Only worth running alone on a
//! quiet machine, with optimisation:
//!
//! `cargo test --release -p empire-actors --test detect_speed -- --ignored --nocapture`

use empire_actors::gates::detect::{legal, personal};
use tokio::time::Instant;

const SIZE: usize = 2 << 20;

/// Prose of the kind that prompts are made of, without anything to find.
const PROSE: &str = "The garden lies behind the old mill, where the river bends and slows. In the morning \
    mist hangs between the willows, and a heron stands so still that visitors take it for a post. Am Abend \
    sitzen die Leute auf der Mauer und erzählen, was der Tag gebracht hat; die Kinder werfen Steine ins Wasser \
    und zählen die Ringe. Nobody remembers who planted the pear tree, but everybody knows how its fruit tastes \
    in late September, when the wasps have gone and the first cold nights make it sweet.\n\n";

fn filled(piece: &str) -> String {
    piece.chars().cycle().take(SIZE).collect()
}

/// Millions of bytes a second, the best of three.
fn speed(text: &str, detect: &dyn Fn(&str)) -> f64 {
    let once = || {
        let start = Instant::now();
        detect(text);
        start.elapsed().as_secs_f64()
    };
    let best = (0..3).map(|_| once()).fold(f64::MAX, f64::min);
    #[allow(clippy::cast_precision_loss, reason = "a few million bytes")]
    let megabytes = text.len() as f64 / 1e6;
    megabytes / best
}

#[test]
#[ignore = "it measures; see the head of this file"]
fn speed_on_friendly_and_hostile_texts() {
    let find = |text: &str| {
        let mut hits = Vec::new();
        personal::find(text, &mut hits);
        std::hint::black_box(hits);
    };
    let passages = |text: &str| {
        std::hint::black_box(legal::passages(text));
    };
    println!("{:>28}  personal  legal  both (MB/s)", "");
    for (name, piece) in [
        ("clean prose", PROSE),
        ("near misses", include_str!("corpus/near_misses.txt")),
        ("legal texts", include_str!("corpus/legal.txt")),
        ("log lines", "2024-01-31 12:00:00,123 INFO worker-12 took 1234 ms for 5678 rows (0.12 %)\n"),
        ("single digits", "1 "),
        ("pairs of digits", "12-34.56/"),
        ("one long number", "1234567890"),
        ("letters and digits", "a1 de89 "),
        ("phones without a match", "Tel. 0 "),
        ("colons", "1:"),
        ("streets", "Alte Straße 1 "),
        ("shall", "the Party shall "),
        ("shall in short paragraphs", "shall\n\n"),
        ("section signs", "§ 1 BGB "),
        ("quotes", "(the \""),
        ("line ends", "\n"),
        ("line ends and a formula", "\n\n\nin witness whereof\n\n\n\n\n\n\n\n\n\n\n"),
    ] {
        let text = filled(piece);
        let (personal, legal) = (speed(&text, &find), speed(&text, &passages));
        let both = 1.0 / (1.0 / personal + 1.0 / legal);
        println!("{name:>28}  {personal:>8.0}  {legal:>5.0}  {both:>4.0}");
    }
}
