//! The outermost form of packets: fixed header, lengths, strings. Able to write what no client should.

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// MQTT 3.1.
    V31,
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.0.
    V5,
}

impl Version {
    /// All versions, oldest first.
    pub(crate) const ALL: [Self; 3] = [Self::V31, Self::V311, Self::V5];

    /// The byte of CONNECT that names it.
    pub(crate) const fn level(self) -> u8 {
        match self {
            Self::V31 => 3,
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }

    /// The protocol name that goes with it.
    pub(crate) const fn protocol_name(self) -> &'static str {
        match self {
            Self::V31 => "MQIsdp",
            Self::V311 | Self::V5 => "MQTT",
        }
    }

    /// Whether its packets have properties.
    pub(crate) fn is_v5(self) -> bool {
        self == Self::V5
    }
}

/// Something that can be sent.
pub(crate) trait Encode {
    /// The packet in this version of the protocol.
    fn frame(&self, version: Version) -> Frame;
}

/// A packet as first byte, length and body, each of which can be made wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    first: u8,
    length: Option<Vec<u8>>,
    body: Vec<u8>,
}

/// A packet of this first byte and this body.
pub(crate) fn frame(first: u8, body: &[u8]) -> Frame {
    Frame { first, length: None, body: body.to_vec() }
}

impl Frame {
    /// Another first byte: type and flags.
    pub(crate) fn first(mut self, first: u8) -> Self {
        self.first = first;
        self
    }

    /// Other flags, the lower four bits of the first byte.
    pub(crate) fn flags(mut self, flags: u8) -> Self {
        self.first = self.first & 0xF0 | flags;
        self
    }

    /// A Remaining Length that need not be true.
    pub(crate) fn announce(mut self, length: u32) -> Self {
        self.length = Some(variable_integer(length));
        self
    }

    /// These bytes for the Remaining Length.
    pub(crate) fn length_bytes(mut self, length: &[u8]) -> Self {
        self.length = Some(length.to_vec());
        self
    }

    /// Only so many bytes of the body, the Remaining Length being true.
    pub(crate) fn truncate(mut self, length: usize) -> Self {
        self.body.truncate(length);
        self
    }

    /// More bytes behind the body, the Remaining Length being true.
    pub(crate) fn append(mut self, bytes: &[u8]) -> Self {
        self.body.extend_from_slice(bytes);
        self
    }

    /// Another value for one byte of the body.
    pub(crate) fn replace(mut self, at: usize, byte: u8) -> Self {
        self.body[at] = byte;
        self
    }

    /// The body: what the Remaining Length counts.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// The whole as it goes over the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.first];
        match &self.length {
            Some(length) => bytes.extend_from_slice(length),
            None => bytes.extend(variable_integer(u32::try_from(self.body.len()).unwrap())),
        }
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

impl Encode for Frame {
    fn frame(&self, _version: Version) -> Frame {
        self.clone()
    }
}

impl<T: Encode> Encode for &T {
    fn frame(&self, version: Version) -> Frame {
        (*self).frame(version)
    }
}

/// A Variable Byte Integer in its shortest form.
pub(crate) fn variable_integer(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7F).unwrap();
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// Appends a length of two bytes and these bytes.
pub(crate) fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u16(out, u16::try_from(bytes.len()).unwrap());
    out.extend_from_slice(bytes);
}

/// Appends a number of two bytes.
pub(crate) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a number of four bytes.
pub(crate) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Takes a packet apart. Panics, that is fails the test, where the bytes are not what the standard allows.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads these bytes.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        assert!(self.bytes.len() >= count, "packet too short: {count} bytes wanted, {:?} left", self.bytes);
        let (taken, rest) = self.bytes.split_at(count);
        self.bytes = rest;
        taken
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        self.take(self.bytes.len())
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().unwrap())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    pub(crate) fn binary(&mut self) -> Vec<u8> {
        let length = usize::from(self.u16());
        self.take(length).to_vec()
    }

    pub(crate) fn string(&mut self) -> String {
        let text = String::from_utf8(self.binary()).expect("a string that is not UTF-8 was sent");
        assert!(!text.contains('\0'), "a string with U+0000 was sent");
        text
    }

    pub(crate) fn variable_integer(&mut self) -> u32 {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8();
            value |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                assert!(shift == 0 || byte != 0, "a length not in its shortest form was sent");
                return value;
            }
        }
        panic!("a length of more than four bytes was sent");
    }
}

/// Where in `bytes` the first packet ends and its body begins, if it is all there.
pub(crate) fn split(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0_usize;
    for (index, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let start = index + 2;
            return (bytes.len() >= start + length).then_some((start, start + length));
        }
        assert!(index < 3, "a length of more than four bytes was sent: {bytes:02x?}");
    }
    None
}
