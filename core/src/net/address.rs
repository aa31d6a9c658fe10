//! Which addresses are public: reachable by anybody, and meant to be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Blocks that are not public, with the length of their prefix.
const PRIVATE_V4: [([u8; 4], u32); 16] = [
    ([0, 0, 0, 0], 8),        // this network; Linux connects to itself
    ([10, 0, 0, 0], 8),       // private
    ([100, 64, 0, 0], 10),    // shared by carriers; some clouds' metadata
    ([127, 0, 0, 0], 8),      // loopback
    ([168, 63, 129, 16], 32), // Azure's platform endpoint
    ([169, 254, 0, 0], 16),   // link-local; the clouds' metadata
    ([172, 16, 0, 0], 12),    // private
    ([192, 0, 0, 0], 24),     // protocol assignments
    ([192, 0, 2, 0], 24),     // documentation
    ([192, 88, 99, 0], 24),   // 6to4 relays
    ([192, 168, 0, 0], 16),   // private
    ([198, 18, 0, 0], 15),    // benchmarks
    ([198, 51, 100, 0], 24),  // documentation
    ([203, 0, 113, 0], 24),   // documentation
    ([224, 0, 0, 0], 4),      // multicast
    ([240, 0, 0, 0], 4),      // reserved, broadcast
];

/// Blocks inside the global unicast space 2000::/3 that are not public; whatever is outside of
/// that space (::/8 with the IPv4-mapped and -compatible ones, 64:ff9b::/96 and 64:ff9b:1::/48 of
/// NAT64, 100::/64, 5f00::/16, fc00::/7, fe80::/10, fec0::/10, ff00::/8) is not public either.
const PRIVATE_V6: [([u16; 3], u32); 4] = [
    ([0x2001, 0, 0], 23),     // protocol assignments: Teredo, ORCHID, benchmarks
    ([0x2001, 0xdb8, 0], 32), // documentation
    ([0x2002, 0, 0], 16),     // 6to4
    ([0x3fff, 0, 0], 20),     // documentation
];

/// Whether an address belongs to the public Internet. Forms of IPv6 that carry an IPv4 address
/// are never public: nothing on the Internet is reached only through them.
pub fn is_public(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => {
            let inside = |(net, prefix): &([u8; 4], u32)| {
                let net = u32::from(Ipv4Addr::from(*net));
                (u32::from(addr) ^ net).checked_shr(32 - prefix).unwrap_or(0) == 0
            };
            !PRIVATE_V4.iter().any(inside)
        }
        IpAddr::V6(addr) => {
            let inside = |(net, prefix): &([u16; 3], u32)| {
                let [a, b, c] = *net;
                let net = u128::from(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0));
                (u128::from(addr) ^ net).checked_shr(128 - prefix).unwrap_or(0) == 0
            };
            addr.segments()[0] & 0xe000 == 0x2000
                && !PRIVATE_V6.iter().any(inside)
                && embedded(addr).is_none()
        }
    }
}

/// The IPv4 address inside an IPv6 one that some gateway or kernel would send the traffic to.
pub(super) fn embedded(addr: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = addr.segments();
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match s {
        // ::1 and :: are addresses of their own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // IPv4-compatible, IPv4-mapped, IPv4-translated, NAT64.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => v4(high, low),
        [0, 0, 0, 0, 0xffff, 0, high, low] => v4(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x64, 0xff9b, 1, _, _, _, high, low] => v4(high, low),
        // 6to4, and Teredo, which inverts the client's bits.
        [0x2002, high, low, ..] => v4(high, low),
        [0x2001, 0, _, _, _, _, high, low] => v4(!high, !low),
        // ISATAP, under any prefix.
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => v4(high, low),
        _ => None,
    }
}

/// The address that a connection really goes to: an IPv4-mapped one is its IPv4 address.
pub(super) fn canonical(addr: IpAddr) -> IpAddr {
    addr.to_canonical()
}
