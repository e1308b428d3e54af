//! tcp_tw_recycle: kernels up to 4.11 have it, and with it conflicts of another kind.

use std::fs;
use std::path::Path;

use super::counters;

/// What such a kernel says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recycle {
    pub on: bool,
    /// SYNs that it dropped so far: TcpExt PAWSPassive of this namespace.
    pub dropped: Option<u64>,
}

/// `None` if this kernel has no tcp_tw_recycle. `root` is where /proc is.
#[must_use]
pub(crate) fn look(root: &Path) -> Option<Recycle> {
    let switch = fs::read_to_string(root.join("proc/sys/net/ipv4/tcp_tw_recycle")).ok()?;
    let netstat = fs::read_to_string(root.join("proc/net/netstat"));
    Some(Recycle {
        on: switch.trim() != "0",
        dropped: netstat
            .ok()
            .and_then(|text| Some(*counters::tcp_ext(&text)?.get("PAWSPassive")?)),
    })
}

impl Recycle {
    /// What a user must know first.
    #[must_use]
    pub(crate) fn warning(self) -> String {
        let dropped = match self.dropped {
            Some(count) => format!("PAWSPassive says {count} so far"),
            None => "PAWSPassive would count them".to_owned(),
        };
        let state = if self.on {
            "tcp_tw_recycle is 1 and drops"
        } else {
            "this kernel has tcp_tw_recycle (now 0), which with 1 drops"
        };
        format!(
            "warning: {state}, without an answer, SYNs from hosts behind NAT whose clock is behind the newest of their address within 60 s ({dropped}); this twtrace cannot trace kernels up to 4.11"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A directory with a /proc of its own; it goes when it is dropped.
    struct Root(PathBuf);

    impl Root {
        fn new(name: &str, switch: Option<&str>) -> Self {
            let name = format!("twtrace-recycle-{name}-{}", std::process::id());
            let root = std::env::temp_dir().join(name);
            fs::create_dir_all(root.join("proc/sys/net/ipv4")).unwrap();
            fs::create_dir_all(root.join("proc/net")).unwrap();
            if let Some(switch) = switch {
                fs::write(root.join("proc/sys/net/ipv4/tcp_tw_recycle"), switch).unwrap();
            }
            let netstat = "TcpExt: TW PAWSPassive PAWSActive\nTcpExt: 5 41 3\nIpExt: A\nIpExt: 1\n";
            fs::write(root.join("proc/net/netstat"), netstat).unwrap();
            Self(root)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            // What is left in the temporary directory does no harm.
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_kernel_since_4_12_has_none() {
        assert_eq!(look(&Root::new("none", None).0), None);
    }

    #[test]
    fn switched_on_it_is_said_to_drop_syns_and_how_many_it_dropped() {
        let recycle = look(&Root::new("on", Some("1\n")).0).unwrap();
        assert!(recycle.on);
        assert_eq!(recycle.dropped, Some(41));
        let warning = recycle.warning();
        assert!(warning.contains("tcp_tw_recycle is 1"), "{warning}");
        assert!(warning.contains("PAWSPassive says 41"), "{warning}");
    }

    #[test]
    fn switched_off_it_is_said_what_it_would_do() {
        let root = Root::new("off", Some("0\n"));
        fs::remove_file(root.0.join("proc/net/netstat")).unwrap();
        let recycle = look(&root.0).unwrap();
        assert!(!recycle.on);
        let warning = recycle.warning();
        assert!(warning.contains("which with 1 drops"), "{warning}");
    }
}
