//! A session belongs to the identity that made it.

use crate::support::*;

fn broker() -> Broker {
    let text = "{ authentication: [
        { name: 'owner', method: 'plain_password', password: 'x' },
        { name: 'other', method: 'plain_password', password: 'x' },
        { name: 'nobody', method: 'anonymous' } ],
      authorization: [{ topic: '#', allow: { pub: ['@any'], sub: ['@any'] } }] }";
    Setup::new().file("auth.json", text).start()
}

fn named(user: &str) -> Connect {
    connect().user(user).password("x").client_id("the session").persistent()
}

#[test]
fn another_identity_cannot_take_over_a_connection() {
    let broker = broker();
    let mut owner = Client::connect(&broker, named("owner"));
    for version in Version::ALL {
        let code = if version.is_v5() { 0x87 } else { 5 };
        for clean in [false, true] {
            let packet =
                |packet: Connect| packet.version(version).client_id("the session").clean_start(clean);
            Client::refused(&broker, packet(connect().user("other").password("x")), code);
            Client::refused(&broker, packet(connect()), code);
        }
    }
    owner.expect_nothing();
    assert_eq!(broker.counter("refused_identity"), 12);
}

#[test]
fn another_identity_cannot_resume_or_discard_a_session() {
    let broker = broker();
    let mut owner = Client::connect(&broker, named("owner"));
    owner.subscribe("a", 1);
    owner.disconnect();
    Client::connect(&broker, connect()).publish(publish("a").qos(1).payload("private"));
    Client::refused(&broker, named("other"), 0x87);
    Client::refused(&broker, named("other").clean_start(true), 0x87);
    let mut owner = Client::connect(&broker, named("owner"));
    assert!(owner.connack().session_present);
    owner.expect(publish("a").qos(1).payload("private"));
}

#[test]
fn the_owner_may_return_from_elsewhere() {
    let broker = broker();
    let mut old = Client::connect(&broker, named("owner"));
    let mut new = Client::open_from("127.0.0.2".parse().unwrap(), &broker);
    let connack = new.attach(named("owner"));
    assert!(connack.session_present);
    old.expect_disconnect(0x8E);
}

#[test]
fn an_identifier_is_free_once_its_session_has_ended() {
    let broker = broker();
    Client::connect(&broker, named("owner").clean_start(true)).disconnect();
    Client::refused(&broker, named("other"), 0x87);
    let owner = Client::connect(&broker, named("owner"));
    owner.disconnect_with(disconnect().property(Property::SessionExpiry(0)));
    let other = Client::connect(&broker, named("other"));
    assert!(!other.connack().session_present);
}

#[test]
fn an_assigned_identifier_belongs_to_the_one_it_was_given_to() {
    let broker = broker();
    let owner = Client::connect(&broker, named("owner").client_id(""));
    let [Property::AssignedClientId(id)] = &owner.connack().all(0x12)[..] else { panic!("none assigned") };
    let id = id.clone();
    owner.disconnect();
    Client::refused(&broker, named("other").client_id(&id), 0x87);
    let owner = Client::connect(&broker, named("owner").client_id(&id));
    assert!(owner.connack().session_present);
}
