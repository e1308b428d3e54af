//! Flags of a TCP header (byte 13).

pub const FIN: u8 = 1 << 0;
pub const SYN: u8 = 1 << 1;
pub const RST: u8 = 1 << 2;
pub const PSH: u8 = 1 << 3;
pub const ACK: u8 = 1 << 4;
