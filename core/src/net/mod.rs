//! Which hosts, addresses and URLs the server may reach: the setting `automate.network_allow`.
//!
//! The setting is a list, separated by commas, of
//! - `*`: every host at a public address,
//! - a host, `hooks.example.com`, or a pattern, `*.example.com` (all names below it, not itself):
//!   that host at any address, also at one that is not public; so list only names whose DNS you
//!   trust,
//! - an address or a CIDR block, `10.1.0.0/16`: those addresses, public or not, under any name.
//!
//! An empty list allows nothing. A caller checks twice: the URL or host when it is given
//! ([`Allow::check_url`], [`Allow::check_host`]), and at connect time each address the name has
//! resolved to ([`Allow::check_addr`]), so that a name which changes its address gains nothing.
//! Redirects are not followed, or are checked like a new URL.

mod address;
mod allow;
mod error;
mod target;

#[cfg(test)]
mod tests;

pub use self::address::is_public;
pub use self::allow::Allow;
pub use self::error::NetError;
pub use self::target::{Endpoint, Target};

/// The setting's name, for hints.
const SETTING: &str = "automate.network_allow";
