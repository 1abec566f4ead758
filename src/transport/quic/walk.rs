//! Where packets begin and end.

use crate::mqtt::codec::{FrameHeader, frame_header};

/// Follows a sequence of packets. Keeps only those that are asked for.
#[derive(Debug, Default)]
pub(super) struct Walk {
    head: [u8; 5],
    head_len: usize,
    /// Bytes that are left of the packet whose head has passed.
    left: usize,
    /// What has passed of the body of a packet that is kept.
    kept: Option<(FrameHeader, Vec<u8>)>,
}

/// A packet that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept<'a> {
    /// Its header and its body.
    Whole(FrameHeader, &'a [u8]),
    /// There is one, but it is too long to be kept.
    TooLong,
}

impl Walk {
    /// Whether what comes next begins a packet.
    pub(super) fn is_between_packets(&self) -> bool {
        self.head_len == 0 && self.left == 0
    }

    /// How many bytes can pass without the one packet that is passing being left.
    pub(super) fn room(&self) -> usize {
        self.left.max(1)
    }

    /// These bytes have passed.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        self.pass_and_tell(bytes, |_| false, |_| {});
    }

    /// These bytes have passed. Packets whose first byte is `wanted`, and which begin here, are told of when all of them
    /// has passed.
    pub(super) fn pass_and_tell(
        &mut self,
        mut bytes: &[u8],
        wanted: impl Fn(u8) -> bool,
        mut tell: impl FnMut(Kept<'_>),
    ) {
        /// The longest body that is kept.
        const LONGEST: usize = 64 << 10;
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let (passed, rest) = bytes.split_at(self.left.min(bytes.len()));
                self.left -= passed.len();
                bytes = rest;
                if let Some((_, body)) = &mut self.kept {
                    body.extend_from_slice(passed);
                }
                if let Some((header, body)) = self.kept.take_if(|_| self.left == 0) {
                    tell(Kept::Whole(header, &body));
                }
                continue;
            }
            bytes = rest;
            if let Some(place) = self.head.get_mut(self.head_len) {
                *place = *first;
                self.head_len += 1;
            }
            match frame_header(self.head.get(..self.head_len).unwrap_or_default()) {
                Ok(None) => {}
                Ok(Some(header)) => {
                    self.left = header.body_len;
                    self.head_len = 0;
                    if wanted(header.first) {
                        match header.body_len {
                            0 => {}
                            1..=LONGEST => self.kept = Some((header, Vec::new())),
                            _ => tell(Kept::TooLong),
                        }
                    }
                }
                // Whoever reads it will end the connection.
                Err(_) => self.left = usize::MAX,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_followed_however_they_are_cut() {
        let pingreq = [0xC0, 0x00];
        let long = [[0x30, 0xC8, 0x01].as_slice(), &[7; 200]].concat();
        let all = [&pingreq[..], &long, &pingreq, &pingreq].concat();
        let ends = [0, 2, 205, 207, 209];
        for step in [1, 2, 3, 100, 204] {
            let (mut walk, mut passed) = (Walk::default(), 0);
            while passed < all.len() {
                assert_eq!(walk.is_between_packets(), ends.contains(&passed), "{step}: {passed}");
                let next = (passed + step).min(all.len());
                walk.pass(&all[passed..next]);
                passed = next;
            }
            assert!(walk.is_between_packets());
        }
    }

    #[test]
    fn room_is_never_beyond_the_end_of_a_packet() {
        let packet = [[0x30, 0xC8, 0x01].as_slice(), &[7; 200], &[0xC0, 0x00]].concat();
        let (mut walk, mut passed) = (Walk::default(), 0);
        while passed < 203 {
            let room = walk.room();
            assert!(passed + room <= 203);
            walk.pass(&packet[passed..passed + room]);
            passed += room;
        }
        assert!(walk.is_between_packets());
    }

    #[test]
    fn packets_that_are_wanted_are_told_of_whole() {
        let subscribe = [0x82, 5, 0, 1, 0, 0, 0];
        let long = [&[0x82, 0x80, 0x80, 0x08][..], &vec![0; 0x2_0000]].concat();
        let all = [&[0x30, 2, 0, 0][..], &subscribe, &[0x82, 0], &long, &[0xC0, 0], &subscribe].concat();
        for step in [1, 2, 5, 1_000, all.len()] {
            let (mut walk, mut told) = (Walk::default(), Vec::new());
            for part in all.chunks(step) {
                walk.pass_and_tell(
                    part,
                    |first| first == 0x82,
                    |kept| match kept {
                        Kept::Whole(_, body) => told.push(body.to_vec()),
                        Kept::TooLong => told.push(b"too long".to_vec()),
                    },
                );
                assert!(walk.kept.as_ref().is_none_or(|(_, body)| body.len() < 5));
            }
            let body = subscribe[2..].to_vec();
            assert_eq!(told, [body.clone(), b"too long".to_vec(), body], "{step}");
        }
    }

    #[test]
    fn what_is_no_packet_never_ends() {
        let mut walk = Walk::default();
        walk.pass(&[0x00, 0x00, 0xC0, 0x00]);
        assert!(!walk.is_between_packets());
    }
}
