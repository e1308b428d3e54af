//! The kernel's own type information, as far as we need it: functions with their parameters, and
//! offsets of struct members.
//!
//! aya's BTF keeps members to itself, and other crates need 50 ms and 20 MB for the job
//! (docs/overhead.md). This one walks the types once, looks for the wanted names on the way and
//! copies nothing.

use std::fs;
use std::path::Path;

use aya_obj::btf::{BtfType, Func, FuncLinkage};

use crate::error::{Error, Result};

const MAGIC: u16 = 0xeb9f;
const TYPE_HEADER: usize = 12;

const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNC: u32 = 12;
const TYPE_TAG: u32 = 18;

/// Parsed just far enough to find a type by its number.
#[derive(Debug)]
pub struct Btf {
    data: Vec<u8>,
    strings: usize,
    /// Byte offset of each type; entry 0 is `void`.
    types: Vec<u32>,
    /// Structs and functions by the names given to [`Btf::parse`]; number 0 where absent.
    found: Vec<(&'static str, Kind, u32)>,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Struct,
    Function,
}

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub offset: u32,
    /// Its type is a struct or union (not a pointer to one).
    pub aggregate: bool,
}

impl Btf {
    /// Reads BTF from a file, by default the running kernel's.
    pub fn read(path: &Path, wanted: &[(&'static str, Kind)]) -> Result<Self> {
        let data = fs::read(path).map_err(|error| {
            Error::new(format!(
                "cannot read the kernel's type information {}: {error}",
                path.display()
            ))
            .hint("the kernel needs CONFIG_DEBUG_INFO_BTF=y (most distributions since 5.10); or name a BTF file of this very kernel with --btf")
        })?;
        Self::parse(data, wanted).map_err(|why| {
            Error::new(format!(
                "cannot use the type information in {}: {why}",
                path.display()
            ))
            .hint("a kernel newer than this twtrace may use a BTF kind that it does not know")
        })
    }

    /// Parses BTF and finds the wanted names.
    pub fn parse(
        data: Vec<u8>,
        wanted: &[(&'static str, Kind)],
    ) -> std::result::Result<Self, String> {
        let header = |index: usize| {
            u32_at(&data, 4 + 4 * index)
                .map(|value| value as usize)
                .ok_or("the header is cut short")
        };
        if data.get(..2) != Some(MAGIC.to_ne_bytes().as_slice()) {
            return Err("it is not BTF of this machine's byte order".into());
        }
        let (length, type_start, type_length) = (header(0)?, header(1)?, header(2)?);
        let (string_start, string_length) = (header(3)?, header(4)?);
        let start = length.saturating_add(type_start);
        let end = start.saturating_add(type_length);
        let strings = length.saturating_add(string_start);
        if end > data.len() || strings.saturating_add(string_length) > data.len() {
            return Err("a section is cut short".into());
        }
        let mut btf = Self {
            types: Vec::with_capacity(type_length / 24 + 1),
            found: wanted.iter().map(|&(name, kind)| (name, kind, 0)).collect(),
            data,
            strings,
        };
        btf.types.push(0);
        btf.walk(start, end)?;
        Ok(btf)
    }

    fn walk(&mut self, start: usize, end: usize) -> std::result::Result<(), String> {
        let filter = Prefixes::new(self.found.iter().map(|found| found.0));
        let mut at = start;
        while at < end {
            let (Some(name), Some(info)) = (u32_at(&self.data, at), u32_at(&self.data, at + 4))
            else {
                return Err("a type is cut short".into());
            };
            let kind = kind_of(info);
            let number = self.types.len() as u32;
            if matches!(kind, STRUCT | FUNC) && name != 0 {
                let name = self.strings + name as usize;
                if filter.may_hold(&self.data[name.min(self.data.len())..]) {
                    self.note(name, kind, number);
                }
            }
            self.types.push(at as u32);
            at += TYPE_HEADER + trailing(kind, (info & 0xffff) as usize)?;
        }
        Ok(())
    }

    fn note(&mut self, name: usize, kind: u32, number: u32) {
        let kind = if kind == FUNC {
            Kind::Function
        } else {
            Kind::Struct
        };
        let text = &self.data[name..];
        for (wanted, wanted_kind, found) in &mut self.found {
            let whole = text.strip_prefix(wanted.as_bytes());
            if *wanted_kind == kind
                && *found == 0
                && whole.is_some_and(|rest| rest.first() == Some(&0))
            {
                *found = number;
            }
        }
    }

    /// The number of a type that was asked for; `None` if this kernel does not have it.
    #[must_use]
    pub fn number(&self, name: &str, kind: Kind) -> Option<u32> {
        self.found
            .iter()
            .find(|found| found.0 == name && found.1 == kind)
            .map(|found| found.2)
            .filter(|&number| number != 0)
    }

    /// Number of types, `void` included.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.types.len() as u32
    }

    /// Whether there are no types but `void`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.types.len() <= 1
    }

    /// The names of a function's parameters.
    #[must_use]
    pub fn parameters(&self, function: &str) -> Option<Vec<&str>> {
        let prototype = self
            .kind_and_reference(self.number(function, Kind::Function)?)?
            .1;
        let at = *self.types.get(prototype as usize)? as usize;
        let count = u32_at(&self.data, at + 4)? & 0xffff;
        (0..count as usize)
            .map(|index| self.name(u32_at(&self.data, at + TYPE_HEADER + 8 * index)?))
            .collect()
    }

    /// Where `path` (members separated by dots) is in a struct. Anonymous structs and unions in
    /// between need not be named.
    #[must_use]
    pub fn member(&self, name: &str, path: &str) -> Option<Member> {
        let mut number = self.number(name, Kind::Struct)?;
        let mut bits = 0;
        for step in path.split('.') {
            let (offset, inner) = self.find_member(number, step)?;
            bits += offset;
            number = self.strip(inner)?;
        }
        // A bit-field has no byte offset of its own; none of ours is one.
        (bits % 8 == 0).then(|| Member {
            offset: bits / 8,
            aggregate: matches!(self.kind_and_reference(number), Some((STRUCT | UNION, _))),
        })
    }

    /// Whether a struct has a direct or anonymously nested member, bit-fields included.
    #[must_use]
    pub fn has_member(&self, name: &str, member: &str) -> bool {
        self.number(name, Kind::Struct)
            .is_some_and(|number| self.find_member(number, member).is_some())
    }

    /// Bit offset and type of a direct or anonymously nested member.
    fn find_member(&self, number: u32, name: &str) -> Option<(u32, u32)> {
        let at = *self.types.get(number as usize)? as usize;
        let info = u32_at(&self.data, at + 4)?;
        if !matches!(kind_of(info), STRUCT | UNION) {
            return None;
        }
        let bit_fields = info >> 31 == 1;
        for index in 0..(info & 0xffff) as usize {
            let member = at + TYPE_HEADER + 12 * index;
            let member_name = self.name(u32_at(&self.data, member)?)?;
            let inner = u32_at(&self.data, member + 4)?;
            let mut offset = u32_at(&self.data, member + 8)?;
            if bit_fields {
                offset &= 0x00ff_ffff;
            }
            if member_name == name {
                return Some((offset, inner));
            }
            if member_name.is_empty()
                && let Some((nested, found)) = self.find_member(self.strip(inner)?, name)
            {
                return Some((offset + nested, found));
            }
        }
        None
    }

    /// Follows typedefs and qualifiers to the type itself.
    fn strip(&self, mut number: u32) -> Option<u32> {
        while let (TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG, next) =
            self.kind_and_reference(number)?
        {
            number = next;
        }
        Some(number)
    }

    fn kind_and_reference(&self, number: u32) -> Option<(u32, u32)> {
        let at = *self.types.get(number as usize)? as usize;
        if number == 0 {
            return Some((0, 0));
        }
        Some((
            kind_of(u32_at(&self.data, at + 4)?),
            u32_at(&self.data, at + 8)?,
        ))
    }

    fn name(&self, offset: u32) -> Option<&str> {
        let text = self.data.get(self.strings + offset as usize..)?;
        let end = text.iter().position(|&byte| byte == 0)?;
        std::str::from_utf8(&text[..end]).ok()
    }
}

fn kind_of(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

/// Bytes behind the common header of a type (linux/btf.h).
fn trailing(kind: u32, count: usize) -> std::result::Result<usize, String> {
    Ok(match kind {
        1 | 14 | 17 => 4,
        2 | 7..=12 | 16 | 18 => 0,
        ARRAY => 12,
        STRUCT | UNION | 15 | 19 => 12 * count,
        6 | 13 => 8 * count,
        _ => return Err(format!("it has a type of unknown kind {kind}")),
    })
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// Tells quickly that a name is none of the wanted: most of a kernel's 60,000 functions.
struct Prefixes([bool; 256]);

impl Prefixes {
    fn new(names: impl Iterator<Item = &'static str>) -> Self {
        let mut table = [false; 256];
        for name in names {
            table[Self::hash(name.as_bytes())] = true;
        }
        Self(table)
    }

    fn may_hold(&self, text: &[u8]) -> bool {
        self.0[Self::hash(text)]
    }

    /// Of the first three bytes; a shorter name ends in the NUL that BTF has there.
    fn hash(text: &[u8]) -> usize {
        let byte = |index: usize| usize::from(text.get(index).copied().unwrap_or(0));
        (byte(0) ^ byte(1).rotate_left(3) ^ byte(2).wrapping_mul(7)) & 0xff
    }
}

/// BTF in which only the wanted functions exist, under their true numbers. For aya, which would
/// parse the kernel's whole BTF and search it anew for every program.
#[must_use]
pub fn stand_in(btf: &Btf) -> aya_obj::btf::Btf {
    let mut functions: Vec<(u32, &str)> = btf
        .found
        .iter()
        .filter(|found| found.1 == Kind::Function && found.2 != 0)
        .map(|found| (found.2, found.0))
        .collect();
    functions.sort_unstable();
    let mut stand_in = aya_obj::btf::Btf::new();
    let mut next = 1;
    for (number, name) in functions {
        for _ in next..number {
            stand_in.add_type(BtfType::Unknown);
        }
        let name = stand_in.add_string(name);
        stand_in.add_type(BtfType::Func(Func::new(name, 0, FuncLinkage::Static)));
        next = number + 1;
    }
    stand_in
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine without BTF cannot run these; CI's and every developer's has it.
    fn vmlinux(wanted: &[(&'static str, Kind)]) -> Btf {
        Btf::read(Path::new("/sys/kernel/btf/vmlinux"), wanted).unwrap()
    }

    #[test]
    fn finds_functions_members_and_anonymous_members_of_the_running_kernel() {
        let btf = vmlinux(&[
            ("tcp_twsk_unique", Kind::Function),
            ("sock_common", Kind::Struct),
            ("no_such_struct", Kind::Struct),
        ]);
        assert_eq!(
            btf.parameters("tcp_twsk_unique").unwrap(),
            ["sk", "sktw", "twp"]
        );
        // In a union in an anonymous struct in a union; never moved since 3.x.
        assert_eq!(btf.member("sock_common", "skc_dport").unwrap().offset, 12);
        assert_eq!(btf.member("sock_common", "skc_net.net").unwrap().offset, 48);
        assert!(btf.member("sock_common", "skc_net").unwrap().aggregate);
        assert_eq!(btf.member("sock_common", "skc_nothing"), None);
        assert_eq!(btf.number("no_such_struct", Kind::Struct), None);
    }

    #[test]
    fn the_stand_in_keeps_numbers() {
        let wanted = [
            ("tcp_twsk_unique", Kind::Function),
            ("no_such_function", Kind::Function),
            ("tcp_abort", Kind::Function),
        ];
        let btf = vmlinux(&wanted);
        let small = stand_in(&btf);
        for (name, kind) in wanted {
            let found = small.id_by_type_name_kind(name, aya_obj::btf::BtfKind::Func);
            assert_eq!(found.ok(), btf.number(name, kind), "{name}");
        }
    }

    #[test]
    fn a_cut_anywhere_is_an_error_and_not_a_panic() {
        let whole = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
        let wanted = [("tcp_abort", Kind::Function), ("sock", Kind::Struct)];
        for length in (0..whole.len()).step_by(whole.len() / 40).chain(0..64) {
            assert!(Btf::parse(whole[..length].to_vec(), &wanted).is_err());
        }
    }
}
