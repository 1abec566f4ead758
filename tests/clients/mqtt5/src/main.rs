//! Speaks MQTT over QUIC with the client of the crate mqtt5, and prints what comes, line by line.
//!
//! Usage: `mqtt5-client STRATEGY HEADERS PORT AUTHORITY`. STRATEGY says on which streams the client sends: `control-only`,
//! `per-publish`, `per-topic` or `per-subscription`. HEADERS: whether its streams begin with headers, `true` or `false`.
//! AUTHORITY is the certificate that the broker's is signed with. What must have been seen is decided in `../mqtt5.rs`.

use std::env;
use std::error::Error;
use std::fs;
use std::time::Duration;

use mqtt5::client::PublishResult;
use mqtt5::transport::StreamStrategy;
use mqtt5::{MqttClient, QoS, SubscribeOptions};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

/// How long is waited for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [strategy, headers, port, authority] = arguments.as_slice() else {
        return Err("usage: mqtt5-client STRATEGY HEADERS PORT AUTHORITY".into());
    };
    let client = MqttClient::new("mqtt5");
    client.set_tls_config(None, None, Some(fs::read(authority)?)).await;
    client.set_quic_stream_strategy(self::strategy(strategy)?).await;
    client.set_quic_flow_headers(headers.parse()?).await;
    client.connect(&format!("quic://127.0.0.1:{port}")).await?;

    let (sender, mut received) = unbounded_channel();
    for filter in ["one", "two/+"] {
        let sender = sender.clone();
        let options = SubscribeOptions { qos: QoS::ExactlyOnce, ..SubscribeOptions::default() };
        let tell = move |message: mqtt5::types::Message| {
            let payload = String::from_utf8_lossy(&message.payload).into_owned();
            let _ = sender.send(format!("{} {payload}", message.topic));
        };
        let (_, granted) = client.subscribe_with_options(filter, options, tell).await?;
        println!("subscribed: {filter} {granted:?}");
    }
    for topic in ["one", "two/a", "one"] {
        for qos in [QoS::AtLeastOnce, QoS::AtMostOnce, QoS::ExactlyOnce] {
            let published = client.publish_qos(topic, format!("{qos:?}"), qos).await?;
            let outcome = if matches!(published, PublishResult::Sent(_)) { "published" } else { "queued" };
            println!("{outcome}: {topic} {qos:?}");
        }
    }
    let mut messages = receive(&mut received, 9).await?;
    messages.sort();
    for message in messages {
        println!("received: {message}");
    }
    client.unsubscribe("one").await?;
    client.publish_qos("one", "nobody", QoS::AtLeastOnce).await?;
    client.publish_qos("two/a", "last", QoS::AtLeastOnce).await?;
    println!("received: {}", receive(&mut received, 1).await?.concat());
    client.disconnect().await?;
    Ok(())
}

#[expect(deprecated, reason = "users of the crate may still have the old name for it")]
fn strategy(name: &str) -> Result<StreamStrategy, String> {
    match name {
        "control-only" => Ok(StreamStrategy::ControlOnly),
        "per-publish" => Ok(StreamStrategy::DataPerPublish),
        "per-topic" => Ok(StreamStrategy::DataPerTopic),
        "per-subscription" => Ok(StreamStrategy::DataPerSubscription),
        _ => Err(format!("{name} is no strategy")),
    }
}

/// Waits for so many messages.
async fn receive(received: &mut UnboundedReceiver<String>, count: usize) -> Result<Vec<String>, String> {
    let mut messages = Vec::new();
    while messages.len() < count {
        match timeout(PATIENCE, received.recv()).await {
            Ok(Some(message)) => messages.push(message),
            Ok(None) | Err(_) => return Err(format!("{count} messages are expected; came: {messages:?}")),
        }
    }
    Ok(messages)
}
