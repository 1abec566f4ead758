//! PUBACK, PUBREC, PUBREL and PUBCOMP: sections 3.4 to 3.7 of MQTT 5.0.

use crate::join;
use crate::support::*;

const READ_ONLY: &str = r##"{
    authentication: [{name: "guest", method: "anonymous"}],
    authorization: [{topic: "#", allow: {sub: ["guest"]}}],
}"##;

/// A client that accepts no packets larger than its CONNACK without properties, which is five bytes. An
/// acknowledgement with a Reason Code has as many, so that nothing else fits into it.
fn narrow(broker: &Broker) -> Client {
    Client::connect(broker, connect().property(Property::MaximumPacketSize(5)))
}

/// Keeps [MQTT-3.4.2-1] [MQTT-3.4.2-2].
#[test]
fn a_puback_has_its_own_reason_codes_and_fits_the_client() {
    let broker = Setup::new().file("auth.json", READ_ONLY).start();
    let mut client = narrow(&broker);
    client.send(publish("t").qos(1).id(1));
    assert_eq!(client.receive(), puback(1).reason(0x87).into());
}

/// Keeps [MQTT-3.4.2-1] [MQTT-3.5.2-1].
#[test]
fn a_message_without_subscribers_is_acknowledged_as_such() {
    let broker = Broker::start(&[]);
    let mut client = join(&broker, Version::V5);
    assert_eq!(client.publish(publish("t").qos(1)), 0x10);
    assert_eq!(client.publish(publish("t").qos(2)), 0x10);
}

/// Keeps [MQTT-3.5.2-1] [MQTT-3.5.2-2].
#[test]
fn a_pubrec_has_its_own_reason_codes_and_fits_the_client() {
    let broker = Setup::new().file("auth.json", READ_ONLY).start();
    let mut client = narrow(&broker);
    client.send(publish("t").qos(2).id(1));
    assert_eq!(client.receive(), pubrec(1).reason(0x87).into());
}

/// Keeps [MQTT-3.6.2-1] [MQTT-3.6.2-2].
#[test]
fn a_pubrel_has_its_own_reason_codes_and_fits_the_client() {
    let broker = Broker::start(&[]);
    let mut client = narrow(&broker);
    client.send(pubrec(9));
    assert_eq!(client.receive(), pubrel(9).reason(0x92).into());
}

/// Keeps [MQTT-3.7.2-1] [MQTT-3.7.2-2].
#[test]
fn a_pubcomp_has_its_own_reason_codes_and_fits_the_client() {
    let broker = Broker::start(&[]);
    let mut client = narrow(&broker);
    client.send(pubrel(9));
    assert_eq!(client.receive(), pubcomp(9).reason(0x92).into());
}
