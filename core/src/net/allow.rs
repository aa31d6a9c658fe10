//! The allow-list itself.

use std::net::IpAddr;

use ipnet::IpNet;
use url::Host;

use super::SETTING;
use super::address::{canonical, embedded, is_public};
use super::error::{NetError, quoted};

/// Longest list accepted, in bytes.
const MAX_TEXT: usize = 100_000;

/// Names that only the machine itself or its own network knows.
const LOCAL_NAMES: [&str; 7] =
    ["localhost", "localdomain", "ip6-localhost", "ip6-loopback", "local", "internal", "home.arpa"];

/// A parsed list of what may be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// `*`
    any_public: bool,
    hosts: Vec<String>,
    /// The part after `*.`
    suffixes: Vec<String>,
    blocks: Vec<IpNet>,
}

impl Allow {
    /// Reads the value of the setting; see the module for its forms.
    pub fn parse(text: &str) -> Result<Allow, NetError> {
        if text.len() > MAX_TEXT {
            return Err(NetError::new(format!(
                "list of {} bytes is longer than the {MAX_TEXT} bytes allowed",
                text.len()
            )));
        }
        let mut allow = Allow::default();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            allow.add(entry)?;
        }
        Ok(allow)
    }

    fn add(&mut self, entry: &str) -> Result<(), NetError> {
        let fail = |why: &str| NetError::new(format!("cannot read entry {}: {why}", quoted(entry)));
        if entry == "*" {
            self.any_public = true;
        } else if let Some(block) = parse_block(entry)? {
            self.blocks.push(block);
        } else if entry.contains("//") {
            return Err(fail("it is a URL").with_hint("List the host alone."));
        } else if let Some((host, _)) = entry.split_once(':') {
            return Err(
                fail("a port cannot be listed").with_hint(format!("List {}.", quoted(host)))
            );
        } else if let Some(suffix) = entry.strip_prefix("*.") {
            self.suffixes.push(parse_name(suffix).ok_or_else(|| fail(NO_NAME).with_hint(FORMS))?);
        } else {
            self.hosts.push(parse_name(entry).ok_or_else(|| fail(NO_NAME).with_hint(FORMS))?);
        }
        Ok(())
    }

    /// Judges a host by its name, or by its address if it is written as one. A name that passes
    /// still has its addresses to be judged.
    pub(super) fn judge(&self, host: &Host<String>) -> Result<(), NetError> {
        let name = match host {
            Host::Ipv4(addr) => return self.check_addr(&addr.to_string(), IpAddr::V4(*addr)),
            Host::Ipv6(addr) => return self.check_addr(&addr.to_string(), IpAddr::V6(*addr)),
            Host::Domain(name) => name.as_str(),
        };
        if self.lists(name) || (!self.blocks.is_empty() && !self.any_public) {
            return Ok(());
        }
        if self.any_public && !(is_local(name) && self.blocks.is_empty()) {
            return Ok(());
        }
        Err(NetError::new(format!("host {} is not allowed", quoted(name)))
            .with_hint(format!("A superuser can add {} to the setting {SETTING}.", quoted(name))))
    }

    /// Judges an address that `host` has resolved to; to be called for each one before a
    /// connection is made to it.
    pub fn check_addr(&self, host: &str, addr: IpAddr) -> Result<(), NetError> {
        let addr = canonical(addr);
        let inside = match addr {
            IpAddr::V6(v6) => embedded(v6).map(IpAddr::V4),
            IpAddr::V4(_) => None,
        };
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        // An address inside another is where the traffic ends: both must be allowed.
        let listed = self.has_block(addr)
            && inside.is_none_or(|inside| self.has_block(inside) || is_public(inside));
        if listed || self.lists(&name) || (self.any_public && is_public(addr)) {
            return Ok(());
        }
        Err(self.refused(host, addr, inside))
    }

    fn refused(&self, host: &str, addr: IpAddr, inside: Option<IpAddr>) -> NetError {
        let literal = host.trim_matches(['[', ']']).parse::<IpAddr>();
        let of = match literal {
            Ok(_) => String::new(),
            Err(_) => format!(" of host {}", quoted(host)),
        };
        let why = if self.any_public { " because it is not public" } else { "" };
        let bits = if addr.is_ipv4() { 32 } else { 128 };
        let mut entries = format!("\"{addr}/{bits}\"");
        if let Some(inside) = inside.filter(|inside| !is_public(*inside)) {
            entries.push_str(&format!(" and \"{inside}/32\", which is inside it,"));
        }
        NetError::new(format!("address {addr}{of} is not allowed{why}")).with_hint(format!(
            "A superuser can add {entries} to the setting {SETTING}, if the server is meant to \
             reach it."
        ))
    }

    fn has_block(&self, addr: IpAddr) -> bool {
        self.blocks.iter().any(|block| block.contains(&addr))
    }

    /// Whether a name is listed as such; `name` is in lower case without a dot at its end.
    fn lists(&self, name: &str) -> bool {
        let below = |suffix: &String| {
            name.strip_suffix(suffix.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|rest| !rest.is_empty())
        };
        self.hosts.iter().any(|host| host == name) || self.suffixes.iter().any(below)
    }
}

const NO_NAME: &str = "it is no host name, address or CIDR block";
const FORMS: &str = "Entries are \"*\" (every public address), hosts such as \
                     \"hooks.example.com\" or \"*.example.com\", and addresses or blocks such as \
                     \"10.1.0.0/16\".";

/// A host name as `url` normalises it (small letters, punycode), so that it can be compared.
fn parse_name(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    match Host::parse(text) {
        Ok(Host::Domain(name)) if !name.contains('*') && super::target::is_name(&name) => {
            Some(name)
        }
        _ => None,
    }
}

/// An address or a block; `None` if it is a name.
fn parse_block(entry: &str) -> Result<Option<IpNet>, NetError> {
    let bare = entry.strip_prefix('[').and_then(|e| e.strip_suffix(']')).unwrap_or(entry);
    if let Ok(addr) = bare.parse::<IpAddr>() {
        return Ok(Some(IpNet::from(canonical(addr))));
    }
    let Some((_, prefix)) = entry.split_once('/').filter(|_| !entry.contains("//")) else {
        return Ok(None);
    };
    let fail = |why: &str| NetError::new(format!("cannot read entry {}: {why}", quoted(entry)));
    let block: IpNet = match entry.parse() {
        Ok(block) => block,
        Err(_) if prefix.bytes().all(|b| b.is_ascii_digit()) => {
            return Err(fail("it is no CIDR block")
                .with_hint("Write an address and a prefix length, such as \"10.1.0.0/16\"."));
        }
        Err(_) => return Err(fail("it has a path").with_hint("List the host alone.")),
    };
    if block.trunc() != block {
        return Err(fail("bits are set to the right of the prefix")
            .with_hint(format!("Did you mean \"{}\"?", block.trunc())));
    }
    match block.addr() {
        IpAddr::V6(addr) if addr.to_ipv4_mapped().is_some() && block.prefix_len() >= 96 => {
            Err(fail("it is a block of IPv4 addresses").with_hint("Write it in the form of IPv4."))
        }
        _ => Ok(Some(block)),
    }
}

/// `localhost`, `printer.local` and their like.
fn is_local(name: &str) -> bool {
    LOCAL_NAMES.iter().any(|local| {
        name.strip_suffix(local).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}
