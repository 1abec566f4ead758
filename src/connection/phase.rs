//! How far a connection has come.

/// The phases of a connection, in the order in which they are gone through; each but the last can end in `Closing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing but CONNECT may come \[MQTT-3.1.0-1\].
    AwaitingConnect,
    /// CONNECT has come; who the client is, is being found out. What else has arrived waits.
    Authenticating,
    /// The client has been asked for more, and answers with an AUTH: then it goes on with `Authenticating`.
    Exchanging,
    /// The client is who it says it is; CONNACK has not been sent yet.
    Accepted,
    /// CONNACK has been sent.
    Connected,
    /// The client has said DISCONNECT: nothing that follows is read; what it is still owed is written.
    Left,
    /// The last packet has been sent: nothing is read or written any more.
    Closing,
}

impl Phase {
    /// Whether arriving bytes are decoded now.
    pub(super) const fn decodes(self) -> bool {
        match self {
            Self::AwaitingConnect | Self::Exchanging | Self::Accepted | Self::Connected => true,
            Self::Authenticating | Self::Left | Self::Closing => false,
        }
    }
}
