//! Whose pages may open WebSockets here: browsers let any page try, and only the `Origin` header tells them apart.

use std::str::FromStr;

/// Origins that are accepted besides our own. Reads a comma-separated list of `*`, `host`, `host:port` and
/// `https://host:port`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedOrigins {
    any: bool,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    scheme: Option<String>,
    host: String,
    port: Option<u16>,
}

/// Why a text is no list of origins.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad origin {0:?}; write *, host, host:port or https://host[:port], separated by commas")]
pub struct BadOrigin(String);

impl FromStr for AllowedOrigins {
    type Err = BadOrigin;

    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        let mut origins = Self::default();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            if item == "*" {
                origins.any = true;
            } else {
                origins.entries.push(Entry::parse(item).ok_or_else(|| BadOrigin(item.to_owned()))?);
            }
        }
        Ok(origins)
    }
}

impl AllowedOrigins {
    /// Whether a request with this `Origin` may open a WebSocket on the server that it calls `host`.
    ///
    /// No origin passes: programs send none, and a browser always does. Our own pages have the host they were loaded from.
    pub(crate) fn allows(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        if self.any {
            return true;
        }
        // An origin has a scheme; sandboxed pages and files have "null", which could be anybody.
        let Some(origin) = Entry::parse(origin).filter(|origin| origin.scheme.is_some()) else { return false };
        let same_host = host.and_then(Entry::parse).is_some_and(|host| {
            host.host == origin.host && host.port.or(origin.default_port()) == origin.port_or_default()
        });
        same_host || self.entries.iter().any(|entry| entry.covers(&origin))
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest.strip_suffix('/').unwrap_or(rest)),
            None => (None, text),
        };
        let (host, port) = match rest.rsplit_once(':') {
            // An IPv6 address without a port ends in a bracket.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
            _ => (rest, None),
        };
        let host_is_fine = host.starts_with('[') && host.ends_with(']')
            || host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        (!host.is_empty() && host_is_fine).then(|| Self { scheme, host: host.to_ascii_lowercase(), port })
    }

    fn default_port(&self) -> Option<u16> {
        match self.scheme.as_deref() {
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        }
    }

    fn port_or_default(&self) -> Option<u16> {
        self.port.or(self.default_port())
    }

    /// Whether this entry of the list covers an origin: what it leaves open may be anything.
    fn covers(&self, origin: &Self) -> bool {
        self.host == origin.host
            && (self.scheme.is_none() || self.scheme == origin.scheme)
            && (self.scheme.is_none() && self.port.is_none()
                || self.port.or(origin.default_port()) == origin.port_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_passes_when_it_is_our_own_or_listed() {
        for (list, origin, host, expected) in [
            ("", None, "h:8080", true),
            ("", Some("http://h:8080"), "h:8080", true),
            ("", Some("http://H:8080"), "h:8080", true),
            ("", Some("https://h"), "h", true),
            ("", Some("https://h"), "h:443", true),
            ("", Some("http://h"), "h:8080", false),
            ("", Some("http://h:8080"), "h:9090", false),
            ("", Some("http://[::1]:8080"), "[::1]:8080", true),
            ("", Some("null"), "h", false),
            ("", Some("http://evil"), "h", false),
            ("", Some("http://h.evil"), "h", false),
            ("*", Some("null"), "h", true),
            ("app.example", Some("https://app.example"), "h", true),
            ("app.example", Some("http://app.example:3000"), "h", true),
            ("app.example:3000", Some("http://app.example:3000"), "h", true),
            ("app.example:3000", Some("http://app.example"), "h", false),
            ("x, https://app.example", Some("https://app.example"), "h", true),
            ("https://app.example", Some("http://app.example"), "h", false),
            ("https://app.example", Some("https://app.example:444"), "h", false),
            ("https://app.example:443/", Some("https://app.example"), "h", true),
            ("app.example", Some("https://evil.app.example"), "h", false),
        ] {
            let allowed: AllowedOrigins = list.parse().unwrap();
            assert_eq!(allowed.allows(origin, Some(host)), expected, "{list:?} {origin:?} {host}");
        }
    }

    #[test]
    fn a_list_with_nonsense_is_refused() {
        for list in ["a b", "http://", "h:port", "https://h/path"] {
            assert!(list.parse::<AllowedOrigins>().is_err(), "{list}");
        }
    }
}
