//! Where the broker can be reached.

use std::net::{IpAddr, SocketAddr, TcpListener};

use crate::support::*;

fn listening(options: &[&str]) -> Broker {
    Setup::new().options(options).listeners_as_told().start()
}

fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

#[test]
fn tcp_over_ipv4_and_ipv6() {
    let loopback: &[&str] = if has_ipv6() { &["127.0.0.1", "::1"] } else { &["127.0.0.1"] };
    for address in loopback {
        let broker = listening(&["--tcp-port=0", "--bind", address]);
        assert_eq!(broker.addresses().len(), 1);
        assert_eq!(broker.address().ip(), address.parse::<IpAddr>().unwrap());
        Client::open(&broker).exchange(connect());
    }
}

#[test]
fn several_addresses() {
    let mut options = vec!["--tcp-port=0", "--bind=127.0.0.1", "--bind=127.0.0.2", "--bind=127.0.0.3"];
    if has_ipv6() {
        options.push("--bind=::1");
    }
    let broker = listening(&options);
    assert_eq!(broker.addresses().len(), options.len() - 1);
    let mut clients: Vec<Client> = Vec::new();
    for address in broker.addresses() {
        let mut client = Client::open_at(*address);
        client.exchange(connect());
        clients.push(client);
    }
    // It is one broker.
    let mut publisher = Client::open_at(broker.address());
    publisher.attach(connect());
    publisher.publish(publish("a").qos(1).payload("y"));
    for client in &mut clients[1..] {
        client.send(puback(1));
        client.receive_publish();
    }
}

#[test]
fn all_addresses_by_default() {
    let broker = listening(&["--tcp-port=0"]);
    let ips: Vec<IpAddr> = broker.addresses().iter().map(SocketAddr::ip).collect();
    assert!(ips.contains(&IpAddr::from([0, 0, 0, 0])), "{ips:?}");
    assert_eq!(ips.iter().any(IpAddr::is_ipv6), has_ipv6(), "{ips:?}");
    for address in broker.addresses() {
        let loopback = if address.is_ipv4() { "127.0.0.1" } else { "::1" };
        Client::open_at(SocketAddr::new(loopback.parse().unwrap(), address.port())).exchange(connect());
    }
}

#[test]
fn a_port_that_is_given() {
    // Taken from the system and given back, so that it is very likely free.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let broker = listening(&["--bind=127.0.0.1", &format!("--tcp-port={port}")]);
    assert_eq!(broker.address().port(), port);
    Client::open(&broker).exchange(connect());
}

#[test]
fn a_port_in_use_is_a_failure() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let finished = run(&["--bind=127.0.0.1", &format!("--tcp-port={port}")]);
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    assert!(finished.stderr.contains(&port.to_string()), "{}", finished.stderr);
}

#[test]
fn a_port_can_be_shared_if_wanted() {
    let first = listening(&["--bind=127.0.0.1", "--tcp-port=0", "--socket-reuseport"]);
    let port = format!("--tcp-port={}", first.address().port());
    let second = listening(&["--bind=127.0.0.1", &port, "--socket-reuseport=true"]);
    assert_eq!(first.address(), second.address());
    drop(first);
    Client::open(&second).exchange(connect());
}

#[test]
fn every_socket_option() {
    for options in [
        vec!["--socket-no-delay=false"],
        vec!["--socket-no-delay"],
        vec!["--socket-send-buf-size=16384", "--socket-recv-buf-size=16384"],
        vec!["--socket-send-buf-size=0", "--socket-recv-buf-size=0"],
        vec!["--socket-keepalive-time=60"],
        vec!["--socket-keepalive-time=0"],
        vec!["--ep-recv-buf-size=1"],
        vec!["--ep-recv-buf-size=1048576"],
    ] {
        let broker = Broker::start(&options);
        let mut client = Client::open(&broker);
        client.exchange(connect());
        let payload = vec![b'x'; 300_000];
        client.send(puback(1));
        client.send(publish("a").payload(&payload));
        assert!(client.receive_publish().payload == payload, "{options:?}");
    }
}

#[cfg(unix)]
mod unix {
    use std::net::UdpSocket;
    use std::os::unix::fs::FileTypeExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_unix_socket() {
        let broker = listening(&["--unix-socket=mqtt.sock", "--unix-socket=another.sock"]);
        let path = broker.path("mqtt.sock");
        Client::open_unix(&broker.path("another.sock")).exchange(connect());
        assert!(broker.addresses().is_empty(), "a Unix socket is enough: there is no TCP port");
        for version in Version::ALL {
            let mut client = Client::open_unix(&path);
            client.attach(connect().version(version));
            client.expect_nothing();
        }
        Client::open_unix(&path).exchange(connect());
    }

    #[test]
    fn the_file_of_a_unix_socket_has_the_permissions_it_is_given() {
        use std::os::unix::fs::MetadataExt;
        let owner = std::fs::metadata(Setup::new().path("")).unwrap();
        let (user, group) = (owner.uid().to_string(), owner.gid().to_string());
        let options = ["--unix-socket=mqtt.sock", "--unix-socket-mode=0606", "--log-level=debug"];
        let owners = [format!("--unix-socket-user={user}"), format!("--unix-socket-group={group}")];
        let [user_option, group_option] = owners.each_ref().map(String::as_str);
        let broker = listening(&[&options[..], &[user_option, group_option]].concat());
        let path = broker.path("mqtt.sock");
        let file = std::fs::metadata(&path).unwrap();
        assert_eq!((file.mode() & 0o777, file.uid(), file.gid()), (0o606, owner.uid(), owner.gid()));
        // The log says who came.
        Client::open_unix(&path).attach(connect());
        let peer = format!("peer=unix:uid={user},gid={group},pid={}", std::process::id());
        broker.wait_for_log(0, &peer);
    }

    #[test]
    fn sockets_that_were_opened_before_the_broker() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let setup = Setup::new().listeners_as_told();
        let path = setup.path("mqtt.sock");
        let unix = UnixListener::bind(&path).unwrap();
        // It comes before there is a broker, and is served when there is one.
        let mut early = Client::open_at(address);
        early.send(connect());
        let mut broker = setup.socket("tcp", tcp).socket("unix", unix).start();
        early.expect_accepted();
        early.expect_nothing();
        assert_eq!(broker.addresses(), [address]);
        Client::open_unix(&path).exchange(connect());
        broker.signal("TERM");
        assert!(broker.wait().success());
        assert!(path.exists(), "the file belongs to who made it");
    }

    #[test]
    fn a_websocket_that_was_opened_before_the_broker() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _broker = Setup::new().listeners_as_told().socket("ws", listener).start();
        Client::open_websocket(address).exchange(connect());
    }

    #[test]
    fn sockets_of_tls_and_quic_that_were_opened_before_the_broker() {
        let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let (tls, quic) = (tcp.local_addr().unwrap(), udp.local_addr().unwrap());
        let certificate = server_certificate("server");
        let setup = Setup::new().listeners_as_told().options(&certificate.each_ref().map(String::as_str));
        let broker = setup.socket("tls", tcp).socket("quic", udp).start();
        assert_eq!(broker.addresses(), [tls, quic]);
        let mut client = Quic::new().connect(quic);
        client.exchange(connect());
        Tls::new().connect(tls).attach(connect());
        client.send(puback(1));
        broker.signal("TERM");
        client.expect_disconnect(0x8B);
    }

    #[test]
    fn sockets_that_are_not_called_anything_are_taken_for_what_they_are() {
        // As systemd calls them where the unit does not, and other tools.
        for names in [["mqtt-broker.socket"; 2], ["unknown"; 2], [""; 2]] {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = tcp.local_addr().unwrap();
            let setup = Setup::new().listeners_as_told();
            let path = setup.path("mqtt.sock");
            let unix = UnixListener::bind(&path).unwrap();
            let [first, second] = names;
            let broker = setup.socket(first, tcp).socket(second, unix).start();
            assert_eq!(broker.addresses(), [address]);
            Client::open_at(address).exchange(connect());
            Client::open_unix(&path).exchange(connect());
        }
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let quic = udp.local_addr().unwrap();
        let certificate = server_certificate("server");
        let setup = Setup::new().listeners_as_told().options(&certificate.each_ref().map(String::as_str));
        let _broker = setup.socket("", udp).start();
        Quic::new().connect(quic).exchange(connect());
    }

    #[test]
    fn sockets_that_are_not_what_they_are_called_are_refused() {
        let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
        let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        for (name, socket, sentence) in [
            ("mqtt", listener().into(), "expected tcp, tls, ws, wss, quic or unix"),
            ("", bound.try_clone().unwrap().into(), "cannot be listened on"),
            ("unix", listener().into(), "cannot be listened on"),
            ("tcp", bound.into(), "cannot be listened on"),
            ("quic", listener().into(), "cannot be listened on"),
            ("tcp", UdpSocket::bind("127.0.0.1:0").unwrap().into(), "cannot be listened on"),
        ] {
            let socket: std::os::fd::OwnedFd = socket;
            let finished = Setup::new().listeners_as_told().socket(name, socket).run();
            assert_eq!(finished.code, Some(1), "{}", finished.stderr);
            assert!(finished.stderr.contains(sentence), "{}", finished.stderr);
        }
    }

    #[test]
    fn a_unix_socket_and_tcp() {
        let broker = Broker::start(&["--unix-socket=mqtt.sock"]);
        let mut local = Client::open_unix(&broker.path("mqtt.sock"));
        local.attach(connect());
        local.subscribe("a", 0);
        Client::connect(&broker, connect()).publish(publish("a").payload("x"));
        local.expect(publish("a").payload("x"));
    }

    #[test]
    fn a_stale_socket_file_is_replaced() {
        let setup = Setup::new().listeners_as_told().option("--unix-socket=mqtt.sock");
        let path = setup.path("mqtt.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(std::fs::metadata(&path).unwrap().file_type().is_socket());
        let broker = setup.start();
        Client::open_unix(&broker.path("mqtt.sock")).exchange(connect());
    }

    #[test]
    fn a_socket_in_use_is_left_alone() {
        let setup = Setup::new().option("--unix-socket=mqtt.sock");
        let path = setup.path("mqtt.sock");
        let other = UnixListener::bind(&path).unwrap();
        let finished = setup.run();
        assert_eq!(finished.code, Some(1), "{}", finished.stderr);
        assert!(finished.stderr.contains("mqtt.sock"), "{}", finished.stderr);
        drop(other);
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let finished = Setup::new().option("--unix-socket=precious").file("precious", "data").run();
        assert_eq!(finished.code, Some(1), "{}", finished.stderr);
        assert!(finished.stderr.contains("precious"), "{}", finished.stderr);
        assert_eq!(finished.file("precious"), "data");
    }

    #[test]
    fn a_socket_that_cannot_be_made_is_a_failure() {
        let finished = run(&["--unix-socket=no/such/directory/mqtt.sock"]);
        assert_eq!(finished.code, Some(1), "{}", finished.stderr);
        assert!(finished.stderr.contains("no/such/directory"), "{}", finished.stderr);
    }
}
