//! However the bytes of a conversation are cut on their way, the same packets come out.

use super::*;

/// A generator of numbers that look random: splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((value ^ (value >> 31)) % u64::try_from(bound).unwrap()).unwrap()
    }
}

/// A conversation of one client, with a fault in it now and then.
fn conversation(random: &mut Random, version: ProtocolVersion) -> Vec<u8> {
    let mut packets = vec![Packet::Connect(Box::new(connect(version)))];
    for number in 1..=u16::try_from(1 + random.below(30)).unwrap() {
        packets.push(match random.below(6) {
            0 => Packet::PingReq,
            1 => Packet::Acknowledgement(acknowledgement(
                AcknowledgementKind::PubAck,
                number,
                ReasonCode::Success,
            )),
            _ => {
                let len = [0, 3, 100, 4_090, 4_096, 70_000][random.below(6)];
                let payload = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
                let alias = version.is_v5().then_some(1 + number % 4);
                let topic = (alias.is_none() || random.below(3) > 0).then_some("some/topic");
                let qos = QoS::from_u8(u8::try_from(random.below(3)).unwrap()).unwrap();
                let packet_id = if qos == QoS::AtMostOnce { 0 } else { number };
                Packet::Publish(Publish { payload, ..publish(topic, alias, qos, packet_id) })
            }
        });
    }
    let mut bytes = encoded(&packets, version);
    if random.below(3) == 0 {
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
    }
    bytes
}

/// All packets that come out when the bytes arrive in these pieces, the client being accepted after `accept_after`
/// pieces behind its CONNECT; and how it ended.
fn received_in_pieces(pieces: &[&[u8]], accept_after: usize) -> Received {
    let limits = ConnectionLimits { topic_alias_maximum: 3, ..Default::default() };
    let mut pair = Pair::new(limits, ProtocolVersion::V5);
    let (mut packets, mut waited) = (Vec::new(), 0);
    for (number, piece) in pieces.iter().enumerate() {
        let mut result = pair.connection.receive(piece, pair.now, &mut packets);
        if result.is_ok() && pair.connection.phase() == Phase::Authenticating {
            if waited >= accept_after || number + 1 == pieces.len() {
                result = pair.connection.accept(pair.now, &mut packets);
            }
            waited += 1;
        }
        if result.is_err() {
            return (packets, result);
        }
    }
    (packets, Ok(()))
}

#[test]
fn however_the_bytes_are_cut_the_same_packets_come_out() {
    for seed in 0..100 {
        let random = &mut Random(seed);
        let version = ALL[random.below(3)];
        let bytes = conversation(random, version);
        let whole = received_in_pieces(&[&bytes], 0);
        for longest in [1, 2, 7, 5_000, 100_000] {
            if longest < 10 && bytes.len() > 10_000 {
                continue;
            }
            let (mut pieces, mut rest) = (Vec::new(), bytes.as_slice());
            while !rest.is_empty() {
                let (piece, more) = rest.split_at((1 + random.below(longest)).min(rest.len()));
                pieces.push(piece);
                rest = more;
            }
            assert!(
                received_in_pieces(&pieces, random.below(3)) == whole,
                "seed {seed}, pieces up to {longest}"
            );
        }
    }
}
