//! The scenarios that ship with the program.

macro_rules! shipped {
    ($($name:literal)+) => {
        /// Name and YAML of each, in the order in which they are listed.
        pub(crate) fn shipped() -> &'static [(&'static str, &'static str)] {
            &[$(($name, include_str!(concat!("../../scenarios/", $name, ".yaml"))),)+]
        }
    };
}

shipped! {
    "smoke" "steady-state" "half-million" "packed" "million" "rate-limited-day" "kimi-storm" "outage-and-recovery"
    "crash-and-resume" "budget-cliff" "mixed-jobs" "soak"
}
