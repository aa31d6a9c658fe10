//! URLs and hosts, read the way the client that connects will read them.

use std::net::IpAddr;

use url::{Host, Url};

use super::Allow;
use super::error::{NetError, quoted};

/// Longest URL accepted, in bytes.
const MAX_URL: usize = 8192;

/// Longest host name DNS can hold.
const MAX_HOST: usize = 253;

/// A URL that may be requested. Use `url`, the normalised form, not the text it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `http` or `https`
    pub scheme: String,
    /// In small letters, an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
    pub url: Url,
}

/// A host and port that may be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// In small letters, an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
    /// Set when the host is written as an address; otherwise the name is yet to be resolved.
    pub addr: Option<IpAddr>,
}

impl Allow {
    /// Judges an http or https URL before anything is resolved.
    pub fn check_url(&self, url: &str) -> Result<Target, NetError> {
        let authority = authority(url)?;
        let parsed = Url::parse(url).map_err(|error| {
            let host = authority.rsplit('@').next().unwrap_or("");
            NetError::new(format!("cannot read the URL of host {}: {error}", quoted(host)))
        })?;
        if !parsed.username().is_empty() || parsed.password().is_some() || authority.contains('@') {
            return Err(NetError::new("URL holds a user name or password")
                .with_hint("Give credentials as a header whose value is a secret."));
        }
        let Some(host) = parsed.host().map(|host| host.to_owned()) else {
            return Err(NetError::new("URL has no host"));
        };
        let host = tidy(host).ok_or_else(|| no_name(authority))?;
        let port = parsed.port_or_known_default().filter(|port| *port > 0).ok_or_else(no_port)?;
        self.judge(&host)?;
        Ok(Target { scheme: parsed.scheme().to_string(), host: bare(&host), port, url: parsed })
    }

    /// Judges a host that is not part of a URL, such as that of an SMTP server.
    pub fn check_host(&self, host: &str, port: u16) -> Result<Endpoint, NetError> {
        if host.is_empty() {
            return Err(NetError::new("host is empty"));
        }
        let refuse = |c: char| c.is_control() || c.is_whitespace() || "@/\\?#%".contains(c);
        if host.len() > MAX_URL || host.contains(refuse) {
            return Err(no_name(host));
        }
        if port == 0 {
            return Err(no_port());
        }
        // `Host` reads numbers as addresses the way getaddrinfo does: 2130706433, 0x7f.1, 127.1.
        let parsed = match host.parse() {
            Ok(addr) => Host::Ipv6(addr),
            Err(_) => Host::parse(host).map_err(|_| no_name(host))?,
        };
        let parsed = tidy(parsed).ok_or_else(|| no_name(host))?;
        self.judge(&parsed)?;
        let addr = match parsed {
            Host::Domain(_) => None,
            Host::Ipv4(addr) => Some(IpAddr::V4(addr)),
            Host::Ipv6(addr) => Some(IpAddr::V6(addr)),
        };
        Ok(Endpoint { host: bare(&parsed), port, addr })
    }
}

/// What stands between `//` and the path, if the text is written without any of the liberties
/// that a lenient parser would correct in silence and another would read differently.
fn authority(url: &str) -> Result<&str, NetError> {
    const HINT: &str = "Write it as \"https://host/path\".";
    if url.len() > MAX_URL {
        return Err(NetError::new(format!(
            "URL of {} bytes is longer than the {MAX_URL} bytes allowed",
            url.len()
        )));
    }
    if url.contains(|c: char| c.is_control() || c.is_whitespace() || "\u{200b}\u{feff}".contains(c))
    {
        return Err(NetError::new("URL holds a space or a control character")
            .with_hint("Write it percent-encoded, such as %20."));
    }
    if url.contains('\\') {
        return Err(NetError::new("URL holds a backslash").with_hint(HINT));
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(NetError::new("URL has no scheme and host").with_hint(HINT));
    };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(NetError::new(format!("URL scheme {} is not allowed", quoted(scheme)))
            .with_hint("Only http and https can be reached."));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    if authority.is_empty() {
        return Err(NetError::new("URL has no host").with_hint(HINT));
    }
    Ok(authority)
}

/// A host without the dot at its end; `None` if it cannot be a name in DNS.
fn tidy(host: Host<String>) -> Option<Host<String>> {
    let Host::Domain(name) = host else {
        return Some(host);
    };
    let name = name.strip_suffix('.').unwrap_or(&name).to_ascii_lowercase();
    is_name(&name).then_some(Host::Domain(name))
}

/// Letters, digits, `-` and `_` in labels of at most 63: what a resolver takes for a name and
/// nothing else.
pub(super) fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= MAX_HOST && name.split('.').all(label)
}

fn bare(host: &Host<String>) -> String {
    match host {
        Host::Domain(name) => name.clone(),
        Host::Ipv4(addr) => addr.to_string(),
        Host::Ipv6(addr) => addr.to_string(),
    }
}

fn no_name(host: &str) -> NetError {
    // Only what stands behind a user name and password, so that neither is shown.
    let shown = host.rsplit('@').next().unwrap_or(host);
    NetError::new(format!("{} is not a host name", quoted(shown)))
        .with_hint("A host is a name in DNS, such as \"mail.example.com\", or an address.")
}

fn no_port() -> NetError {
    NetError::new("port 0 cannot be reached").with_hint("Ports go from 1 to 65535.")
}
