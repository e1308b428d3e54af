//! Bytes of the ring buffer, or of a recording, to events.
//!
//! Total: every input is an event or a typed error, nothing panics. Fields are read at the offsets
//! of the contract's structs, so a changed layout is noticed by the compiler, not by a user.

use std::fmt;
use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use twtrace_common::Reason;
use twtrace_common::record::{
    self, AF_INET, AF_INET6, FLAG_BORN_FIN_WAIT_2, FLAG_IN_TIME_WAIT, FLAG_LIMIT, FLAG_NUMBERS,
    FLAG_OWNER, FLAG_PORT_GIVEN, FLAG_REARMED, FLAG_TS_RECENT, FLAG_TSVAL, FLAG_UNTRACKED,
    KIND_BIRTH, KIND_END, KIND_OVERFLOW, KIND_PORT_FAILURE, KIND_REFUSAL, KIND_SEED,
};
use twtrace_common::refusal::REPLY_UNKNOWN;

use crate::event::{
    Birth, BornAs, Call, CommandName, End, Event, Family, Flow, Numbers, Overflow, PortFailure,
    Refusal, Reply, Room, Rule, Seed, Stage,
};

/// Why some bytes are not a record of this ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecodeError {
    /// No bytes at all.
    Empty,
    /// The first byte is no kind that we know.
    Kind(u8),
    /// A known kind of another length.
    Length {
        kind: u8,
        expected: usize,
        got: usize,
    },
    /// No end reason that we know.
    Reason(u8),
    /// No stage, rule or reply of a refusal that we know.
    Refusal { stage: u8, rule: u8, reply: u8 },
    /// No call that we know.
    Call(u8),
    /// Neither AF_INET nor AF_INET6.
    Family(u8),
}

/// Whether a record is an end whose birth was not seen.
#[must_use]
pub fn is_untracked_end(record: &[u8]) -> bool {
    let byte = |at: usize| record.get(at).copied().unwrap_or_default();
    byte(offset_of!(record::Flow, kind)) == KIND_END
        && byte(offset_of!(record::Flow, flags)) & FLAG_UNTRACKED != 0
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "an empty record"),
            Self::Kind(kind) => write!(f, "a record of unknown kind {kind}"),
            Self::Length {
                kind,
                expected,
                got,
            } => write!(
                f,
                "a record of kind {kind} with {got} bytes instead of {expected}"
            ),
            Self::Reason(reason) => write!(f, "an end with unknown reason {reason}"),
            Self::Refusal { stage, rule, reply } => write!(
                f,
                "a refusal with unknown stage {stage}, rule {rule} or reply {reply}"
            ),
            Self::Call(call) => write!(f, "a failure of an unknown call {call}"),
            Self::Family(family) => write!(f, "a record with unknown address family {family}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Decodes one record.
pub fn decode(bytes: &[u8]) -> Result<Event, DecodeError> {
    match bytes.first() {
        None => Err(DecodeError::Empty),
        Some(&kind @ KIND_END) => end(sized(kind, bytes)?).map(Event::End),
        Some(&kind @ KIND_OVERFLOW) => overflow(sized(kind, bytes)?).map(Event::Overflow),
        Some(&kind @ KIND_REFUSAL) => refusal(sized(kind, bytes)?).map(Event::Refusal),
        Some(&kind @ KIND_BIRTH) => birth(sized(kind, bytes)?).map(Event::Birth),
        Some(&kind @ KIND_SEED) => seed(sized(kind, bytes)?).map(Event::Seed),
        Some(&kind @ KIND_PORT_FAILURE) => {
            port_failure(sized(kind, bytes)?).map(Event::PortFailure)
        }
        Some(&kind) => Err(DecodeError::Kind(kind)),
    }
}

const END: usize = size_of::<record::End>();
const OVERFLOW: usize = size_of::<record::Overflow>();
const REFUSAL: usize = size_of::<record::Refusal>();
const BIRTH: usize = size_of::<record::Birth>();
const SEED: usize = size_of::<record::Seed>();
const PORT_FAILURE: usize = size_of::<record::PortFailure>();

fn sized<const N: usize>(kind: u8, bytes: &[u8]) -> Result<&[u8; N], DecodeError> {
    bytes.try_into().map_err(|_| DecodeError::Length {
        kind,
        expected: N,
        got: bytes.len(),
    })
}

/// An integer of the contract at a fixed offset of a record; checked when compiled.
macro_rules! field {
    ($bytes:expr, $at:expr, $type:ty) => {{
        const AT: usize = $at;
        let mut value = [0; size_of::<$type>()];
        value.copy_from_slice(&$bytes[AT..AT + size_of::<$type>()]);
        <$type>::from_ne_bytes(value)
    }};
}

fn end(bytes: &[u8; END]) -> Result<End, DecodeError> {
    let flags = bytes[offset_of!(record::Flow, flags)];
    let reason = bytes[offset_of!(record::Flow, reason)];
    let reason = Reason::from_u8(reason).ok_or(DecodeError::Reason(reason))?;
    Ok(End {
        reason,
        flow: flow(bytes)?,
        born_as: born_as(flags),
        born_ns: known(field!(bytes, offset_of!(record::End, born_ns), u64)),
        time_wait_ns: known(field!(bytes, offset_of!(record::End, time_wait_ns), u64)),
        ended_ns: field!(bytes, offset_of!(record::End, ended_ns), u64),
        in_time_wait: flags & FLAG_IN_TIME_WAIT != 0,
        rearms: field!(bytes, offset_of!(record::End, rearms), u32),
        untracked: flags & FLAG_UNTRACKED != 0,
        refused: field!(bytes, offset_of!(record::End, refused), u32),
        first_refused_ns: known(field!(
            bytes,
            offset_of!(record::End, first_refused_ns),
            u64
        )),
        accepted: (reason == Reason::SynReopened && flags & FLAG_NUMBERS != 0).then(|| {
            numbers(
                flags,
                [
                    field!(bytes, offset_of!(record::End, tsval), u32),
                    field!(bytes, offset_of!(record::End, ts_recent), u32),
                    field!(bytes, offset_of!(record::End, seq), u32),
                    field!(bytes, offset_of!(record::End, rcv_nxt), u32),
                ],
            )
        }),
    })
}

fn overflow(bytes: &[u8; OVERFLOW]) -> Result<Overflow, DecodeError> {
    Ok(Overflow {
        flow: flow(bytes)?,
        at_ns: field!(bytes, offset_of!(record::Overflow, at_ns), u64),
        room: (bytes[offset_of!(record::Flow, flags)] & FLAG_LIMIT != 0).then(|| Room {
            alive: field!(bytes, offset_of!(record::Overflow, alive), u32),
            limit: field!(bytes, offset_of!(record::Overflow, limit), u32),
        }),
    })
}

fn refusal(bytes: &[u8; REFUSAL]) -> Result<Refusal, DecodeError> {
    let flags = bytes[offset_of!(record::Flow, flags)];
    let stage = bytes[offset_of!(record::Flow, reason)];
    let rule = bytes[offset_of!(record::Refusal, rule)];
    let reply = bytes[offset_of!(record::Refusal, reply)];
    let unknown = DecodeError::Refusal { stage, rule, reply };
    let nonzero = |byte: u8| (byte != 0).then_some(byte);
    Ok(Refusal {
        flow: flow(bytes)?,
        at_ns: field!(bytes, offset_of!(record::Refusal, at_ns), u64),
        time_wait_ns: known(field!(
            bytes,
            offset_of!(record::Refusal, time_wait_ns),
            u64
        )),
        stage: Stage::from_u8(stage).ok_or(unknown)?,
        rule: Rule::from_u8(rule).ok_or(unknown)?,
        reply: match reply {
            REPLY_UNKNOWN => None,
            reply => Some(Reply::from_u8(reply).ok_or(unknown)?),
        },
        rearmed: flags & FLAG_REARMED != 0,
        tcp_flags: bytes[offset_of!(record::Refusal, tcp_flags)],
        numbers: numbers(
            flags,
            [
                field!(bytes, offset_of!(record::Refusal, tsval), u32),
                field!(bytes, offset_of!(record::Refusal, ts_recent), u32),
                field!(bytes, offset_of!(record::Refusal, seq), u32),
                field!(bytes, offset_of!(record::Refusal, rcv_nxt), u32),
            ],
        ),
        ts_recent_age_s: (flags & FLAG_TS_RECENT != 0)
            .then(|| field!(bytes, offset_of!(record::Refusal, ts_recent_age_s), u32)),
        window: field!(bytes, offset_of!(record::Refusal, window), u16),
        ttl: nonzero(bytes[offset_of!(record::Refusal, ttl)]),
        owner_ttl: nonzero(bytes[offset_of!(record::Refusal, owner_ttl)]),
        refused: field!(bytes, offset_of!(record::Refusal, refused), u32),
    })
}

fn birth(bytes: &[u8; BIRTH]) -> Result<Birth, DecodeError> {
    Ok(Birth {
        flow: flow(bytes)?,
        born_as: substate(bytes),
        at_ns: field!(bytes, offset_of!(record::Birth, at_ns), u64),
    })
}

fn seed(bytes: &[u8; SEED]) -> Result<Seed, DecodeError> {
    Ok(Seed {
        flow: flow(bytes)?,
        substate: substate(bytes),
        at_ns: field!(bytes, offset_of!(record::Seed, at_ns), u64),
        remaining_ms: field!(bytes, offset_of!(record::Seed, remaining_ms), u32),
    })
}

/// The substate that a record tells: what is not in FIN_WAIT2 is in TIME_WAIT.
fn substate<const N: usize>(bytes: &[u8; N]) -> BornAs {
    if bytes[offset_of!(record::Flow, flags)] & FLAG_BORN_FIN_WAIT_2 != 0 {
        BornAs::FinWait2
    } else {
        BornAs::TimeWait
    }
}

fn port_failure(bytes: &[u8; PORT_FAILURE]) -> Result<PortFailure, DecodeError> {
    let call = bytes[offset_of!(record::Flow, reason)];
    Ok(PortFailure {
        flow: flow(bytes)?,
        at_ns: field!(bytes, offset_of!(record::PortFailure, at_ns), u64),
        call: Call::from_u8(call).ok_or(DecodeError::Call(call))?,
        pid: field!(bytes, offset_of!(record::PortFailure, pid), u32),
        command: CommandName::new(
            field!(bytes, offset_of!(record::PortFailure, command), u128).to_ne_bytes(),
        ),
        errno: field!(bytes, offset_of!(record::PortFailure, errno), u32),
        port_given: bytes[offset_of!(record::Flow, flags)] & FLAG_PORT_GIVEN != 0,
        time_wait: field!(bytes, offset_of!(record::PortFailure, time_wait), u32),
    })
}

fn numbers(flags: u8, [tsval, ts_recent, seq, rcv_nxt]: [u32; 4]) -> Numbers {
    Numbers {
        tsval: (flags & FLAG_TSVAL != 0).then_some(tsval),
        ts_recent: (flags & FLAG_TS_RECENT != 0).then_some(ts_recent),
        seq,
        rcv_nxt,
    }
}

/// A mini-socket seen in FIN_WAIT2 was born so, whether its birth was seen or not: TIME_WAIT
/// never goes back.
fn born_as(flags: u8) -> Option<BornAs> {
    if flags & FLAG_BORN_FIN_WAIT_2 != 0 {
        Some(BornAs::FinWait2)
    } else if flags & FLAG_UNTRACKED != 0 {
        None
    } else {
        Some(BornAs::TimeWait)
    }
}

fn known(ns: u64) -> Option<u64> {
    (ns != 0).then_some(ns)
}

/// The head of every record: `OFFSET` is 0 in all of them.
fn flow<const N: usize>(bytes: &[u8; N]) -> Result<Flow, DecodeError> {
    const {
        assert!(N >= size_of::<record::Flow>());
        assert!(offset_of!(record::End, flow) == 0 && offset_of!(record::Overflow, flow) == 0);
        assert!(offset_of!(record::Refusal, flow) == 0 && offset_of!(record::Birth, flow) == 0);
        assert!(offset_of!(record::Seed, flow) == 0);
        assert!(offset_of!(record::PortFailure, flow) == 0);
    }
    let owner = bytes[offset_of!(record::Flow, flags)] & FLAG_OWNER != 0;
    let (family, laddr, raddr) = addresses(
        bytes[offset_of!(record::Flow, family)],
        field!(bytes, offset_of!(record::Flow, laddr), u128).to_ne_bytes(),
        field!(bytes, offset_of!(record::Flow, raddr), u128).to_ne_bytes(),
    )?;
    let cgroup = field!(bytes, offset_of!(record::Flow, cgroup), u64);
    Ok(Flow {
        family,
        laddr,
        lport: field!(bytes, offset_of!(record::Flow, lport), u16),
        raddr,
        rport: field!(bytes, offset_of!(record::Flow, rport), u16),
        netns: field!(bytes, offset_of!(record::Flow, netns), u32),
        uid: owner.then(|| field!(bytes, offset_of!(record::Flow, uid), u32)),
        cgroup: known(cgroup).filter(|_| owner),
    })
}

/// IPv4-mapped addresses become the IPv4 addresses on the wire; the family keeps the difference.
fn addresses(
    family: u8,
    local: [u8; 16],
    remote: [u8; 16],
) -> Result<(Family, IpAddr, IpAddr), DecodeError> {
    match family {
        AF_INET => Ok((Family::Ipv4, ipv4(local).into(), ipv4(remote).into())),
        AF_INET6 => {
            let (local, remote) = (Ipv6Addr::from(local), Ipv6Addr::from(remote));
            match (local.to_ipv4_mapped(), remote.to_ipv4_mapped()) {
                (Some(local), Some(remote)) => {
                    Ok((Family::Ipv4Mapped, local.into(), remote.into()))
                }
                _ => Ok((Family::Ipv6, local.into(), remote.into())),
            }
        }
        other => Err(DecodeError::Family(other)),
    }
}

fn ipv4([a, b, c, d, ..]: [u8; 16]) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests;
