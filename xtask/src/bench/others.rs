//! Figures of other tools, measured with this method for this project on Debian's cloud kernels
//! 6.1.176 and 6.18.15; bpftrace 0.23, libbpf-tools and plain C programs on libbpf. They are data:
//! `bench` does not measure them again.

/// What a tool does for each end, which decides what it is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Less than measuring lifetimes.
    Empty,
    /// Lifetimes counted in the kernel.
    Counts,
    /// An event for each end.
    Events,
}

#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Per cent more instructions per connection on 6.1 and on 6.18.
    pub(super) percent: [f64; 2],
}

const fn tool(name: &'static str, kind: Kind, percent: [f64; 2]) -> Tool {
    Tool {
        name,
        kind,
        percent,
    }
}

pub(super) const TOOLS: &[Tool] = &[
    tool("2 empty fentry programs", Kind::Empty, [0.22, 0.41]),
    tool("3 empty fentry programs", Kind::Empty, [0.34, 0.57]),
    tool(
        "4 empty fentry programs and a fexit",
        Kind::Empty,
        [0.68, 0.89],
    ),
    tool(
        "C on libbpf: map, log2 histogram",
        Kind::Counts,
        [1.38, 1.70],
    ),
    tool(
        "bpftrace, fentry, map and hist()",
        Kind::Counts,
        [1.74, 2.09],
    ),
    tool("bpftrace, kprobes, the same", Kind::Counts, [2.19, 2.58]),
    tool(
        "C on libbpf: ring event, printf",
        Kind::Events,
        [16.3, 21.1],
    ),
    tool("bpftrace, a printf per end", Kind::Events, [29.1, 34.9]),
    tool("libbpf-tools tcplife", Kind::Events, [50.0, 59.7]),
    tool("libbpf-tools tcpstates", Kind::Events, [124.0, 163.0]),
];

/// Instructions per connection without any tool on 6.1 and 6.18.
pub(super) const WITHOUT: [u64; 2] = [89_628, 80_026];

/// Seconds from start to attached under TCG with 2 CPUs, and steady RSS in KiB.
pub(super) const STARTS: &[(&str, &str, &str)] = &[
    ("bpftrace", "1.8 - 4.1", "95,000 - 103,000"),
    ("libbpf-tools", "0.21 - 0.35", "2,500"),
    ("C on libbpf", "0.15 - 0.27", "1,200"),
];
