//! Checks `twtrace doctor` against the facts: what can be attached, what the settings do, which
//! limits are reached; as root, as a user, from inside a namespace and from outside.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::checks::Checks;
use crate::load::own_namespace;
use crate::tracer::TWTRACE;

const SYSCTLS: &str = "/proc/sys/net/ipv4";
/// The user nobody.
const USER: u32 = 65_534;
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(_attach: &str) -> Result<String> {
    let mut checks = Checks::default();
    let root = Doctor::ask(&mut Command::new(TWTRACE))?;
    plan(&root, &mut checks)?;
    settings(&root, &mut checks)?;
    user(&root, &mut checks)?;
    let age = beside(|| inside(&mut checks))?;
    beside(|| held(&mut checks))?;
    checks.end(format!(
        "plan, settings, limits and ports as said; a port was taken over after {} ms",
        age.as_millis()
    ))
}

/// Limits and settings of another namespace are found from this one.
pub(crate) fn elsewhere(_attach: &str) -> Result<String> {
    let mut checks = Checks::default();
    let (send, receive) = std::sync::mpsc::channel::<()>();
    let (ready, inode) = std::sync::mpsc::channel();
    thread::scope(|scope| -> Result<()> {
        scope.spawn(move || {
            let made = own_namespace().and_then(|()| {
                set("tcp_fin_timeout", "17")?;
                let sockets = Sockets::new()?;
                set("tcp_max_tw_buckets", "5")?;
                sockets.close(5)?;
                Ok((namespace()?, sockets))
            });
            let _ = ready.send(made.as_ref().map(|made| made.0).ok());
            // The namespace lives as long as this thread.
            let _ = receive.recv();
        });
        let netns = inode.recv()?.context("no namespace was made")?;
        let doctor = Doctor::ask(&mut Command::new(TWTRACE))?;
        checks.equal("exit code", doctor.code, 1);
        let there = |code| doctor.finding(code, netns)["severity"].clone();
        checks.equal("the limit", there("tw-buckets"), "danger".into());
        checks.equal("tcp_fin_timeout", there("fin-timeout"), "note".into());
        let own = namespace()?;
        let here = doctor.finding("fin-timeout", own);
        checks.that(here.is_null(), || format!("our own namespace has {here}"));
        drop(send);
        Ok(())
    })?;
    checks.end("a danger in another namespace is found and named".to_owned())
}

/// Its JSON output and its exit code.
struct Doctor {
    said: Value,
    code: i32,
}

impl Doctor {
    fn ask(command: &mut Command) -> Result<Self> {
        let output = command
            .args(["doctor", "-o", "json"])
            .output()
            .context("cannot start twtrace")?;
        let code = output.status.code().context("twtrace was killed")?;
        let said = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("not JSON: {}", String::from_utf8_lossy(&output.stderr)))?;
        Ok(Self { said, code })
    }

    fn list(&self, name: &str) -> &[Value] {
        self.said[name].as_array().map_or(&[], Vec::as_slice)
    }

    /// A finding that is not "ok"; null if there is none.
    fn finding(&self, code: &str, netns: u64) -> &Value {
        let wanted =
            |one: &&Value| one["code"] == code && one["netns"] == netns && one["severity"] != "ok";
        self.list("findings")
            .iter()
            .find(wanted)
            .unwrap_or(&Value::Null)
    }

    fn sysctl(&self, name: &str) -> &Value {
        let wanted = |one: &&Value| one["name"] == name;
        self.list("sysctls")
            .iter()
            .find(wanted)
            .unwrap_or(&Value::Null)
    }

    /// Number of programs of all points that can be seen.
    fn programs(&self) -> usize {
        let seen = self
            .list("hooks")
            .iter()
            .filter(|hook| hook["answer"] == "yes");
        seen.filter_map(|hook| hook["programs"].as_array())
            .map(Vec::len)
            .sum()
    }

    fn ways(&self) -> BTreeSet<&str> {
        let hooks = self.list("hooks").iter();
        let ways = hooks.filter_map(|hook| hook["way"].as_str());
        ways.filter(|&way| way != "tracepoint").collect()
    }
}

/// `record` attaches what `doctor` plans.
fn plan(doctor: &Doctor, checks: &mut Checks) -> Result<()> {
    checks.equal("exit code", doctor.code, 0);
    checks.equal("btf", doctor.said["btf"]["answer"].as_str(), Some("yes"));
    let allowed = &doctor.said["allowed"];
    checks.equal("allowed", allowed["answer"].as_str(), Some("yes"));
    let output = Command::new(TWTRACE)
        .args(["record", "/tmp/record", "-c", "/bin/twtrace-vm true"])
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let ways = doctor.ways();
    let way = ways.iter().next().copied().unwrap_or_default();
    let expected = format!("· {way} · {} hooks", doctor.programs());
    checks.that(ways.len() == 1 && text.contains(&expected), || {
        format!("record did not say \"{expected}\" of {ways:?} but {text}")
    });
    let refused = doctor.list("hooks").iter().any(|hook| {
        hook["refused"]
            .as_array()
            .is_some_and(|ways| !ways.is_empty())
    });
    checks.that(!refused, || "a way was refused".to_owned());
    Ok(())
}

/// Values, and which sysctls are missing, match /proc/sys.
fn settings(doctor: &Doctor, checks: &mut Checks) -> Result<()> {
    let rows = doctor.list("sysctls");
    checks.that(rows.len() > 10, || format!("{} settings", rows.len()));
    for row in rows {
        let name = row["name"].as_str().unwrap_or_default();
        let file = fs::read_to_string(Path::new(SYSCTLS).join(name)).ok();
        checks.equal(name, row["value"].is_null(), file.is_none());
        if let (Some(text), Some(number)) = (&file, row["value"].as_i64()) {
            checks.equal(name, text.trim(), &*number.to_string());
        }
    }
    let recycle = doctor.sysctl("tcp_tw_recycle");
    checks.that(recycle["value"].is_null() && !recycle.is_null(), || {
        format!("it reports {recycle} for tcp_tw_recycle")
    });
    let limit = doctor.sysctl("tcp_max_tw_buckets");
    checks.that(
        limit["default"].is_null() || limit["default"] == limit["value"],
        || format!("nobody has changed this limit: {limit}"),
    );
    let netstat = fs::read_to_string("/proc/net/netstat")?;
    for name in ["PAWSTimewait", "PAWSEstab"] {
        let counted = doctor
            .list("counters")
            .iter()
            .any(|one| one["name"] == name);
        checks.equal(name, counted, netstat.contains(&format!(" {name} ")));
    }
    Ok(())
}

/// Without privileges the answers are the same, except for what cannot be known, and never a wrong
/// "no".
fn user(root: &Doctor, checks: &mut Checks) -> Result<()> {
    let user = Doctor::ask(Command::new(TWTRACE).uid(USER).gid(USER))?;
    checks.equal("a user's exit code", user.code, 0);
    let allowed = &user.said["allowed"]["answer"];
    checks.equal("allowed for a user", allowed.as_str(), Some("unknown"));
    let told = |code: &str| user.list("findings").iter().any(|one| one["code"] == code);
    for code in ["needs-privileges", "namespaces-unread"] {
        checks.that(told(code), || format!("{code} is missing for a user"));
    }
    let sysctls = user.list("sysctls") == root.list("sysctls");
    checks.that(sysctls, || "a user sees other settings".to_owned());
    for (mine, roots) in user.list("hooks").iter().zip(root.list("hooks")) {
        let no = |hook: &Value| hook["answer"] == "no";
        checks.that(no(mine) == no(roots) && mine["way"] == roots["way"], || {
            format!("a user sees {mine}, root sees {roots}")
        });
    }
    Ok(())
}

/// In a namespace of its own: settings without effect, and limits that are reached.
fn inside(checks: &mut Checks) -> Result<Duration> {
    own_namespace()?;
    let netns = namespace()?;
    let severity = |doctor: &Doctor, code: &str| doctor.finding(code, netns)["severity"].clone();
    let sockets = Sockets::new()?;

    set("tcp_tw_reuse", "1")?;
    set("tcp_timestamps", "0")?;
    set("tcp_fin_timeout", "30")?;
    set("tcp_rfc1337", "1")?;
    set("ip_local_port_range", "40001 40001")?;
    sockets.close(1)?;
    let doctor = Doctor::ask(&mut Command::new(TWTRACE))?;
    let useless = severity(&doctor, "reuse-without-timestamps");
    checks.equal("reuse without timestamps", useless, "warning".into());
    let effect = &doctor.sysctl("tcp_tw_reuse")["takes_effect"];
    checks.equal("its effect", effect.as_bool(), Some(false));
    for code in ["fin-timeout", "rfc1337", "small-port-range"] {
        checks.equal(code, severity(&doctor, code), "note".into());
    }
    thread::sleep(Duration::from_millis(1_100));
    checks.that(is_out_of_ports(&sockets.connect()), || {
        "tcp_tw_reuse did something without timestamps".to_owned()
    });

    set("tcp_timestamps", "1")?;
    set("tcp_tw_reuse", "0")?;
    set("ip_local_port_range", "41000 41009")?;
    sockets.close(10)?;
    let doctor = Doctor::ask(&mut Command::new(TWTRACE))?;
    checks.equal("exit code without ports", doctor.code, 1);
    checks.equal("ports", severity(&doctor, "ports"), "danger".into());
    let advice = &doctor.finding("ports", netns)["command"];
    let reuse = "sysctl -w net.ipv4.tcp_tw_reuse=1";
    checks.equal("what to run", advice.as_str(), Some(reuse));
    checks.that(is_out_of_ports(&sockets.connect()), || {
        "there was a port left".to_owned()
    });

    let population = sockstat()?;
    set("tcp_max_tw_buckets", &population.to_string())?;
    set("ip_local_port_range", "42000 42100")?;
    sockets.connect().map(drop)?;
    let doctor = Doctor::ask(&mut Command::new(TWTRACE))?;
    checks.equal("exit code at the limit", doctor.code, 1);
    checks.equal(
        "the limit",
        severity(&doctor, "tw-buckets"),
        "danger".into(),
    );
    set("tcp_max_tw_buckets", "262144")?;
    let doctor = Doctor::ask(&mut Command::new(TWTRACE))?;
    let full = severity(&doctor, "tw-buckets");
    checks.that(full.is_null(), || format!("with room it says {full}"));
    checks.equal(
        "overflows",
        severity(&doctor, "tw-overflowed").as_str(),
        Some("warning"),
    );
    reuse_age(&sockets, checks)
}

/// Sockets that are shut down and not closed are told with the process that holds them.
fn held(checks: &mut Checks) -> Result<()> {
    const HELD: usize = 101;
    own_namespace()?;
    let netns = namespace()?;
    let sockets = Sockets::new()?;
    let pairs = (0..HELD).map(|_| sockets.half_closed());
    let pairs = pairs.collect::<io::Result<Vec<_>>>()?;
    let doctor = Doctor::ask(&mut Command::new(TWTRACE))?;
    let finding = doctor.finding("fin-wait-2-held", netns);
    checks.equal("severity", finding["severity"].as_str(), Some("warning"));
    let there = |one: &&Value| one["netns"] == netns;
    let full = doctor.list("namespaces").iter().find(there);
    let full = full.map_or(&Value::Null, |one| &one["fin_wait_2"]);
    for count in ["held", "named"] {
        checks.equal(count, full[count].as_u64(), Some(HELD as u64));
    }
    let holder = &full["holders"][0];
    let own = u64::from(std::process::id());
    checks.equal("who holds them", holder["pid"].as_u64(), Some(own));
    drop(pairs);
    Ok(())
}

/// A port is reused at the age that `doctor` states.
fn reuse_age(sockets: &Sockets, checks: &mut Checks) -> Result<Duration> {
    const DELAY_MS: u64 = 300;
    set("tcp_tw_reuse", "1")?;
    let in_ms = set("tcp_tw_reuse_delay", &DELAY_MS.to_string()).is_ok();
    let doctor = Doctor::ask(&mut Command::new(TWTRACE))?;
    let said = doctor.sysctl("tcp_tw_reuse")["effect"].clone();
    let said = said.as_str().unwrap_or_default();
    set("ip_local_port_range", "43000 43000")?;
    sockets.close(1)?;
    let started = Instant::now();
    let mut connected = sockets.connect();
    while is_out_of_ports(&connected) && started.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(5));
        connected = sockets.connect();
    }
    connected.context("tcp_tw_reuse does nothing")?;
    let took = started.elapsed();
    let (expected, least, most) = if in_ms {
        let text = format!("older than {DELAY_MS} ms");
        (text, DELAY_MS - 50, DELAY_MS + 1_000)
    } else {
        ("from the next full second on".to_owned(), 0, 1_500)
    };
    checks.that(said.contains(&expected), || format!("it says {said}"));
    let range = Duration::from_millis(least)..Duration::from_millis(most);
    checks.that(range.contains(&took), || {
        format!("a port was taken over after {took:?}, where it says {said}")
    });
    Ok(took)
}

/// A server, and clients that close first.
struct Sockets {
    listener: TcpListener,
    address: SocketAddr,
}

impl Sockets {
    fn new() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 7))?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Makes one connection, whose client closes first and enters TIME_WAIT if there is room.
    fn connect(&self) -> io::Result<()> {
        let client = TcpStream::connect(self.address)?;
        let (mut server, _) = self.listener.accept()?;
        drop(client);
        server.read(&mut [0]).map(drop)
    }

    /// A connection whose client has shut down, and that is in FIN_WAIT2 once the server has read so.
    fn half_closed(&self) -> io::Result<(TcpStream, TcpStream)> {
        let client = TcpStream::connect(self.address)?;
        let (mut server, _) = self.listener.accept()?;
        client.shutdown(Shutdown::Write)?;
        match server.read(&mut [0])? {
            0 => Ok((client, server)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Adds this many mini-sockets, for which there must be room.
    fn close(&self, count: u64) -> Result<()> {
        let before = sockstat()?;
        for _ in 0..count {
            self.connect()?;
        }
        let started = Instant::now();
        while sockstat()? < before + count {
            ensure!(started.elapsed() < PATIENCE, "too few mini-sockets");
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

fn is_out_of_ports(connected: &io::Result<()>) -> bool {
    let kind = connected.as_ref().err().map(io::Error::kind);
    kind == Some(io::ErrorKind::AddrNotAvailable)
}

/// Runs `work` in a thread, which may enter a namespace of its own.
fn beside<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let done = scope.spawn(work).join();
        done.map_err(|_| anyhow::anyhow!("the thread panicked"))?
    })
}

fn set(name: &str, value: &str) -> Result<()> {
    fs::write(Path::new(SYSCTLS).join(name), value).with_context(|| format!("cannot set {name}"))
}

/// Mini-sockets of this thread's namespace.
fn sockstat() -> Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/sockstat")?;
    let words: Vec<_> = text.split_whitespace().collect();
    let at = words.iter().position(|&word| word == "tw");
    let count = at.and_then(|at| words.get(at + 1)?.parse().ok());
    count.context("sockstat has no number of mini-sockets")
}

/// The inode number of this thread's namespace.
fn namespace() -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(fs::metadata("/proc/thread-self/ns/net")?.ino())
}
