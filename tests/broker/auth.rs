//! The auth file: who may come in, and who may publish, subscribe and receive what.

use crate::support::*;

const DIGEST: &str = "38ea2e5e88fcd692fe177c6cada15e9b2db6e70bee0a0d6678c8d3b2a9aae2ad";

/// Users u1, u2 and u3 with password `secret`, u1 and u2 in @g, anonymous clients as `nobody`, and these rules.
fn file(rules: &str) -> String {
    let users = ["u1", "u2", "u3"]
        .map(|name| format!("{{ name: '{name}', method: 'plain_password', password: 'secret' }}"))
        .join(", ");
    format!(
        "{{ authentication: [{users}, {{ name: 'nobody', method: 'anonymous' }}],
           group: [{{ name: '@g', members: ['u1', 'u2'] }}],
           authorization: [{rules}] }}"
    )
}

fn broker(rules: &str) -> Broker {
    Setup::new().file("auth.json", &file(rules)).start()
}

fn user(name: &str) -> Connect {
    connect().user(name).password("secret")
}

/// What the broker says to a user who publishes there, if nobody is subscribed: true, it may.
fn may_publish(broker: &Broker, name: &str, topic: &str) -> bool {
    match Client::connect(broker, user(name)).publish(publish(topic).qos(1)) {
        0x87 => false,
        0 | 0x10 => true,
        other => panic!("0x{other:02x}"),
    }
}

fn may_subscribe(broker: &Broker, name: &str, filter: &str) -> bool {
    let mut client = Client::connect(broker, user(name));
    client.send(subscribe(filter, 1));
    match client.receive() {
        Packet::SubAck(suback) if suback.reasons == [0x87] => false,
        Packet::SubAck(suback) if suback.reasons == [1] => true,
        other => panic!("{other:?}"),
    }
}

#[test]
fn users_are_known_by_their_passwords() {
    let text = format!(
        r##"// JSON5, with all that it allows.
        {{
            authentication: [
                /* hashed */
                {{ name: "hashed", method: "sha256", salt: "salt", digest: "{DIGEST}" }},
                {{ name: "upper", method: "sha256", salt: "salt", digest: "{}" }},
                {{ 'name': 'plain', method: 'plain_password', password: 'pässwörd', }},
                {{ name: "certified", method: "client_cert" }},
            ],
            authorization: [{{ topic: "#", allow: {{ pub: ["@any"], sub: ["@any"] }} }}],
        }}"##,
        DIGEST.to_uppercase()
    );
    let broker = Setup::new().file("auth.json", &text).start();
    for version in Version::ALL {
        let refusal = if version.is_v5() { 0x87 } else { 5 };
        let attempt = || connect().version(version);
        for (name, password) in [("hashed", "mypassword"), ("upper", "mypassword"), ("plain", "pässwörd")] {
            Client::connect(&broker, attempt().user(name).password(password)).expect_nothing();
        }
        for packet in [
            attempt(),
            attempt().user("hashed"),
            attempt().user("hashed").password("mypassworD"),
            attempt().user("hashed").password(""),
            attempt().user("hashed").password(DIGEST),
            attempt().user("hashed").password([0xFF, 0xFE]),
            attempt().user("plain").password("pässwörd "),
            attempt().user("unknown").password("mypassword"),
            attempt().user("").password("mypassword"),
            // There is no certificate by which it could be known.
            attempt().user("certified"),
            attempt().user("certified").password(""),
            attempt().user("certified").password("mypassword"),
        ] {
            Client::refused(&broker, packet, refusal);
        }
    }
    Client::refused(&broker, connect().password("mypassword"), 0x87);
}

#[test]
fn who_shows_nothing_is_the_anonymous_user_and_who_fails_the_unauthenticated() {
    let users = "{ name: 'a', method: 'anonymous' }, { name: 'f', method: 'unauthenticated' },
                 { name: 'u', method: 'plain_password', password: 'secret' }";
    let text = format!(
        "{{ authentication: [{users}], authorization: [
            {{ topic: 'a', allow: {{ pub: ['a'] }} }},
            {{ topic: 'f', allow: {{ pub: ['f'] }} }},
            {{ topic: 'u', allow: {{ pub: ['u'] }} }} ] }}"
    );
    let broker = Setup::new().file("auth.json", &text).start();
    for (packet, allowed) in [
        (connect(), "a"),
        (connect().user("u").password("secret"), "u"),
        (connect().user("u").password("wrong"), "f"),
        (connect().user("u"), "f"),
        (connect().password("secret"), "f"),
        (connect().user("a").password("x"), "f"),
        (connect().user("unknown").password("x"), "f"),
    ] {
        let mut client = Client::connect(&broker, packet.clone());
        for topic in ["a", "f", "u"] {
            let expected = if topic == allowed { 0x10 } else { 0x87 };
            assert_eq!(client.publish(publish(topic).qos(1)), expected, "{packet:?} {topic}");
        }
    }
}

#[test]
fn the_last_rule_that_applies_decides() {
    let all = "pub: ['u1'], sub: ['u1']";
    // What the field's notes work out as the right outcomes.
    let broker = broker(&format!(
        "{{ topic: 't1', allow: {{ {all} }} }}, {{ topic: '#', deny: {{ {all} }} }}, {{ topic: 't2', allow: {{ {all} }} }}"
    ));
    for (topic, allowed) in [("t1", false), ("t2", true), ("t3", false)] {
        assert_eq!(may_publish(&broker, "u1", topic), allowed, "{topic}");
        assert_eq!(may_subscribe(&broker, "u1", topic), allowed, "{topic}");
    }
}

#[test]
fn a_rule_for_a_tree_is_about_its_root_too() {
    let all = "pub: ['u1'], sub: ['u1']";
    let broker = broker(&format!(
        "{{ topic: '#', deny: {{ {all} }} }}, {{ topic: '1/#', allow: {{ {all} }} }}, {{ topic: '1/2/#', deny: {{ {all} }} }}"
    ));
    for (topic, allowed) in
        [("1", true), ("1/1", true), ("1/2", false), ("1/2/3", false), ("1/2/", false), ("2", false)]
    {
        assert_eq!(may_publish(&broker, "u1", topic), allowed, "{topic}");
        assert_eq!(may_subscribe(&broker, "u1", topic), allowed, "{topic}");
    }
}

#[test]
fn rules_name_users_and_groups() {
    let broker = broker(
        "{ topic: '#', deny: { pub: ['@any'], sub: ['@any'] } },
         { topic: 'sub/#', allow: { pub: ['@g'], sub: ['@g'] } },
         { topic: 'sub/x', deny: { pub: ['u2'] } },
         { topic: 'open/+', allow: { pub: ['@any'] } }",
    );
    for (name, topic, allowed) in [
        ("u1", "sub/x", true),
        ("u2", "sub/x", false),
        ("u2", "sub/y", true),
        ("u3", "sub/y", false),
        ("u1", "other", false),
        ("u3", "open/a", true),
        ("u3", "open/a/b", false),
        ("u3", "open", false),
    ] {
        assert_eq!(may_publish(&broker, name, topic), allowed, "{name} {topic}");
    }
    assert!(may_subscribe(&broker, "u2", "sub/x"));
    assert!(!may_subscribe(&broker, "u3", "sub/x"));
}

#[test]
fn one_rule_may_allow_some_and_deny_others() {
    let broker = broker("{ topic: 't', allow: { pub: ['u1'] }, deny: { pub: ['u2'] } }");
    assert!(may_publish(&broker, "u1", "t"));
    assert!(!may_publish(&broker, "u2", "t"));
    assert!(!may_publish(&broker, "u3", "t"));
}

#[test]
fn without_rules_nothing_is_allowed() {
    let broker = broker("");
    assert!(!may_publish(&broker, "u1", "t"));
    assert!(!may_subscribe(&broker, "u1", "t"));
    assert!(!may_subscribe(&broker, "u1", "#"));
}

#[test]
fn rules_about_dollar_topics_are_not_special() {
    let broker = broker("{ topic: '#', allow: { pub: ['@any'], sub: ['@any'] } }");
    assert!(may_publish(&broker, "u1", "$other/a"));
    assert!(may_subscribe(&broker, "u1", "$SYS/#"));
    assert!(!may_publish(&broker, "u1", "$SYS/a"));
}

#[test]
fn a_share_is_left_out_of_the_check() {
    let broker = broker("{ topic: 'ok/#', allow: { sub: ['u1'] } }");
    assert!(may_subscribe(&broker, "u1", "$share/g/ok/a"));
    assert!(may_subscribe(&broker, "u1", "$share/g/ok/#"));
    assert!(!may_subscribe(&broker, "u1", "$share/g/no"));
    assert!(!may_subscribe(&broker, "u1", "$share/ok/a"));
}

#[test]
fn a_denied_message_is_answered_as_each_version_can() {
    let broker = broker("{ topic: '#', allow: { sub: ['@any'] } }");
    let mut watcher = Client::connect(&broker, connect());
    watcher.subscribe("#", 2);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, user("u1").version(version));
        client.publish(publish("a").payload("denied"));
        for qos in 1..=2 {
            let reason = client.publish(publish("a").qos(qos).payload("denied").retain());
            assert_eq!(reason, if version.is_v5() { 0x87 } else { 0 });
        }
        watcher.expect_nothing();
    }
    let mut late = Client::connect(&broker, connect());
    late.subscribe("a", 0);
    late.expect_nothing();
    assert_eq!(broker.counter("publish_denied"), 9);
}

#[test]
fn a_denied_subscription_is_answered_as_each_version_can() {
    let broker = broker("{ topic: 'ok', allow: { sub: ['@any'] } }");
    for (version, reason) in [(Version::V5, 0x87), (Version::V311, 0x80)] {
        let mut client = Client::connect(&broker, connect().version(version));
        client.subscribe_with(subscribe("no", 1).and("ok", 2).and("no/#", 0), &[reason, 2, reason]);
    }
    let mut client = Client::connect(&broker, connect().version(Version::V31));
    client.expect_subscription_refused("no");
}

#[test]
fn a_wide_subscription_brings_what_may_be_received() {
    let rules = "{ topic: '#', allow: { pub: ['@any'] } }, { topic: 'ok/#', allow: { sub: ['u1'] } }";
    let broker = broker(rules);
    let mut publisher = Client::connect(&broker, connect());
    publisher.publish(publish("ok/retained").retain().payload("x").qos(1));
    publisher.publish(publish("secret/retained").retain().payload("x").qos(1));
    let mut client = Client::connect(&broker, user("u1"));
    client.send(subscribe("#", 1));
    // Granted with what may not be received withheld, or refused: nothing secret comes in any case.
    let Packet::SubAck(suback) = client.receive() else { panic!("no SUBACK") };
    if suback.reasons == [1] {
        client.expect(publish("ok/retained").qos(1).retain().payload("x"));
        publisher.publish(publish("secret/live").qos(1));
        publisher.publish(publish("ok/live").qos(1));
        client.expect(publish("ok/live").qos(1));
    } else {
        assert_eq!(suback.reasons, [0x87]);
        publisher.publish(publish("secret/live").qos(1));
    }
    client.expect_nothing();
}

#[test]
fn a_denied_part_of_what_is_allowed_is_withheld() {
    let broker = broker(
        "{ topic: '#', allow: { pub: ['@any'], sub: ['@any'] } }, { topic: 'secret/#', deny: { sub: ['u1'] } }",
    );
    let mut publisher = Client::connect(&broker, connect());
    publisher.publish(publish("secret/retained").retain().payload("x").qos(1));
    let mut client = Client::connect(&broker, user("u1"));
    client.subscribe("#", 1);
    let mut sharing = Client::connect(&broker, user("u1"));
    sharing.subscribe("$share/g/#", 1);
    let mut other = Client::connect(&broker, user("u2"));
    other.subscribe("#", 1);
    other.receive_messages(1);
    publisher.publish(publish("secret/live").qos(1));
    publisher.publish(publish("open").qos(1));
    client.expect(publish("open").qos(1));
    client.expect_nothing();
    sharing.expect(publish("open").qos(1));
    sharing.expect_nothing();
    assert_eq!(other.receive_messages(2)[0].topic(), "secret/live");
    assert!(broker.counter("deliveries_denied") >= 1);
}

#[test]
fn a_shared_message_goes_to_a_member_that_may_receive_it() {
    let broker = broker(
        "{ topic: '#', allow: { pub: ['@any'], sub: ['@any'] } }, { topic: 'secret', deny: { sub: ['u1'] } }",
    );
    let mut denied = Client::connect(&broker, user("u1"));
    denied.subscribe("$share/g/#", 1);
    let mut allowed = Client::connect(&broker, user("u2"));
    allowed.subscribe("$share/g/#", 1);
    let mut publisher = Client::connect(&broker, connect());
    for _ in 0..6 {
        publisher.publish(publish("secret").qos(1));
    }
    allowed.receive_messages(6);
    denied.expect_nothing();
}

#[test]
fn a_will_is_checked_when_it_is_published() {
    let broker = broker("{ topic: '#', allow: { sub: ['@any'] } }, { topic: 'ok', allow: { pub: ['u1'] } }");
    let mut watcher = Client::connect(&broker, connect());
    watcher.subscribe("#", 1);
    Client::connect(&broker, user("u1").will(will("no").payload("x"))).cut();
    Client::connect(&broker, user("u2").will(will("ok").payload("x").retain())).cut();
    Client::connect(&broker, user("u1").will(will("ok").payload("x"))).cut();
    watcher.expect(publish("ok").payload("x"));
    watcher.expect_nothing();
    assert_eq!(broker.counter("wills_denied"), 2);
}

#[test]
fn the_example_in_the_field_notes_holds() {
    let text = format!(
        "{{ authentication: [
             {{ name: 'u1', method: 'sha256', digest: '{DIGEST}', salt: 'salt' }},
             {{ name: 'u2', method: 'client_cert' }},
             {{ name: 'u3', method: 'plain_password', password: 'mypassword' }},
             {{ name: 'anonymous', method: 'anonymous' }},
             {{ name: 'unauthenticated', method: 'unauthenticated' }} ],
           group: [ {{ name: '@g1', members: ['u1', 'u2'] }}, {{ name: '@casual', members: ['anonymous', 'unauthenticated'] }} ],
           authorization: [
             {{ topic: '#', deny: {{ sub: ['@g1'], pub: ['@g1'] }} }},
             {{ topic: 'sub/#', allow: {{ sub: ['@g1'], pub: ['@g1'] }} }},
             {{ topic: 'sub/u2reject', deny: {{ sub: ['u2'], pub: ['u2'] }} }},
             {{ topic: '#', allow: {{ sub: ['@casual'], pub: ['@casual'] }} }} ] }}"
    );
    let broker = Setup::new().file("auth.json", &text).start();
    let attempts = [
        (connect().user("u1").password("mypassword"), "sub/u2reject", 0x10),
        (connect().user("u1").password("mypassword"), "other", 0x87),
        (connect().user("u3").password("mypassword"), "sub/a", 0x87),
        (connect(), "other", 0x10),
        (connect().user("u1").password("wrong"), "other", 0x10),
    ];
    for (packet, topic, reason) in attempts {
        assert_eq!(Client::connect(&broker, packet).publish(publish(topic).qos(1)), reason, "{topic}");
    }
}

#[test]
fn a_reload_changes_what_may_be_done_at_once() {
    let open = "{ topic: '#', allow: { pub: ['@any'], sub: ['@any'] } }";
    let broker = broker(open);
    let mut subscriber = Client::connect(&broker, user("u1"));
    subscriber.subscribe("#", 1);
    let mut publisher = Client::connect(&broker, user("u2"));
    assert_eq!(publisher.publish(publish("a").qos(1)), 0);
    subscriber.receive_messages(1);

    // Neither has to connect or subscribe again.
    broker.write_file("auth.json", &file(&format!("{open}, {{ topic: 'a', deny: {{ sub: ['u1'] }} }}")));
    broker.reload();
    assert_eq!(publisher.publish(publish("b").qos(1)), 0);
    publisher.publish(publish("a").qos(1));
    assert_eq!(subscriber.receive_messages(1)[0].topic(), "b");
    subscriber.expect_nothing();

    broker.write_file("auth.json", &file(&format!("{open}, {{ topic: 'a', deny: {{ pub: ['u2'] }} }}")));
    broker.reload();
    assert_eq!(publisher.publish(publish("a").qos(1)), 0x87);
    Client::connect(&broker, user("u3")).publish(publish("a").qos(1));
    subscriber.receive_messages(1);
}

#[test]
fn a_reload_concerns_what_waits() {
    let open = "{ topic: '#', allow: { pub: ['@any'], sub: ['@any'] } }";
    let broker = broker(open);
    let persistent = || user("u1").client_id("waits").persistent();
    let mut client = Client::connect(&broker, persistent());
    client.subscribe("#", 1);
    client.disconnect();
    let mut publisher = Client::connect(&broker, connect());
    publisher.publish(publish("a").qos(1));
    publisher.publish(publish("b").qos(1));
    broker.write_file("auth.json", &file(&format!("{open}, {{ topic: 'a', deny: {{ sub: ['u1'] }} }}")));
    broker.reload();
    let mut client = Client::connect(&broker, persistent());
    assert_eq!(client.receive_messages(1)[0].topic(), "b");
    client.expect_nothing();
}

#[test]
fn a_reload_changes_who_may_come_in() {
    let broker = broker("");
    let newcomer = || connect().user("new").password("x");
    Client::refused(&broker, newcomer(), 0x87);
    let users = "{ name: 'new', method: 'plain_password', password: 'x' }";
    let mut removed = Client::connect(&broker, user("u1"));
    broker.write_file("auth.json", &format!("{{ authentication: [{users}], authorization: [] }}"));
    broker.reload();
    Client::connect(&broker, newcomer()).expect_nothing();
    Client::refused(&broker, user("u1"), 0x87);
    // Who is no user any more does not stay.
    removed.expect_disconnect_for(&[0x87, 0x98]);
}

#[test]
fn a_reload_of_a_bad_file_changes_nothing_and_says_where() {
    let broker = broker("{ topic: 'a', allow: { pub: ['u1'] } }");
    broker.write_file("auth.json", "{ authentication: [],\n  authorization: [,] }");
    let from = broker.log_length();
    broker.signal("HUP");
    let line = broker.wait_for_log(from, "auth.json:2:");
    assert!(line.contains("auth.json:2:"), "{line}");
    assert!(may_publish(&broker, "u1", "a"));
    assert!(!may_publish(&broker, "u2", "a"));
    // And it can be mended.
    broker.write_file("auth.json", &file("{ topic: 'a', allow: { pub: ['u2'] } }"));
    broker.reload();
    assert!(!may_publish(&broker, "u1", "a"));
    assert!(may_publish(&broker, "u2", "a"));
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let refused = run(&["--tcp-port=0", "--bind=127.0.0.1", "--auth-file=/dev/zero"]);
    assert_eq!(refused.code, Some(78), "{}", refused.stderr);
    assert!(refused.stderr.contains("not a regular file"), "{}", refused.stderr);
}

#[test]
fn bad_files_are_refused_with_their_place() {
    for (text, place) in [
        ("", "1:"),
        ("{", "1:"),
        ("{ authentication: [],\n  authorization: [,] }", "2:"),
        ("{ authentication: [] }", "1:"),
        ("{ authorization: [] }", "1:"),
        ("{ authentication: [], authorization: [],\n\n   unknown: 1 }", "3:4"),
        ("{ authentication: [\n{ name: 'a', method: 'md5' }], authorization: [] }", "2:"),
        ("{ authentication: [\n{ name: '@a', method: 'anonymous' }], authorization: [] }", "2:"),
        ("{ authentication: [\n{ name: '', method: 'anonymous' }], authorization: [] }", "2:"),
        ("{ authentication: [\n{ name: 'a', method: 'sha256', digest: 'xyz' }], authorization: [] }", "2:"),
        ("{ authentication: [\n{ name: 'a', method: 'sha256' }], authorization: [] }", "2:"),
        ("{ authentication: [\n{ name: 'a', method: 'plain_password' }], authorization: [] }", "2:"),
        (
            "{ authentication: [{ name: 'a', method: 'anonymous' },\n{ name: 'b', method: 'anonymous' }],
             authorization: [] }",
            "2:",
        ),
        ("{ authentication: [],\ngroup: [{ name: 'g' }], authorization: [] }", "2:"),
        ("{ authentication: [],\ngroup: [{ name: '@g', members: ['x'] }], authorization: [] }", "2:"),
        ("{ authentication: [], authorization: [\n{ topic: 'a', allow: { pub: ['x'] } }] }", "2:"),
        ("{ authentication: [], authorization: [\n{ topic: 'a', allow: { pub: ['@x'] } }] }", "2:"),
        ("{ authentication: [], authorization: [\n{ topic: 'a/#/b', allow: { pub: ['@any'] } }] }", "2:"),
        ("{ authentication: [], authorization: [\n{ topic: 'a', permit: { pub: ['@any'] } }] }", "2:"),
        ("{ authentication: [], authorization: [\n{ topic: 'a', allow: { publish: ['@any'] } }] }", "2:"),
        ("{ authentication: [], authorization: [\n{ topic: 5 }] }", "2:"),
    ] {
        let finished =
            Setup::new().file("auth.json", text).options(&["--tcp-port=0", "--bind=127.0.0.1"]).run();
        assert_eq!(finished.code, Some(78), "{text}\n{}", finished.stderr);
        assert!(finished.stderr.contains(&format!("auth.json:{place}")), "{text}\n{}", finished.stderr);
    }
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let finished = run(&["--tcp-port=0", "--bind=127.0.0.1", "--auth-file=nowhere.json"]);
    assert_eq!(finished.code, Some(78), "{}", finished.stderr);
    assert!(finished.stderr.contains("nowhere.json"), "{}", finished.stderr);
}

#[test]
fn another_file_can_be_named() {
    let broker = Setup::new()
        .file("auth.json", "{ authentication: [], authorization: [] }")
        .file("other.json", &file("{ topic: 'a', allow: { pub: ['u1'] } }"))
        .option("--auth-file=other.json")
        .start();
    assert!(may_publish(&broker, "u1", "a"));
}

#[test]
fn everybody_may_do_everything_if_the_operator_says_so() {
    let broker = Broker::start(&["--allow-anonymous"]);
    let mut client = Client::connect(&broker, user("whoever"));
    client.subscribe("#", 2);
    client.send(publish("a"));
    client.expect(publish("a"));
    // But not against a file that says otherwise.
    for setup in [
        Setup::new().file("auth.json", &file("")),
        Setup::new().file("other.json", &file("")).option("--auth-file=other.json"),
    ] {
        let finished = setup.options(&["--allow-anonymous", "--tcp-port=0", "--bind=127.0.0.1"]).run();
        assert!(matches!(finished.code, Some(2 | 78)), "{finished:?}");
    }
}

#[test]
fn without_a_file_only_this_host_is_served() {
    // An address of this host by which it is not the loopback; finding it sends nothing.
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let own = probe.connect("192.0.2.1:9").and_then(|()| probe.local_addr());
    let Some(own) = own.ok().map(|address| address.ip()).filter(|address| !address.is_loopback()) else {
        return eprintln!("this host has no address but the loopback's: nothing to be seen here");
    };
    let start = |options: &[&str]| {
        let bind = format!("--bind={own}");
        Setup::new()
            .options(options)
            .options(&["--tcp-port=0", "--bind=127.0.0.1", &bind])
            .listeners_as_told()
            .start()
    };
    let broker = start(&[]);
    let outside = *broker.addresses().iter().find(|address| address.ip() == own).unwrap();
    let inside = *broker.addresses().iter().find(|address| address.ip().is_loopback()).unwrap();
    let mut client = Client::open_at(outside);
    let connack = client.handshake(connect());
    assert_eq!(connack.reason, 0x87);
    // It says the two ways out, to the client and in the log.
    let told = connack.reason_string().unwrap();
    for text in [told, &broker.wait_for_log(0, "--allow-anonymous")] {
        assert!(text.contains("--allow-anonymous") && text.contains("auth"), "{text}");
    }
    let mut client = Client::open_at(outside);
    assert_eq!(client.handshake(connect().version(Version::V311)).reason, 5);
    Client::open_at(inside).attach(connect());

    let broker = start(&["--allow-anonymous"]);
    for address in broker.addresses() {
        Client::open_at(*address).attach(connect());
    }
}

#[test]
fn failures_do_not_lock_out_the_user_elsewhere() {
    let broker = broker("");
    for _ in 0..20 {
        let mut client = Client::open(&broker);
        client.send(connect().user("u1").password("guess"));
    }
    let mut client = Client::open_from("127.0.0.2".parse().unwrap(), &broker);
    client.attach(user("u1"));
}

#[test]
fn wrong_guesses_keep_the_user_out_where_they_come_from_and_nowhere_else() {
    let broker = broker("");
    let guesser = "127.0.0.2".parse().unwrap();
    // After some free ones each would have to wait longer than the one before, so they come side by side. What has
    // to wait too long is refused with 0x9F, without a look at the password.
    let mut clients = Vec::new();
    for _ in 0..1_000 {
        let mut client = Client::open_from(guesser, &broker);
        client.send(user("u1").password("wrong"));
        clients.push(client);
    }
    while broker.counter("logins_throttled") == 0 {
        let mut client = Client::open_from(guesser, &broker);
        client.send(user("u1").password("wrong"));
        client.expect_refusal(&[0x87, 0x9F]);
    }
    let mut client = Client::open_from(guesser, &broker);
    client.send(user("u1"));
    client.expect_refusal(&[0x9F]);

    let delayed = broker.counter("logins_delayed");
    Client::connect(&broker, user("u1"));
    Client::connect(&broker, user("u2"));
    assert_eq!(broker.counter("logins_delayed"), delayed);
}
