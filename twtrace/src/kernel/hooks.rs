//! The lifecycle points and the programs for each: rows in the order of attaching.
//!
//! Marks come before the end, and the end before birth. So a mini-socket whose birth is seen has its
//! marks and its end seen too, and everything older is recognised as older.

use super::Options;
use super::btf::{Btf, Kind};

/// One program on one kernel function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    pub program: &'static str,
    pub kind: HookKind,
    pub function: &'static str,
}

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    Fentry,
    Fexit,
    Kprobe,
    Kretprobe,
    /// Of the tracepoint in `Hook::function`.
    RawTracepoint,
}

/// A lifecycle point: what it tells, and two ways to see it.
#[derive(Debug)]
pub struct Point {
    pub name: &'static str,
    /// What is lost without it; `None` if nothing works without it.
    pub without: Option<&'static str>,
    /// The function's names, newest first; the first that the kernel has is taken.
    pub functions: &'static [&'static str],
    /// The parameter lists for which the fentry/fexit programs were written, by names.
    pub parameters: &'static [&'static [&'static str]],
    fentry: &'static [Program],
    kprobe: &'static [Program],
    /// What it tells has nothing to do with the other points, so it may be attached before,
    /// between or after them.
    pub any_time: bool,
    /// Whether it is of use here.
    wanted: fn(&Btf, &Options) -> bool,
}

/// A program of the object and how it is attached.
type Program = (&'static str, HookKind);

use HookKind::{Fentry, Fexit, Kprobe, Kretprobe, RawTracepoint};

const ALWAYS: fn(&Btf, &Options) -> bool = |_, _| true;

/// The tracepoint at which every drop tells its reason.
pub(crate) const KFREE_SKB: &str = "kfree_skb";

/// Whether drops give both a reason that twtrace knows and the socket (seen from 6.12 on). Before,
/// SYNs with an old timestamp on a live connection are seen at `tcp_oow_rate_limited`.
pub(super) fn drops_tell(btf: &Btf) -> bool {
    btf.enumerator("SKB_DROP_REASON_TCP_RFC7323_PAWS").is_some()
        && btf
            .tracepoint_parameters(KFREE_SKB)
            .is_some_and(|types| matches!(types[..], ["sk_buff", _, "skb_drop_reason", "sock"]))
}

/// Why a point is of no use here.
pub(crate) const UNWANTED: &str = "drops do not tell reason and socket here (seen from 6.12 on)";

/// Stands for `segment_exit_3`, `_4` or `_5`, by the number of parameters.
const SEGMENT_EXIT: &str = "segment_exit";
const SEGMENT_KRETPROBE: &str = "segment_kretprobe";

/// See [`has_second_birth`].
pub(super) const BIRTH_AGAIN: &str = "birth_again";
/// What `tcp_time_wait` calls with bottom halves enabled (6.12 and later).
const UNGUARDED_BIRTH: &str = "inet_twsk_hashdance_schedule";

/// Whether births are looked at by two programs: where the function may be entered with bottom
/// halves enabled, the kernel skips the one program for a softirq on top of it.
pub(super) fn has_second_birth(btf: &Btf, attach: super::Attach) -> bool {
    attach != super::Attach::Kprobe && btf.number(UNGUARDED_BIRTH, Kind::Function).is_some()
}

/// Whether a program of a wanted point is of use.
fn is_needed(program: &str, options: &Options) -> bool {
    // Only re-arms, refusals and promotions at their moment are seen there.
    let returns = [SEGMENT_EXIT, SEGMENT_KRETPROBE].contains(&program);
    !returns || options.rearms || options.refusals || options.births
}

const BIRTH: &str = "birth";
const OVERFLOW: &str = "overflow";
/// Without it, refusals cannot be counted.
pub(crate) const REFUSAL: &str = "refusal";
/// Without it, some refusals cannot be counted.
pub(crate) const DROP: &str = "refusal without an answer";

/// Without it, connect() calls that get no port cannot be counted.
pub(crate) const CONNECT: &str = "connect() without a port";
const CONNECT_IPV6: &str = "connect() without a port, IPv6";
const BIND: &str = "bind() without a port";

/// All points, in the order of attaching.
pub(crate) const POINTS: &[Point] = &[
    // First: before 6.3, attaching the first of all fentry programs waits for RCU tasks
    // (`register_ftrace_direct`), 0.13 s and more.
    Point {
        name: OVERFLOW,
        without: Some("overflows are not seen"),
        functions: &["inet_twsk_alloc"],
        parameters: &[&["sk", "dr", "state"]],
        fentry: &[("overflow", Fexit)],
        kprobe: &[("overflow_enter", Kprobe), ("overflow_return", Kretprobe)],
        any_time: true,
        wanted: ALWAYS,
    },
    Point {
        name: REFUSAL,
        without: Some("of refusals only RSTs, and what FIN_WAIT2 answers with a RST, are seen"),
        functions: &["tcp_oow_rate_limited"],
        parameters: &[&["net", "skb", "mib_idx", "last_oow_ack_time"]],
        fentry: &[("limited", Fexit), ("refused", Fexit)],
        kprobe: &[
            ("limited_enter", Kprobe),
            ("limited_return", Kretprobe),
            ("refused_return", Kretprobe),
        ],
        any_time: false,
        wanted: |_, options| options.refusals,
    },
    Point {
        name: DROP,
        without: Some("old ACKs and SYNs refused on a live connection are not seen"),
        functions: &[KFREE_SKB],
        parameters: &[],
        fentry: &[("dropped", RawTracepoint)],
        kprobe: &[("dropped", RawTracepoint)],
        any_time: false,
        wanted: |btf, options| options.drops && drops_tell(btf),
    },
    Point {
        name: "SOCK_DESTROY",
        without: Some("ends by ss -K show as `other`"),
        functions: &["tcp_abort"],
        parameters: &[&["sk", "err"]],
        fentry: &[("abort", Fentry)],
        kprobe: &[("abort_kprobe", Kprobe)],
        any_time: false,
        wanted: ALWAYS,
    },
    // Before the reuse point, which counts for them: each count is then removed at a return.
    Point {
        name: CONNECT,
        without: Some("connect() calls that get no port are not seen"),
        functions: &["inet_hash_connect"],
        parameters: &[&["death_row", "sk"]],
        fentry: &[("connect", Fexit)],
        kprobe: &[("connect_enter", Kprobe), ("connect_return", Kretprobe)],
        any_time: false,
        wanted: |_, options| options.ports,
    },
    Point {
        name: CONNECT_IPV6,
        without: Some("connect() calls that get no port are not seen with IPv6"),
        functions: &["inet6_hash_connect"],
        parameters: &[&["death_row", "sk"]],
        fentry: &[("connect_ipv6", Fexit)],
        kprobe: &[
            ("connect_ipv6_enter", Kprobe),
            ("connect_ipv6_return", Kretprobe),
        ],
        any_time: false,
        wanted: |_, options| options.ports,
    },
    Point {
        name: BIND,
        without: Some("bind() calls that get no port are not seen"),
        functions: &["inet_csk_get_port"],
        parameters: &[&["sk", "snum"]],
        fentry: &[("bind", Fexit)],
        kprobe: &[("bind_enter", Kprobe), ("bind_return", Kretprobe)],
        any_time: true,
        wanted: |_, options| options.ports,
    },
    Point {
        name: "reuse by connect()",
        without: Some("ends by connect() show as `other`"),
        functions: &["tcp_twsk_unique"],
        parameters: &[&["sk", "sktw", "twp"]],
        fentry: &[("unique", Fexit)],
        kprobe: &[("unique_enter", Kprobe), ("unique_return", Kretprobe)],
        any_time: false,
        wanted: ALWAYS,
    },
    Point {
        name: "timer",
        without: None,
        functions: &["tw_timer_handler"],
        parameters: &[&["t"]],
        fentry: &[("timer", Fentry)],
        kprobe: &[("timer_kprobe", Kprobe)],
        any_time: false,
        wanted: ALWAYS,
    },
    Point {
        name: "segment",
        without: None,
        functions: &["tcp_timewait_state_process"],
        parameters: &[
            &["tw", "skb", "th"],
            &["tw", "skb", "th", "tw_isn"],
            &["tw", "skb", "th", "tw_isn", "drop_reason"],
        ],
        fentry: &[("segment_enter", Fentry), (SEGMENT_EXIT, Fexit)],
        kprobe: &[("segment_kprobe", Kprobe), (SEGMENT_KRETPROBE, Kretprobe)],
        any_time: false,
        wanted: ALWAYS,
    },
    Point {
        name: "end",
        without: None,
        functions: &["inet_twsk_kill"],
        parameters: &[&["tw"]],
        fentry: &[("kill", Fentry)],
        kprobe: &[("kill_kprobe", Kprobe)],
        any_time: false,
        wanted: ALWAYS,
    },
    Point {
        name: BIRTH,
        without: None,
        functions: &["inet_twsk_hashdance_schedule", "inet_twsk_hashdance"],
        parameters: &[
            &["tw", "sk", "hashinfo", "timeo"],
            &["tw", "sk", "hashinfo"],
        ],
        // The kernel runs those of one function in the reverse order of attaching, and the last here
        // is attached first. So `birth_slots` runs first, and `birth_again` after it.
        fentry: &[("birth_slots", Fentry), (BIRTH_AGAIN, Fentry)],
        kprobe: &[("birth_kprobe_slots", Kprobe)],
        any_time: false,
        wanted: ALWAYS,
    },
];

/// What to look up in BTF.
pub(crate) fn functions() -> impl Iterator<Item = (&'static str, Kind)> {
    POINTS
        .iter()
        .flat_map(|point| point.functions)
        .map(|&function| (function, Kind::Function))
        .chain([("btf_trace_kfree_skb", Kind::Typedef)])
}

/// The twin of a birth program that does without compare-and-exchange (kernels before 5.12).
#[must_use]
pub(crate) fn without_slots(program: &str) -> Option<&'static str> {
    match program {
        "birth_slots" => Some("birth_spill"),
        "birth_kprobe_slots" => Some("birth_kprobe_spill"),
        _ => None,
    }
}

impl Point {
    /// Whether it is the point of births.
    #[must_use]
    pub fn is_birth(&self) -> bool {
        self.name == BIRTH
    }

    /// Whether it is the point of overflows.
    #[must_use]
    pub fn is_overflow(&self) -> bool {
        self.name == OVERFLOW
    }

    /// Whether it looks at calls for a port. Its programs run in tasks, and if one is preempted
    /// inside one, the kernel skips it for others on that CPU: that misses calls, not births or
    /// ends.
    #[must_use]
    pub fn looks_for_ports(&self) -> bool {
        [CONNECT, CONNECT_IPV6, BIND].contains(&self.name)
    }

    /// Whether it is of use for such a trace of such a kernel.
    #[must_use]
    pub fn is_wanted(&self, btf: &Btf, options: &Options) -> bool {
        (self.wanted)(btf, options)
    }

    /// The function as this kernel calls it; the oldest name if BTF has none of them.
    #[must_use]
    pub fn function(&self, btf: &Btf) -> &'static str {
        let known = |function: &&&'static str| btf.number(function, Kind::Function).is_some();
        let oldest = self.functions.last();
        self.functions
            .iter()
            .find(known)
            .or(oldest)
            .copied()
            .unwrap_or_default()
    }

    /// The kprobe/kretprobe programs. They take their arguments by position alone.
    #[must_use]
    pub fn kprobe_hooks(&self, btf: &Btf, options: &Options) -> Vec<Hook> {
        self.hooks(self.kprobe, btf, options, 0)
    }

    /// The fentry/fexit programs if the function is what they were written for, else why not. A
    /// program for another parameter list would load and read garbage.
    pub fn fentry_hooks(&self, btf: &Btf, options: &Options) -> Result<Vec<Hook>, String> {
        if self.parameters.is_empty() {
            // Not a function: `wanted` has looked at its arguments.
            return Ok(self.hooks(self.fentry, btf, options, 0));
        }
        let function = self.function(btf);
        let Some(parameters) = btf.parameters(function) else {
            return Err(format!("{function} is not in BTF"));
        };
        if !self.parameters.iter().any(|known| **known == *parameters) {
            return Err(format!(
                "{function}({}) is not what this twtrace was written for",
                parameters.join(", ")
            ));
        }
        Ok(self.hooks(self.fentry, btf, options, parameters.len()))
    }

    fn hooks(
        &self,
        programs: &[Program],
        btf: &Btf,
        options: &Options,
        parameters: usize,
    ) -> Vec<Hook> {
        let function = self.function(btf);
        let resolve = |&(program, kind): &Program| Hook {
            program: match (program, parameters) {
                (SEGMENT_EXIT, 3) => "segment_exit_3",
                (SEGMENT_EXIT, 4) => "segment_exit_4",
                (SEGMENT_EXIT, _) => "segment_exit_5",
                (program, _) => program,
            },
            kind,
            function,
        };
        let needed = programs.iter().filter(|program| {
            is_needed(program.0, options)
                && (program.0 != BIRTH_AGAIN || function == UNGUARDED_BIRTH)
        });
        needed.map(resolve).collect()
    }
}

#[cfg(test)]
mod tests {
    use aya_obj::Object;

    use super::*;

    #[test]
    fn every_program_is_in_the_object() {
        let object = Object::parse(crate::kernel::OBJECT).unwrap();
        let programs = POINTS
            .iter()
            .flat_map(|point| point.fentry.iter().chain(point.kprobe))
            .map(|program| program.0)
            .filter(|&program| program != SEGMENT_EXIT)
            .chain(["segment_exit_3", "segment_exit_4", "segment_exit_5"]);
        for program in programs {
            assert!(object.programs.contains_key(program), "{program}");
            if let Some(twin) = without_slots(program) {
                assert!(object.programs.contains_key(twin), "{twin}");
            }
        }
    }

    #[test]
    fn every_map_and_global_is_in_the_object() {
        use twtrace_common::names;
        let mut object = Object::parse(crate::kernel::OBJECT).unwrap();
        for map in [
            names::RING,
            names::SLOTS,
            names::SPILL,
            names::OWNERS,
            names::COUNTERS,
            names::CLAIMS,
            names::CLOSED,
            names::FRAMES,
            names::HISTOGRAMS,
            names::ARGUMENTS,
            names::SCRATCH,
            names::SAMPLE,
            names::SAMPLES,
            names::PORT_CALLS,
            names::BLOCKED_CALLS,
            names::BUDGET,
        ] {
            assert!(object.maps.contains_key(map), "{map}");
        }
        let settings = [0; size_of::<twtrace_common::settings::Settings>()];
        let globals = [
            (names::SETTINGS, (&settings[..], true)),
            (names::ABI_GLOBAL, (&[0; 4][..], true)),
        ];
        object.patch_map_data(globals.into()).unwrap();
    }
}
