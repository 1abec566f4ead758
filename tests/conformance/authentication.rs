//! AUTH and enhanced authentication: section 3.15 and chapter 4.12 of MQTT 5.0, as long as there is no method.

use crate::support::*;
use crate::{expect_end, expect_refusal, join};

fn method(name: &str) -> Property {
    Property::AuthenticationMethod(name.to_owned())
}

/// Keeps [MQTT-3.15.1-1].
#[test]
fn other_flags_in_auth_end_the_connection() {
    let broker = Broker::start(&[]);
    for flags in 1..16 {
        let mut client = join(&broker, Version::V5);
        client.send(auth(0x19).property(method("m")).frame(Version::V5).flags(flags));
        expect_end(&mut client, &[0x81]);
    }
}

/// Keeps [MQTT-4.12.0-1] [MQTT-4.12.0-4].
#[test]
fn a_method_that_is_not_supported_is_refused() {
    let broker = Broker::start(&[]);
    for name in ["SCRAM-SHA-256", ""] {
        let mut client = Client::open(&broker);
        client.send(connect().property(method(name)));
        expect_refusal(&mut client, &[0x8C]);
    }
}

/// Keeps [MQTT-4.12.0-6].
#[test]
fn a_client_without_a_method_is_sent_none() {
    let broker = Broker::start(&[]);
    let mut client = join(&broker, Version::V5);
    assert!(client.connack().all(0x15).is_empty() && client.connack().all(0x16).is_empty());
    client.expect_nothing();
}

/// Keeps [MQTT-4.12.0-7] [MQTT-4.12.1-1].
#[test]
fn auth_from_a_client_without_a_method_ends_the_connection() {
    let broker = Broker::start(&[]);
    for reason in [0x00, 0x18, 0x19] {
        let mut client = join(&broker, Version::V5);
        client.send(auth(reason).property(method("m")));
        client.expect_disconnect(0x82);
    }
}
