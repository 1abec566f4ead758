//! Connections are files, of which the system allows so many.

use crate::support::*;

#[test]
fn connections_have_all_the_files_that_the_system_allows() {
    let broker = Setup::new().shell("ulimit -Sn 100").start();
    let mut clients: Vec<_> = (0..150).map(|_| Client::connect(&broker, connect())).collect();
    clients.iter_mut().for_each(Client::expect_nothing);
    assert_eq!(broker.counter("accept_errors"), 0);
}

#[test]
fn connections_wait_while_there_is_no_file_for_them() {
    let broker = Setup::new().shell("ulimit -n 60").start();
    broker.wait_for_log(0, "at most 60 files can be open");
    let mut clients: Vec<_> = (0..60).map(|_| Client::open(&broker)).collect();
    broker.wait_for_log(0, "connections cannot be accepted");
    // The first have their files; with them go others.
    let mut first = clients.remove(0);
    first.attach(connect());
    drop(clients.drain(..40));
    broker.wait_for_log(0, "connections are accepted again");
    for mut client in clients {
        client.attach(connect());
    }
    first.expect_nothing();
    assert!(broker.counter("accept_errors") > 0);
}

#[test]
fn connections_leave_files_for_what_is_kept() {
    // Two segments of 16 MiB are ready from the start, and more are needed.
    let broker =
        Setup::new().shell("ulimit -n 120").options(&["--data-dir=data", "--disk-max=256MiB"]).start();
    let persistent = || connect().client_id("subscriber").persistent();
    let mut subscriber = Client::connect(&broker, persistent());
    subscriber.subscribe("a", 1);
    let mut publisher = Client::connect(&broker, connect());
    // They say nothing, and take all the files that they can.
    let _silent: Vec<_> = (0..120).map(|_| Client::open(&broker)).collect();
    broker.wait_for_log(0, "connections cannot be accepted");
    drop(subscriber);
    // The data directory gets one file after the other.
    for _ in 0..50 {
        publisher.publish(publish("a").qos(1).payload(vec![b'x'; 1 << 20]));
    }
    assert!(!broker.log().contains("Too many open files"), "{}", broker.log());
}
