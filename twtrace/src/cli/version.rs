//! What `--version` prints beside the version.

use std::sync::LazyLock;

use twtrace_common::ABI;

/// sha256 of the object, as `cargo xtask ebpf` wrote it beside the object.
const OBJECT_HASH: &str = include_str!("../../bpf/twtrace.bpf.o.sha256");

/// Features of cargo, and whether this was built with them.
const FEATURES: [(&str, bool); 2] = [
    ("check", cfg!(feature = "check")),
    ("log", cfg!(feature = "log")),
];

/// Several lines, of which the first is the version.
pub(super) fn long() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let hash = OBJECT_HASH.split_whitespace().next().unwrap_or("unknown");
        let features = FEATURES.iter().filter(|one| one.1).map(|one| one.0);
        let features = features.collect::<Vec<_>>().join(", ");
        format!(
            "{}\ncommit: {}\ntarget: {}\neBPF object: sha256 {hash}, ABI {ABI}\nfeatures: {}",
            env!("CARGO_PKG_VERSION"),
            env!("TWTRACE_COMMIT"),
            env!("TWTRACE_TARGET"),
            if features.is_empty() {
                "none"
            } else {
                &features
            },
        )
    });
    &TEXT
}
