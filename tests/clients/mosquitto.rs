//! `mosquitto_pub` and `mosquitto_sub`: a process for each client and each message.

use std::fs;
use std::process::Command;

use crate::process::{Program, can_run};
use crate::scenario::{Scenario, large_payload, large_report};
use crate::support::Version;

/// How `mosquitto_sub` is told to print a message, among the lines about packets that it prints too.
const FORMAT: &str = "message %t qos=%q retain=%r %p";

/// How such a line begins.
const MESSAGE: &str = "message ";

/// How the line begins that it prints when its subscriptions are acknowledged.
const SUBSCRIBED: &str = "Subscribed";

pub(crate) fn missing() -> Option<String> {
    ["mosquitto_pub", "mosquitto_sub", "stdbuf"]
        .into_iter()
        .find(|program| !can_run(program, "--help"))
        .map(|program| format!("{program} is not installed: see tests/run"))
}

pub(crate) fn play(scenario: Scenario, version: Version, port: u16) -> Vec<String> {
    let mosquitto = Mosquitto { version, port };
    match scenario {
        Scenario::EveryQos => mosquitto.every_qos(),
        Scenario::Retained => mosquitto.retained(),
        Scenario::Will => mosquitto.will(),
        Scenario::Session => mosquitto.session(),
        Scenario::Shared => mosquitto.shared(),
        Scenario::Properties => mosquitto.properties(),
        Scenario::Large => mosquitto.large(),
    }
}

#[derive(Debug, Clone, Copy)]
struct Mosquitto {
    version: Version,
    port: u16,
}

impl Mosquitto {
    fn every_qos(self) -> Vec<String> {
        // A process asks for one QoS only, so there is one for each.
        let readers = ["0", "1", "2"].map(|qos| {
            self.subscribe(&format!("reader-{qos}"), &["-q", qos, "-t", &format!("every/+/{qos}")])
        });
        for sent in 0..3 {
            for granted in 0..3 {
                let (topic, payload) = (format!("every/{sent}/{granted}"), format!("{sent} to {granted}"));
                self.publish(&["-q", &sent.to_string(), "-t", &topic, "-m", &payload]);
            }
        }
        readers.iter().flat_map(|reader| (0..3).map(|_| message("reader", reader))).collect()
    }

    fn retained(self) -> Vec<String> {
        self.publish(&["-q", "1", "-t", "kept/a", "-r", "-m", "first"]);
        self.publish(&["-q", "1", "-t", "kept/b", "-r", "-m", "second"]);
        let early = self.subscribe("early", &["-q", "1", "-t", "kept/#"]);
        let mut seen = vec![message("early", &early), message("early", &early)];
        self.publish(&["-q", "1", "-t", "kept/a", "-r", "-n"]);
        seen.push(message("early", &early));
        let late = self.subscribe("late", &["-q", "1", "-t", "kept/#"]);
        seen.push(message("late", &late));
        self.publish(&["-q", "1", "-t", "kept/end", "-m", "live"]);
        seen.push(message("late", &late));
        seen
    }

    fn will(self) -> Vec<String> {
        let watcher = self.subscribe("watcher", &["-q", "1", "-t", "wills/#"]);
        let with_will = |id: &str, topic: &str, payload: &str, more: &[&str]| {
            let mut command = self.subscriber(id);
            command.args([
                "-t",
                "other",
                "--will-qos",
                "1",
                "--will-topic",
                topic,
                "--will-payload",
                payload,
            ]);
            Program::start(command.args(more))
        };
        let doomed = with_will("doomed", "wills/doomed", "cut off", &[]);
        doomed.wait_for(SUBSCRIBED);
        // With -E it disconnects when it has subscribed.
        with_will("polite", "wills/polite", "never said", &["-E"]).finish();
        drop(doomed);
        let mut seen = vec![message("watcher", &watcher)];
        self.publish(&["-q", "1", "-t", "wills/end", "-m", "live"]);
        seen.push(message("watcher", &watcher));
        seen
    }

    fn session(self) -> Vec<String> {
        let away = |more: &[&str]| {
            let mut command = self.subscriber("away");
            if self.version == Version::V5 {
                command.args(["-x", "3600"]);
            }
            command.args(["-c", "-q", "1", "-t", "session/#"]);
            Program::start(command.args(more))
        };
        away(&["-E"]).finish();
        for text in ["one", "two", "three"] {
            self.publish(&["-q", "1", "-t", "session/x", "-m", text]);
        }
        let back = away(&["-C", "3"]);
        (0..3).map(|_| message("away", &back)).collect()
    }

    fn shared(self) -> Vec<String> {
        let members = ["one", "two"].map(|name| {
            (name, self.subscribe(name, &["-q", "1", "-t", "$share/crew/jobs/#", "-t", "everybody"]))
        });
        for number in 0..10 {
            self.publish(&["-q", "1", "-t", &format!("jobs/{number}"), "-m", &number.to_string()]);
        }
        // Stands behind all that came before, for both.
        self.publish(&["-q", "1", "-t", "everybody", "-m", "end"]);
        let mut seen = Vec::new();
        for (name, member) in &members {
            let messages = std::iter::repeat_with(|| member.wait_for(MESSAGE));
            let messages = messages.take_while(|message| !message.starts_with("everybody "));
            seen.extend(messages.map(|message| format!("{name}: {message}")));
        }
        seen
    }

    fn properties(self) -> Vec<String> {
        let mut reader = self.subscriber("reader");
        let properties =
            "format=%F\nexpiry=%E\ncontent-type=%C\nresponse-topic=%R\ncorrelation-data=%D\nuser=%P\nend";
        reader.args(["-q", "1", "-t", "props/#", "-C", "1", "-F", &format!("{FORMAT}\n{properties}")]);
        let reader = Program::start(&mut reader);
        reader.wait_for(SUBSCRIBED);
        let mut arguments = vec!["-q", "1", "-t", "props/x", "-m", "dressed"];
        for property in [
            ["payload-format-indicator", "1", ""],
            ["message-expiry-interval", "60", ""],
            ["content-type", "text/plain", ""],
            ["response-topic", "answers/here", ""],
            ["correlation-data", "c-1", ""],
            ["user-property", "colour", "red"],
            ["user-property", "size", "9"],
            ["user-property", "colour", "blue"],
        ] {
            arguments.extend(["-D", "publish"]);
            arguments.extend(property.into_iter().filter(|word| !word.is_empty()));
        }
        self.publish(&arguments);
        let mut seen = vec![message("reader", &reader)];
        for line in reader.finish() {
            if let Some(users) = line.strip_prefix("user=") {
                seen.extend(users.split(' ').map(|user| format!("user {}", user.replace(':', "="))));
            } else if line.contains('=') && !line.starts_with("Client ") {
                seen.push(line);
            }
        }
        seen
    }

    fn large(self) -> Vec<String> {
        let reader = self.subscribe("reader", &["-q", "1", "-t", "large"]);
        let file =
            std::env::temp_dir().join(format!("mqtt-broker-large-{}-{}", std::process::id(), self.port));
        fs::write(&file, large_payload()).unwrap();
        self.publish(&["-q", "1", "-t", "large", "-f", file.to_str().expect("its name is UTF-8")]);
        fs::remove_file(file).unwrap();
        let message = reader.wait_for(MESSAGE);
        let payload = message.rsplit(' ').next().unwrap_or_default();
        vec![large_report(payload.as_bytes())]
    }

    /// Publishes, and waits until the broker has acknowledged it.
    fn publish(self, arguments: &[&str]) {
        let mut command = Command::new("mosquitto_pub");
        command.args(self.connection()).args(arguments);
        Program::start(&mut command).finish();
    }

    /// Subscribes, and waits until the broker has acknowledged it.
    fn subscribe(self, id: &str, arguments: &[&str]) -> Program {
        let program = Program::start(self.subscriber(id).args(arguments));
        program.wait_for(SUBSCRIBED);
        program
    }

    fn subscriber(self, id: &str) -> Command {
        // By itself it writes lines only when there are many of them.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "mosquitto_sub", "-d", "-F", FORMAT, "-i", id]).args(self.connection());
        command
    }

    fn connection(self) -> [String; 6] {
        let version = match self.version {
            Version::V31 => "mqttv31",
            Version::V311 => "mqttv311",
            Version::V5 => "mqttv5",
        };
        ["-h", "127.0.0.1", "-p", &self.port.to_string(), "-V", version].map(str::to_owned)
    }
}

/// Waits for a message, and reports it.
fn message(name: &str, program: &Program) -> String {
    format!("{name}: {}", program.wait_for(MESSAGE))
}
