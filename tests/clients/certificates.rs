//! `mosquitto_pub` with certificates: it is its certificate's user, and nobody else.

use std::process::{Command, Output};

use crate::support::{Broker, Client, Setup, certs, connect, publish, server_certificate};

const AUTH: &str = r#"{
    authentication: [
        { name: "device1", method: "client_cert" },
        { name: "device2", method: "client_cert" },
        { name: "watcher", method: "plain_password", password: "secret" },
    ],
    authorization: [
        { topic: "of/device1", allow: { pub: ["device1"], sub: ["watcher"] } },
        { topic: "of/device2", allow: { pub: ["device2"], sub: ["watcher"] } },
    ],
}"#;

/// Publishes as each of two devices, and tries to be another; the broker asks for certificates, or insists on them.
pub(crate) fn play(policy: &str) {
    let [certificate, key] = server_certificate("server");
    let (authority, list) = (certs("ca.crt"), certs("ca.crl"));
    let broker = Setup::new()
        .file("auth.json", AUTH)
        .options(&["--tls-port=0", &certificate, &key, "--client-cert", policy])
        .options(&["--client-ca", &authority, "--client-crl", &list])
        .start();
    let mut watcher = Client::connect(&broker, connect().user("watcher").password("secret"));
    watcher.subscribe("of/device1", 0);
    watcher.subscribe("of/device2", 0);

    for version in ["mqttv31", "mqttv311", "mqttv5"] {
        let send = |certificate: Option<&str>, topic: &str, more: &[&str]| {
            mosquitto_pub(&broker, version, certificate, &[&["-t", topic, "-m", version], more].concat())
        };
        for (certificate, name) in
            [("client", "device1"), ("client-rsa", "device1"), ("client-other", "device2")]
        {
            let topic = format!("of/{name}");
            for more in [&[][..], &["-u", name], &["-u", name, "-P", "any"]] {
                let output = send(Some(certificate), &topic, more);
                assert!(output.status.success(), "{output:?}");
                watcher.expect(publish(&topic).payload(version));
            }
        }
        // What it may not publish is dropped, and it does not become somebody else by saying so.
        send(Some("client"), "of/device2", &[]);
        for (certificate, more) in [
            (Some("client"), &["-u", "device2"][..]),
            (Some("client"), &["-u", "watcher", "-P", "secret"]),
            (Some("client-revoked"), &[]),
            (Some("client-expired"), &[]),
            (Some("client-unknown"), &["-u", "device1"]),
            (None, &["-u", "device1"]),
            (None, &["-u", "device1", "-P", ""]),
            (None, &[]),
        ] {
            let output = send(certificate, "of/device1", more);
            assert!(!output.status.success(), "{certificate:?} {more:?} {version}: {output:?}");
        }
        watcher.expect_nothing();
    }
}

fn mosquitto_pub(broker: &Broker, version: &str, certificate: Option<&str>, arguments: &[&str]) -> Output {
    let port = broker.addresses().last().unwrap().port().to_string();
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", "localhost", "-p", &port, "-V", version, "-q", "1", "--cafile", &certs("ca.crt")]);
    if let Some(name) = certificate {
        command.args(["--cert", &certs(&format!("{name}.crt")), "--key", &certs(&format!("{name}.key"))]);
    }
    command.args(arguments).output().unwrap()
}
