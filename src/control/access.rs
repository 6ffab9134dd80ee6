//! Who asks, and whether that one may.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};
use secrecy::{ExposeSecret, SecretString};

use super::problem::Problem;

/// Hears of every request that showed no token, or a wrong one.
pub type RefusedHook = Arc<dyn Fn() + Send + Sync>;

/// Who asks over a connection.
#[derive(Debug, Clone)]
pub(super) enum Peer {
    /// Who may open the socket: a user of this machine.
    User(Arc<str>),
    /// Anybody on this machine, or a page in somebody's browser.
    Loopback,
}

impl Peer {
    /// What the journal says of who asked.
    pub(super) fn name(&self) -> String {
        match self {
            Peer::User(name) => name.to_string(),
            Peer::Loopback => "token".to_owned(),
        }
    }
}

/// Who may ask over TCP.
pub(super) struct Gatekeeper {
    /// Of the token that must be shown. Hashes are compared in constant time.
    token: Option<blake3::Hash>,
    refused: RefusedHook,
}

impl Gatekeeper {
    pub(super) fn new(token: Option<&SecretString>, refused: RefusedHook) -> Gatekeeper {
        Gatekeeper { token: token.map(|token| blake3::hash(token.expose_secret().as_bytes())), refused }
    }

    /// Refuses who may not ask. What is `open` needs no token.
    pub(super) fn admit(&self, peer: &Peer, headers: &HeaderMap, open: bool) -> Result<(), Problem> {
        if let Peer::User(_) = peer {
            return Ok(());
        }
        if !is_asked_as_loopback(headers) {
            let why = "ask for this API at localhost or a loopback address, and from no web page elsewhere";
            return Err(Problem::forbidden("not-asked-as-loopback", why));
        }
        let shown =
            headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let is_right = shown.is_some_and(|shown| Some(blake3::hash(shown)) == self.token);
        if is_right || open {
            return Ok(());
        }
        (self.refused)();
        Err(Problem::unauthorized())
    }
}

/// Whether the request names this machine, and comes from no page elsewhere. A web page can make its
/// own name resolve to loopback and then ask in the owner's browser; but that name is what it must
/// ask for.
fn is_asked_as_loopback(headers: &HeaderMap) -> bool {
    let is_loopback = |authority: &[u8]| {
        let Ok(authority) = Authority::try_from(authority) else { return false };
        let name = authority.host().trim_matches(['[', ']']);
        name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    let is_own_page = |origin: &[u8]| {
        let rest = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        rest.is_some_and(is_loopback)
    };
    headers.get(header::HOST).is_none_or(|host| is_loopback(host.as_bytes()))
        && headers.get(header::ORIGIN).is_none_or(|origin| is_own_page(origin.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::http::HeaderName;

    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn over_tcp_only_the_token_opens_and_every_refusal_is_told() {
        let token = SecretString::from("t".repeat(64));
        let refusals = Arc::new(AtomicU32::new(0));
        let counted = refusals.clone();
        let hook: RefusedHook = Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let keeper = Gatekeeper::new(Some(&token), hook);
        let with = |shown: &str| headers(&[(header::HOST, "127.0.0.1:1"), (header::AUTHORIZATION, shown)]);
        let right = format!("Bearer {}", token.expose_secret());
        assert!(keeper.admit(&Peer::Loopback, &with(&right), false).is_ok());
        for wrong in ["Bearer ", "Bearer t", right.trim_start_matches("Bearer "), "Basic x"] {
            let status = keeper.admit(&Peer::Loopback, &with(wrong), false).unwrap_err().status;
            assert_eq!(status, 401, "{wrong}");
        }
        assert_eq!(refusals.load(Ordering::Relaxed), 4);
        assert!(keeper.admit(&Peer::Loopback, &with("Bearer x"), true).is_ok(), "a probe needs no token");
        assert!(keeper.admit(&Peer::User("owner".into()), &HeaderMap::new(), false).is_ok());
        let closed = Gatekeeper::new(None, Arc::new(|| {}));
        assert!(closed.admit(&Peer::Loopback, &with(&right), false).is_err(), "no token opens nothing");
    }

    #[test]
    fn a_name_that_was_bent_to_loopback_is_refused_whatever_it_shows() {
        let keeper = Gatekeeper::new(None, Arc::new(|| {}));
        for (pairs, admitted) in [
            (vec![(header::HOST, "localhost:18790")], true),
            (vec![(header::HOST, "[::1]:18790")], true),
            (vec![(header::HOST, "evil.example:18790")], false),
            (vec![(header::HOST, "127.0.0.1.evil.example")], false),
            (vec![(header::HOST, "localhost"), (header::ORIGIN, "https://evil.example")], false),
            (vec![(header::HOST, "localhost"), (header::ORIGIN, "null")], false),
            (vec![(header::HOST, "localhost"), (header::ORIGIN, "http://127.0.0.1:18789")], true),
        ] {
            let outcome = keeper.admit(&Peer::Loopback, &headers(&pairs), true);
            assert_eq!(outcome.is_ok(), admitted, "{pairs:?}");
        }
    }
}
