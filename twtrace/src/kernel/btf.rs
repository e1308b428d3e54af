//! The kernel's own type information, as far as we need it: functions and tracepoints with their
//! parameters, offsets of struct members, values of enumerators.
//!
//! aya's BTF keeps members to itself, and other crates need 50 ms and 20 MB for the job
//! (docs/overhead.md). This one walks the types once, looks for the wanted names on the way and
//! copies nothing.

mod given;
mod source;
mod starts;

use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::path::Path;

use aya_obj::btf::{BtfType, Func, FuncLinkage};

pub use self::given::GivenBtf;
use self::starts::Starts;
use crate::error::{Error, Result, why};

/// The running kernel's BTF.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const TYPE_HEADER: usize = 12;

const INTEGER: u32 = 1;
const POINTER: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNC: u32 = 12;
const PROTOTYPE: u32 = 13;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

/// A file may be made to harm whoever reads it, so every way through the types has an end: a type
/// may lead to itself by qualifiers and pointers or hold itself, and a thousand anonymous structs
/// may hold each other in more ways than can be gone. In kernels, no chain is longer than ten.
const MOST_STEPS: usize = 64;
/// Anonymous structs and unions within each other.
const MOST_DEPTH: usize = 32;
/// Members that are looked at to find one.
const MOST_MEMBERS: usize = 1 << 16;
/// No name is longer: KSYM_NAME_LEN, with the NUL.
const LONGEST_NAME: usize = 512;

/// Parsed just far enough to find a type by its number.
#[derive(Debug)]
pub struct Btf {
    data: Cow<'static, [u8]>,
    /// Where the names are, each with a NUL behind it.
    strings: Range<usize>,
    /// Byte offset of each type; entry 0 is `void`.
    types: Vec<u32>,
    /// What the names given to [`Btf::parse`] stand for: a type's number, an enumerator's value.
    found: Vec<(&'static str, Kind, Option<u64>)>,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Struct,
    Function,
    Typedef,
    /// A constant of any enum, be it anonymous.
    Enumerator,
}

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub offset: u32,
    /// Its type is a struct or union (not a pointer to one).
    pub aggregate: bool,
    /// Its length in bytes; `None` of an array.
    pub size: Option<u32>,
}

/// A member of a struct, before its type is looked at.
#[derive(Clone, Copy)]
struct FoundMember {
    /// Offset in bits.
    bits: u32,
    bit_field: bool,
    /// Its type.
    inner: u32,
}

impl Btf {
    /// Reads BTF from a file, by default the running kernel's.
    pub fn read(path: &Path, wanted: &[(&'static str, Kind)]) -> Result<Self> {
        let data = source::read(path).map_err(|error| unreadable(path, &error))?;
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
        data: Cow<'static, [u8]>,
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
        let string_start = length.saturating_add(string_start);
        let strings = string_start..string_start.saturating_add(string_length);
        if end.max(strings.end) > data.len() {
            return Err("a section is cut short".into());
        }
        if u32::try_from(end).is_err() {
            return Err("it is longer than 4 GiB".into());
        }
        let mut btf = Self {
            types: Vec::with_capacity(type_length / 24 + 1),
            found: wanted
                .iter()
                .map(|&(name, kind)| (name, kind, None))
                .collect(),
            data,
            strings,
        };
        btf.types.push(0);
        btf.walk(start, end)?;
        Ok(btf)
    }

    fn walk(&mut self, start: usize, end: usize) -> std::result::Result<(), String> {
        let data: &[u8] = &self.data;
        let mut wanted = Wanted {
            starts: Starts::new(self.found.iter().map(|found| found.0)),
            strings: data.get(self.strings.clone()).unwrap_or_default(),
            found: &mut self.found,
        };
        let mut at = start;
        while at < end {
            let [name, info] = words(data, at).ok_or_else(|| cut_short(at))?;
            let (kind, count) = (kind_of(info), (info & 0xffff) as usize);
            let behind = at + TYPE_HEADER;
            let next =
                behind + trailing(kind, count).map_err(|why| format!("{why} at byte {at}"))?;
            if next > end {
                return Err(cut_short(at));
            }
            let number = self.types.len() as u64;
            match kind {
                STRUCT => wanted.note(name, Kind::Struct, number),
                FUNC => wanted.note(name, Kind::Function, number),
                TYPEDEF => wanted.note(name, Kind::Typedef, number),
                ENUM | ENUM64 => wanted.note_enumerators(kind, data, behind, count),
                _ => {}
            }
            self.types.push(at as u32);
            at = next;
        }
        Ok(())
    }

    /// The number of a type that was asked for; `None` if this kernel does not have it.
    #[must_use]
    pub fn number(&self, name: &str, kind: Kind) -> Option<u32> {
        self.value(name, kind).map(|number| number as u32)
    }

    /// The value of an enumerator that was asked for; a negative one of 32 bits is not extended.
    #[must_use]
    pub fn enumerator(&self, name: &str) -> Option<u64> {
        self.value(name, Kind::Enumerator)
    }

    fn value(&self, name: &str, kind: Kind) -> Option<u64> {
        self.found
            .iter()
            .find(|found| found.0 == name && found.1 == kind)?
            .2
    }

    /// Number of types, `void` included.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.types.len() as u32
    }

    /// Whether `void` is the only type.
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
        self.prototype(prototype)?
            .map(|(name, _)| self.name(name?))
            .collect()
    }

    /// What a tracepoint hands to its programs: the names of the parameters' types, pointers
    /// followed, `void` without a name. BTF has no names of these parameters themselves. The
    /// typedef `btf_trace_NAME` must have been asked for.
    #[must_use]
    pub fn tracepoint_parameters(&self, name: &str) -> Option<Vec<&str>> {
        let typedef = self.number(&format!("btf_trace_{name}"), Kind::Typedef)?;
        let (_, pointer) = self.kind_and_reference(typedef)?;
        let (_, prototype) = self.kind_and_reference(pointer)?;
        // The first is the tracepoint's own `__data`.
        self.prototype(prototype)?
            .skip(1)
            .map(|(_, number)| self.type_name(number?))
            .collect()
    }

    /// Name and type of each parameter of a function prototype.
    fn prototype(&self, number: u32) -> Option<impl Iterator<Item = (Option<u32>, Option<u32>)>> {
        let at = *self.types.get(number as usize)? as usize;
        let info = u32_at(&self.data, at + 4)?;
        if number == 0 || kind_of(info) != PROTOTYPE {
            return None;
        }
        let count = info & 0xffff;
        let word = |at: usize| u32_at(&self.data, at);
        let parameters = (at + TYPE_HEADER..).step_by(8).take(count as usize);
        Some(parameters.map(move |at| (word(at), word(at + 4))))
    }

    fn type_name(&self, number: u32) -> Option<&str> {
        let number = self.follow(number, |kind| kind == POINTER || is_alias(kind))?;
        let at = *self.types.get(number as usize)? as usize;
        if number == 0 {
            return Some("");
        }
        self.name(u32_at(&self.data, at)?)
    }

    /// Where `path` (members separated by dots) is in a struct. Anonymous structs and unions in
    /// between need not be named.
    #[must_use]
    pub fn member(&self, name: &str, path: &str) -> Option<Member> {
        let mut number = self.number(name, Kind::Struct)?;
        let mut bits = 0;
        let mut bit_field = false;
        for step in path.split('.') {
            let found = self.find_member(number, step)?;
            bits = found.bits.checked_add(bits)?;
            bit_field |= found.bit_field;
            number = self.strip(found.inner)?;
        }
        // A bit-field has no byte offset of its own, even where it begins at a byte.
        (bits % 8 == 0 && !bit_field).then(|| Member {
            offset: bits / 8,
            aggregate: matches!(self.kind_and_reference(number), Some((STRUCT | UNION, _))),
            size: self.size(number),
        })
    }

    fn size(&self, number: u32) -> Option<u32> {
        match self.kind_and_reference(number)? {
            (INTEGER | ENUM | ENUM64 | STRUCT | UNION, size) => Some(size),
            (POINTER, _) => Some(8),
            _ => None,
        }
    }

    /// Whether a struct has a direct or anonymously nested member, bit-fields included.
    #[must_use]
    pub fn has_member(&self, name: &str, member: &str) -> bool {
        self.number(name, Kind::Struct)
            .is_some_and(|number| self.find_member(number, member).is_some())
    }

    /// A direct or anonymously nested member.
    fn find_member(&self, number: u32, name: &str) -> Option<FoundMember> {
        let mut left = MOST_MEMBERS;
        self.search(number, name, MOST_DEPTH, &mut left)
    }

    /// `left`: how many members may still be looked at.
    fn search(
        &self,
        number: u32,
        name: &str,
        depth: usize,
        left: &mut usize,
    ) -> Option<FoundMember> {
        let at = *self.types.get(number as usize)? as usize;
        let info = u32_at(&self.data, at + 4)?;
        if number == 0 || !matches!(kind_of(info), STRUCT | UNION) {
            return None;
        }
        let bit_fields = info >> 31 == 1;
        for index in 0..(info & 0xffff) as usize {
            *left = left.checked_sub(1)?;
            let member = at + TYPE_HEADER + 12 * index;
            let member_name = self.name(u32_at(&self.data, member)?)?;
            let inner = u32_at(&self.data, member + 4)?;
            let place = u32_at(&self.data, member + 8)?;
            // Where a struct has bit-fields, the upper byte is the width of one, 0 for others.
            let (bits, bit_field) = match bit_fields {
                true => (place & 0x00ff_ffff, place >> 24 != 0),
                false => (place, false),
            };
            if member_name == name {
                return Some(FoundMember {
                    bits,
                    bit_field,
                    inner,
                });
            }
            if member_name.is_empty()
                && let Some(depth) = depth.checked_sub(1)
                && let Some(nested) = self.search(self.strip(inner)?, name, depth, left)
            {
                return Some(FoundMember {
                    bits: bits.checked_add(nested.bits)?,
                    ..nested
                });
            }
        }
        None
    }

    /// Follows typedefs and qualifiers to the type itself.
    fn strip(&self, number: u32) -> Option<u32> {
        self.follow(number, is_alias)
    }

    /// Goes on to what a type refers to as long as it is of these kinds; `None` if that has no
    /// end.
    fn follow(&self, mut number: u32, on: impl Fn(u32) -> bool) -> Option<u32> {
        for _ in 0..MOST_STEPS {
            match self.kind_and_reference(number)? {
                (kind, next) if on(kind) => number = next,
                _ => return Some(number),
            }
        }
        None
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
        let strings = self.data.get(self.strings.clone())?;
        let text = strings.get(offset as usize..)?;
        let end = text.iter().take(LONGEST_NAME).position(|&byte| byte == 0)?;
        std::str::from_utf8(&text[..end]).ok()
    }
}

/// What is looked for while the types are walked.
struct Wanted<'a> {
    starts: Starts,
    strings: &'a [u8],
    found: &'a mut [(&'static str, Kind, Option<u64>)],
}

impl Wanted<'_> {
    fn note_enumerators(&mut self, kind: u32, data: &[u8], behind: usize, count: usize) {
        let size = if kind == ENUM { 8 } else { 12 };
        for at in (behind..).step_by(size).take(count) {
            let high = if kind == ENUM {
                Some(0)
            } else {
                u32_at(data, at + 8)
            };
            if let (Some([name, low]), Some(high)) = (words(data, at), high) {
                let value = u64::from(low) | u64::from(high) << 32;
                self.note(name, Kind::Enumerator, value);
            }
        }
    }

    #[inline(always)]
    fn note(&mut self, name: u32, kind: Kind, value: u64) {
        let text = self.strings.get(name as usize..).unwrap_or_default();
        if self.starts.may_hold(text) {
            self.found_maybe(text, kind, value);
        }
    }

    #[inline(never)]
    fn found_maybe(&mut self, text: &[u8], kind: Kind, value: u64) {
        for (wanted, wanted_kind, found) in &mut *self.found {
            let whole = text.strip_prefix(wanted.as_bytes());
            if *wanted_kind == kind
                && found.is_none()
                && whole.is_some_and(|rest| rest.first() == Some(&0))
            {
                *found = Some(value);
            }
        }
    }
}

/// Whether a type of this kind is another one by a name, or with a qualifier.
fn is_alias(kind: u32) -> bool {
    matches!(kind, TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG)
}

fn kind_of(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::new(format!(
        "cannot read {}, the kernel's type information: {}",
        path.display(),
        why(error)
    ))
    .hint("the kernel needs CONFIG_DEBUG_INFO_BTF=y (most distributions since 5.10); or name this kernel's own BTF file with --btf")
}

fn cut_short(at: usize) -> String {
    format!("the type at byte {at} is cut short")
}

/// Bytes behind the common header of a type (linux/btf.h).
fn trailing(kind: u32, count: usize) -> std::result::Result<usize, String> {
    Ok(match kind {
        1 | 14 | 17 => 4,
        POINTER | 7..=12 | 16 | TYPE_TAG => 0,
        ARRAY => 12,
        STRUCT | UNION | 15 | ENUM64 => 12 * count,
        ENUM | 13 => 8 * count,
        _ => return Err(format!("it has a type of unknown kind {kind}")),
    })
}

/// Two integers in a row, for one look whether they are there.
#[inline(always)]
fn words(data: &[u8], at: usize) -> Option<[u32; 2]> {
    let [a, b, c, d, e, f, g, h] = *data.get(at..)?.first_chunk()?;
    Some([[a, b, c, d], [e, f, g, h]].map(u32::from_ne_bytes))
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// BTF in which only the wanted functions exist, under their true numbers. For aya, which would
/// parse the kernel's whole BTF and search it again for every program.
#[must_use]
pub fn stand_in(btf: &Btf) -> aya_obj::btf::Btf {
    let mut functions: Vec<(u32, &str)> = btf
        .found
        .iter()
        .filter(|found| found.1 == Kind::Function)
        .filter_map(|found| Some((found.2? as u32, found.0)))
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
mod tests;
