//! Where packets begin and end.

use crate::mqtt::codec::frame_header;

/// Follows a sequence of packets without keeping them.
#[derive(Debug, Default)]
pub(super) struct Walk {
    head: [u8; 5],
    head_len: usize,
    /// Bytes that are left of the packet whose head has passed.
    left: usize,
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
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let passed = self.left.min(bytes.len());
                self.left -= passed;
                bytes = bytes.get(passed..).unwrap_or_default();
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
    fn what_is_no_packet_never_ends() {
        let mut walk = Walk::default();
        walk.pass(&[0x00, 0x00, 0xC0, 0x00]);
        assert!(!walk.is_between_packets());
    }
}
