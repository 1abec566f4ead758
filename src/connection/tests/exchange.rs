//! Exchanges of AUTH packets, before CONNACK and after.

use super::*;
use crate::mqtt::packet::Auth;

fn auth(reason: ReasonCode, method: &str) -> Packet {
    Packet::Auth(Box::new(Auth {
        reason,
        method: Some(Arc::from(method)),
        data: Some(Bytes::from_static(b"data")),
        reason_string: None,
        user_properties: Vec::new().into_iter().collect(),
    }))
}

/// A client that has asked for method `m`.
fn opened() -> Pair {
    let authentication_method = Some(Arc::from("m"));
    let connect = connect_with(ConnectProperties { authentication_method, ..Default::default() });
    let mut pair = Pair::new(ConnectionLimits::default(), ProtocolVersion::V5);
    pair.takes(Packet::Connect(Box::new(connect)));
    assert_eq!(pair.connection.phase(), Phase::Authenticating);
    pair
}

fn challenge(pair: &mut Pair) {
    let sent = pair.sent(|connection, out| {
        connection.challenge(Bytes::from_static(b"data"), &mut Vec::new(), out).unwrap();
    });
    assert_eq!(sent, [auth(ReasonCode::ContinueAuthentication, "m")]);
}

/// A client that has been let in after one question.
fn let_in() -> Pair {
    let mut pair = opened();
    challenge(&mut pair);
    pair.takes(auth(ReasonCode::ContinueAuthentication, "m"));
    assert_eq!(pair.connection.phase(), Phase::Authenticating);
    pair.connection.conclude(Some(Bytes::from_static(b"last")));
    pair.connection.accept(pair.now, &mut Vec::new()).unwrap();
    let sent = pair.sent(|connection, out| connection.send(connack(ReasonCode::Success), out).unwrap());
    let [Packet::ConnAck(connack)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(connack.properties.authentication_method.as_deref(), Some("m"));
    assert_eq!(connack.properties.authentication_data.as_deref(), Some(b"last".as_slice()));
    pair
}

#[test]
fn a_client_that_is_refused_is_told_with_connack() {
    for challenged in [false, true] {
        let mut pair = opened();
        if challenged {
            challenge(&mut pair);
        }
        let reason = ReasonCode::BadAuthenticationMethod;
        let said = pair.sent(|connection, out| connection.close(Some(reason), "", out));
        let [Packet::ConnAck(connack)] = said.as_slice() else { panic!("{said:?}") };
        assert_eq!((connack.reason, &connack.properties.authentication_method), (reason, &None));
        assert_eq!(pair.connection.phase(), Phase::Closing);
    }
}

/// [MQTT-3.1.2-30]
#[test]
fn before_connack_there_is_only_auth_and_disconnect() {
    for packet in [Packet::PingReq, Packet::Publish(publish(Some("a"), None, QoS::AtMostOnce, 0))] {
        let mut pair = opened();
        challenge(&mut pair);
        pair.refuses(packet.clone(), ReasonCode::ProtocolError);

        let mut pair = opened();
        assert_eq!(pair.receive(std::slice::from_ref(&packet)), (Vec::new(), Ok(())));
        let accepted = pair.connection.accept(pair.now, &mut Vec::new());
        assert_eq!(accepted.unwrap_err().reason, ReasonCode::ProtocolError);
    }
    let mut pair = opened();
    challenge(&mut pair);
    pair.takes(Packet::Disconnect(Box::new(Disconnect::because(ReasonCode::Success))));
    assert_eq!(pair.connection.phase(), Phase::Left);
}

#[test]
fn an_answer_needs_a_question_and_the_same_method() {
    for (packet, challenged) in [
        (auth(ReasonCode::ContinueAuthentication, "n"), true),
        (auth(ReasonCode::ReAuthenticate, "m"), true),
        (auth(ReasonCode::Success, "m"), true),
        (auth(ReasonCode::ContinueAuthentication, "m"), false),
    ] {
        let mut pair = opened();
        if challenged {
            challenge(&mut pair);
            pair.refuses(packet, ReasonCode::ProtocolError);
        } else {
            pair.receive(&[packet]).1.unwrap();
            let accepted = pair.connection.accept(pair.now, &mut Vec::new());
            assert_eq!(accepted.unwrap_err().reason, ReasonCode::ProtocolError);
        }
    }
}

#[test]
fn an_answer_that_came_early_is_seen_with_the_question() {
    let mut pair = opened();
    pair.receive(&[auth(ReasonCode::ContinueAuthentication, "m")]).1.unwrap();
    let mut packets = Vec::new();
    pair.sent(|connection, out| connection.challenge(Bytes::new(), &mut packets, out).unwrap());
    assert_eq!(packets, [auth(ReasonCode::ContinueAuthentication, "m")]);
}

#[test]
fn a_client_may_authenticate_again() {
    let mut pair = let_in();
    for _ in 0..2 {
        pair.takes(auth(ReasonCode::ReAuthenticate, "m"));
        pair.takes(Packet::PingReq);
        challenge(&mut pair);
        pair.takes(Packet::PingReq);
        pair.takes(auth(ReasonCode::ContinueAuthentication, "m"));
        let data = Some(Bytes::from_static(b"data"));
        let sent = pair.sent(|connection, out| connection.confirm(data, out).unwrap());
        assert_eq!(sent, [auth(ReasonCode::Success, "m")]);
    }
}

#[test]
fn authenticating_again_has_an_order() {
    let mut pair = let_in();
    pair.refuses(auth(ReasonCode::ReAuthenticate, "n"), ReasonCode::ProtocolError);
    let mut pair = let_in();
    pair.refuses(auth(ReasonCode::ContinueAuthentication, "m"), ReasonCode::ProtocolError);
    let mut pair = let_in();
    pair.takes(auth(ReasonCode::ReAuthenticate, "m"));
    pair.refuses(auth(ReasonCode::ReAuthenticate, "m"), ReasonCode::ProtocolError);
}

#[test]
fn an_exchange_has_to_end_in_time() {
    let mut pair = opened();
    challenge(&mut pair);
    let deadline = pair.connection.deadline().unwrap();
    assert_eq!(pair.connection.handle_timeout(deadline), Some(Expired::Connect));
}
