//! Enhanced authentication, as far as it is a matter of the connection: whose turn it is (MQTT 5.0 section 4.12).

use std::mem;
use std::sync::Arc;

use bytes::Bytes;

use super::error::ProtocolError;
use super::phase::Phase;
use super::{Connection, Transmit};
use crate::mqtt::packet::{Auth, ConnAck};
use crate::mqtt::{Packet, ReasonCode, UserProperties};

/// An exchange of AUTH packets, under way or over.
#[derive(Debug)]
pub(super) struct Authentication {
    /// As CONNECT named it.
    method: Arc<str>,
    turn: Turn,
    /// What the method wants said in CONNACK.
    last_data: Option<Bytes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The client has said something that is being looked at.
    Server,
    /// The client has been asked something.
    Client,
    /// No exchange is under way.
    Nobody,
}

impl Authentication {
    pub(super) fn new(method: Arc<str>) -> Self {
        Self { method, turn: Turn::Server, last_data: None }
    }
}

impl Connection {
    /// Asks the client for more: an AUTH with these data. Adds what has arrived of its answer to `packets`.
    pub fn challenge(
        &mut self,
        data: Bytes,
        packets: &mut Vec<Packet>,
        out: &mut Transmit,
    ) -> Result<(), ProtocolError> {
        self.say_auth(ReasonCode::ContinueAuthentication, Some(data), Turn::Client, out)?;
        if self.phase != Phase::Authenticating {
            return Ok(());
        }
        self.phase = Phase::Exchanging;
        let waiting = self.partial.take();
        self.decode(&waiting, packets)
    }

    /// The exchange has succeeded: the CONNACK that is to come will carry these data.
    pub fn conclude(&mut self, data: Option<Bytes>) {
        if let Some(authentication) = &mut self.authentication {
            authentication.turn = Turn::Nobody;
            authentication.last_data = data;
        }
    }

    /// A client that has had its CONNACK has been authenticated again: it is told so in an AUTH with these data.
    pub fn confirm(&mut self, data: Option<Bytes>, out: &mut Transmit) -> Result<(), ProtocolError> {
        self.say_auth(ReasonCode::Success, data, Turn::Nobody, out)
    }

    fn say_auth(
        &mut self,
        reason: ReasonCode,
        data: Option<Bytes>,
        turn: Turn,
        out: &mut Transmit,
    ) -> Result<(), ProtocolError> {
        let Some(authentication) = &mut self.authentication else { return Ok(()) };
        authentication.turn = turn;
        // [MQTT-4.12.0-2], [MQTT-4.12.0-5]
        let method = Some(Arc::clone(&authentication.method));
        let user_properties = UserProperties::new();
        let auth = Auth { reason, method, data, reason_string: None, user_properties };
        self.send(Packet::Auth(Box::new(auth)), out).map_err(|_| {
            ProtocolError::because(ReasonCode::PacketTooLarge, "an AUTH is larger than the client takes")
        })
    }

    /// Adds to a CONNACK what the method wants said.
    pub(super) fn explain_login(&mut self, connack: &mut ConnAck) {
        if let Some(authentication) = &mut self.authentication {
            // [MQTT-4.12.0-5]
            connack.properties.authentication_method = Some(Arc::clone(&authentication.method));
            connack.properties.authentication_data = mem::take(&mut authentication.last_data);
        }
    }

    /// The client has sent an AUTH.
    pub(super) fn auth(&mut self, auth: &Auth) -> Result<(), ProtocolError> {
        let Some(authentication) = &mut self.authentication else {
            // [MQTT-4.12.0-6]
            return Err(ProtocolError::protocol("an AUTH, but no method was agreed upon"));
        };
        if auth.method.as_ref() != Some(&authentication.method) {
            // [MQTT-4.12.0-5], [MQTT-4.12.1-1]
            return Err(ProtocolError::protocol("an AUTH with another method than that of CONNECT"));
        }
        let is_answer = auth.reason == ReasonCode::ContinueAuthentication;
        match (self.phase, authentication.turn) {
            // [MQTT-4.12.0-3]
            (Phase::Exchanging, Turn::Client) if is_answer => self.phase = Phase::Authenticating,
            (Phase::Connected, Turn::Client) if is_answer => {}
            (Phase::Connected, Turn::Nobody) if auth.reason == ReasonCode::ReAuthenticate => {}
            _ => return Err(ProtocolError::protocol("an AUTH that nothing has asked for")),
        }
        authentication.turn = Turn::Server;
        Ok(())
    }
}
