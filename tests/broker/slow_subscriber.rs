//! A subscriber that does not read is nobody's problem but its own.

use crate::support::*;

#[test]
fn one_stalled_subscriber_of_ten_delays_nobody() {
    const COUNT: usize = 2000;
    let broker = Broker::start(&[]);
    for qos in 0..=2 {
        let mut stalled = Client::open_narrow(&broker, 4096);
        stalled.attach(connect());
        stalled.subscribe("all", qos);
        let readers: Vec<_> = (0..9)
            .map(|_| {
                let mut client = Client::connect(&broker, connect());
                client.subscribe("all", qos);
                std::thread::spawn(move || {
                    for (number, message) in client.receive_messages(COUNT).iter().enumerate() {
                        assert_eq!(message.payload[..8], number.to_be_bytes());
                    }
                })
            })
            .collect();
        let mut publisher = Client::connect(&broker, connect());
        for base in (0..COUNT).step_by(100) {
            publisher.send_all((base..base + 100).map(|number| {
                let mut payload = number.to_be_bytes().to_vec();
                payload.resize(2000, b'x');
                publish("all").qos(1).id(1).payload(payload)
            }));
            // Acknowledged, though four megabytes wait for the one that does not read.
            for _ in 0..100 {
                publisher.expect(puback(1));
            }
        }
        for reader in readers {
            reader.join().unwrap();
        }
        stalled.send(pingreq());
        drop(stalled);
    }
}

#[test]
fn what_waited_for_a_stalled_subscriber_comes_when_it_reads() {
    const COUNT: usize = 1000;
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        for qos in 0..=1 {
            let mut stalled = Client::open_narrow(&broker, 4096);
            stalled.attach(connect().version(version));
            stalled.subscribe("a", qos);
            let mut publisher = Client::connect(&broker, connect());
            for number in 0..COUNT {
                let mut payload = number.to_be_bytes().to_vec();
                payload.resize(2000, b'x');
                publisher.publish(publish("a").qos(1).payload(payload));
            }
            for (number, message) in stalled.receive_messages(COUNT).iter().enumerate() {
                assert_eq!(message.payload[..8], number.to_be_bytes());
            }
            stalled.disconnect();
        }
    }
}

#[test]
fn a_client_that_sends_and_does_not_read_its_acknowledgements_delays_nobody() {
    let broker = Broker::start(&[]);
    let mut deaf = Client::open_narrow(&broker, 4096);
    deaf.attach(connect());
    let writing = std::thread::spawn(move || {
        // It may be stopped by the broker that reads no more, until the test ends and the broker with it.
        let packets: Vec<u8> =
            (0..200_000).flat_map(|_| publish("nobody").qos(1).id(1).frame(Version::V5).bytes()).collect();
        let _ = deaf.try_send_raw(&packets);
    });
    let mut client = Client::connect(&broker, connect());
    client.subscribe("a", 1);
    for number in 0..200 {
        client.send(publish("a").qos(1).id(1).payload(number.to_string()));
        client.expect_unordered([puback(1).into(), publish("a").qos(1).payload(number.to_string()).into()]);
    }
    drop(broker);
    writing.join().unwrap();
}
