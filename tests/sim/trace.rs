//! What happened: a hash of every byte that clients have read, always; and lines to read, where they are wanted.

use std::fmt::Write;

use mqtt_broker::broker::record::frame::Frames;
use mqtt_broker::broker::record::{Frame, Record};
use mqtt_broker::broker::{Input, ToClient};
use mqtt_broker::clock::Instant;
use mqtt_broker::mqtt::Packet;

#[derive(Debug)]
pub(crate) struct Trace {
    lines: Option<Vec<String>>,
    hash: u64,
    step: usize,
    now: Instant,
}

impl Trace {
    /// A trace that only hashes, or one that can be read afterwards.
    pub(crate) fn new(is_readable: bool) -> Self {
        /// Where the FNV-1a hash begins.
        const OFFSET_BASIS: u64 = 0xCBF2_9CE4_8422_2325;
        Self { lines: is_readable.then(Vec::new), hash: OFFSET_BASIS, step: 0, now: Instant::START }
    }

    pub(crate) const fn at(&mut self, step: usize, now: Instant) {
        self.step = step;
        self.now = now;
    }

    pub(crate) const fn step(&self) -> usize {
        self.step
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!(
                "{:>4} {:>12.6}s  {}",
                self.step,
                self.now.since_start().as_secs_f64(),
                line()
            ));
        }
    }

    pub(crate) fn hash(&mut self, bytes: &[u8]) {
        const PRIME: u64 = 0x0000_0100_0000_01B3;
        for &byte in bytes {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
    }

    pub(crate) const fn digest(&self) -> u64 {
        self.hash
    }

    /// The last so many lines.
    pub(crate) fn last(&self, count: usize) -> &[String] {
        let lines = self.lines.as_deref().unwrap_or_default();
        &lines[lines.len().saturating_sub(count)..]
    }
}

/// A packet in a few words.
pub(crate) fn brief(packet: &Packet) -> String {
    match packet {
        Packet::Connect(connect) => {
            let properties = &connect.properties;
            let mut brief = format!(
                "Connect {{ {:?} {}, clean_start: {}, keep_alive: {}, expiry: {}, receive_maximum: {}, user: {:?}",
                connect.client_id,
                connect.version,
                connect.clean_start,
                connect.keep_alive,
                properties.session_expiry_interval,
                properties.receive_maximum,
                connect.username,
            );
            if let Some(size) = properties.maximum_packet_size {
                let _ = write!(brief, ", maximum_packet_size: {size}");
            }
            if let Some(will) = &connect.will {
                let _ = write!(brief, ", {will:?}");
            }
            brief + " }"
        }
        Packet::ConnAck(connack) => {
            format!("ConnAck {{ session_present: {}, {:?} }}", connack.session_present, connack.reason)
        }
        Packet::Publish(_)
        | Packet::Acknowledgement(_)
        | Packet::Subscribe(_)
        | Packet::SubAck(_)
        | Packet::Unsubscribe(_)
        | Packet::UnsubAck(_)
        | Packet::PingReq
        | Packet::PingResp
        | Packet::Disconnect(_)
        | Packet::Auth(_) => format!("{packet:?}"),
    }
}

/// What the broker is told, in a few words.
pub(crate) fn brief_input(input: &Input) -> String {
    match input {
        Input::Attach(attach) => {
            let connect = brief(&Packet::Connect(Box::new(attach.connect.clone())));
            format!("Attach {{ {}, {:?}, {connect} }}", attach.connection, attach.identity)
        }
        Input::Received { connection, packets } => {
            format!(
                "Received {{ {connection}, {} }}",
                packets.iter().map(brief).collect::<Vec<_>>().join(", ")
            )
        }
        Input::Reclaim { frames } => {
            let mut brief = "Reclaim".to_owned();
            for frame in Frames::new(frames) {
                let _ = write!(brief, "\n      {}", brief_record(frame));
            }
            brief
        }
        Input::Fetched { message, record, content } => {
            let there = if content.is_some() { "read" } else { "not there" };
            format!("Fetched {{ {message:?}, {record}: {there} }}")
        }
        Input::Kept { .. }
        | Input::Room(_)
        | Input::Outside { .. }
        | Input::Written { .. }
        | Input::Closed { .. }
        | Input::PolicyChanged { .. }
        | Input::Reauthenticated { .. }
        | Input::ShutDown
        | Input::Tick => {
            format!("{input:?}")
        }
    }
}

/// A record in a few words.
pub(crate) fn brief_record(frame: Frame<'_>) -> String {
    format!("{} {:?}", frame.sequence, Record::decode(frame.kind, frame.body))
}

/// What a client is handed, in a few words.
pub(crate) fn brief_item(item: &ToClient) -> String {
    match item {
        ToClient::Send(packet) => brief(packet),
        ToClient::Deliver(_) | ToClient::Acknowledge(_) | ToClient::PingResp | ToClient::Close { .. } => {
            format!("{item:?}")
        }
    }
}
