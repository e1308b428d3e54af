//! The lifecycle points and the programs for each: rows in the order of attaching.
//!
//! Marks come before the end, the end before the birth. So a mini-socket whose birth is seen has
//! its marks and its end seen too, and everything older is recognised as older.

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
}

/// A lifecycle point: what it tells, and two ways to see it.
#[derive(Debug)]
pub struct Point {
    pub name: &'static str,
    /// What is lost without it; `None` if nothing works without it.
    pub without: Option<&'static str>,
    pub function: &'static str,
    /// The parameter lists for which the fentry/fexit programs were written, by names.
    pub parameters: &'static [&'static [&'static str]],
    pub fentry: &'static [Hook],
    pub kprobe: &'static [Hook],
}

const fn hook(program: &'static str, kind: HookKind, function: &'static str) -> Hook {
    Hook {
        program,
        kind,
        function,
    }
}

use HookKind::{Fentry, Fexit, Kprobe, Kretprobe};

/// Stands for `segment_exit_3`, `_4` or `_5`, by the number of parameters.
const SEGMENT_EXIT: &str = "segment_exit";

/// All points, in the order of attaching.
pub const POINTS: &[Point] = &[
    Point {
        name: "namespace exit",
        without: Some("ends by namespace exit show as `other`"),
        function: "inet_twsk_purge",
        parameters: &[&["hashinfo", "family"], &["hashinfo"]],
        fentry: &[
            hook("purge_enter", Fentry, "inet_twsk_purge"),
            hook("purge_exit", Fexit, "inet_twsk_purge"),
        ],
        kprobe: &[
            hook("purge_kprobe", Kprobe, "inet_twsk_purge"),
            hook("purge_kretprobe", Kretprobe, "inet_twsk_purge"),
        ],
    },
    Point {
        name: "SOCK_DESTROY",
        without: Some("ends by ss -K show as `other`"),
        function: "tcp_abort",
        parameters: &[&["sk", "err"]],
        fentry: &[
            hook("abort_enter", Fentry, "tcp_abort"),
            hook("abort_exit", Fexit, "tcp_abort"),
        ],
        kprobe: &[
            hook("abort_kprobe", Kprobe, "tcp_abort"),
            hook("abort_kretprobe", Kretprobe, "tcp_abort"),
        ],
    },
    Point {
        name: "reuse by connect()",
        without: Some("ends by connect() show as `other`"),
        function: "tcp_twsk_unique",
        parameters: &[&["sk", "sktw", "twp"]],
        fentry: &[hook("unique", Fexit, "tcp_twsk_unique")],
        kprobe: &[
            hook("unique_enter", Kprobe, "tcp_twsk_unique"),
            hook("unique_return", Kretprobe, "tcp_twsk_unique"),
        ],
    },
    Point {
        name: "timer",
        without: None,
        function: "tw_timer_handler",
        parameters: &[&["t"]],
        fentry: &[hook("timer", Fentry, "tw_timer_handler")],
        kprobe: &[hook("timer_kprobe", Kprobe, "tw_timer_handler")],
    },
    Point {
        name: "segment",
        without: None,
        function: "tcp_timewait_state_process",
        parameters: &[
            &["tw", "skb", "th"],
            &["tw", "skb", "th", "tw_isn"],
            &["tw", "skb", "th", "tw_isn", "drop_reason"],
        ],
        fentry: &[
            hook("segment_enter", Fentry, "tcp_timewait_state_process"),
            hook(SEGMENT_EXIT, Fexit, "tcp_timewait_state_process"),
        ],
        kprobe: &[
            hook("segment_kprobe", Kprobe, "tcp_timewait_state_process"),
            hook("segment_kretprobe", Kretprobe, "tcp_timewait_state_process"),
        ],
    },
    Point {
        name: "end",
        without: None,
        function: "inet_twsk_kill",
        parameters: &[&["tw"]],
        fentry: &[hook("kill", Fentry, "inet_twsk_kill")],
        kprobe: &[hook("kill_kprobe", Kprobe, "inet_twsk_kill")],
    },
    Point {
        name: "birth",
        without: None,
        function: "inet_twsk_alloc",
        parameters: &[&["sk", "dr", "state"]],
        fentry: &[hook("birth_slots", Fexit, "inet_twsk_alloc")],
        kprobe: &[
            hook("birth_enter", Kprobe, "inet_twsk_alloc"),
            hook("birth_return_slots", Kretprobe, "inet_twsk_alloc"),
        ],
    },
];

/// The functions to look up in BTF.
pub fn functions() -> impl Iterator<Item = (&'static str, Kind)> {
    POINTS.iter().map(|point| (point.function, Kind::Function))
}

/// The twin of a birth program that does without compare-and-exchange (kernels before 5.12).
#[must_use]
pub fn without_slots(program: &str) -> Option<&'static str> {
    match program {
        "birth_slots" => Some("birth_spill"),
        "birth_return_slots" => Some("birth_return_spill"),
        _ => None,
    }
}

impl Point {
    /// The fentry/fexit programs if the function is what they were written for, else why not. A
    /// program for another parameter list would load and read garbage.
    pub fn fentry_hooks(&self, btf: &Btf) -> Result<Vec<Hook>, String> {
        let Some(parameters) = btf.parameters(self.function) else {
            return Err(format!("{} is not in BTF", self.function));
        };
        if !self.parameters.iter().any(|known| **known == *parameters) {
            return Err(format!(
                "{}({}) is not what this twtrace was written for",
                self.function,
                parameters.join(", ")
            ));
        }
        let resolve = |hook: &Hook| Hook {
            program: match (hook.program, parameters.len()) {
                (SEGMENT_EXIT, 3) => "segment_exit_3",
                (SEGMENT_EXIT, 4) => "segment_exit_4",
                (SEGMENT_EXIT, _) => "segment_exit_5",
                (program, _) => program,
            },
            ..*hook
        };
        Ok(self.fentry.iter().map(resolve).collect())
    }
}
