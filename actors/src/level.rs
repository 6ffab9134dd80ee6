//! Privacy levels of data, trust zones of destinations, and which may meet which.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How private a piece of data is. Higher is more private; joining data takes the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Level {
    /// Public.
    P0,
    /// Low sensitivity.
    P1,
    /// Confidential: stays on the owner's machines.
    P2,
    /// Secret: never leaves this machine.
    P3,
}

impl Level {
    /// Every level, lowest first.
    pub const ALL: [Level; 4] = [Level::P0, Level::P1, Level::P2, Level::P3];

    /// The level as a small number, 0 to 3, as stored.
    #[must_use]
    pub fn as_u8(self) -> u8 {
        self as u8
    }

    /// The level that [`as_u8`](Self::as_u8) stored, or `None` for any other number.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Level> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P{}", self.as_u8())
    }
}

/// A privacy level that is none of the four.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown privacy level `{0}`: use P0 (public), P1 (low sensitivity), P2 (confidential, stays on your machines) or P3 (secret, never leaves this machine)"
)]
pub struct UnknownLevel(pub String);

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "P0" | "p0" => Ok(Level::P0),
            "P1" | "p1" => Ok(Level::P1),
            "P2" | "p2" => Ok(Level::P2),
            "P3" | "p3" => Ok(Level::P3),
            _ => Err(UnknownLevel(text.chars().take(40).collect())),
        }
    }
}

/// A value that carries how private it is. What is made from it is at least as private: nothing
/// here lowers a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Labelled<T> {
    value: T,
    level: Level,
}

impl<T> Labelled<T> {
    /// A value of this level.
    #[must_use]
    pub fn new(value: T, level: Level) -> Labelled<T> {
        Labelled { value, level }
    }

    /// How private it is.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// The value, to look at.
    #[must_use]
    pub fn get(&self) -> &T {
        &self.value
    }

    /// What is made from it, as private as it is, if it can be made.
    ///
    /// # Errors
    /// It cannot.
    pub fn try_map<U, E>(self, make: impl FnOnce(T) -> Result<U, E>) -> Result<Labelled<U>, E> {
        Ok(Labelled { value: make(self.value)?, level: self.level })
    }

    /// The value and everything of `others`, as private as the most private one.
    #[must_use]
    pub fn with<U>(self, others: impl IntoIterator<Item = Labelled<U>>) -> Labelled<(T, Vec<U>)> {
        let mut level = self.level;
        let others = others.into_iter().map(|other| {
            level = level.max(other.level);
            other.value
        });
        let others = others.collect();
        Labelled { value: (self.value, others), level }
    }
}

/// How far a destination is trusted. Lower is more trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Zone {
    /// This machine, loopback only.
    Local,
    /// The owner's VPN.
    Vpn,
    /// A cloud model vendor.
    Cloud,
    /// The open internet.
    Internet,
}

impl Zone {
    /// The zone's number in the documentation, 1 to 4.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The highest level that may be sent to this zone.
    #[must_use]
    pub fn ceiling(self) -> Level {
        match self {
            Zone::Local => Level::P3,
            Zone::Vpn => Level::P2,
            Zone::Cloud => Level::P1,
            Zone::Internet => Level::P0,
        }
    }

    /// Whether data of `level` may be sent to this zone.
    #[must_use]
    pub fn admits(self, level: Level) -> bool {
        level <= self.ceiling()
    }

    /// Whether secrets and addresses are cut out of what is sent here.
    #[must_use]
    pub fn redacts(self) -> bool {
        self >= Zone::Cloud
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Zone::Local => "this machine",
            Zone::Vpn => "VPN",
            Zone::Cloud => "cloud",
            Zone::Internet => "internet",
        };
        write!(f, "zone {} ({name})", self.number())
    }
}

impl TryFrom<u8> for Zone {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        match number {
            1 => Ok(Zone::Local),
            2 => Ok(Zone::Vpn),
            3 => Ok(Zone::Cloud),
            4 => Ok(Zone::Internet),
            other => Err(format!(
                "unknown zone {other}: zones are 1 (this machine), 2 (VPN), 3 (cloud), 4 (internet)"
            )),
        }
    }
}

impl From<Zone> for u8 {
    fn from(zone: Zone) -> u8 {
        zone.number()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_of_several_is_as_private_as_the_most_private() {
        let secret = [Level::P1, Level::P3, Level::P0].map(|level| Labelled::new(level, level));
        assert_eq!(Labelled::new((), Level::P1).with(secret).level(), Level::P3);
        assert_eq!(Labelled::new(1, Level::P2).with([Labelled::new(2, Level::P0)]).level(), Level::P2);
        let failed: Result<Labelled<()>, &str> = Labelled::new(1, Level::P2).try_map(|_| Err("no"));
        assert_eq!(failed, Err("no"));
    }

    #[test]
    fn each_zone_admits_up_to_its_ceiling_and_nothing_above() {
        let ceilings = [
            (Zone::Local, Level::P3),
            (Zone::Vpn, Level::P2),
            (Zone::Cloud, Level::P1),
            (Zone::Internet, Level::P0),
        ];
        for (zone, ceiling) in ceilings {
            for level in Level::ALL {
                assert_eq!(zone.admits(level), level <= ceiling, "{level} in {zone}");
            }
        }
    }
}
