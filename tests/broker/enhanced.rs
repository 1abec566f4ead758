//! Enhanced authentication: SCRAM-SHA-256, before CONNACK and after.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::support::*;

const SCRAM: &str = "SCRAM-SHA-256";
const SALT: &[u8] = b"salt of a user";
const ITERATIONS: u32 = 4_096;

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(message).finalize().into_bytes().into()
}

fn salted(password: &str, salt: &[u8], iterations: u32) -> [u8; 32] {
    pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), salt, iterations)
}

fn entry(user: &str) -> String {
    let salted = salted("secret", SALT, ITERATIONS);
    let stored = Sha256::digest(hmac(&salted, b"Client Key"));
    format!(
        "{{ name: '{user}', method: 'scram_sha_256', salt: '{}', iterations: {ITERATIONS}, stored_key: '{}', \
         server_key: '{}' }}",
        STANDARD.encode(SALT),
        STANDARD.encode(stored),
        STANDARD.encode(hmac(&salted, b"Server Key"))
    )
}

fn file(users: &[&str]) -> String {
    let users: Vec<_> = users.iter().map(|user| entry(user)).collect();
    format!(
        "{{ authentication: [{}], authorization: [{{ topic: '#', allow: {{ pub: ['@any'], sub: ['@any'] }} }}] }}",
        users.join(", ")
    )
}

fn broker() -> Broker {
    Setup::new().file("auth.json", &file(&["u1", "u2"])).start()
}

fn method(name: &str) -> Property {
    Property::AuthenticationMethod(name.to_owned())
}

fn data(text: &str) -> Property {
    Property::AuthenticationData(text.as_bytes().to_vec())
}

/// The client's side of SCRAM.
struct Login {
    first: String,
    password: &'static str,
}

impl Login {
    fn of(user: &str, password: &'static str) -> Self {
        Self { first: format!("n={user},r=clients0nonce"), password }
    }

    fn first(&self) -> Property {
        data(&format!("n,,{}", self.first))
    }

    /// The final message, and the server's that must follow.
    fn answer(&self, question: &str) -> (String, String) {
        let mut parts = question.split(',').map(|part| part.split_at(2).1);
        let (nonce, salt, iterations) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        assert!(nonce.starts_with("clients0nonce") && nonce.len() > 30, "{nonce}");
        let salted = salted(self.password, &STANDARD.decode(salt).unwrap(), iterations.parse().unwrap());
        let key = hmac(&salted, b"Client Key");
        let without_proof = format!("c=biws,r={nonce}");
        let message = format!("{},{question},{without_proof}", self.first);
        let signature = hmac(&Sha256::digest(key), message.as_bytes());
        let proof: Vec<u8> = key.iter().zip(signature).map(|(key, signature)| key ^ signature).collect();
        let server = hmac(&hmac(&salted, b"Server Key"), message.as_bytes());
        (format!("{without_proof},p={}", STANDARD.encode(proof)), format!("v={}", STANDARD.encode(server)))
    }
}

/// What the server asks.
#[track_caller]
fn question(client: &mut Client) -> String {
    let packet = client.receive();
    let Packet::Auth(auth) = packet else { panic!("{packet:?}") };
    assert_eq!((auth.reason, auth.all(0x15)), (0x18, vec![method(SCRAM)]));
    let [Property::AuthenticationData(data)] = &auth.all(0x16)[..] else { panic!("{auth:?}") };
    String::from_utf8(data.clone()).unwrap()
}

/// Sends CONNECT and answers the question. Returns what the server must say in the end.
fn begin(client: &mut Client, login: &Login) -> String {
    client.send(connect().property(method(SCRAM)).property(login.first()));
    let (answer, server) = login.answer(&question(client));
    client.send(auth(0x18).property(method(SCRAM)).property(data(&answer)));
    server
}

fn logged_in(broker: &Broker) -> Client {
    let mut client = Client::open(broker);
    let server = begin(&mut client, &Login::of("u1", "secret"));
    let packet = client.receive();
    let Packet::ConnAck(connack) = packet else { panic!("{packet:?}") };
    assert_eq!(connack.reason, 0);
    assert!(connack.has(&method(SCRAM)) && connack.has(&data(&server)), "{connack:?}");
    client
}

/// Authenticates once more, as this user. Returns what the server must say in the end.
fn again(client: &mut Client, login: &Login) -> String {
    client.send(auth(0x19).property(method(SCRAM)).property(login.first()));
    let (answer, server) = login.answer(&question(client));
    client.send(auth(0x18).property(method(SCRAM)).property(data(&answer)));
    server
}

#[test]
fn a_user_proves_to_know_its_password() {
    let broker = broker();
    let mut client = logged_in(&broker);
    client.subscribe("a", 0);
    client.send(publish("a").payload("x"));
    assert_eq!(client.receive_publish().text(), "x");
}

#[test]
fn a_wrong_password_and_a_user_that_is_not_there_are_refused_alike() {
    let broker = broker();
    for login in [Login::of("u1", "wrong"), Login::of("nobody", "secret")] {
        let mut client = Client::open(&broker);
        begin(&mut client, &login);
        client.expect_refusal(&[0x87]);
    }
    let salt_of = |user: &str| {
        let mut client = Client::open(&broker);
        client.send(connect().property(method(SCRAM)).property(Login::of(user, "").first()));
        question(&mut client).split(",s=").nth(1).unwrap().to_owned()
    };
    assert_eq!(salt_of("nobody"), salt_of("nobody"));
    assert_ne!(salt_of("nobody"), salt_of("somebody"));
}

#[test]
fn what_is_no_message_of_the_method_is_refused() {
    let broker = broker();
    for text in ["", "n,,", "p=tls-exporter,,n=u1,r=x"] {
        let mut client = Client::open(&broker);
        client.send(connect().property(method(SCRAM)).property(data(text)));
        client.expect_refusal(&[0x87]);
    }
    let mut client = Client::open(&broker);
    client.send(connect().property(method(SCRAM)));
    client.expect_refusal(&[0x87]);
    let mut client = Client::open(&broker);
    client.send(connect().property(method("SCRAM-SHA-1")).property(data("n,,n=u1,r=x")));
    client.expect_refusal(&[0x8C]);
}

#[test]
fn keys_are_no_password() {
    let broker = broker();
    Client::refused(&broker, connect().user("u1").password("secret"), 0x87);
}

#[test]
fn a_client_may_go_in_the_middle_of_it() {
    let broker = broker();
    let mut client = Client::open(&broker);
    client.send(connect().property(method(SCRAM)).property(Login::of("u1", "secret").first()));
    question(&mut client);
    client.send(disconnect());
    client.expect_closed();
    logged_in(&broker);
}

#[test]
fn a_connected_client_may_authenticate_again() {
    let broker = broker();
    let mut client = logged_in(&broker);
    client.subscribe("a", 0);
    for _ in 0..2 {
        let server = again(&mut client, &Login::of("u1", "secret"));
        client.expect(auth(0x00).property(method(SCRAM)).property(data(&server)));
        client.send(publish("a").payload("x"));
        assert_eq!(client.receive_publish().text(), "x");
    }
}

#[test]
fn a_connected_client_stays_who_it_is() {
    let broker = broker();
    for login in [Login::of("u1", "wrong"), Login::of("u2", "secret")] {
        let mut client = logged_in(&broker);
        again(&mut client, &login);
        client.expect_disconnect(0x87);
    }
    let mut client = logged_in(&broker);
    client.send(auth(0x19).property(method("other")).property(data("x")));
    client.expect_disconnect(0x82);
}

#[test]
fn a_user_that_is_removed_goes_and_does_not_come_back() {
    let broker = broker();
    let mut stays = Client::open(&broker);
    begin(&mut stays, &Login::of("u2", "secret"));
    stays.expect_accepted();
    let mut client = logged_in(&broker);
    broker.write_file("auth.json", &file(&["u2"]));
    broker.reload();
    client.expect_disconnect(0x87);
    let mut client = Client::open(&broker);
    begin(&mut client, &Login::of("u1", "secret"));
    client.expect_refusal(&[0x87]);
    stays.expect_nothing();
}

/// One exchange after the other would be made to wait: it does not help to have them all asked before one is answered.
#[test]
fn questions_that_were_asked_before_answers_were_wrong_do_not_make_guessing_faster() {
    const GUESSES: usize = 40;
    let broker = broker();
    let login = Login::of("u1", "wrong");
    let asked: Vec<(Client, String)> = (0..GUESSES)
        .map(|_| {
            let mut client = Client::open(&broker);
            client.send(connect().property(method(SCRAM)).property(login.first()));
            let (answer, _) = login.answer(&question(&mut client));
            (client, answer)
        })
        .collect();
    let mut answered: Vec<Client> = Vec::new();
    for (mut client, answer) in asked {
        client.send(auth(0x18).property(method(SCRAM)).property(data(&answer)));
        answered.push(client);
    }
    let refused = answered.iter_mut().map(|client| {
        let Packet::ConnAck(connack) = client.receive() else { panic!("not a CONNACK") };
        connack.reason
    });
    let throttled = refused.filter(|reason| *reason == 0x9F).count();
    assert!(throttled > GUESSES / 2, "{throttled}");
}

#[test]
fn a_certificate_is_not_contradicted_by_a_method() {
    let [certificate, key] = server_certificate("server");
    let authority = format!("--client-ca={}", certs("ca.crt"));
    let users = [entry("u1"), "{ name: 'device1', method: 'client_cert' }".to_owned()].join(", ");
    let file = format!("{{ authentication: [{users}], authorization: [] }}");
    let broker = Setup::new()
        .file("auth.json", &file)
        .options(&["--tls-port=0", &certificate, &key, &authority])
        .start();
    let address = broker.addresses()[1];
    // As the user of the certificate, or as u1 with one that is nobody's or none; with both it is neither.
    Tls::certificate("client").connect(address).attach(connect());
    for (mut tls, reason) in
        [(Tls::certificate("client"), 0x87), (Tls::certificate("client-other"), 0), (Tls::new(), 0)]
    {
        let mut client = tls.connect(address);
        begin(&mut client, &Login::of("u1", "secret"));
        let Packet::ConnAck(connack) = client.receive() else { panic!("not a CONNACK") };
        assert_eq!(connack.reason, reason);
    }
}
