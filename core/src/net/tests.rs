use std::net::IpAddr;

use super::*;

fn allow(text: &str) -> Allow {
    Allow::parse(text).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Ways of writing what must not be reached under `*`.
const HOSTILE: [&str; 92] = [
    // Loopback: plain, short, decimal, octal, hexadecimal, mixed, with dots and ports.
    "http://127.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://127.255.255.254/",
    "http://2130706433/",
    "http://017700000001/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://0177.0x0.1/",
    "http://127.0.0.1./",
    "http://127.0.0.1:5432/",
    "http://0/",
    "http://0.0.0.0/",
    "http://0x0/",
    "http://%31%32%37.0.0.1/",
    "http://127%2e0%2e0%2e1/",
    "http://１２７.0.0.1/",
    "http://127。0。0。1/",
    "http://①②⑦.⓪.⓪.①/",
    "HTTP://LOCALHOST/",
    "http://localhost./",
    "http://localhost:8080/",
    "http://a.localhost/",
    "http://localhost.localdomain/",
    "http://ⓛocalhost/",
    "http://ip6-localhost/",
    "http://printer.local/",
    "http://metadata.google.internal/",
    // Clouds' metadata.
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://169.254.43518/",
    "http://[fd00:ec2::254]/",
    "http://100.100.100.200/",
    "http://168.63.129.16/",
    "http://192.0.0.192/",
    // Private and reserved blocks of IPv4.
    "https://10.0.0.1/",
    "https://10.255.255.255/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.168.1.1/",
    "https://3232235777/",
    "https://100.64.0.1/",
    "https://192.0.2.1/",
    "https://192.88.99.1/",
    "https://198.18.0.1/",
    "https://198.19.255.255/",
    "https://198.51.100.7/",
    "https://203.0.113.7/",
    "https://224.0.0.1/",
    "https://239.255.255.250/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    // IPv6, also with an IPv4 address inside.
    "http://[::1]/",
    "http://[::]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::127.0.0.1]/",
    "http://[::ffff:0:127.0.0.1]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b:1::a00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[2001:0:4136:e378:8000:63bf:80ff:fffe]/",
    "http://[2001:db8::1]/",
    "http://[2001:2::1]/",
    "http://[2a00:1450::5efe:7f00:1]/",
    "http://[3fff::1]/",
    "http://[100::1]/",
    "http://[fc00::1]/",
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[5f00::1]/",
    "http://[fe80::1%25eth0]/",
    // Liberties with the syntax.
    "http://example.com@127.0.0.1/",
    "http://user:secret@example.com/",
    "http://@example.com/",
    "http://127.0.0.1\\@example.com/",
    "http:127.0.0.1/",
    "http:///127.0.0.1/",
    "http://exa\tmple.com/",
    "http://example.com/\r\nHost: evil",
    "http://example.com/\u{2028}x y",
    "http://example.com:0/",
    "http://",
];

#[test]
fn hostile_urls_are_refused_with_a_way_out() {
    let any = allow("*");
    for url in HOSTILE {
        let error = match any.check_url(url) {
            Err(error) => error,
            Ok(target) => panic!("{url:?} was read as {:?}", target.host),
        };
        assert!(!error.message.is_empty() && !error.message.contains("secret"), "{url}");
        assert!(error.message.chars().all(|c| !c.is_control()), "{url:?}");
    }
    for url in [
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com:25/",
        "javascript://x",
        "example.com",
        "",
        "//example.com/",
        "https//example.com",
        "data:text/plain,x",
        "http://exa mple.com/",
        "http://a..b/",
        "http://.a/",
        "http://a*b/",
        "http://x:99999/",
        "http://xn--/",
        "http://[::1/",
        "http://1.2.3.4.5/",
        "http://256.1.1.1/",
    ] {
        assert!(any.check_url(url).is_err(), "{url}");
    }
    assert!(any.check_url(&format!("http://{}.com/", "a".repeat(64))).is_err());
    assert!(any.check_url(&format!("http://example.com/{}", "a".repeat(10_000))).is_err());
}

#[test]
fn public_urls_are_normalised() {
    let any = allow(" * ");
    let target = any.check_url("HTTPS://Example.COM.:8443/a?b=c").unwrap();
    assert_eq!(
        (target.scheme.as_str(), target.host.as_str(), target.port),
        ("https", "example.com", 8443)
    );
    assert_eq!(target.url.path(), "/a");
    assert_eq!(any.check_url("http://bücher.example/").unwrap().host, "xn--bcher-kva.example");
    assert_eq!(any.check_url("http://134744072/").unwrap().host, "8.8.8.8");
    let target = any.check_url("https://[2a00:1450:4001:80b::200e]").unwrap();
    assert_eq!((target.host.as_str(), target.port), ("2a00:1450:4001:80b::200e", 443));
    // An at sign in the path is no user name.
    assert!(any.check_url("https://example.com/@user?x=http://y").is_ok());
}

#[test]
fn is_public_at_the_edges_of_the_blocks() {
    for text in [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2001:200::1",
        "2001:db7::1",
        "2001:db9::1",
        "2003::1",
        "2a00::1",
        "2600::1",
        "3fff:1000::1",
    ] {
        assert!(is_public(ip(text)), "{text}");
    }
    for text in [
        "0.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "127.0.0.0",
        "169.254.0.0",
        "172.16.0.0",
        "192.0.0.255",
        "198.18.0.0",
        "224.0.0.0",
        "255.255.255.255",
        "::",
        "::2",
        "2001:1ff::1",
        "2002::1",
        "2002:808:808::1",
        "64:ff9b::808:808",
        "::ffff:8.8.8.8",
        "4000::1",
        "1fff::1",
        "2001::1",
        "fdff::1",
        "febf::1",
        "feff::1",
        "ffff::1",
    ] {
        assert!(!is_public(ip(text)), "{text}");
    }
}

#[test]
fn resolved_addresses_are_judged_again() {
    let any = allow("*");
    assert!(any.check_addr("example.com", ip("93.184.216.34")).is_ok());
    for private in [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "::1",
        "::ffff:10.0.0.1",
        "fe80::1",
        "64:ff9b::7f00:1",
        "2002:a00:1::1",
    ] {
        let error = any.check_addr("rebind.example.com", ip(private)).unwrap_err();
        assert!(error.message.contains("of host \"rebind.example.com\""), "{error}");
        assert!(error.message.ends_with("because it is not public"), "{error}");
    }
    let error = any.check_addr("rebind.example.com", ip("::ffff:10.0.0.1")).unwrap_err();
    let hint = error.hint.unwrap();
    assert!(hint.contains("\"10.0.0.1/32\"") && hint.contains("automate.network_allow"), "{hint}");
}

#[test]
fn listed_hosts_and_blocks_open_what_is_not_public() {
    let some = allow("localhost, *.internal, 10.1.0.0/16, ::1, hooks.example.com");
    assert!(some.check_url("http://localhost:8080/x").is_ok());
    assert!(some.check_addr("localhost", ip("127.0.0.1")).is_ok());
    assert!(some.check_addr("LOCALHOST.", ip("127.0.0.1")).is_ok());
    assert!(some.check_url("http://a.b.internal/").is_ok());
    assert!(some.check_addr("a.b.internal", ip("192.168.0.1")).is_ok());
    assert!(some.check_url("http://10.1.2.3/").is_ok());
    assert!(some.check_url("http://167838211/").is_ok());
    assert!(some.check_url("http://[::ffff:10.1.2.3]/").is_ok());
    assert!(some.check_url("http://[::1]:80/").is_ok());
    assert!(some.check_addr("db.example.com", ip("10.1.9.9")).is_ok());
    for (host, addr) in [
        ("internal", "192.168.0.1"),
        ("xinternal", "192.168.0.1"),
        ("evil.com", "127.0.0.1"),
        ("localhost.evil.com", "127.0.0.1"),
        ("db.example.com", "10.2.0.1"),
        ("db.example.com", "8.8.8.8"),
    ] {
        assert!(some.check_addr(host, ip(addr)).is_err(), "{host} {addr}");
    }
    assert!(some.check_url("http://127.0.0.1/").is_err(), "localhost is a name, not its address");
    // Without `*`, public is not enough; without blocks, a name must be listed.
    assert!(some.check_url("https://8.8.8.8/").is_err());
    let error = allow("hooks.example.com").check_url("https://example.com/").unwrap_err();
    assert_eq!(error.message, "host \"example.com\" is not allowed");
    assert!(error.hint.unwrap().contains("automate.network_allow"));
    let error = allow("").check_url("https://8.8.8.8/").unwrap_err();
    assert_eq!(error.message, "address 8.8.8.8 is not allowed");
    assert!(allow(" , ").check_host("example.com", 25).is_err());
    assert!(allow("*").check_addr("x", ip("8.8.8.8")).is_ok());
}

#[test]
fn embedded_addresses_are_judged_too() {
    let nat = allow("64:ff9b::/96");
    assert!(nat.check_url("http://[64:ff9b::808:808]/").is_ok());
    let error = nat.check_url("http://[64:ff9b::7f00:1]/").unwrap_err();
    assert!(error.hint.unwrap().contains("\"127.0.0.1/32\""));
    assert!(allow("64:ff9b::/96,127.0.0.1").check_url("http://[64:ff9b::7f00:1]/").is_ok());
}

#[test]
fn smtp_hosts_are_read_like_url_hosts() {
    let any = allow("*");
    let endpoint = any.check_host("Mail.Example.com.", 587).unwrap();
    assert_eq!(endpoint, Endpoint { host: "mail.example.com".into(), port: 587, addr: None });
    assert_eq!(any.check_host("8.8.8.8", 25).unwrap().addr, Some(ip("8.8.8.8")));
    assert_eq!(any.check_host("2a00:1450::1", 25).unwrap().addr, Some(ip("2a00:1450::1")));
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "::1",
        "[::1]",
        "localhost",
        "",
        "a b",
        "a\r\nb",
        "user@example.com",
        "fe80::1%eth0",
        "ex/ample",
        "*",
        "a:25",
        "::ffff:127.0.0.1",
    ] {
        assert!(any.check_host(host, 25).is_err(), "{host:?}");
    }
    assert!(any.check_host("mail.example.com", 0).is_err());
    assert!(allow("127.0.0.0/8").check_host("127.1", 1025).is_ok());
}

#[test]
fn parse_says_what_is_wrong_with_an_entry() {
    for (text, message, hint) in [
        ("10.1.2.3/8", "bits are set", "\"10.0.0.0/8\""),
        ("10.0.0.0/33", "no CIDR block", "10.1.0.0/16"),
        ("https://example.com/", "it is a URL", "host alone"),
        ("example.com/hook", "it has a path", "host alone"),
        ("example.com:443", "a port", "\"example.com\""),
        ("::ffff:10.0.0.0/104", "block of IPv4", "form of IPv4"),
        ("127.1", "no host name", "Entries are"),
        ("a*b.com", "no host name", "Entries are"),
        ("*.*.com", "no host name", "Entries are"),
        ("*.", "no host name", "Entries are"),
        ("a b", "no host name", "Entries are"),
        ("*.127.0.0.1", "no host name", "Entries are"),
    ] {
        let error = Allow::parse(&format!("*, {text}")).unwrap_err();
        assert!(error.message.contains(message), "{text}: {error}");
        assert!(error.hint.clone().unwrap().contains(hint), "{text}: {error:?}");
    }
    assert!(Allow::parse(&"a,".repeat(1 << 20)).is_err());
    assert_eq!(allow("BÜCHER.example"), allow("xn--bcher-kva.example."));
}
