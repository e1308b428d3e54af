//! A line being written. The hot path of `trace`: a busy host has a hundred thousand a second.
//!
//! A text of fixed length is a few moves, one of unknown length a call: so short ones are copied
//! as a whole block, of which only a part counts. What is written together looks once whether
//! there is room for it.

use std::fmt;
use std::net::Ipv4Addr;

/// A buffer with the line in front and room behind it.
#[derive(Debug)]
pub(super) struct Line {
    bytes: Vec<u8>,
    /// 32 bits, so that adding to it needs no second look whether it fits 64.
    length: u32,
}

impl Line {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; 1024],
            length: 0,
        }
    }

    pub(super) fn clear(&mut self) {
        self.length = 0;
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length()]
    }

    pub(super) fn length(&self) -> usize {
        self.length as usize
    }

    /// Cuts what was written last.
    pub(super) fn truncate(&mut self, length: usize) {
        self.length = self.length().min(length) as u32;
    }

    #[inline]
    pub(super) fn byte(&mut self, byte: u8) {
        self.put("", &[byte], 1);
    }

    #[inline(always)]
    pub(super) fn text(&mut self, text: &str) {
        self.slice(text.as_bytes());
    }

    /// What `write!` calls; there is no error to handle, since the line grows.
    pub(super) fn write_fmt(&mut self, text: fmt::Arguments<'_>) {
        let written = fmt::write(self, text);
        debug_assert!(written.is_ok());
    }

    /// Of known length, this is a few moves; else a call.
    #[inline(always)]
    pub(super) fn slice(&mut self, slice: &[u8]) {
        loop {
            let at = self.length();
            if let Some(room) = self.bytes.get_mut(at..at + slice.len()) {
                room.copy_from_slice(slice);
                self.length += slice.len() as u32;
                break;
            }
            self.grow(slice.len());
        }
    }

    /// Copies `head` and a whole block, of which `length` bytes count.
    #[inline(always)]
    pub(super) fn put<const N: usize>(&mut self, head: &str, block: &[u8; N], length: usize) {
        loop {
            let at = self.length();
            if let Some(room) = self.bytes.get_mut(at..at + head.len() + N) {
                let (before, behind) = room.split_at_mut(head.len());
                before.copy_from_slice(head.as_bytes());
                behind.copy_from_slice(block);
                self.length += (head.len() + length) as u32;
                break;
            }
            self.grow(head.len() + N);
        }
    }

    #[cold]
    fn grow(&mut self, length: usize) {
        self.bytes.resize(2 * (self.length() + length), 0);
    }

    /// A decimal number.
    pub(super) fn number(&mut self, value: u64) {
        self.text(itoa::Buffer::new().format(value));
    }

    /// A decimal number, with `-` if it is negative.
    pub(super) fn signed(&mut self, value: i32) {
        self.text(itoa::Buffer::new().format(value));
    }

    /// Exactly eight digits, of a number below 10^8: both halves of a word are divided at once,
    /// then its quarters, then its eighths.
    #[inline(always)]
    pub(super) fn eight_digits(&mut self, value: u32) {
        let value = u64::from(value);
        let fours = (value / 10_000) | ((value % 10_000) << 32);
        let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
        let twos = hundreds | ((fours - 100 * hundreds) << 16);
        let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
        // The first digit is in the lowest byte.
        let ones = tens | ((twos - 10 * tens) << 8);
        self.put("", &(ones | 0x3030_3030_3030_3030).to_le_bytes(), 8);
    }

    /// A point and exactly three digits, of a number below 1,000.
    #[inline(always)]
    pub(super) fn thousandths(&mut self, value: u16) {
        let digits = [value / 100, value / 10 % 10, value % 10].map(|digit| b'0' + digit as u8);
        self.put(".", &digits, 3);
    }

    pub(super) fn ipv4(&mut self, address: Ipv4Addr) {
        for (index, octet) in address.octets().into_iter().enumerate() {
            if index > 0 {
                self.byte(b'.');
            }
            self.number(octet.into());
        }
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text(text);
        Ok(())
    }
}

/// What was written.
#[cfg(test)]
pub(super) fn text(write: impl FnOnce(&mut Line)) -> String {
    let mut line = Line::new();
    write(&mut line);
    String::from_utf8(line.as_bytes().to_vec()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_digit_is_right() {
        for value in (0..100_000_000).step_by(9_973) {
            assert_eq!(text(|line| line.eight_digits(value)), format!("{value:08}"));
        }
        for value in 0..1_000 {
            assert_eq!(text(|line| line.thousandths(value)), format!(".{value:03}"));
        }
    }

    #[test]
    fn a_line_grows_as_needed() {
        let grown = text(|line| {
            for _ in 0..1_000 {
                line.text("twelve bytes");
                line.byte(b'+');
            }
            line.slice(&[b'-'; 5_000]);
            line.number(1);
        });
        assert_eq!(grown.len(), 13_000 + 5_000 + 1);
        assert!(grown.starts_with("twelve bytes+twelve bytes+"));
        assert!(grown.ends_with("--1"));
    }
}
