use super::*;

fn whole(bytes: &[u8]) -> ProxyHeader {
    match parse(bytes) {
        Ok(Progress::Whole { header, len }) if len == bytes.len() => header,
        other => panic!("{other:?} of {}", bytes.escape_ascii()),
    }
}

#[track_caller]
fn check_refused(bytes: &[u8], sentence: &str) {
    let error = parse(bytes).expect_err(&bytes.escape_ascii().to_string()).to_string();
    assert!(error.contains(sentence), "{error}");
}

fn client(address: &str) -> ProxyHeader {
    let source = Source::Client(address.parse().unwrap());
    ProxyHeader { source, common_name: None, server_name: None }
}

/// A header of version 2.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&v2::SIGNATURE[..], &[0x20 | command, family], &len, rest].concat()
}

fn layer() -> ProxyLayer {
    ProxyLayer::new(UnfinishedPackets::with_room_for(4_096))
}

const IPV4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0xC0, 0x00, 0x07, 0x5B];

fn value(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
}

/// What a proxy says about TLS: the client's flags, whether its certificate did not hold, its common name.
fn tls(flags: u8, result: u32, name: &[u8]) -> Vec<u8> {
    let version = value(0x21, b"TLSv1.3");
    value(0x20, &[&[flags][..], &result.to_be_bytes(), &version, &value(0x22, name)].concat())
}

fn with_values(values: &[u8]) -> Vec<u8> {
    v2(1, 0x11, &[&IPV4[..], values].concat())
}

#[test]
fn lines_of_version_1() {
    for (line, address) in [
        ("TCP4 192.0.2.1 198.51.100.1 49152 1883", "192.0.2.1:49152"),
        ("TCP4 255.255.255.255 255.255.255.255 65535 65535", "255.255.255.255:65535"),
        ("TCP4 0.0.0.0 0.0.0.0 0 0", "0.0.0.0:0"),
        ("TCP6 2001:db8::1 ::1 49152 1883", "[2001:db8::1]:49152"),
        ("TCP6 ::ffff:192.0.2.1 ::1 1 1", "192.0.2.1:1"),
    ] {
        assert_eq!(whole(format!("PROXY {line}\r\n").as_bytes()), client(address));
    }
    for line in [
        "TCP4 192.0.2.1 198.51.100.1 49152",
        "TCP4 192.0.2.1 198.51.100.1 49152 1883 1",
        "TCP4 192.0.2.1 198.51.100.1 49152 1883 ",
        "TCP4  192.0.2.1 198.51.100.1 49152 1883",
        "TCP4 192.0.2.1 198.51.100.1 65536 1883",
        "TCP4 192.0.2.1 198.51.100.1 049 1883",
        "TCP4 192.0.2.1 198.51.100.1 +49 1883",
        "TCP4 192.0.2.256 198.51.100.1 1 1",
        "TCP4 ::1 ::1 1 1",
        "TCP6 192.0.2.1 192.0.2.1 1 1",
        "tcp4 192.0.2.1 198.51.100.1 1 1",
        "TCP5 aaaaaaa",
        "           ",
    ] {
        check_refused(format!("PROXY {line}\r\n").as_bytes(), "expected");
    }
    let untold = ProxyHeader { source: Source::Untold, ..client("192.0.2.1:1") };
    for line in ["UNKNOWN", "UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535", "UNKNOWN 127.0.0.1"] {
        assert_eq!(whole(format!("PROXY {line}\r\n").as_bytes()), untold);
    }
    check_refused(b"PROXY UNKNOWNS\r\n", "expected");
    check_refused(&[&b"PROXY TCP4 "[..], &[b'1'; 200]].concat(), "no end");
    check_refused(b"PROXY TCP4 \xFF\xFF\xFF\xFF\r\n", "not text");
}

#[test]
fn headers_of_version_2() {
    assert_eq!(whole(&v2(1, 0x11, &IPV4)), client("192.0.2.1:49152"));
    let mapped = [&[0; 10][..], &[0xFF, 0xFF, 192, 0, 2, 1], &[0; 16], &[0, 7, 0, 8]].concat();
    assert_eq!(whole(&v2(1, 0x21, &mapped)), client("192.0.2.1:7"));
    let ipv6 = [&[0x20, 0x01, 0x0D, 0xB8][..], &[0; 11], &[1], &[0; 16], &[0, 7, 0, 8]].concat();
    assert_eq!(whole(&v2(1, 0x21, &ipv6)), client("[2001:db8::1]:7"));
    let local = ProxyHeader { source: Source::Proxy, ..client("192.0.2.1:1") };
    for rest in [&[][..], &IPV4, b"anything"] {
        assert_eq!(whole(&v2(0, 0, rest)), local);
    }
    // Unspecified, and a Unix socket.
    let untold = ProxyHeader { source: Source::Untold, ..client("192.0.2.1:1") };
    for family in [0x00, 0x31] {
        assert_eq!(whole(&v2(1, family, &[0; 216])), untold);
    }
    // UDP, a Unix socket of datagrams, and what there is not.
    for family in [0x12, 0x22, 0x32, 0x41] {
        check_refused(&v2(1, family, &[0; 216]), "none of TCP");
    }
    check_refused(&v2(2, 0x11, &IPV4), "LOCAL or PROXY");
    check_refused(&v2(1, 0x11, &IPV4[..11]), "too short");
    check_refused(&v2(1, 0x21, &IPV4), "too short");
    let mut version_1 = v2(1, 0x11, &IPV4);
    version_1[12] = 0x11;
    check_refused(&version_1, "version 2");
    assert!(parse(&v2(0, 0, &[0; 4_080])).is_ok());
    check_refused(&v2(0, 0, &[0; 4_081])[..16], "4097 bytes: expected at most 4096");
}

#[test]
fn names_of_version_2() {
    let named = |common_name: Option<&str>, server_name: Option<&str>| ProxyHeader {
        common_name: common_name.map(Arc::from),
        server_name: server_name.map(Arc::from),
        ..client("192.0.2.1:49152")
    };
    let authority = value(0x02, b"mqtt.example");
    for flags in [0x03, 0x05, 0x07] {
        let values = [&value(0x04, &[0; 9])[..], &authority, &tls(flags, 0, "Gerät 1".as_bytes())].concat();
        assert_eq!(whole(&with_values(&values)), named(Some("Gerät 1"), Some("mqtt.example")));
    }
    // Without TLS, without a certificate, and with one that did not hold.
    for (flags, result) in [(0x02, 0), (0x01, 0), (0x03, 1), (0x03, 0x0100_0000)] {
        assert_eq!(whole(&with_values(&tls(flags, result, b"device"))), named(None, None));
    }
    for name in [&b""[..], b"\xFF", b"a\0b", b"a\nb"] {
        let values = [value(0x02, name), tls(3, 0, name)].concat();
        assert_eq!(whole(&with_values(&values)), named(None, None));
    }
    for cut in 1..authority.len() {
        check_refused(&with_values(&authority[..cut]), "cut off");
    }
    check_refused(&with_values(&value(0x20, &[3, 0, 0, 0])), "cut off");
    check_refused(&with_values(&value(0x20, &[3, 0, 0, 0, 0, 0x22, 0, 9, b'a'])), "cut off");
}

#[test]
fn the_checksum_of_version_2() {
    let authority = value(0x02, b"mqtt.example");
    let mut header = with_values(&[&value(0x03, &[0; 4])[..], &authority].concat());
    let at = 16 + IPV4.len() + 3;
    let sum = checksum::Crc32c::default().add(&header).value();
    header[at..at + 4].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(whole(&header).server_name.as_deref(), Some("mqtt.example"));
    // All that it covers, but what says that it is one.
    for index in (16..header.len()).filter(|index| *index != at - 3) {
        let mut damaged = header.clone();
        damaged[index] ^= 1;
        assert!(parse(&damaged).is_err(), "byte {index}");
    }
    check_refused(&with_values(&value(0x03, &[0; 3])), "checksum");
}

/// One of each kind.
fn headers() -> [Vec<u8>; 5] {
    [
        b"PROXY TCP4 192.0.2.1 198.51.100.1 49152 1883\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::1 ::1 49152 1883\r\n".to_vec(),
        v2(0, 0, &[]),
        v2(1, 0x11, &IPV4),
        with_values(&[value(0x02, b"mqtt.example"), tls(3, 0, b"device")].concat()),
    ]
}

#[test]
fn wherever_a_header_is_cut_what_it_lacks_belongs_to_it() {
    for header in headers() {
        let expected = whole(&header);
        for cut in 0..header.len() {
            match parse(&header[..cut]) {
                Ok(Progress::Lacks(missing)) => assert!(missing > 0 && cut + missing <= header.len()),
                other => panic!("{other:?} at {cut}"),
            }
        }
        let and_more = [&header[..], b"\x10\x0C\0\x04MQTT\r\n"].concat();
        assert_eq!(parse(&and_more).unwrap(), Progress::Whole { header: expected, len: header.len() });
    }
}

#[tokio::test]
async fn the_layer_reads_the_header_and_no_byte_more() {
    let proxy = Peer::new(Transport::Tcp, Some("10.0.0.1:5".parse().unwrap()));
    for header in headers() {
        let (mut theirs, ours) = tokio::io::duplex(7);
        let expected = whole(&header);
        let writer = tokio::spawn(async move {
            tokio::io::AsyncWriteExt::write_all(&mut theirs, &[&header[..], b"MQTT"].concat()).await.unwrap();
        });
        let (mut stream, peer) = layer().perform(ours, proxy.clone()).await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "MQTT");
        writer.await.unwrap();
        let address = match expected.source {
            Source::Proxy => proxy.address,
            Source::Client(address) => Some(address),
            Source::Untold => Some("0.0.0.0:0".parse().unwrap()),
        };
        let names = (expected.common_name, expected.server_name);
        assert_eq!((peer.address, (peer.certificate, peer.server_name)), (address, names));
    }
}

#[tokio::test]
async fn what_is_no_header_is_refused_as_soon_as_that_is_seen() {
    let proxy = Peer::new(Transport::Tcp, Some("10.0.0.1:5".parse().unwrap()));
    for bytes in [
        &b"\x10\x0C\0\x04MQTT\x05\x02\0\0\0\0\0"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\r\n\r\n\0\r\nQUIT!\x21\x11\0\0",
    ] {
        let (mut theirs, ours) = tokio::io::duplex(64);
        tokio::io::AsyncWriteExt::write_all(&mut theirs, bytes).await.unwrap();
        let error = layer().perform(ours, proxy.clone()).await.unwrap_err();
        assert!(error.to_string().contains("no PROXY header"), "{error}");
    }
    let (theirs, ours) = tokio::io::duplex(64);
    drop(theirs);
    assert!(layer().perform(ours, proxy).await.unwrap_err().to_string().contains("ended within"));
}

#[test]
fn headers_are_expected_of_proxies_only() {
    let settings =
        ProxySettings { transports: vec![Transport::Tcp], proxies: vec!["10.0.0.0/8".parse().unwrap()] };
    let peer = |transport, address: &str| Peer::new(transport, Some(address.parse().unwrap()));
    assert!(settings.expects_header(&peer(Transport::Tcp, "10.1.2.3:4")));
    assert!(settings.expects_header(&peer(Transport::Tcp, "[::ffff:10.1.2.3]:4")));
    assert!(!settings.expects_header(&peer(Transport::Tcp, "192.0.2.1:4")));
    assert!(!settings.expects_header(&peer(Transport::Tls, "10.1.2.3:4")));
    assert!(!ProxySettings::default().expects_header(&peer(Transport::Tcp, "10.1.2.3:4")));
}
