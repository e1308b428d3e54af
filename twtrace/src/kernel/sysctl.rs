//! The sysctls that matter to TIME_WAIT, of the calling thread's network namespace.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::event::facts::{Setting, Sysctl, Value};
use crate::text::Text;

/// Where they are. /proc/sys/net shows the namespace of whoever looks.
const DIRECTORY: &str = "/proc/sys/net/ipv4";
/// Places from which they are set at boot (sysctl.d(5)).
const CONFIGURATION: [&str; 5] = [
    "/etc/sysctl.d",
    "/run/sysctl.d",
    "/usr/local/lib/sysctl.d",
    "/usr/lib/sysctl.d",
    "/lib/sysctl.d",
];

/// How a sysctl is written, what the kernel sets it to, and in what unit.
struct Row {
    sysctl: Sysctl,
    form: Form,
    default: Default,
    unit: &'static str,
}

#[derive(Clone, Copy)]
enum Form {
    Number,
    /// `32768 60999`: the ends of one range.
    Ends,
    /// `8080,9148-9150`.
    List,
}

#[derive(Clone, Copy)]
enum Default {
    Is(i64),
    Ports(&'static [(u16, u16)]),
    /// Half the socket hash table, whose size `tcp_ehash_entries` tells where it exists.
    HalfTable,
}

const fn row(sysctl: Sysctl, default: i64, unit: &'static str) -> Row {
    Row {
        sysctl,
        form: Form::Number,
        default: Default::Is(default),
        unit,
    }
}

const ROWS: [Row; Sysctl::ALL.len()] = [
    row(Sysctl::TcpTwReuse, 2, ""),
    row(Sysctl::TcpTwReuseDelay, 1000, "ms"),
    row(Sysctl::TcpTwRecycle, 0, ""),
    row(Sysctl::TcpTimestamps, 1, ""),
    Row {
        sysctl: Sysctl::TcpMaxTwBuckets,
        form: Form::Number,
        default: Default::HalfTable,
        unit: "",
    },
    row(Sysctl::TcpFinTimeout, 60, "s"),
    row(Sysctl::TcpRfc1337, 0, ""),
    row(Sysctl::TcpInvalidRatelimit, 500, "ms"),
    Row {
        sysctl: Sysctl::IpLocalPortRange,
        form: Form::Ends,
        default: Default::Ports(&[(32_768, 60_999)]),
        unit: "",
    },
    Row {
        sysctl: Sysctl::IpLocalReservedPorts,
        form: Form::List,
        default: Default::Ports(&[]),
        unit: "",
    },
    row(Sysctl::IpLocalPortStepWidth, 0, ""),
    row(Sysctl::IpAutobindReuse, 0, ""),
    row(Sysctl::TcpSyncookies, 1, ""),
];

/// Reads those that the kernel has.
#[must_use]
pub(crate) fn read() -> BTreeMap<Sysctl, Setting> {
    read_from(Path::new(DIRECTORY))
}

fn read_from(directory: &Path) -> BTreeMap<Sysctl, Setting> {
    let text = |name: &str| fs::read_to_string(directory.join(name)).ok();
    let setting = |row: &Row| {
        let value = parse(row.form, &text(row.sysctl.name())?)?;
        let default = match row.default {
            Default::Is(number) => Some(Value::Number(number)),
            Default::Ports(ports) => Some(Value::Ports(ports.to_vec())),
            Default::HalfTable => text("tcp_ehash_entries").and_then(|text| half_table(&text)),
        };
        Some(Setting {
            value,
            default,
            unit: row.unit.into(),
        })
    };
    ROWS.iter()
        .filter_map(|row| Some((row.sysctl, setting(row)?)))
        .collect()
}

/// The table of another namespace is written as a negative number.
fn half_table(text: &str) -> Option<Value> {
    let entries: i64 = text.trim().parse().ok()?;
    (entries != 0).then_some(Value::Number(entries.abs() / 2))
}

fn parse(form: Form, text: &str) -> Option<Value> {
    let text = text.trim();
    match form {
        Form::Number => text.parse().ok().map(Value::Number),
        Form::Ends => {
            let mut ends = text.split_whitespace().map(str::parse);
            match (ends.next()?, ends.next()?) {
                (Ok(low), Ok(high)) => Some(Value::Ports(vec![(low, high)])),
                _ => None,
            }
        }
        Form::List => text
            .split(',')
            .filter(|part| !part.is_empty())
            .map(|part| {
                let (low, high) = part.split_once('-').unwrap_or((part, part));
                Some((low.parse().ok()?, high.parse().ok()?))
            })
            .collect::<Option<_>>()
            .map(Value::Ports),
    }
}

/// The files that set this sysctl at boot. `root` is where /etc is.
#[must_use]
pub(crate) fn set_at_boot_by(root: &Path, sysctl: Sysctl) -> Vec<Text> {
    let own = root.join("etc/sysctl.conf");
    let directories = CONFIGURATION
        .iter()
        .flat_map(|directory| fs::read_dir(root.join(directory.trim_start_matches('/'))))
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "conf")
        });
    let mut files: Vec<Text> = [own]
        .into_iter()
        .chain(directories)
        .filter(|path| fs::read_to_string(path).is_ok_and(|text| sets(&text, sysctl)))
        // /etc/sysctl.d/99-sysctl.conf is a link to /etc/sysctl.conf, /lib one to /usr/lib.
        .filter_map(|path| fs::canonicalize(path).ok())
        .map(|path| Text::of_bytes(path.as_os_str().as_bytes()))
        .collect();
    files.sort();
    files.dedup();
    files
}

/// `net.ipv4.NAME = 1` or `net/ipv4/NAME=1`, with or without `-` before it.
fn sets(text: &str, sysctl: Sysctl) -> bool {
    text.lines().any(|line| {
        let Some((key, _)) = line.split_once('=') else {
            return false;
        };
        let key = key.trim().trim_start_matches('-').replace('/', ".");
        key.strip_prefix("net.ipv4.") == Some(sysctl.name())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that goes when it is dropped.
    struct Directory(std::path::PathBuf);

    impl Directory {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let name = format!("twtrace-sysctl-{name}-{}", std::process::id());
            let directory = std::env::temp_dir().join(name);
            for (file, text) in files {
                let path = directory.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(directory)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            // What is left in the temporary directory does no harm.
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn every_sysctl_has_a_row_in_its_order() {
        assert_eq!(ROWS.map(|row| row.sysctl), Sysctl::ALL);
    }

    #[test]
    fn each_form_is_read_as_the_kernel_writes_it() {
        assert_eq!(parse(Form::Number, "-1\n"), Some(Value::Number(-1)));
        let ends = Value::Ports(vec![(32_768, 60_999)]);
        assert_eq!(parse(Form::Ends, "32768\t60999\n"), Some(ends));
        let list = Value::Ports(vec![(8080, 8080), (9148, 9150)]);
        assert_eq!(parse(Form::List, "8080,9148-9150\n"), Some(list));
        assert_eq!(parse(Form::List, "\n"), Some(Value::Ports(vec![])));
        assert_eq!(parse(Form::List, "a-b\n"), None);
        assert_eq!(parse(Form::Ends, "1\n"), None);
    }

    #[test]
    fn what_the_kernel_does_not_have_is_not_there() {
        let files = [("tcp_tw_reuse", "1\n"), ("tcp_max_tw_buckets", "4096\n")];
        let directory = Directory::new("some", &files);
        let read = read_from(&directory.0);
        assert_eq!(read.len(), 2);
        assert_eq!(read[&Sysctl::TcpTwReuse].value, Value::Number(1));
        assert_eq!(read[&Sysctl::TcpMaxTwBuckets].default, None);
    }

    #[test]
    fn the_limit_of_buckets_defaults_to_half_the_table_where_the_kernel_tells() {
        let files = [
            ("tcp_max_tw_buckets", "5\n"),
            ("tcp_ehash_entries", "-8192\n"),
        ];
        let directory = Directory::new("table", &files);
        let limit = &read_from(&directory.0)[&Sysctl::TcpMaxTwBuckets];
        assert_eq!(limit.default, Some(Value::Number(4096)));
    }

    #[test]
    fn this_kernel_has_the_oldest_of_them() {
        let read = read();
        for sysctl in [Sysctl::TcpTwReuse, Sysctl::IpLocalPortRange] {
            assert!(read.contains_key(&sysctl), "{}", sysctl.name());
        }
    }

    #[test]
    fn files_that_set_a_sysctl_are_found_and_comments_are_not() {
        let directory = Directory::new(
            "boot",
            &[
                ("etc/sysctl.conf", "# net.ipv4.tcp_tw_recycle = 1\n"),
                ("etc/sysctl.d/10-fast.conf", " net/ipv4/tcp_tw_recycle=1\n"),
                ("etc/sysctl.d/20-other.conf", "net.ipv4.tcp_tw_reuse = 1\n"),
                ("etc/sysctl.d/README", "net.ipv4.tcp_tw_recycle = 1\n"),
            ],
        );
        let files = set_at_boot_by(&directory.0, Sysctl::TcpTwRecycle);
        assert_eq!(files.len(), 1, "{files:?}");
        assert!(files[0].ends_with("10-fast.conf"));
    }
}
