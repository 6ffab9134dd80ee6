//! What a vendor says is left in the account.

use std::time::Duration;

use empire_actors::failure::{Billing, CallError, FailureKind};
use reqwest::Client;
use serde::Deserialize;
use serde_json::Number;

use super::{headers, no_key, send};
use crate::config::{BalanceKind, ProviderSetting};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Moonshot's answer.
#[derive(Deserialize)]
struct Answer {
    data: Balance,
}

#[derive(Deserialize)]
struct Balance {
    available_balance: Number,
}

/// Asks what is left in the account, in micro-dollars; below zero in debt. `None` if this vendor
/// does not tell. Costs nothing.
///
/// # Errors
/// If there is no key, or no answer that can be read.
pub async fn balance(setting: &ProviderSetting, client: &Client) -> Result<Option<i64>, CallError> {
    let Some(kind) = setting.balance else { return Ok(None) };
    let path = match kind {
        BalanceKind::Moonshot => "/users/me/balance",
    };
    let headers = headers(setting).ok_or_else(|| no_key(setting))?;
    let get = client.get(format!("{}{path}", setting.base_url)).headers(headers);
    let answer = send::exchange(get, TIMEOUT, setting.key.as_ref()).await;
    let answer: Answer = answer
        .and_then(|answer| answer.read())
        .map_err(|error| CallError { billing: Billing::Nothing, ..error })?;
    let said = answer.data.available_balance.to_string();
    micros(&said).map(Some).ok_or_else(|| CallError {
        kind: FailureKind::Malformed,
        status: None,
        message: format!("the balance `{said}` is no amount of money"),
        retry_after: None,
        billing: Billing::Nothing,
    })
}

/// Reads a decimal number of dollars; what is finer than a micro-dollar is rounded down, so that
/// more counts as spent.
fn micros(text: &str) -> Option<i64> {
    let (sign, number) = text.strip_prefix('-').map_or((1, text), |number| (-1, number));
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        // In exponents, as 1e-7 is: far too little or too much to matter, but it must not be
        // misread.
        let exact = text.parse::<f64>().ok().filter(|dollars| dollars.abs() < 1e12)?;
        return Some((exact * 1e6).floor() as i64);
    }
    let (six, finer) = decimals.split_at(decimals.len().min(6));
    let micros: i64 = format!("{six:0<6}").parse().ok()?;
    let micros = whole.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(micros)?;
    let is_finer = sign < 0 && finer.bytes().any(|b| b != b'0');
    micros.checked_add(i64::from(is_finer)).map(|micros| sign * micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balances_are_read_exactly_and_rounded_down() {
        for (text, expected) in [
            ("12", 12_000_000),
            ("49.58894", 49_588_940),
            ("0.1234567", 123_456),
            ("-0.5", -500_000),
            ("-0.0000001", -1),
            ("1e-7", 0),
            ("0", 0),
        ] {
            assert_eq!(micros(text), Some(expected), "{text}");
        }
        for text in ["", "twelve", "1e300", "999999999999999999999"] {
            assert_eq!(micros(text), None, "{text}");
        }
    }
}
