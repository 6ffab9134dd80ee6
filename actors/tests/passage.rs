//! Skipping a gate does not compile.

#[test]
fn no_call_is_sent_that_did_not_pass_every_gate() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
