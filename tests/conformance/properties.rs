//! The properties of PUBLISH: section 3.3.2.3 of MQTT 5.0.

use crate::support::*;
use crate::{expect_end, ill_formed, join, let_pass};

/// Publishes a message with these properties; insists on a subscriber getting the same.
fn expect_unaltered(properties: &[Property]) {
    let broker = Broker::start(&[]);
    let mut publisher = join(&broker, Version::V5);
    let mut subscriber = join(&broker, Version::V5);
    subscriber.subscribe("t", 1);
    let message = properties.iter().cloned().fold(publish("t").payload("x"), Publish::property);
    publisher.publish(message.clone());
    assert_eq!(subscriber.receive_publish(), message);
    publisher.publish(message.clone().retain());
    subscriber.expect(message.clone());
    let mut later = join(&broker, Version::V5);
    later.subscribe("t", 0);
    assert_eq!(later.receive_publish(), message.retain());
}

/// Keeps [MQTT-3.3.2-4].
#[test]
fn the_payload_format_indicator_is_forwarded() {
    expect_unaltered(&[Property::PayloadFormat(1)]);
    expect_unaltered(&[Property::PayloadFormat(0)]);
}

/// Keeps [MQTT-3.3.2-5].
#[test]
fn a_message_that_has_expired_is_not_delivered() {
    let broker = Broker::start(&[]);
    let session = || connect().client_id("c").clean_start(false).session_expiry(60);
    let mut client = Client::connect(&broker, session());
    client.subscribe("t", 1);
    client.disconnect();
    let mut publisher = join(&broker, Version::V5);
    publisher.publish(publish("t").qos(1).payload("brief").property(Property::MessageExpiry(1)));
    publisher.publish(publish("t").qos(1).payload("lasting"));
    let_pass(&broker, 2);
    let mut client = Client::connect(&broker, session());
    client.expect(publish("t").qos(1).payload("lasting"));
    client.expect_nothing();
}

/// Keeps [MQTT-3.3.2-6].
#[test]
fn the_time_a_message_has_waited_is_taken_off_its_expiry() {
    let broker = Broker::start(&[]);
    let session = || connect().client_id("c").clean_start(false).session_expiry(60);
    let mut client = Client::connect(&broker, session());
    client.subscribe("t", 1);
    let mut publisher = join(&broker, Version::V5);
    let message = publish("t").qos(1).property(Property::MessageExpiry(1000));
    publisher.publish(message.clone());
    let expiry = |message: &Publish| match message.all(0x02).as_slice() {
        [Property::MessageExpiry(seconds)] => *seconds,
        other => panic!("{other:?}"),
    };
    assert!((995..=1000).contains(&expiry(&client.receive_messages(1)[0])));
    client.disconnect();
    publisher.publish(message);
    let_pass(&broker, 2);
    let mut client = Client::connect(&broker, session());
    assert!((980..=998).contains(&expiry(&client.receive_publish())));
}

/// Keeps [MQTT-3.3.2-7].
#[test]
fn topic_aliases_end_with_their_connection() {
    let broker = Broker::start(&["--mqtt-topic-alias-maximum=5"]);
    let session = || connect().client_id("c").clean_start(false).session_expiry(60);
    let mut client = Client::connect(&broker, session());
    client.publish(publish("t").property(Property::TopicAlias(1)));
    client.disconnect();
    let mut client = Client::connect(&broker, session());
    client.send(publish("").property(Property::TopicAlias(1)));
    expect_end(&mut client, &[0x82, 0x94]);
}

/// Keeps [MQTT-3.3.2-8] [MQTT-3.3.2-9] [MQTT-3.2.2-17].
#[test]
fn a_topic_alias_out_of_range_ends_the_connection() {
    let broker = Broker::start(&["--mqtt-topic-alias-maximum=5"]);
    for alias in [0, 6, 65_535] {
        let mut client = join(&broker, Version::V5);
        client.send(publish("t").property(Property::TopicAlias(alias)));
        client.expect_disconnect(0x94);
    }
}

/// Keeps [MQTT-3.2.2-18].
#[test]
fn a_topic_alias_where_none_is_allowed_ends_the_connection() {
    let broker = Broker::start(&[]);
    let mut client = join(&broker, Version::V5);
    assert!(client.connack().all(0x22).is_empty());
    client.send(publish("t").property(Property::TopicAlias(1)));
    client.expect_disconnect(0x94);
}

/// Keeps [MQTT-3.3.2-12].
#[test]
fn every_topic_alias_up_to_the_maximum_is_accepted() {
    let broker = Broker::start(&["--mqtt-topic-alias-maximum=5"]);
    let mut client = join(&broker, Version::V5);
    assert!(client.connack().has(&Property::TopicAliasMaximum(5)));
    client.subscribe("#", 0);
    for alias in 1..=5 {
        let topic = format!("t/{alias}");
        client.send(publish(&topic).property(Property::TopicAlias(alias)));
        client.expect(publish(&topic));
    }
    for alias in 1..=5 {
        client.send(publish("").property(Property::TopicAlias(alias)));
        client.expect(publish(format!("t/{alias}")));
    }
    client.send(publish("new").property(Property::TopicAlias(3)));
    client.expect(publish("new"));
    client.send(publish("").property(Property::TopicAlias(3)));
    client.expect(publish("new"));
}

/// Keeps [MQTT-3.3.2-13] [MQTT-3.3.2-19].
#[test]
fn response_topic_and_content_type_must_be_well_formed() {
    let broker = Broker::start(&[]);
    for number in [0x08, 0x03] {
        let mut client = join(&broker, Version::V5);
        client.send(publish("t").property(ill_formed(number)));
        client.expect_disconnect(0x81);
    }
}

/// Keeps [MQTT-3.3.2-14].
#[test]
fn a_response_topic_with_wildcards_ends_the_connection() {
    let broker = Broker::start(&[]);
    for topic in ["a/+", "#"] {
        let mut client = join(&broker, Version::V5);
        client.send(publish("t").property(Property::ResponseTopic(topic.to_owned())));
        expect_end(&mut client, &[0x81, 0x82, 0x90]);
    }
}

/// Keeps [MQTT-3.3.2-15] [MQTT-3.3.2-16].
#[test]
fn response_topic_and_correlation_data_are_forwarded() {
    let topic = Property::ResponseTopic("an/answer/\u{e9}".to_owned());
    expect_unaltered(&[topic, Property::CorrelationData(vec![0, 0xFF, b'+', 0xC3])]);
}

/// Keeps [MQTT-3.3.2-17] [MQTT-3.3.2-18].
#[test]
fn user_properties_are_forwarded_in_their_order() {
    let pairs = [("z", "1"), ("a", "2"), ("z", "1"), ("", ""), ("a", "1")];
    expect_unaltered(&pairs.map(|(name, value)| Property::user(name, value)));
}

/// Keeps [MQTT-3.3.2-20].
#[test]
fn the_content_type_is_forwarded() {
    expect_unaltered(&[Property::ContentType("no/such; type \u{1F980}".to_owned())]);
}
