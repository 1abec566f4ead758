//! Response information: topics to which anybody may answer and only their owner may listen.

use crate::support::*;

fn information(client: &Client) -> Option<String> {
    match &client.connack().all(0x1A)[..] {
        [] => None,
        [Property::ResponseInformation(text)] => Some(text.clone()),
        other => panic!("{other:?}"),
    }
}

fn asking() -> Connect {
    connect().property(Property::RequestResponseInformation(1))
}

#[test]
fn response_information_is_given_to_those_who_ask() {
    let broker = Broker::start(&[]);
    assert_eq!(information(&Client::connect(&broker, connect())), None);
    let declining = connect().property(Property::RequestResponseInformation(0));
    assert_eq!(information(&Client::connect(&broker, declining)), None);
    let one = information(&Client::connect(&broker, asking())).unwrap();
    let other = information(&Client::connect(&broker, asking())).unwrap();
    for text in [&one, &other] {
        assert!(text.starts_with("res_") && text.ends_with('/') && text.len() > 10, "{text}");
    }
    assert_ne!(one, other);
}

#[test]
fn a_session_keeps_its_response_information() {
    let broker = Broker::start(&[]);
    let persistent = || asking().client_id("keeps").persistent();
    let client = Client::connect(&broker, persistent());
    let first = information(&client).unwrap();
    client.cut();
    let client = Client::connect(&broker, persistent());
    assert_eq!(information(&client).unwrap(), first);
}

#[test]
fn a_request_is_answered() {
    let broker = Broker::start(&[]);
    let mut requester = Client::connect(&broker, asking());
    let topic = format!("{}answers", information(&requester).unwrap());
    requester.subscribe(&topic, 1);
    let mut responder = Client::connect(&broker, connect());
    responder.subscribe("requests", 1);
    let request = publish("requests")
        .qos(1)
        .payload("?")
        .property(Property::ResponseTopic(topic.clone()))
        .property(Property::CorrelationData(vec![1, 2, 3]));
    requester.publish(request);

    let request = responder.receive_messages(1).remove(0);
    let [Property::ResponseTopic(answer_to)] = &request.all(0x08)[..] else { panic!("{request:?}") };
    let mut answer = publish(answer_to).qos(1).payload("!");
    answer.properties = request.all(0x09);
    assert_eq!(responder.publish(answer), 0);
    requester.expect(publish(&topic).qos(1).payload("!").property(Property::CorrelationData(vec![1, 2, 3])));
}

#[test]
fn only_the_owner_may_subscribe() {
    let broker = Broker::start(&[]);
    let mut owner = Client::connect(&broker, asking());
    let prefix = information(&owner).unwrap();
    let mut other = Client::connect(&broker, asking());
    for filter in
        [format!("{prefix}x"), format!("{prefix}#"), format!("{prefix}+"), format!("$share/g/{prefix}x")]
    {
        other.subscribe_with(subscribe(&filter, 0), &[0x87]);
        let mut old = Client::connect(&broker, connect().version(Version::V311));
        old.subscribe_with(subscribe(&filter, 0), &[0x80]);
        owner.subscribe(&filter, 0);
        owner.send(unsubscribe(&filter));
        owner.expect(unsuback(1, &[0]));
    }
}

#[test]
fn wildcards_of_others_do_not_listen_in() {
    let broker = Broker::start(&[]);
    let mut owner = Client::connect(&broker, asking());
    let topic = format!("{}x", information(&owner).unwrap());
    owner.subscribe("#", 0);
    let mut other = Client::connect(&broker, connect());
    other.send(subscribe("#", 0).and("+/x", 0).and("+/+", 0).and("$share/g/#", 0));
    other.expect(suback(1, &[0, 0, 0, 0]));
    let mut publisher = Client::connect(&broker, connect());
    publisher.publish(publish(&topic).qos(1).retain().payload("secret"));
    owner.expect(publish(&topic).payload("secret"));
    other.expect_nothing();
    other.subscribe("#", 0);
    other.expect_nothing();
}

#[test]
fn the_topics_are_nobodys_once_the_session_has_ended() {
    let broker = Broker::start(&[]);
    let owner = Client::connect(&broker, asking());
    let topic = format!("{}x", information(&owner).unwrap());
    owner.disconnect();
    let mut publisher = Client::connect(&broker, connect());
    assert_eq!(publisher.publish(publish(&topic).qos(1)), 0x10);
}

#[test]
fn the_rules_of_the_auth_file_do_not_stand_in_the_way() {
    let broker = Setup::new()
        .file("auth.json", r#"{ authentication: [{ name: "a", method: "anonymous" }], authorization: [] }"#)
        .start();
    let mut owner = Client::connect(&broker, asking());
    let topic = format!("{}x", information(&owner).unwrap());
    owner.subscribe(&topic, 1);
    let mut other = Client::connect(&broker, connect());
    assert_eq!(other.publish(publish(&topic).qos(1).payload("x")), 0);
    owner.expect(publish(&topic).qos(1).payload("x"));
    assert_eq!(other.publish(publish("elsewhere").qos(1)), 0x87);
}
