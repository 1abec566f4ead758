//! Subscriptions that are made on data streams of QUIC.

use std::io::Read;

use crate::support::*;

/// The header of a client's flow that is remembered for a minute.
fn header(flow: u8) -> [u8; 4] {
    [0x12, flow, 60, 0]
}

/// A flow that the broker has opened.
fn server_flow(connection: &QuicConnection) -> Client {
    let mut stream = connection.accept_bi();
    let mut header = [0; 12];
    stream.read_exact(&mut header).unwrap();
    assert_eq!(header[0], 0x13);
    stream.client()
}

/// Messages of each QoS come there and are acknowledged there.
fn expect_each_qos(publisher: &mut Client, topic: &str, there: &mut Client) {
    publisher.publish(publish(topic).payload("0"));
    there.expect(publish(topic).payload("0"));
    publisher.publish(publish(topic).qos(1).payload("1"));
    let id = there.receive_publish().id;
    there.send(puback(id));
    publisher.publish(publish(topic).qos(2).payload("2"));
    let id = there.receive_publish().id;
    there.send(pubrec(id));
    there.expect(pubrel(id));
    there.send(pubcomp(id));
}

#[test]
fn messages_come_on_the_stream_of_their_subscription_however_others_come() {
    for how in ["control-only", "per-topic", "per-publish"] {
        let broker = start_with_quic(&["--quic-delivery", how]);
        let (connection, mut control) = Quic::new().connected(&broker);
        let mut publisher = Client::connect(&broker, connect());
        let mut plain = connection.open_bi().client();
        let mut flow = connection.open_bi().begin(&header(2)).client();
        plain.subscribe("plain/+", 2);
        flow.subscribe("flow", 2);
        for _ in 0..2 {
            expect_each_qos(&mut publisher, "plain/a", &mut plain);
            expect_each_qos(&mut publisher, "flow", &mut flow);
        }
        let large = "large".repeat(100_000);
        publisher.publish(publish("flow").qos(1).payload(&large));
        flow.expect(publish("flow").qos(1).payload(&large));
        control.expect_nothing();
    }
}

#[test]
fn the_older_versions_have_streams_too() {
    let broker = start_with_quic(&[]);
    for version in [Version::V31, Version::V311] {
        let connection = Quic::new().open(broker.addresses()[1]).unwrap();
        let mut control = connection.client();
        control.attach(connect().version(version));
        let mut data = connection.open_bi().client();
        data.set_version(version);
        data.subscribe("a", 1);
        Client::connect(&broker, connect()).publish(publish("a").qos(1));
        assert_eq!(data.receive_publish().topic, b"a");
        control.expect_nothing();
    }
}

#[test]
fn retained_messages_come_there() {
    let broker = start_with_quic(&[]);
    Client::connect(&broker, connect()).publish(publish("a").qos(1).retain().payload("x"));
    let (connection, mut control) = Quic::new().connected(&broker);
    let mut data = connection.open_bi().client();
    data.subscribe("a", 0);
    data.expect(publish("a").retain().payload("x"));
    control.expect_nothing();
}

#[test]
fn a_subscription_is_where_it_was_made_last() {
    let broker = start_with_quic(&[]);
    let (connection, mut control) = Quic::new().connected(&broker);
    let mut publisher = Client::connect(&broker, connect());
    let mut streams = [connection.open_bi().client(), connection.open_bi().client()];
    for stream in &mut streams {
        stream.subscribe("a", 0);
        publisher.publish(publish("a"));
        stream.expect(publish("a"));
    }
    control.subscribe("a", 0);
    publisher.publish(publish("a"));
    control.expect(publish("a"));
    streams[0].subscribe("a", 0);
    control.send(unsubscribe("a").id(1));
    control.expect(unsuback(1, &[0]));
    control.subscribe("#", 0);
    publisher.publish(publish("a"));
    control.expect(publish("a"));
}

#[test]
fn a_subscription_that_is_refused_is_nowhere() {
    let broker = start_with_quic(&["--mqtt-shared-sub-support=false"]);
    let (connection, mut control) = Quic::new().connected(&broker);
    control.subscribe("#", 0);
    let mut data = connection.open_bi().client();
    data.send(subscribe("$share/g/a", 0).id(1));
    data.expect(suback(1, &[0x9E]));
    Client::connect(&broker, connect()).publish(publish("a"));
    control.expect(publish("a"));
}

#[test]
fn a_subscription_outlives_its_stream() {
    let broker = start_with_quic(&[]);
    let (connection, mut control) = Quic::new().connected(&broker);
    let mut publisher = Client::connect(&broker, connect());
    let mut plain = connection.open_bi().client();
    let mut flow = connection.open_bi().begin(&header(2)).client();
    plain.subscribe("plain", 0);
    flow.subscribe("flow", 0);
    for (topic, stream) in [("plain", &mut plain), ("flow", &mut flow)] {
        stream.shutdown_write();
        stream.expect_closed();
        publisher.publish(publish(topic));
        control.expect(publish(topic));
    }
    // The flow has ended as it should: its number may be used for another one.
    let mut other = connection.open_bi().begin(&header(2)).client();
    assert_eq!(other.publish(publish("flow").qos(1)), 0);
    control.expect(publish("flow"));
}

#[test]
fn a_flow_that_is_resumed_has_its_subscriptions() {
    let broker = start_with_quic(&[]);
    let (connection, mut control) = Quic::new().connected(&broker);
    let mut publisher = Client::connect(&broker, connect());
    let packet = subscribe("a", 0).id(1).frame(Version::V5).bytes();
    let mut first = connection.open_bi().begin(&header(2)).begin(&packet);
    first.read_exact(&mut [0; 6]).unwrap();
    first.reset();
    let mut resumed = connection.open_bi().begin(&header(2)).client();
    assert_eq!(resumed.publish(publish("b").qos(1)), 0x10);
    publisher.publish(publish("a").payload("resumed"));
    resumed.expect(publish("a").payload("resumed"));
    control.expect_nothing();
}

#[test]
fn a_flow_without_a_way_back_has_a_stream_of_the_broker_beside_it() {
    let broker = start_with_quic(&[]);
    let (connection, mut control) = Quic::new().connected(&broker);
    let mut publisher = Client::connect(&broker, connect());
    let mut flow = connection.open_uni().begin(&header(2)).client();
    flow.send(subscribe("a", 2).id(1));
    control.expect(suback(1, &[2]));
    publisher.publish(publish("a").payload("first"));
    let mut beside = server_flow(&connection);
    beside.expect(publish("a").payload("first"));
    expect_each_qos(&mut publisher, "a", &mut beside);
    flow.shutdown_write();
    beside.expect_closed();
    publisher.publish(publish("a"));
    control.expect(publish("a"));
}

#[test]
fn a_stream_without_a_way_back_and_without_a_number_has_its_messages_on_the_control_stream() {
    let broker = start_with_quic(&[]);
    let (connection, mut control) = Quic::new().connected(&broker);
    connection.open_uni().client().send(subscribe("a", 0).id(1));
    control.expect(suback(1, &[0]));
    Client::connect(&broker, connect()).publish(publish("a"));
    control.expect(publish("a"));
}

#[test]
fn a_stream_that_is_not_read_holds_up_no_answers_elsewhere() {
    let broker = start_with_quic(&[]);
    let (connection, mut control) = Quic::narrow(1_000).connected(&broker);
    let mut unread = connection.open_bi().client();
    unread.subscribe("a", 0);
    let mut publisher = Client::connect(&broker, connect());
    let payloads: Vec<_> = (0..40).map(|number| number.to_string().repeat(10_000)).collect();
    for payload in &payloads {
        publisher.publish(publish("a").qos(1).payload(payload));
    }
    control.expect_nothing();
    let mut other = connection.open_bi().client();
    assert_eq!(other.publish(publish("b").qos(1).id(1)), 0x10);
    assert_eq!(control.publish(publish("b").qos(2).id(2)), 0x10);
    for payload in &payloads {
        unread.expect(publish("a").payload(payload));
    }
}

#[test]
fn a_stream_that_is_never_read_ends_the_connection() {
    let broker = start_with_quic(&["--quic-stream-timeout=1"]);
    let (connection, _control) = Quic::narrow(1_000).connected(&broker);
    let mut unread = connection.open_bi().client();
    unread.subscribe("a", 0);
    let mut publisher = Client::connect(&broker, connect());
    for _ in 0..40 {
        publisher.publish(publish("a").payload("x".repeat(10_000)));
    }
    assert_eq!(connection.close_code(), 0);
}

#[test]
fn messages_with_topic_aliases_stay_in_order() {
    let broker = start_with_quic(&["--mqtt-auto-map-topic-alias"]);
    let connection = Quic::new().open(broker.addresses()[1]).unwrap();
    let mut control = connection.client();
    control.attach(connect().property(Property::TopicAliasMaximum(1)));
    connection.open_bi().client().subscribe("#", 0);
    let mut publisher = Client::connect(&broker, connect());
    for topic in ["a", "b", "a"] {
        publisher.publish(publish(topic));
        control.expect(publish(topic).property(Property::TopicAlias(1)));
    }
}
