//! What an address says about how far it may be trusted.

use std::net::IpAddr;

use empire_actors::level::Zone;
use reqwest::Url;

/// Why text is no base URL; says what is wrong and what to do, and never repeats credentials.
pub(super) type Problem = (&'static str, &'static str);

/// Reads a base URL and takes trailing slashes off.
pub(super) fn base_url(text: &str) -> Result<(String, Url), Problem> {
    let url = Url::parse(text).map_err(|_| ("is no URL", "write it like \"http://127.0.0.1:11434\""))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(("is no http or https URL", "write it like \"https://api.example.com/v1\""));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err((
            "holds credentials",
            "put the key into an environment variable and name that in key_env",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(("holds a query or fragment", "leave out everything from the `?` or `#` on"));
    }
    Ok((url.as_str().trim_end_matches('/').to_owned(), url))
}

/// How far an address can be trusted at the most: loopback is this machine, private and VPN
/// addresses are the owner's network, everything else, names included, is the cloud.
pub(super) fn most_trusted_zone(url: &Url) -> Zone {
    let host = url.host_str().unwrap_or_default();
    if host.eq_ignore_ascii_case("localhost") {
        return Zone::Local;
    }
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(address) => zone_of(address.to_canonical()),
        Err(_) => Zone::Cloud,
    }
}

pub(super) fn zone_of(address: IpAddr) -> Zone {
    let own_network = match address {
        // 100.64.0.0/10 is what VPNs such as Tailscale hand out.
        IpAddr::V4(v4) => v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0b1100_0000 == 64),
        IpAddr::V6(v6) => v6.is_unique_local(),
    };
    match (address.is_loopback(), own_network) {
        (true, _) => Zone::Local,
        (false, true) => Zone::Vpn,
        (false, false) => Zone::Cloud,
    }
}

/// The base URL that `OLLAMA_HOST` means: it may lack the scheme and the port, and it may be the
/// address that a server binds to (`0.0.0.0`), where a client has to say loopback.
pub(super) fn from_ollama_host(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None => ("http", text),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let bare_v6 = authority.parse::<std::net::Ipv6Addr>().is_ok();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !bare_v6 && !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let host = match host.trim_start_matches('[').trim_end_matches(']') {
        "" | "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        v6 if v6.contains(':') => format!("[{v6}]"),
        name => name.to_owned(),
    };
    let port = match (port, text.contains("://"), scheme) {
        (Some(port), _, _) => format!(":{port}"),
        (None, true, "https") => String::new(),
        (None, true, _) => ":80".to_owned(),
        (None, false, _) => ":11434".to_owned(),
    };
    format!("{scheme}://{host}{port}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(url: &str) -> Zone {
        most_trusted_zone(&base_url(url).unwrap().1)
    }

    #[test]
    fn the_address_decides_how_far_a_server_is_trusted() {
        let table = [
            ("http://127.0.0.1:11434", Zone::Local),
            ("http://127.9.9.9", Zone::Local),
            ("http://localhost:11434", Zone::Local),
            ("http://LOCALHOST", Zone::Local),
            ("http://[::1]:11434", Zone::Local),
            ("http://[::ffff:127.0.0.1]", Zone::Local),
            ("http://2130706433", Zone::Local),
            ("http://100.64.0.1", Zone::Vpn),
            ("http://100.127.255.254", Zone::Vpn),
            ("http://10.1.2.3", Zone::Vpn),
            ("http://172.16.0.9", Zone::Vpn),
            ("http://192.168.1.2:11434", Zone::Vpn),
            ("http://[fd7a:115c:a1e0::1]", Zone::Vpn),
            ("http://100.63.255.255", Zone::Cloud),
            ("http://100.128.0.1", Zone::Cloud),
            ("http://172.32.0.1", Zone::Cloud),
            ("http://8.8.8.8", Zone::Cloud),
            ("http://169.254.169.254", Zone::Cloud),
            ("http://[2001:db8::1]", Zone::Cloud),
            ("http://0.0.0.0", Zone::Cloud),
            ("https://api.moonshot.ai/v1", Zone::Cloud),
            ("http://127.0.0.1.example.com", Zone::Cloud),
            ("http://localhost.example.com", Zone::Cloud),
            ("http://myhost", Zone::Cloud),
        ];
        for (url, expected) in table {
            assert_eq!(zone(url), expected, "{url}");
        }
    }

    #[test]
    fn ollama_host_is_read_as_ollama_reads_it() {
        let table = [
            ("127.0.0.1", "http://127.0.0.1:11434"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
            (":8080", "http://127.0.0.1:8080"),
            ("::", "http://[::1]:11434"),
            ("[::1]:5", "http://[::1]:5"),
            ("fd7a::1", "http://[fd7a::1]:11434"),
            ("box", "http://box:11434"),
            ("http://box", "http://box:80"),
            ("https://box/ollama", "https://box/ollama"),
            ("http://box:1234/", "http://box:1234/"),
        ];
        for (text, url) in table {
            assert_eq!(from_ollama_host(text), url, "{text}");
        }
    }

    #[test]
    fn a_base_url_with_credentials_is_refused_without_repeating_them() {
        let (problem, remedy) = base_url("https://user:hunter2@example.com").unwrap_err();
        assert!(!format!("{problem}{remedy}").contains("hunter2"));
        for text in ["", "ftp://x", "127.0.0.1:11434", "http://", "http://x/?key=1", "http://x/#a"] {
            assert!(base_url(text).is_err(), "{text}");
        }
        assert_eq!(base_url("http://x:1/v1//").unwrap().0, "http://x:1/v1");
    }
}
