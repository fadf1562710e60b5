//! Which addresses may be connected to: those that the public internet routes.

use ipnet::IpNet;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

// IANA's special-purpose registries, without what is globally reachable; first address and prefix.
const RESERVED_V4: [([u8; 4], u8); 15] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

// Of IPv6 only global unicast, 2000::/3, is public, and of that not these: IETF protocols with Teredo and ORCHID,
// documentation, 6to4, documentation.
const RESERVED_V6: [([u16; 2], u8); 4] =
    [([0x2001, 0], 23), ([0x2001, 0x0db8], 32), ([0x2002, 0], 16), ([0x3fff, 0], 20)];

/// Is this an address of the public internet? An IPv4 address inside an IPv6 one is not; but one behind NAT64's well-known
/// prefix is as public as it is by itself, because that is how networks without IPv4 reach it.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let bits = u32::from(address);
    !RESERVED_V4.iter().any(|(first, prefix)| same(bits, u32::from_be_bytes(*first), *prefix))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    if segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [.., high, low] = segments;
        return is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    }
    let bits = (u32::from(segments[0]) << 16) | u32::from(segments[1]);
    segments[0] >> 13 == 1
        && !RESERVED_V6
            .iter()
            .any(|([high, low], prefix)| same(bits, (u32::from(*high) << 16) | u32::from(*low), *prefix))
}

fn same(bits: u32, first: u32, prefix: u8) -> bool {
    (bits ^ first) >> (32 - u32::from(prefix)) == 0
}

/// Networks that may be reached although they are not public.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Is the address in one of them? An IPv4 address inside an IPv6 one is not.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn allow(&self, address: IpAddr) -> bool {
        is_public(address) || self.contains(address)
    }
}

impl FromStr for Networks {
    type Err = String;

    /// Networks or addresses, with commas between.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let networks = parts.map(|part| {
            let network = part.parse::<IpNet>().or_else(|_| part.parse::<IpAddr>().map(IpNet::from));
            network.map_err(|_| format!("{part:?} is neither a network, such as 127.0.0.0/8, nor an address"))
        });
        networks.collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&networks.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_and_last_of_every_reserved_range_are_refused_and_their_neighbours_are_not() {
        for (first, last) in [
            ("0.0.0.0", "0.255.255.255"),
            ("10.0.0.0", "10.255.255.255"),
            ("100.64.0.0", "100.127.255.255"),
            ("127.0.0.0", "127.255.255.255"),
            ("169.254.0.0", "169.254.255.255"),
            ("172.16.0.0", "172.31.255.255"),
            ("192.0.0.0", "192.0.0.255"),
            ("192.0.2.0", "192.0.2.255"),
            ("192.88.99.0", "192.88.99.255"),
            ("192.168.0.0", "192.168.255.255"),
            ("198.18.0.0", "198.19.255.255"),
            ("198.51.100.0", "198.51.100.255"),
            ("203.0.113.0", "203.0.113.255"),
            ("224.0.0.0", "255.255.255.255"),
        ] {
            let (first, last): (Ipv4Addr, Ipv4Addr) = (first.parse().unwrap(), last.parse().unwrap());
            assert!(!is_public(first.into()) && !is_public(last.into()), "{first} {last}");
            for neighbour in [u32::from(first).checked_sub(1), u32::from(last).checked_add(1)].into_iter().flatten() {
                let neighbour = Ipv4Addr::from(neighbour);
                assert!(is_public(neighbour.into()) || neighbour.is_multicast(), "{neighbour}");
            }
            for inside in [first.to_ipv6_mapped().to_string(), format!("64:ff9b::{first}"), format!("::{first}")] {
                assert!(!is_public(inside.parse().unwrap()), "{inside}");
            }
        }
    }

    #[test]
    fn of_ipv6_global_unicast_is_public() {
        for private in [
            "::",
            "::1",
            "::ffff:93.184.216.34",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:1ff:ffff::1",
            "2001:db8::1",
            "2002:5db8:d822::1",
            "3fff::1",
            "3fff:fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "1fff::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["2001:200::1", "2606:4700::1111", "2a00:1450::1", "3ffe::1", "64:ff9b::93.184.216.34"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn only_what_is_named_is_allowed() {
        let networks: Networks = "127.0.0.0/8, ::1".parse().unwrap();
        assert_eq!(networks.to_string(), "127.0.0.0/8,::1/128");
        for (address, allowed) in
            [("127.1.2.3", true), ("::1", true), ("::2", false), ("10.0.0.1", false), ("::ffff:127.0.0.1", false)]
        {
            assert_eq!(networks.allow(address.parse().unwrap()), allowed, "{address}");
        }
        assert!("localhost".parse::<Networks>().is_err() && "127.0.0.0/33".parse::<Networks>().is_err());
        assert!("".parse::<Networks>().unwrap().is_empty());
    }
}
