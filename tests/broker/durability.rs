//! What survives: the end of the broker by force or as asked, a full disk, a damaged data directory.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::*;

/// A broker with a data directory, `data` below its own.
fn durable(options: &[&str]) -> Broker {
    Setup::new().options(&["--data-dir", "data"]).options(options).start()
}

/// Kills the broker and starts another on its data directory.
fn crash(broker: &mut Broker) {
    broker.kill();
    *broker = broker.again().start();
}

/// Lets so many seconds pass while the broker is down.
fn crash_for(broker: &mut Broker, seconds: u32) {
    broker.kill();
    Broker::start(&[]).let_pass(seconds);
    *broker = broker.again().start();
}

#[test]
fn what_is_under_way_to_a_client_goes_on_after_a_crash() {
    for version in Version::ALL {
        let mut broker = durable(&[]);
        let reader = || connect().version(version).client_id("reader").persistent();
        let mut client = Client::connect(&broker, reader());
        client.subscribe("a", 2);
        let mut publisher = Client::connect(&broker, connect());
        for (id, qos) in [(1, 1), (2, 2), (3, 2)] {
            publisher.publish(publish("a").qos(qos).id(id).payload(id.to_string()));
        }
        let ids = client.receive_under_way(3);
        client.send(pubrec(ids[1]));
        client.expect(pubrel(ids[1]));
        crash(&mut broker);

        let mut client = Client::connect(&broker, reader());
        assert_eq!(client.connack().session_present, version != Version::V31);
        client.expect(publish("a").qos(1).id(ids[0]).payload("1").dup());
        client.expect(pubrel(ids[1]));
        client.expect(publish("a").qos(2).id(ids[2]).payload("3").dup());
        client.send(puback(ids[0]));
        client.send(pubcomp(ids[1]));
        client.send(pubrec(ids[2]));
        client.expect(pubrel(ids[2]));
        client.send(pubcomp(ids[2]));
        // What is not written yet may be forgotten, and what is asked for later is written later.
        client.subscribe("b", 0);
        crash(&mut broker);
        Client::connect(&broker, reader()).expect_nothing();
    }
}

impl Client {
    /// Receives so many PUBLISH packets, and acknowledges none.
    fn receive_under_way(&mut self, count: usize) -> Vec<u16> {
        (0..count).map(|_| self.receive_publish().id).collect()
    }
}

#[test]
fn a_message_of_qos_2_that_was_received_is_not_routed_again_after_a_crash() {
    for version in Version::ALL {
        let mut broker = durable(&[]);
        let reader = || connect().client_id("reader").persistent();
        let writer = || connect().version(version).client_id("writer").persistent();
        Client::connect(&broker, reader()).subscribe("a", 2);
        let mut client = Client::connect(&broker, writer());
        client.send(publish("a").qos(2).id(7).payload("once"));
        client.expect(pubrec(7));
        crash(&mut broker);

        let mut client = Client::connect(&broker, writer());
        client.send(publish("a").qos(2).id(7).payload("once").dup());
        client.expect(pubrec(7));
        client.send(pubrel(7));
        client.expect(pubcomp(7));
        crash(&mut broker);

        // The identifier is free.
        let mut client = Client::connect(&broker, writer());
        client.publish(publish("a").qos(2).id(7).payload("another"));
        let messages = Client::connect(&broker, reader()).receive_messages(2);
        assert_eq!(messages.iter().map(Publish::text).collect::<Vec<_>>(), ["once", "another"]);
    }
}

#[test]
fn queued_messages_come_in_order_after_a_crash() {
    for level in ["fsync", "os"] {
        let mut broker = durable(&["--durability", level]);
        let reader = || connect().client_id("reader").persistent();
        Client::connect(&broker, reader()).subscribe("#", 2);
        let mut publisher = Client::connect(&broker, connect());
        for number in 0..60_u16 {
            let qos = 1 + u8::from(number % 3 == 0);
            publisher.publish(publish("a").qos(qos).id(number + 1).payload(number.to_string()));
            if number == 30 {
                crash(&mut broker);
                publisher = Client::connect(&broker, connect());
            }
        }
        crash(&mut broker);
        let messages = Client::connect(&broker, reader()).receive_messages(60);
        for qos in [1, 2] {
            let numbers = messages.iter().filter(|message| message.qos == qos).map(Publish::text);
            let expected = (0..60).filter(|number| (number % 3 == 0) == (qos == 2));
            let expected: Vec<String> = expected.map(|number| number.to_string()).collect();
            assert_eq!(numbers.collect::<Vec<_>>(), expected, "{level}, QoS {qos}");
        }
    }
}

#[test]
fn subscriptions_survive_with_their_options() {
    let mut broker = durable(&[]);
    let reader = || connect().client_id("reader").persistent();
    let mut client = Client::connect(&broker, reader());
    client.subscribe_with(subscribe("own", 1).no_local().identifier(7), &[1]);
    client.subscribe_with(subscribe("flag", 2).retain_as_published().identifier(8), &[2]);
    client.subscribe("gone", 1);
    client.subscribe("$share/group/shared", 1);
    client.send(unsubscribe("gone"));
    client.expect(unsuback(1, &[0]));
    crash(&mut broker);

    let mut client = Client::connect(&broker, reader());
    client.send(publish("own").qos(1).id(1));
    client.expect(puback(1).reason(0x10));
    let mut publisher = Client::connect(&broker, connect());
    assert_eq!(publisher.publish(publish("gone").qos(1)), 0x10);
    publisher.publish(publish("own").qos(1).payload("1"));
    publisher.publish(publish("flag").qos(2).payload("2").retain());
    publisher.publish(publish("shared").qos(1).payload("3"));
    client.expect(publish("own").qos(1).payload("1").property(Property::SubscriptionIdentifier(7)));
    let flagged = publish("flag").qos(2).payload("2").retain();
    client.expect(flagged.property(Property::SubscriptionIdentifier(8)));
    client.expect(publish("shared").qos(1).payload("3"));
}

#[test]
fn retained_messages_survive() {
    let mut broker = durable(&[]);
    let mut publisher = Client::connect(&broker, connect());
    for (topic, payload) in [("replaced", "old"), ("cleared", "old"), ("kept", "first")] {
        publisher.publish(publish(topic).qos(1).payload(payload).retain());
    }
    crash(&mut broker);
    let mut publisher = Client::connect(&broker, connect());
    let properties = Property::user("name", "value");
    publisher.publish(publish("replaced").qos(2).payload("new").retain().property(properties.clone()));
    publisher.publish(publish("cleared").qos(1).retain());
    for _ in 0..2 {
        crash(&mut broker);
        let mut client = Client::connect(&broker, connect());
        client.subscribe("#", 2);
        client.expect_unordered([
            publish("replaced").qos(2).payload("new").retain().property(properties.clone()).into(),
            publish("kept").qos(1).payload("first").retain().into(),
        ]);
        client.expect_nothing();
    }
}

#[test]
fn retained_messages_that_are_due_to_a_new_subscription_come_after_a_crash() {
    for (version, qos) in [(Version::V311, 1), (Version::V5, 1), (Version::V5, 2)] {
        let mut broker = durable(&["--max-inflight=3"]);
        let mut publisher = Client::connect(&broker, connect());
        let topics: Vec<String> = (10..30).map(|number| format!("r/{number}")).collect();
        for topic in &topics {
            publisher.publish(publish(topic).qos(qos).payload("x").retain());
        }
        let reader = || connect().version(version).client_id("reader").persistent();
        let mut client = Client::connect(&broker, reader());
        client.subscribe("r/#", qos);
        let ids = client.receive_under_way(3);
        if qos == 1 {
            client.send(puback(ids[0]));
        } else {
            client.send(pubrec(ids[0]));
            client.expect(pubrel(ids[0]));
            client.send(pubcomp(ids[0]));
        }
        assert_eq!(client.receive_publish().topic(), topics[3]);
        crash(&mut broker);

        let mut client = Client::connect(&broker, reader());
        let mut seen = client.receive_topics_up_to(&topics[19]);
        // That it was acknowledged may be forgotten of one of QoS 1.
        if qos == 1 && seen[0] == topics[0] {
            seen.remove(0);
        }
        assert_eq!(seen, topics[1..], "{version:?}, QoS {qos}");
    }
}

impl Client {
    /// Receives messages up to one of this topic, and acknowledges each. All their topics.
    fn receive_topics_up_to(&mut self, last: &str) -> Vec<String> {
        let mut topics: Vec<String> = Vec::new();
        while topics.last().is_none_or(|topic| topic != last) {
            match self.receive() {
                Packet::Publish(message) => {
                    self.send(if message.qos == 1 { puback(message.id) } else { pubrec(message.id) });
                    topics.push(message.topic().to_owned());
                }
                Packet::Ack(ack) if ack.first == 0x62 => self.send(pubcomp(ack.id)),
                other => panic!("expected a PUBLISH, received {other:?}"),
            }
        }
        topics
    }
}

#[test]
fn time_goes_on_while_the_broker_is_down() {
    let mut broker = durable(&[]);
    let lasting = || connect().client_id("lasting").persistent();
    let short = || connect().client_id("short").session_expiry(2).clean_start(false);
    Client::connect(&broker, lasting()).subscribe("a", 1);
    // One is away when the broker ends, the other is not.
    Client::connect(&broker, short()).disconnect();
    let _there = Client::connect(&broker, connect().client_id("there").session_expiry(2));
    let mut publisher = Client::connect(&broker, connect());
    for (seconds, payload) in [(2, "expires"), (1_000, "lasts")] {
        let message = publish("a").qos(1).payload(payload);
        publisher.publish(message.property(Property::MessageExpiry(seconds)));
    }
    crash_for(&mut broker, 3);

    for id in ["short", "there"] {
        let client = Client::connect(&broker, connect().client_id(id).clean_start(false));
        assert!(!client.connack().session_present, "{id}");
    }
    let mut client = Client::connect(&broker, lasting());
    assert!(client.connack().session_present);
    let message = client.receive_publish();
    assert_eq!(message.text(), "lasts");
    let left = message.all(0x02);
    assert!(matches!(left[..], [Property::MessageExpiry(900..=997)]), "{left:?}");
    client.send(puback(message.id));
    client.expect_nothing();
}

#[test]
fn a_delayed_will_is_published_once_after_a_crash() {
    let mut broker = durable(&[]);
    let heir = || connect().client_id("heir").persistent();
    Client::connect(&broker, heir()).subscribe("will/#", 2);
    let with_will = |name: &str, delay| {
        let will = will(format!("will/{name}")).qos(2).payload(name).delay(delay);
        connect().client_id(name).session_expiry(3_600).will(will)
    };
    // First, so that its goodbye is heard before the end.
    Client::connect(&broker, with_will("none", 1)).disconnect();
    // Of these clients one is there when the broker is killed, the others have gone, and one comes back.
    let _there = Client::connect(&broker, with_will("there", 1));
    Client::connect(&broker, with_will("gone", 1)).cut();
    Client::connect(&broker, with_will("back", 1_000)).cut();
    Client::connect(&broker, with_will("later", 1_000)).cut();
    crash(&mut broker);

    let back = Client::connect(&broker, connect().client_id("back").persistent());
    assert!(back.connack().session_present);
    let mut client = Client::connect(&broker, heir());
    let mut wills: Vec<String> =
        client.receive_messages(2).iter().map(|message| message.text().to_owned()).collect();
    wills.sort();
    assert_eq!(wills, ["gone", "there"]);
    client.subscribe("other", 0);
    crash_for(&mut broker, 2);
    Client::connect(&broker, heir()).expect_nothing();
}

#[test]
fn a_broker_that_is_asked_to_stop_loses_nothing_at_any_level() {
    for level in ["fsync", "os", "memory"] {
        let mut broker = durable(&["--durability", level]);
        let reader = || connect().client_id("reader").persistent();
        Client::connect(&broker, reader()).subscribe("a", 2);
        let mut publisher = Client::connect(&broker, connect());
        for number in 0..40_u16 {
            publisher.publish(publish("a").qos(1 + u8::from(number % 2 == 0)).id(number + 1));
        }
        publisher.publish(publish("r").qos(1).payload("kept").retain());
        publisher.disconnect();
        broker.signal("TERM");
        assert_eq!(broker.wait().code(), Some(0));

        broker = broker.again().start();
        broker.wait_for_log(0, "1 sessions, 1 subscriptions, 40 queued and 1 retained");
        let mut client = Client::connect(&broker, reader());
        client.receive_messages(40);
        client.subscribe_with(subscribe("r", 0), &[0]);
        client.expect(publish("r").payload("kept").retain());
    }
}

#[test]
fn what_is_acknowledged_and_not_written_yet_is_there_after_a_broker_is_asked_to_stop() {
    // Nobody waits for the disk, and more comes at a time than is written at a time.
    let mut broker = durable(&["--durability=memory", "--disk-max=64MiB"]);
    let reader = || connect().client_id("reader").persistent();
    Client::connect(&broker, reader()).subscribe("a", 1);
    let mut publisher = Client::connect(&broker, connect());
    let payload = vec![b'x'; 100_000];
    publisher.send_all((1..=200).map(|id| publish("a").qos(1).id(id).payload(&payload)));
    for id in 1..=200 {
        publisher.expect(puback(id));
    }
    broker.signal("TERM");
    assert_eq!(broker.wait().code(), Some(0));
    broker = broker.again().start();
    broker.wait_for_log(0, "1 sessions, 1 subscriptions, 200 queued");
    Client::connect(&broker, reader()).receive_messages(200);
}

/// How many commits there are while so many messages are published, each once the one before is acknowledged.
fn commits(broker: &Broker, listener: SocketAddr, topic: &str, count: u64) -> u64 {
    let mut client = Client::open_at(listener);
    client.attach(connect());
    let before = broker.counter("commits");
    for _ in 0..count {
        assert_eq!(client.publish(publish(topic).qos(1)), 0);
    }
    broker.counter("commits") - before
}

#[test]
fn durability_is_that_of_the_topic_then_of_the_listener_then_of_the_broker() {
    const COUNT: u64 = 60;
    let broker = Setup::new()
        .options(&["--data-dir=data", "--durability-for=hot/#=memory", "--durability-for=sure/#=fsync"])
        .option("--listener=tcp:127.0.0.1:0,durability=os")
        .start();
    let [common, own] = *broker.addresses() else { panic!("two listeners: {:?}", broker.addresses()) };
    Client::connect(&broker, connect().client_id("reader").persistent()).subscribe("#", 1);
    let cases = [
        (common, "other", true),
        (common, "hot/a", false),
        (common, "sure/a", true),
        (own, "other", false),
        (own, "hot/a", false),
        (own, "sure/a", true),
    ];
    for (listener, topic, waits) in cases {
        let commits = commits(&broker, listener, topic, COUNT);
        // Without anybody who waits there is one now and then.
        assert_eq!(commits >= COUNT, waits, "{topic} at {listener}: {commits} commits for {COUNT} messages");
    }
}

#[test]
fn a_full_disk_refuses_what_has_to_be_kept_until_there_is_room() {
    let broker = durable(&["--disk-max=16MiB"]);
    let reader = || connect().client_id("reader").persistent();
    Client::connect(&broker, reader()).subscribe("a", 1);
    let mut publisher = Client::connect(&broker, connect());
    let payload = vec![b'x'; 100_000];
    let mut taken = 0;
    let refusal = loop {
        match publisher.publish(publish("a").qos(1).payload(&payload)) {
            0 => taken += 1,
            other => break other,
        }
        assert!(taken < 170, "more is kept than fits");
    };
    assert_eq!(refusal, 0x97);
    assert!(taken > 60, "only {taken} fit");
    // What is to be kept is refused, and told if the protocol has a way to.
    assert_eq!(publisher.publish(publish("a").qos(2)), 0x97);
    assert_eq!(publisher.publish(publish("r").qos(1).payload("x").retain()), 0x97);
    let mut old = Client::connect(&broker, connect().version(Version::V311));
    old.send(publish("a").qos(1).id(1));
    old.expect_closed();
    Client::refused(&broker, connect().client_id("new").persistent(), 0x97);
    assert!(broker.counter("refused_disk_full") >= 5);
    // The rest goes on.
    let mut passing = Client::connect(&broker, connect());
    passing.subscribe("b", 2);
    assert_eq!(publisher.publish(publish("b").qos(2).payload("y")), 0);
    passing.receive_messages(1);

    let messages = Client::connect(&broker, reader()).receive_messages(taken);
    assert!(messages.iter().all(|message| message.payload == payload));
    let start = Instant::now();
    while publisher.publish(publish("a").qos(2).payload("z")) != 0 {
        assert!(start.elapsed() < PATIENCE, "no room again:\n{}", broker.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    broker.wait_for_log(0, "there is room again");
}

#[test]
fn sessions_that_are_there_do_not_write_beyond_the_bound() {
    let mut broker = durable(&["--disk-max=4MiB"]);
    let client = |number: u32| connect().client_id(&format!("client {number}")).persistent();
    let with_will = |number| {
        let will = will("will").qos(1).payload(vec![b'w'; 60_000]).delay(100_000);
        client(number).will(will)
    };
    for number in 0..60 {
        Client::connect(&broker, client(number)).disconnect();
    }
    let mut refused = 0;
    for _ in 0..3 {
        for number in 0..60 {
            let mut client = Client::open(&broker);
            match client.handshake(with_will(number)).reason {
                0 => client.cut(),
                reason => {
                    assert_eq!(reason, 0x97);
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 20, "only {refused} are refused");
    assert!(broker.counter("disk_bytes") <= 4 << 20, "{} bytes are used", broker.counter("disk_bytes"));
    // It need not be written down that these are back.
    for number in 0..60 {
        let reason = Client::open(&broker).handshake(client(number)).reason;
        assert!([0, 0x97].contains(&reason), "{reason:#x}");
    }
    crash(&mut broker);
    for number in 0..60 {
        Client::open(&broker).handshake(connect().client_id(&format!("client {number}")));
    }
    Client::connect(&broker, client(1)).subscribe("a", 1);
}

#[test]
fn what_is_needed_is_not_written_again_and_again() {
    let broker = durable(&["--disk-max=4MiB"]);
    let group = "g".repeat(20_000);
    Client::connect(&broker, connect().client_id("member").persistent())
        .subscribe(&format!("$share/{group}/a"), 1);
    let mut publisher = Client::connect(&broker, connect());
    for number in 1..=40 {
        assert_eq!(publisher.publish(publish("a").qos(1).id(number)), 0);
        let will = will("will").qos(1).payload(vec![b'w'; 20_000]).delay(100_000);
        Client::connect(
            &broker,
            connect().client_id(&format!("c{number}")).session_expiry(1_000_000).will(will),
        )
        .cut();
    }
    let start = Instant::now();
    let mut written = 0;
    loop {
        let before = std::mem::replace(&mut written, broker.counter("bytes_written"));
        if written == before {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{written} bytes are written, and more all the time");
        std::thread::sleep(Duration::from_millis(300));
    }
    let (live, all) = (broker.counter("live_bytes"), broker.counter("disk_bytes"));
    assert!((1_600_000..1_800_000).contains(&live), "{live} bytes are needed");
    assert!(all <= 4 << 20, "{all} bytes are there");
}

#[test]
fn retained_messages_can_be_cleared_on_a_full_disk_and_do_not_come_back() {
    let mut broker = durable(&["--disk-max=4MiB"]);
    let mut publisher = Client::connect(&broker, connect());
    for topic in ["r/cleared", "r/replaced", "r/left"] {
        publisher.publish(publish(topic).qos(1).payload("old").retain());
    }
    Client::connect(&broker, connect().client_id("reader").persistent()).subscribe("a", 1);
    while publisher.publish(publish("a").qos(1).payload(vec![b'x'; 50_000])) == 0 {}
    assert_eq!(publisher.publish(publish("r/cleared").qos(1).retain()), 0x10);
    assert_eq!(publisher.publish(publish("r/left").qos(1).payload("new").retain()), 0x97);
    publisher.send(publish("r/replaced").payload("new").retain());
    publisher.expect_nothing();
    let mut watcher = Client::connect(&broker, connect());
    watcher.subscribe("r/#", 1);
    watcher.expect_unordered([
        publish("r/replaced").payload("new").retain().into(),
        publish("r/left").qos(1).id(1).payload("old").retain().into(),
    ]);
    // What was written is awaited by what is acknowledged behind it.
    assert_eq!(publisher.publish(publish("r/left").qos(1).retain()), 0);
    crash(&mut broker);
    let mut reader = Client::connect(&broker, connect());
    reader.subscribe("r/#", 1);
    reader.expect_nothing();
}

/// The one file of records of a broker that has stopped.
fn records(broker: &Broker) -> PathBuf {
    let files = fs::read_dir(broker.path("data")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|ext| ext == "log")).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

#[test]
fn a_damaged_directory_is_reported_and_the_rest_of_it_is_there() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage, &str); 3] = [
        (
            "flipped",
            |bytes| bytes.iter_mut().skip(100_000).take(3).for_each(|byte| *byte ^= 0x55),
            "damaged at offset",
        ),
        ("zeroed", |bytes| bytes[100_000..104_096].fill(0), "damaged at offset"),
        ("cut", |bytes| bytes.truncate(150_000), "cut at offset"),
    ];
    for (name, damage, word) in damages {
        let mut broker = durable(&[]);
        let reader = || connect().client_id("reader").persistent();
        Client::connect(&broker, reader()).subscribe("a", 1);
        let mut publisher = Client::connect(&broker, connect());
        for number in 0..200 {
            let payload = format!("{number:>1000}");
            publisher.publish(publish("a").qos(1).payload(payload));
        }
        publisher.disconnect();
        broker.signal("TERM");
        broker.wait();
        let file = records(&broker);
        let mut bytes = fs::read(&file).unwrap();
        damage(&mut bytes);
        fs::write(&file, bytes).unwrap();

        let check = run(&["store", "check", broker.path("data").to_str().unwrap()]);
        assert_eq!(check.code, Some(i32::from(name != "cut")), "{}{}", check.stdout, check.stderr);
        broker = broker.again().start();
        broker.wait_for_log(0, "listening on");
        let log = broker.log();
        let report = log.lines().find(|line| line.contains(word)).unwrap_or_else(|| panic!("{name}: {log}"));
        assert!(report.contains(file.file_name().unwrap().to_str().unwrap()), "{report}");
        let left = log.split(" queued").next().unwrap().rsplit(' ').next().unwrap().parse::<usize>().unwrap();
        let expected = if name == "cut" { 120..160 } else { 190..200 };
        assert!(expected.contains(&left), "{name}: {left} are left\n{log}");
        let mut client = Client::connect(&broker, reader());
        let numbers = client.receive_messages(left);
        let numbers: Vec<u32> =
            numbers.iter().map(|message| message.text().trim_start().parse().unwrap()).collect();
        assert!(numbers.is_sorted() && numbers.first() == Some(&0), "{name}: {numbers:?}");
        // And it goes on.
        Client::connect(&broker, connect()).publish(publish("a").qos(1).payload("more"));
        client.expect(publish("a").qos(1).payload("more"));
    }
}

#[test]
fn a_directory_that_cannot_be_used_is_refused_in_plain_words() {
    let broker = durable(&[]);
    let directory = broker.path("data");
    let second = run(&["--tcp-port=0", "--data-dir", directory.to_str().unwrap()]);
    assert_eq!(second.code, Some(78), "{}", second.stderr);
    assert!(second.stderr.contains("is in use"), "{}", second.stderr);
    Client::connect(&broker, connect()).expect_nothing();

    let finished = Setup::new().file("file", "").options(&["--tcp-port=0", "--data-dir", "file/data"]).run();
    assert_eq!(finished.code, Some(78), "{}", finished.stderr);
    assert!(finished.stderr.contains("the data directory file/data cannot be used"), "{}", finished.stderr);
}

#[cfg(unix)]
#[test]
fn a_directory_that_cannot_be_written_to_is_refused_in_plain_words() {
    use std::os::unix::fs::PermissionsExt;

    let setup = Setup::new().options(&["--tcp-port=0", "--data-dir", "data"]);
    let directory = setup.path("data");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(directory.join("probe"), "").is_ok() {
        // Nothing is forbidden to root.
        return;
    }
    let finished = setup.run();
    assert_eq!(finished.code, Some(78), "{}", finished.stderr);
    assert!(finished.stderr.contains("the data directory data cannot be used"), "{}", finished.stderr);
}

#[test]
fn durability_means_nothing_without_a_data_directory() {
    for arguments in [
        ["--tcp-port=0", "--durability=os"],
        ["--tcp-port=0", "--durability-for=a/#=memory"],
        ["--tcp-port=0", "--disk-max=1GiB"],
        ["--tcp-port=0", "--listener=tcp:127.0.0.1:0,durability=os"],
    ] {
        let finished = run(&arguments);
        assert_eq!(finished.code, Some(2), "{arguments:?}\n{}", finished.stderr);
        assert!(finished.stderr.contains("--data-dir"), "{arguments:?}\n{}", finished.stderr);
    }
    Broker::start(&[]).wait_for_log(0, "in memory");
}
