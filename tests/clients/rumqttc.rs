//! rumqttc, which has a client for MQTT 3.1.1 and another for 5.0.

use std::collections::VecDeque;
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5 as five;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use rumqttc::{mqttbytes as four, v5};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::scenario::{Scenario, large_payload, large_report};
use crate::support::Version;

/// How long is waited for what must come, before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Both clients refuse larger packets, by default at 10 KiB.
const PACKET_SIZE: u32 = 32 << 20;

pub(crate) fn play(scenario: Scenario, version: Version, port: u16) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stage = Stage { version, port };
    runtime.block_on(async {
        match scenario {
            Scenario::EveryQos => stage.every_qos().await,
            Scenario::Retained => stage.retained().await,
            Scenario::Will => stage.will().await,
            Scenario::Session => stage.session().await,
            Scenario::Shared => stage.shared().await,
            Scenario::Properties => stage.properties().await,
            Scenario::Large => stage.large().await,
        }
    })
}

#[derive(Debug, Clone, Copy)]
struct Stage {
    version: Version,
    port: u16,
}

impl Stage {
    async fn every_qos(self) -> Vec<String> {
        let (mut reader, mut writer) = (self.join("reader").await, self.join("writer").await);
        for granted in 0..3 {
            reader.subscribe(&format!("every/+/{granted}"), granted).await;
        }
        for sent in 0..3 {
            for granted in 0..3 {
                writer
                    .publish(
                        Word::new(&format!("every/{sent}/{granted}"), &format!("{sent} to {granted}"))
                            .qos(sent),
                    )
                    .await;
            }
        }
        reader.report(9).await
    }

    async fn retained(self) -> Vec<String> {
        let mut writer = self.join("writer").await;
        writer.publish(Word::new("kept/a", "first").retained()).await;
        writer.publish(Word::new("kept/b", "second").retained()).await;
        let mut early = self.join("early").await;
        early.subscribe("kept/#", 1).await;
        let mut seen = early.report(2).await;
        writer.publish(Word::new("kept/a", "").retained()).await;
        seen.extend(early.report(1).await);
        let mut late = self.join("late").await;
        late.subscribe("kept/#", 1).await;
        seen.extend(late.report(1).await);
        writer.publish(Word::new("kept/end", "live")).await;
        seen.extend(late.report(1).await);
        seen
    }

    async fn will(self) -> Vec<String> {
        let mut watcher = self.join("watcher").await;
        watcher.subscribe("wills/#", 1).await;
        let doomed = self.join_with("doomed", Session::Clean, Some(("wills/doomed", "cut off"))).await;
        let polite = self.join_with("polite", Session::Clean, Some(("wills/polite", "never said"))).await;
        polite.leave().await;
        doomed.cut().await;
        let mut seen = watcher.report(1).await;
        self.join("writer").await.publish(Word::new("wills/end", "live")).await;
        seen.extend(watcher.report(1).await);
        seen
    }

    async fn session(self) -> Vec<String> {
        let mut away = self.join_with("away", Session::Kept, None).await;
        let mut seen = vec![away.session_report()];
        away.subscribe("session/#", 1).await;
        away.leave().await;
        let mut writer = self.join("writer").await;
        for text in ["one", "two", "three"] {
            writer.publish(Word::new("session/x", text)).await;
        }
        let mut away = self.join_with("away", Session::Kept, None).await;
        seen.push(away.session_report());
        seen.extend(away.report(3).await);
        away.leave().await;
        seen.push(self.join_with("away", Session::Clean, None).await.session_report());
        seen
    }

    async fn shared(self) -> Vec<String> {
        let (mut one, mut two) = (self.join("one").await, self.join("two").await);
        for member in [&mut one, &mut two] {
            member.subscribe("$share/crew/jobs/#", 1).await;
        }
        let mut writer = self.join("writer").await;
        for number in 0..10 {
            writer.publish(Word::new(&format!("jobs/{number}"), &number.to_string())).await;
        }
        let mut seen = Vec::new();
        while seen.len() < 10 {
            let (name, message) = tokio::select! {
                message = one.receive() => ("one", message),
                message = two.receive() => ("two", message),
            };
            seen.push(format!("{name}: {}", message.line()));
        }
        seen
    }

    async fn properties(self) -> Vec<String> {
        let (mut reader, mut writer) = (self.join("reader").await, self.join("writer").await);
        reader.subscribe("props/#", 1).await;
        let users = [("colour", "red"), ("size", "9"), ("colour", "blue")];
        let mut word = Word::new("props/x", "dressed");
        word.properties = Some(PublishProperties {
            payload_format_indicator: Some(1),
            message_expiry_interval: Some(60),
            content_type: Some("text/plain".to_owned()),
            response_topic: Some("answers/here".to_owned()),
            correlation_data: Some("c-1".into()),
            user_properties: users.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            ..PublishProperties::default()
        });
        writer.publish(word).await;
        let message = reader.receive().await;
        let heard = message.properties.as_ref().expect("it has properties");
        let correlation_data = heard.correlation_data.as_deref().unwrap_or_default();
        let mut seen = vec![
            format!("reader: {}", message.line()),
            format!("format={}", heard.payload_format_indicator.unwrap()),
            format!("expiry={}", heard.message_expiry_interval.unwrap()),
            format!("content-type={}", heard.content_type.as_deref().unwrap_or_default()),
            format!("response-topic={}", heard.response_topic.as_deref().unwrap_or_default()),
            format!("correlation-data={}", String::from_utf8_lossy(correlation_data)),
        ];
        seen.extend(heard.user_properties.iter().map(|(name, value)| format!("user {name}={value}")));
        seen
    }

    async fn large(self) -> Vec<String> {
        let (mut reader, mut writer) = (self.join("reader").await, self.join("writer").await);
        reader.subscribe("large", 1).await;
        let mut word = Word::new("large", "");
        word.payload = large_payload();
        writer.publish(word).await;
        vec![large_report(&reader.receive().await.payload)]
    }

    async fn join(self, name: &'static str) -> Party {
        self.join_with(name, Session::Clean, None).await
    }

    async fn join_with(self, name: &'static str, session: Session, will: Option<(&str, &str)>) -> Party {
        let (sender, events) = unbounded_channel();
        let (handle, driver) = match self.version {
            Version::V5 => self.start_five(name, session, will, sender),
            Version::V31 | Version::V311 => self.start_four(name, session, will, sender),
        };
        let (messages, session_present) = (VecDeque::new(), false);
        let mut party = Party { name, handle, driver, events, messages, session_present };
        party.session_present = party
            .until(|event| {
                if let Event::Connected { session_present } = event { Some(*session_present) } else { None }
            })
            .await;
        party
    }

    fn start_four(
        self,
        name: &str,
        session: Session,
        will: Option<(&str, &str)>,
        events: UnboundedSender<Event>,
    ) -> (Handle, JoinHandle<()>) {
        let mut options = rumqttc::MqttOptions::new(name, "127.0.0.1", self.port);
        let size = usize::try_from(PACKET_SIZE).unwrap();
        options.set_max_packet_size(size, size).set_clean_session(session == Session::Clean);
        if let Some((topic, payload)) = will {
            options.set_last_will(rumqttc::LastWill::new(topic, payload, four::QoS::AtLeastOnce, false));
        }
        let (client, mut connection) = rumqttc::AsyncClient::new(options, 16);
        let driver = tokio::spawn(async move {
            while let Ok(event) = connection.poll().await {
                if let Some(event) = from_four(event) {
                    let _ = events.send(event);
                }
            }
        });
        (Handle::Four(client), driver)
    }

    fn start_five(
        self,
        name: &str,
        session: Session,
        will: Option<(&str, &str)>,
        events: UnboundedSender<Event>,
    ) -> (Handle, JoinHandle<()>) {
        let mut options = v5::MqttOptions::new(name, "127.0.0.1", self.port);
        options.set_max_packet_size(Some(PACKET_SIZE)).set_clean_start(session == Session::Clean);
        if session == Session::Kept {
            options.set_session_expiry_interval(Some(3600));
        }
        if let Some((topic, payload)) = will {
            options.set_last_will(five::LastWill::new(
                topic,
                payload,
                v5::mqttbytes::QoS::AtLeastOnce,
                false,
                None,
            ));
        }
        let (client, mut connection) = v5::AsyncClient::new(options, 16);
        let driver = tokio::spawn(async move {
            while let Ok(event) = connection.poll().await {
                if let Some(event) = from_five(event) {
                    let _ = events.send(event);
                }
            }
        });
        (Handle::Five(client), driver)
    }
}

/// Whether a client wants a session that outlives its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Session {
    Clean,
    Kept,
}

/// What a client publishes.
#[derive(Debug)]
struct Word {
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
    properties: Option<PublishProperties>,
}

impl Word {
    fn new(topic: &str, payload: &str) -> Self {
        Self { topic: topic.to_owned(), payload: payload.into(), qos: 1, retain: false, properties: None }
    }

    fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    fn retained(mut self) -> Self {
        self.retain = true;
        self
    }
}

/// A client. Dropping it cuts its connection.
#[derive(Debug)]
struct Party {
    name: &'static str,
    handle: Handle,
    driver: JoinHandle<()>,
    events: UnboundedReceiver<Event>,
    /// Messages that came while something else was waited for.
    messages: VecDeque<Message>,
    session_present: bool,
}

#[derive(Debug)]
enum Handle {
    Four(rumqttc::AsyncClient),
    Five(v5::AsyncClient),
}

#[derive(Debug)]
enum Event {
    Connected {
        session_present: bool,
    },
    /// A subscription was granted this QoS; `None`: it was refused.
    Subscribed(Option<u8>),
    /// A message of this QoS has been sent, and acknowledged as far as the QoS asks for it.
    Published(u8),
    Message(Message),
}

/// What a client received.
#[derive(Debug)]
struct Message {
    topic: String,
    qos: u8,
    retain: bool,
    payload: Vec<u8>,
    properties: Option<PublishProperties>,
}

impl Message {
    fn line(&self) -> String {
        let payload = String::from_utf8_lossy(&self.payload);
        format!("{} qos={} retain={} {payload}", self.topic, self.qos, u8::from(self.retain))
    }
}

impl Party {
    async fn subscribe(&mut self, filter: &str, qos: u8) {
        match &self.handle {
            Handle::Four(client) => client.subscribe(filter, four::qos(qos).unwrap()).await.unwrap(),
            Handle::Five(client) => {
                client.subscribe(filter, v5::mqttbytes::qos(qos).unwrap()).await.unwrap();
            }
        }
        let granted = self
            .until(|event| if let Event::Subscribed(granted) = event { Some(*granted) } else { None })
            .await;
        assert_eq!(granted, Some(qos), "{} for {filter}", self.name);
    }

    /// Publishes, and waits until the broker has acknowledged it.
    async fn publish(&mut self, word: Word) {
        let Word { topic, payload, qos, retain, properties } = word;
        match &self.handle {
            Handle::Four(client) => {
                client.publish(topic, four::qos(qos).unwrap(), retain, payload).await.unwrap();
            }
            Handle::Five(client) => {
                let (qos, properties) = (v5::mqttbytes::qos(qos).unwrap(), properties.unwrap_or_default());
                client.publish_with_properties(topic, qos, retain, payload, properties).await.unwrap();
            }
        }
        self.until(|event| matches!(event, Event::Published(done) if *done == qos).then_some(())).await;
    }

    async fn receive(&mut self) -> Message {
        if let Some(message) = self.messages.pop_front() {
            return message;
        }
        loop {
            if let Event::Message(message) = self.next().await {
                return message;
            }
        }
    }

    async fn report(&mut self, count: usize) -> Vec<String> {
        let mut seen = Vec::new();
        for _ in 0..count {
            let message = self.receive().await;
            seen.push(format!("{}: {}", self.name, message.line()));
        }
        seen
    }

    fn session_report(&self) -> String {
        format!("present={}", u8::from(self.session_present))
    }

    /// Sends DISCONNECT, and waits until the broker has closed the connection.
    async fn leave(self) {
        match &self.handle {
            Handle::Four(client) => client.disconnect().await.unwrap(),
            Handle::Five(client) => client.disconnect().await.unwrap(),
        }
        timeout(PATIENCE, self.driver).await.expect("the connection ends").unwrap();
    }

    /// Drops the connection without a word.
    async fn cut(self) {
        self.driver.abort();
        assert!(self.driver.await.unwrap_err().is_cancelled());
    }

    /// Waits for what `wanted` accepts. Messages that come before it are kept.
    async fn until<T>(&mut self, wanted: impl Fn(&Event) -> Option<T>) -> T {
        loop {
            let event = self.next().await;
            if let Some(found) = wanted(&event) {
                return found;
            }
            if let Event::Message(message) = event {
                self.messages.push_back(message);
            }
        }
    }

    async fn next(&mut self) -> Event {
        let event = timeout(PATIENCE, self.events.recv()).await;
        event
            .unwrap_or_else(|_| panic!("nothing more comes to {}", self.name))
            .expect("the connection stands")
    }
}

fn from_four(event: rumqttc::Event) -> Option<Event> {
    use rumqttc::{Event as Said, Outgoing, Packet};
    match event {
        Said::Incoming(Packet::ConnAck(connack)) => {
            Some(Event::Connected { session_present: connack.session_present })
        }
        Said::Incoming(Packet::SubAck(suback)) => {
            Some(Event::Subscribed(suback.return_codes.first().and_then(|code| match code {
                rumqttc::SubscribeReasonCode::Success(qos) => Some(four_level(*qos)),
                rumqttc::SubscribeReasonCode::Failure => None,
            })))
        }
        Said::Incoming(Packet::Publish(publish)) => Some(Event::Message(Message {
            topic: publish.topic,
            qos: four_level(publish.qos),
            retain: publish.retain,
            payload: publish.payload.to_vec(),
            properties: None,
        })),
        Said::Outgoing(Outgoing::Publish(0)) => Some(Event::Published(0)),
        Said::Incoming(Packet::PubAck(_)) => Some(Event::Published(1)),
        Said::Incoming(Packet::PubComp(_)) => Some(Event::Published(2)),
        _ => None,
    }
}

fn from_five(event: v5::Event) -> Option<Event> {
    use five::{Packet, SubscribeReasonCode};
    use rumqttc::Outgoing;
    use v5::Event as Said;
    match event {
        Said::Incoming(Packet::ConnAck(connack)) => {
            Some(Event::Connected { session_present: connack.session_present })
        }
        Said::Incoming(Packet::SubAck(suback)) => {
            Some(Event::Subscribed(suback.return_codes.first().and_then(|code| match code {
                SubscribeReasonCode::Success(qos) => Some(five_level(*qos)),
                _ => None,
            })))
        }
        Said::Incoming(Packet::Publish(publish)) => Some(Event::Message(Message {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            qos: five_level(publish.qos),
            retain: publish.retain,
            payload: publish.payload.to_vec(),
            properties: publish.properties,
        })),
        Said::Outgoing(Outgoing::Publish(0)) => Some(Event::Published(0)),
        Said::Incoming(Packet::PubAck(_)) => Some(Event::Published(1)),
        Said::Incoming(Packet::PubComp(_)) => Some(Event::Published(2)),
        _ => None,
    }
}

const fn four_level(qos: four::QoS) -> u8 {
    match qos {
        four::QoS::AtMostOnce => 0,
        four::QoS::AtLeastOnce => 1,
        four::QoS::ExactlyOnce => 2,
    }
}

const fn five_level(qos: v5::mqttbytes::QoS) -> u8 {
    match qos {
        v5::mqttbytes::QoS::AtMostOnce => 0,
        v5::mqttbytes::QoS::AtLeastOnce => 1,
        v5::mqttbytes::QoS::ExactlyOnce => 2,
    }
}
