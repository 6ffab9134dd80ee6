//! Amounts in dollars or euros. Euros become dollars at one configured rate, so that a cap means
//! the same every day.

use empire_actors::money::{AmountError, Micros};

/// What a euro is taken to be worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EuroRate(pub Micros);

impl EuroRate {
    /// Reads an amount: `0.50`, `$0.50`, `0.50 USD`, `€0.50`, `0.50 EUR`. Euros are rounded down to
    /// a whole micro-dollar.
    ///
    /// # Errors
    /// If it is no amount.
    pub fn read(self, text: &str) -> Result<Micros, AmountError> {
        let trimmed = text.trim();
        let euros = ["€", "EUR", "eur"].iter().find_map(|sign| {
            trimmed.strip_prefix(sign).or_else(|| trimmed.strip_suffix(sign)).map(str::trim)
        });
        let Some(euros) = euros else { return trimmed.parse() };
        // A sign of dollars beside that of euros is no amount, and is shown as it was written.
        if !euros.ends_with(|last: char| last.is_ascii_digit() || last == '.') || euros.starts_with('$') {
            return Err(AmountError::Malformed(text.chars().take(40).collect()));
        }
        let euros: Micros = euros.parse()?;
        let micros = u128::from(euros.0) * u128::from(self.0.0) / 1_000_000;
        let out_of_range = |_| AmountError::OutOfRange(text.chars().take(40).collect());
        u64::try_from(micros).map(Micros).map_err(out_of_range)
    }

    /// An amount with what it is in euros, rounded to cents: `$11.00 (EUR 10.00)`.
    #[must_use]
    pub fn both(self, amount: Micros) -> String {
        let rate = u128::from(self.0.0.max(1));
        let cents = (u128::from(amount.0) * 100 + rate / 2) / rate;
        format!("{} (EUR {}.{:02})", crate::text::money(amount), cents / 100, cents % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn euros_become_dollars_at_the_rate() {
        let rate = EuroRate(Micros(1_100_000));
        for (text, micros) in [
            ("10 EUR", 11_000_000),
            ("€10", 11_000_000),
            ("EUR 0.000001", 1),
            ("10", 10_000_000),
            ("$10", 10_000_000),
            ("0.5 USD", 500_000),
        ] {
            assert_eq!(rate.read(text), Ok(Micros(micros)), "{text}");
        }
        for text in ["", "EUR", "ten EUR", "$10 EUR", "10 USD EUR", "-1 EUR", "1,5 EUR"] {
            assert!(rate.read(text).is_err(), "{text}");
        }
        assert_eq!(rate.both(Micros(11_000_000)), "$11.00 (EUR 10.00)");
    }
}
