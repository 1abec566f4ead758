//! Messages of one publisher, topic and QoS arrive in the order in which they were published.

use crate::support::*;

fn numbers(messages: &[Publish]) -> Vec<u32> {
    messages.iter().map(|message| message.text().parse().unwrap()).collect()
}

fn ascending(count: u32) -> Vec<u32> {
    (0..count).collect()
}

#[test]
fn messages_arrive_in_order() {
    const COUNT: u32 = 2000;
    let broker = Broker::start(&[]);
    for qos in 0..=2 {
        let mut subscriber = Client::connect(&broker, connect().receive_maximum(7));
        subscriber.subscribe("a", qos);
        let mut publisher = Client::connect(&broker, connect());
        let packets = (0..COUNT).map(|number| {
            let id = u16::try_from(number + 1).unwrap();
            publish("a").qos(qos).id(id).payload(number.to_string())
        });
        publisher.send_all(packets);
        assert!(numbers(&subscriber.receive_messages(2000)) == ascending(COUNT), "QoS {qos}");
        subscriber.disconnect();
    }
}

#[test]
fn order_is_kept_across_waiting_and_reconnects() {
    const COUNT: u32 = 600;
    let broker = Broker::start(&[]);
    for qos in 1..=2 {
        let persistent =
            || connect().client_id(&format!("reconnects-{qos}")).persistent().receive_maximum(20);
        let mut client = Client::connect(&broker, persistent());
        client.subscribe(&format!("q{qos}"), qos);
        let mut publisher = Client::connect(&broker, connect());
        let publishing = std::thread::spawn(move || {
            for number in 0..COUNT {
                publisher.publish(publish(format!("q{qos}")).qos(qos).payload(number.to_string()));
            }
        });
        // It reads a few, cuts the connection without acknowledging all, and comes back.
        let mut seen: Vec<u32> = Vec::new();
        while seen.len() < 600 {
            let wanted = 13.min(600 - seen.len());
            let mut unacknowledged = Vec::new();
            let mut count = 0;
            while count < wanted {
                match client.receive() {
                    Packet::Publish(message) => {
                        let number: u32 = message.text().parse().unwrap();
                        if seen.contains(&number) {
                            assert!(message.dup, "{number} came twice and does not say so");
                        } else {
                            seen.push(number);
                            count += 1;
                        }
                        unacknowledged.push(message);
                        if unacknowledged.len() > 5 {
                            let message = unacknowledged.remove(0);
                            client.send(if qos == 1 { puback(message.id) } else { pubrec(message.id) });
                        }
                    }
                    Packet::Ack(ack) => client.send(pubcomp(ack.id)),
                    other => panic!("{other:?}"),
                }
            }
            client.cut();
            client = Client::connect(&broker, persistent());
        }
        publishing.join().unwrap();
        assert!(seen == ascending(COUNT), "QoS {qos}: {seen:?}");
        client.disconnect();
    }
}

#[test]
fn several_publishers_do_not_disturb_each_others_order() {
    const COUNT: u32 = 300;
    let broker = Broker::start(&[]);
    let mut subscriber = Client::connect(&broker, connect());
    subscriber.subscribe("from/+", 1);
    let publishers: Vec<_> = (0..4)
        .map(|index| {
            let mut publisher = Client::connect(&broker, connect());
            std::thread::spawn(move || {
                for number in 0..COUNT {
                    publisher.publish(publish(format!("from/{index}")).qos(1).payload(number.to_string()));
                }
            })
        })
        .collect();
    let messages = subscriber.receive_messages(1200);
    for publisher in publishers {
        publisher.join().unwrap();
    }
    for index in 0..4 {
        let topic = format!("from/{index}");
        let own: Vec<_> = messages.iter().filter(|message| message.topic() == topic).cloned().collect();
        assert!(numbers(&own) == ascending(COUNT), "{topic}");
    }
}

#[test]
fn what_waited_comes_before_what_is_new() {
    let broker = Broker::start(&[]);
    let persistent = || connect().client_id("behind").persistent();
    let mut client = Client::connect(&broker, persistent());
    client.subscribe("a", 1);
    client.disconnect();
    let mut publisher = Client::connect(&broker, connect());
    for number in 0..100 {
        publisher.publish(publish("a").qos(1).payload(number.to_string()));
    }
    let mut client = Client::connect(&broker, persistent().receive_maximum(3));
    for number in 100..200 {
        publisher.publish(publish("a").qos(1).payload(number.to_string()));
    }
    assert!(numbers(&client.receive_messages(200)) == ascending(200));
}

#[test]
fn a_shared_subscription_with_one_member_keeps_order() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect().receive_maximum(2));
    client.subscribe("$share/g/a", 2);
    let mut publisher = Client::connect(&broker, connect());
    for number in 0..50 {
        publisher.publish(publish("a").qos(2).payload(number.to_string()));
    }
    assert_eq!(numbers(&client.receive_messages(50)), ascending(50));
}
