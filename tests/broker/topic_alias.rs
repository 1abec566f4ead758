//! Topic aliases, in both directions.

use crate::support::*;

fn aliased(topic: &str, alias: u16) -> Publish {
    publish(topic).property(Property::TopicAlias(alias))
}

fn alias_of(message: &Publish) -> Option<u16> {
    message.properties.iter().find_map(|property| match property {
        Property::TopicAlias(alias) => Some(*alias),
        _ => None,
    })
}

#[test]
fn an_alias_stands_for_its_topic() {
    let broker = Broker::start(&["--mqtt-topic-alias-maximum=5"]);
    let mut client = Client::connect(&broker, connect());
    assert!(client.connack().has(&Property::TopicAliasMaximum(5)));
    client.subscribe("#", 2);
    for (packet, topic) in [
        (aliased("one", 1), "one"),
        (aliased("", 1), "one"),
        (aliased("five", 5), "five"),
        (aliased("", 1), "one"),
        (aliased("", 5), "five"),
        (aliased("other", 1), "other"),
        (aliased("", 1), "other"),
        (publish("plain"), "plain"),
        (aliased("", 5), "five"),
    ] {
        // The alias is between the client and the broker: it is not passed on.
        client.send(packet);
        client.expect(publish(topic));
    }
    client.send(aliased("", 1).qos(2).id(3).payload("x"));
    client.expect_unordered([pubrec(3).into(), publish("other").qos(2).payload("x").into()]);
}

#[test]
fn an_alias_is_resolved_before_the_message_is_kept() {
    let broker = Broker::start(&["--mqtt-topic-alias-maximum=5"]);
    let mut publisher = Client::connect(&broker, connect());
    publisher.send(aliased("kept", 1));
    publisher.publish(aliased("", 1).qos(1).retain().payload("x"));
    let mut client = Client::connect(&broker, connect());
    client.subscribe("kept", 0);
    client.expect(publish("kept").retain().payload("x"));
}

#[test]
fn aliases_belong_to_one_connection() {
    let broker = Broker::start(&["--mqtt-topic-alias-maximum=5"]);
    let persistent = || connect().client_id("aliases").persistent();
    let mut client = Client::connect(&broker, persistent());
    client.publish(aliased("one", 1));
    let mut other = Client::connect(&broker, connect());
    other.send(aliased("", 1));
    other.expect_disconnect_for(&[0x82, 0x94]);
    client.cut();
    let mut client = Client::connect(&broker, persistent());
    client.send(aliased("", 1));
    client.expect_disconnect_for(&[0x82, 0x94]);
}

#[test]
fn aliases_that_are_not_allowed_end_the_connection() {
    for (option, alias) in [("5", 0), ("5", 6), ("5", 65_535), ("0", 1), ("65535", 0)] {
        let broker = Broker::start(&[&format!("--mqtt-topic-alias-maximum={option}")]);
        let mut client = Client::connect(&broker, connect());
        client.send(aliased("a", alias));
        client.expect_disconnect(0x94);
    }
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect());
    client.send(aliased("a", 1));
    client.expect_disconnect(0x94);
}

#[test]
fn every_alias_that_is_announced_can_be_used() {
    let broker = Broker::start(&["--mqtt-topic-alias-maximum=65535"]);
    let mut client = Client::connect(&broker, connect());
    client.subscribe("t/#", 0);
    for alias in [1, 2, 256, 65_535] {
        client.send(aliased(&format!("t/{alias}"), alias));
        client.expect(publish(format!("t/{alias}")));
    }
    for alias in [65_535, 256, 2, 1] {
        client.send(aliased("", alias));
        client.expect(publish(format!("t/{alias}")));
    }
}

#[test]
fn no_aliases_are_given_unless_wanted_by_both() {
    let publish_twice = |broker: &Broker, packet: Connect| {
        let mut client = Client::connect(broker, packet);
        client.subscribe("a", 0);
        for _ in 0..3 {
            client.send(publish("a"));
            client.expect(publish("a"));
        }
    };
    let broker = Broker::start(&[]);
    publish_twice(&broker, connect().property(Property::TopicAliasMaximum(10)));
    let broker = Broker::start(&["--mqtt-auto-map-topic-alias"]);
    publish_twice(&broker, connect());
    publish_twice(&broker, connect().property(Property::TopicAliasMaximum(0)));
    publish_twice(&broker, connect().version(Version::V311));
}

#[test]
fn topics_are_given_aliases() {
    let broker = Broker::start(&["--mqtt-auto-map-topic-alias=true"]);
    for qos in 0..=2 {
        let mut client = Client::connect(&broker, connect().property(Property::TopicAliasMaximum(2)));
        client.subscribe("#", qos);
        let mut publisher = Client::connect(&broker, connect());
        let mut receive = |topic: &str| {
            publisher.publish(publish(topic).qos(qos).payload(topic));
            let message = client.receive_messages(1).remove(0);
            assert_eq!(message.text(), topic);
            (message.topic().to_owned(), alias_of(&message).expect("no alias"))
        };
        let (topic, one) = receive("one");
        assert_eq!(topic, "one");
        assert_eq!(receive("one"), (String::new(), one));
        let (topic, two) = receive("two");
        assert_eq!(topic, "two");
        assert!([1, 2].contains(&one) && [1, 2].contains(&two) && one != two, "{one} {two}");
        assert_eq!(receive("one"), (String::new(), one));
        // The least recently used one gives way.
        assert_eq!(receive("three"), ("three".to_owned(), two));
        assert_eq!(receive("three"), (String::new(), two));
        assert_eq!(receive("one"), (String::new(), one));
        assert_eq!(receive("two"), ("two".to_owned(), two));
    }
}

#[test]
fn aliases_given_are_new_for_each_connection() {
    let broker = Broker::start(&["--mqtt-auto-map-topic-alias"]);
    let persistent = || connect().client_id("fresh").persistent().property(Property::TopicAliasMaximum(5));
    let mut client = Client::connect(&broker, persistent());
    client.subscribe("a", 1);
    let mut publisher = Client::connect(&broker, connect());
    for _ in 0..2 {
        publisher.publish(publish("a").qos(1));
    }
    assert_eq!(client.receive_publish().topic(), "a");
    assert_eq!(client.receive_publish().topic(), "");
    client.cut();
    let mut client = Client::connect(&broker, persistent());
    let first = client.receive_publish();
    assert_eq!((first.topic(), first.dup), ("a", true));
    let second = client.receive_publish();
    assert_eq!((second.topic(), alias_of(&second)), ("", alias_of(&first)));
}

#[test]
fn the_option_limits_how_many_are_given() {
    let broker = Broker::start(&["--mqtt-auto-map-topic-alias", "--max-outbound-topic-aliases=1"]);
    let mut client = Client::connect(&broker, connect().property(Property::TopicAliasMaximum(100)));
    client.subscribe("#", 0);
    for topic in ["a", "b", "c", "a"] {
        client.send(publish(topic));
        client.expect(aliased(topic, 1));
    }
    client.send(publish("a"));
    client.expect(aliased("", 1));
}
