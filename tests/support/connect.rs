//! CONNECT and the will in it.

use super::property::{Property, put_properties};
use super::wire::{Encode, Frame, Version, frame, put_binary, put_u16};

/// CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connect {
    pub(crate) version: Version,
    pub(crate) client_id: String,
    protocol_name: Option<String>,
    level: Option<u8>,
    clean_start: bool,
    keep_alive: u16,
    user_name: Option<String>,
    password: Option<Vec<u8>>,
    will: Option<Will>,
    flags: Option<u8>,
    pub(super) properties: Vec<Property>,
}

/// A CONNECT of MQTT 5.0 with clean start, no keep-alive, and a client identifier that no other has.
pub(crate) fn connect() -> Connect {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    Connect {
        version: Version::V5,
        client_id: format!("client-{number}"),
        protocol_name: None,
        level: None,
        clean_start: true,
        keep_alive: 0,
        user_name: None,
        password: None,
        will: None,
        flags: None,
        properties: Vec::new(),
    }
}

impl Connect {
    pub(crate) fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Another protocol name than the version's.
    pub(crate) fn protocol_name(mut self, name: &str) -> Self {
        self.protocol_name = Some(name.to_owned());
        self
    }

    /// Another protocol level than the version's.
    pub(crate) fn level(mut self, level: u8) -> Self {
        self.level = Some(level);
        self
    }

    pub(crate) fn client_id(mut self, client_id: &str) -> Self {
        client_id.clone_into(&mut self.client_id);
        self
    }

    /// Clean Start, or in the older versions Clean Session.
    pub(crate) fn clean_start(mut self, clean_start: bool) -> Self {
        self.clean_start = clean_start;
        self
    }

    /// Keep-alive in seconds.
    pub(crate) fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    pub(crate) fn user(mut self, name: &str) -> Self {
        self.user_name = Some(name.to_owned());
        self
    }

    pub(crate) fn password(mut self, password: impl AsRef<[u8]>) -> Self {
        self.password = Some(password.as_ref().to_vec());
        self
    }

    pub(crate) fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    /// Another value of the Connect Flags.
    pub(crate) fn flags(mut self, flags: u8) -> Self {
        self.flags = Some(flags);
        self
    }

    /// A session that outlives its connection by so many seconds: in 5.0 by the property, before that by Clean
    /// Session 0, which has no seconds. Does not resume one unless `clean_start(false)`.
    pub(crate) fn session_expiry(self, seconds: u32) -> Self {
        self.property(Property::SessionExpiry(seconds))
    }

    /// A session that outlives its connection, and takes up the one that is there: Clean Start 0, in 5.0 with a
    /// Session Expiry Interval of an hour.
    pub(crate) fn persistent(self) -> Self {
        let v5 = self.version.is_v5();
        let connect = self.clean_start(false);
        if v5 { connect.session_expiry(3600) } else { connect }
    }

    pub(crate) fn receive_maximum(self, count: u16) -> Self {
        self.property(Property::ReceiveMaximum(count))
    }
}

impl Encode for Connect {
    fn frame(&self, _version: Version) -> Frame {
        let mut body = Vec::new();
        let name = self.protocol_name.as_deref().unwrap_or_else(|| self.version.protocol_name());
        put_binary(&mut body, name.as_bytes());
        body.push(self.level.unwrap_or_else(|| self.version.level()));
        let mut flags = u8::from(self.clean_start) << 1;
        if let Some(will) = &self.will {
            flags |= 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        flags |= u8::from(self.password.is_some()) << 6 | u8::from(self.user_name.is_some()) << 7;
        body.push(self.flags.unwrap_or(flags));
        put_u16(&mut body, self.keep_alive);
        if self.version.is_v5() {
            put_properties(&mut body, &self.properties);
        }
        put_binary(&mut body, self.client_id.as_bytes());
        if let Some(will) = &self.will {
            if self.version.is_v5() {
                put_properties(&mut body, &will.properties);
            }
            put_binary(&mut body, &will.topic);
            put_binary(&mut body, &will.payload);
        }
        if let Some(user_name) = &self.user_name {
            put_binary(&mut body, user_name.as_bytes());
        }
        if let Some(password) = &self.password {
            put_binary(&mut body, password);
        }
        frame(0x10, &body)
    }
}

/// The will of a CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Will {
    topic: Vec<u8>,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
    properties: Vec<Property>,
}

/// A will of QoS 0 with an empty payload.
pub(crate) fn will(topic: impl AsRef<[u8]>) -> Will {
    let topic = topic.as_ref().to_vec();
    Will { topic, payload: Vec::new(), qos: 0, retain: false, properties: Vec::new() }
}

impl Will {
    pub(crate) fn payload(mut self, payload: impl AsRef<[u8]>) -> Self {
        self.payload = payload.as_ref().to_vec();
        self
    }

    pub(crate) fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    pub(crate) fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// Will Delay Interval in seconds.
    pub(crate) fn delay(self, seconds: u32) -> Self {
        self.property(Property::WillDelay(seconds))
    }

    pub(crate) fn property(mut self, property: Property) -> Self {
        self.properties.push(property);
        self
    }
}
