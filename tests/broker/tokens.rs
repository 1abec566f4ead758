//! JSON web tokens, as a password and as authentication data.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

use crate::support::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[derive(Serialize)]
struct Claims {
    sub: &'static str,
    exp: u64,
    groups: Vec<&'static str>,
    may_publish: Vec<&'static str>,
}

/// A token of this user, valid for so many seconds.
fn token(sub: &'static str, seconds: u64, may_publish: &[&'static str]) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = Claims { sub, exp: now + seconds, groups: vec!["g"], may_publish: may_publish.to_vec() };
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

const JWT: &str = "jwt: { key_file: 'secret', algorithm: 'HS256', leeway: 0, claims: { groups: 'groups', pub: 'may_publish' } }";

fn file(jwt: &str) -> String {
    format!(
        "{{ authentication: [{{ name: 'known', method: 'plain_password', password: 'secret' }}],
           group: [{{ name: '@g' }}],
           authorization: [{{ topic: 'of/g', allow: {{ pub: ['@g'], sub: ['@g'] }} }},
                           {{ topic: 'by/%u', allow: {{ pub: ['@any'] }} }}],
           {jwt} }}"
    )
}

fn broker() -> Broker {
    Setup::new().file("secret", SECRET).file("auth.json", &file(JWT)).start()
}

fn method() -> Property {
    Property::AuthenticationMethod("JWT".to_owned())
}

fn data(token: &str) -> Property {
    Property::AuthenticationData(token.as_bytes().to_vec())
}

fn with_method(broker: &Broker, token: &str) -> Client {
    let mut client = Client::open(broker);
    client.send(connect().property(method()).property(data(token)));
    let packet = client.receive();
    let Packet::ConnAck(connack) = packet else { panic!("{packet:?}") };
    assert_eq!((connack.reason, connack.all(0x15)), (0, vec![method()]));
    client
}

#[test]
fn a_token_is_taken_in_the_place_of_a_password() {
    let broker = broker();
    for version in [Version::V311, Version::V5] {
        let connect = connect().version(version).user("u1").password(token("u1", 1_000, &[]));
        Client::connect(&broker, connect).disconnect();
    }
    Client::connect(&broker, connect().user("known").password("secret"));
    Client::refused(&broker, connect().user("u2").password(token("u1", 1_000, &[])), 0x87);
    Client::refused(&broker, connect().user("known").password(token("known", 1_000, &[])), 0x87);
    let mut forged = token("u1", 1_000, &[]);
    forged.pop();
    Client::refused(&broker, connect().user("u1").password(forged), 0x87);
}

#[test]
fn claims_and_rules_say_what_the_bearer_may_do() {
    let broker = broker();
    let mut client = with_method(&broker, &token("u1", 1_000, &["a/#"]));
    for (topic, reason) in [("a/b", 0x10), ("of/g", 0x10), ("by/u1", 0x10), ("by/u2", 0x87), ("b", 0x87)] {
        assert_eq!(client.publish(publish(topic).qos(1)), reason, "{topic}");
    }
}

#[test]
fn a_token_that_ends_takes_its_connection_with_it() {
    let broker = broker();
    let mut client = with_method(&broker, &token("u1", 2, &[]));
    client.expect_disconnect(0xA0);
    let mut client = Client::connect(&broker, connect().user("u1").password(token("u1", 2, &[])));
    client.expect_disconnect(0xA0);
    let old = connect().version(Version::V311).user("u1").password(token("u1", 2, &[]));
    Client::connect(&broker, old).expect_closed();
}

#[test]
fn a_new_token_prolongs_the_connection_and_says_anew_what_is_allowed() {
    let broker = broker();
    let mut client = with_method(&broker, &token("u1", 2, &["a"]));
    assert_eq!(client.publish(publish("a").qos(1)), 0x10);
    client.send(auth(0x19).property(method()).property(data(&token("u1", 1_000, &["b"]))));
    client.expect(auth(0x00).property(method()));
    assert_eq!(client.publish(publish("a").qos(1)), 0x87);
    assert_eq!(client.publish(publish("b").qos(1)), 0x10);

    client.send(auth(0x19).property(method()).property(data(&token("u2", 1_000, &[]))));
    client.expect_disconnect(0x87);
    let mut client = with_method(&broker, &token("u1", 1_000, &[]));
    client.send(auth(0x19).property(method()).property(data("no token")));
    client.expect_disconnect(0x87);
}

#[test]
fn who_came_with_a_token_goes_when_tokens_are_no_longer_taken() {
    let broker = broker();
    let mut known = Client::connect(&broker, connect().user("known").password("secret"));
    let mut client = with_method(&broker, &token("u1", 1_000, &[]));
    broker.reload();
    client.expect_nothing();
    broker.write_file("auth.json", &file(""));
    broker.reload();
    client.expect_disconnect(0x87);
    known.expect_nothing();
    let mut client = Client::open(&broker);
    client.send(connect().property(method()).property(data(&token("u1", 1_000, &[]))));
    client.expect_refusal(&[0x8C]);
}

#[test]
fn a_key_that_is_replaced_takes_those_with_it_whom_it_let_in() {
    let broker = broker();
    let mut known = Client::connect(&broker, connect().user("known").password("secret"));
    let mut client = with_method(&broker, &token("u1", 1_000, &[]));
    let mut old = Client::connect(
        &broker,
        connect().version(Version::V311).user("known2").password(token("known2", 1_000, &[])),
    );
    broker.write_file("secret", &SECRET.replace('0', "X"));
    broker.reload();
    client.expect_disconnect(0x87);
    old.expect_closed();
    known.expect_nothing();
    Client::refused(&broker, connect().user("u1").password(token("u1", 1_000, &[])), 0x87);
}

#[test]
fn a_token_that_is_refused_keeps_no_other_bearer_out() {
    let broker = broker();
    let mut forged = token("u1", 1_000, &[]);
    forged.pop();
    // Side by side, as each would have to wait longer than the one before.
    let mut devices = Vec::new();
    while broker.counter("logins_throttled") == 0 {
        for _ in 0..100 {
            let mut device = Client::open(&broker);
            device.send(connect().password(forged.clone()));
            devices.push(device);
        }
    }
    Client::connect(&broker, connect().password(token("u1", 2_000, &[])));
    with_method(&broker, &token("u3", 1_000, &[]));
}
