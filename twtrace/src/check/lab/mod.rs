//! A fresh network namespace, and connections over its loopback with both ends in it.

pub(super) mod calls;
pub(super) mod cgroup;
pub(super) mod gate;
pub(super) mod kernel;
pub(super) mod mini;
pub(super) mod segment;
pub(super) mod socket_table;
pub(super) mod sockets;
pub(super) mod step;

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt::Display;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::fchown;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, thread};

use socket2::Socket;

use super::expect::{Shown, Sign};
use super::life::{now_ns, sum};
use crate::event::Family;
use crate::kernel::counters;
use crate::kernel::netns::{self, Netns};
use calls::Calls;
use gate::Pass;
use socket_table::SocketTable;
use sockets::{Pair, loopback, reset, tcp_socket};
use step::{Attempt, PATIENCE, Step, Stop};

/// What a scenario requires of its namespace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) family: Family,
    /// Owner of all sockets.
    pub(super) uid: u32,
    /// How many connections to make.
    pub(super) count: usize,
    /// TCP may retransmit on a busy machine.
    pub(super) may_retransmit: bool,
}

/// The namespace, owned by the thread that is in it.
#[derive(Debug)]
pub(super) struct Lab<'a> {
    pub(super) family: Family,
    /// Inode number.
    pub(super) netns: u32,
    /// Owner of all sockets made here.
    pub(super) uid: u32,
    /// How many connections to make.
    pub(super) count: usize,
    pub(super) calls: Calls,
    may_retransmit: bool,
    listener: TcpListener,
    /// Local ports of [`Lab::connect_all`].
    taken: RefCell<HashSet<u16>>,
    shown: &'a Shown,
    pass: &'a Pass<'a>,
}

impl<'a> Lab<'a> {
    /// Moves the calling thread into a namespace of its own.
    pub(super) fn enter(terms: Terms, shown: &'a Shown, pass: &'a Pass<'a>) -> Step<Self> {
        let Terms {
            family,
            uid,
            count,
            may_retransmit,
        } = terms;
        pass.take_turn();
        let netns = enter_unclaimed(pass)?;
        netns::bring_up_loopback()?;
        let address = loopback(family);
        let listener = match TcpListener::bind((address, 0)) {
            Err(error) if unsupported(&error) => {
                return Err(Stop::Skip(format!("no {family:?} here: {error}")));
            }
            listener => listener.attempt(&format!("listen on {address}"))?,
        };
        Ok(Self {
            family,
            netns,
            uid,
            count,
            calls: Calls::default(),
            may_retransmit,
            listener,
            taken: RefCell::default(),
            shown,
            pass,
        })
    }

    /// Reports that all preexisting sockets are there, and waits for tracing to begin.
    pub(super) fn await_tracing(&self) -> Step<()> {
        if self.pass.await_tracing() {
            Ok(())
        } else {
            Err(Stop::Cancelled)
        }
    }

    /// Sets a sysctl of this namespace.
    pub(super) fn sysctl(&self, name: &str, value: impl Display) -> Step<()> {
        let value = value.to_string();
        self.try_sysctl(name, &value)
            .attempt(&format!("set {name} to {value}"))
    }

    /// The same, where the kernel may refuse.
    pub(super) fn try_sysctl(&self, name: &str, value: &str) -> io::Result<()> {
        let current = Netns::current().map(|current| current.inode);
        if current.ok() != Some(self.netns) {
            // Never set the host's.
            return Err(io::Error::other("the thread has left its own namespace"));
        }
        fs::write(sysctl_path(name), value)
    }

    /// Whether the running kernel shows this sign.
    pub(super) fn shows(&self, sign: Sign) -> bool {
        self.shown.has(sign)
    }

    /// A sysctl of this namespace; `None` if this kernel has none of that name.
    pub(super) fn sysctl_value(&self, name: &str) -> Option<u64> {
        fs::read_to_string(sysctl_path(name))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// A counter of this namespace, by its name in /proc/net/netstat; 0 if this kernel has none.
    pub(super) fn counter(&self, name: &str) -> Step<u64> {
        Ok(sum(&counters::read_current()?, &[name]))
    }

    /// Where the lab listens.
    pub(super) fn listening(&self) -> Step<SocketAddr> {
        address_of(&self.listener)
    }

    /// Another listener.
    pub(super) fn listen(&self) -> Step<TcpListener> {
        TcpListener::bind(self.address(0)).attempt("listen")
    }

    /// A new namespace with nothing in it.
    pub(super) fn another_namespace(&self) -> Step<Netns> {
        let own = Netns::current()?;
        enter_unclaimed(self.pass)?;
        let another = Netns::current();
        own.enter()?;
        Ok(another?)
    }

    /// Lets other scenarios work from now on.
    pub(super) fn step_aside(&self) {
        self.pass.end_turn();
    }

    /// Starts programs while no other scenario works. Between fork and exec, the child holds all
    /// descriptors, so a socket closed meanwhile stays open until exec.
    pub(super) fn start_programs<T>(&self, start: impl FnOnce() -> T) -> T {
        self.pass.alone(start)
    }

    /// A loopback address of the scenario's family.
    pub(super) fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(loopback(self.family), port)
    }

    /// Connects [`Self::count`] times to the lab's listener; the clients close first. No port is
    /// used twice, so events of one connection cannot be taken for another's.
    pub(super) fn connect_all(&self) -> Step<Vec<Pair>> {
        (0..self.count).map(|_| self.connect_anew()).collect()
    }

    /// Connects once.
    pub(super) fn connect(&self) -> Step<Pair> {
        let listening = self.listening()?;
        let client = TcpStream::connect(listening).attempt(&format!("connect to {listening}"))?;
        self.accept(&self.listener, client)
    }

    /// Connects once, from a port that [`Self::connect_all`] has not used before.
    fn connect_anew(&self) -> Step<Pair> {
        loop {
            let pair = self.connect()?;
            let local = pair.active.local_addr();
            let port = local.attempt("ask for a socket's address")?.port();
            if self.taken.borrow_mut().insert(port) {
                return Ok(pair);
            }
            reset(pair.active).attempt("reset a connection")?;
        }
    }

    /// Connects a bound socket to the lab's listener.
    pub(super) fn connect_bound(&self, socket: Socket) -> Step<Pair> {
        let listening = address_of(&self.listener)?;
        socket
            .connect(&listening.into())
            .attempt(&format!("connect to {listening}"))?;
        self.accept(&self.listener, socket.into())
    }

    /// Connects from `port`, as soon as the remains of an earlier connection allow it.
    pub(super) fn connect_from(&self, port: u16) -> Step<Pair> {
        let local = self.address(port);
        let listening = address_of(&self.listener)?;
        let client = retry(|| {
            let socket = self.calls.bind(local, true)?;
            self.calls.connect(socket, local, listening, None)
        });
        let client = client.attempt(&format!("connect from {local} to {listening}"))?;
        self.accept(&self.listener, client)
    }

    /// Connects to the given listener, as soon as a local port is free.
    pub(super) fn connect_to(&self, listener: &TcpListener) -> Step<Pair> {
        let listening = address_of(listener)?;
        let client = retry(|| {
            let socket = tcp_socket(listening)?;
            let local = self.address(0);
            self.calls.connect(socket, local, listening, None)
        });
        self.accept(
            listener,
            client.attempt(&format!("connect to {listening}"))?,
        )
    }

    pub(super) fn accept(&self, listener: &TcpListener, client: TcpStream) -> Step<Pair> {
        let pair = self.accept_as_made(listener, client)?;
        for end in [&pair.active, &pair.passive] {
            fchown(end, Some(self.uid), None).attempt("change the owner of a socket")?;
        }
        Ok(pair)
    }

    /// Accepts without changing the owner of the sockets.
    pub(super) fn accept_as_made(&self, listener: &TcpListener, client: TcpStream) -> Step<Pair> {
        let (server, _) = listener.accept().attempt("accept a connection")?;
        for end in [&client, &server] {
            end.set_read_timeout(Some(PATIENCE))
                .attempt("limit the time of a read")?;
        }
        Ok(Pair {
            active: client,
            passive: server,
        })
    }

    /// The sockets of this namespace.
    pub(super) fn table(&self) -> Step<SocketTable> {
        SocketTable::read().attempt("read the socket tables")
    }

    /// Lets other scenarios work from now on, and sleeps until `due` (CLOCK_MONOTONIC ns).
    pub(super) fn sleep_until(&self, due: u64) {
        self.pass.end_turn();
        thread::sleep(Duration::from_nanos(due.saturating_sub(now_ns())));
    }

    /// Stops if TCP retransmitted or left a closed socket full, which no scenario asks for.
    pub(super) fn check_undisturbed(&self) -> Step<()> {
        if self.may_retransmit {
            return Ok(());
        }
        match (snmp("RetransSegs")?, self.table()?.stuck()) {
            (0, 0) => Ok(()),
            (0, stuck) => Err(Stop::Disturbed(format!(
                "{stuck} sockets were acknowledged during close(), so they stay full sockets"
            ))),
            (segments, _) => Err(Stop::Disturbed(format!(
                "the machine is so busy that TCP retransmitted {segments} segments"
            ))),
        }
    }

    /// Polls until `done` returns `true`.
    pub(super) fn poll(&self, wanted: &str, mut done: impl FnMut() -> Step<bool>) -> Step<()> {
        let poll = Poll::start();
        while !done()? {
            self.check_undisturbed()?;
            if !poll.again() {
                let seconds = PATIENCE.as_secs();
                return Err(Stop::Fail(format!(
                    "waited {seconds} s in vain for {wanted}"
                )));
            }
        }
        Ok(())
    }

    /// Polls the socket table until `done` accepts it.
    pub(super) fn await_table(
        &self,
        wanted: &str,
        done: impl Fn(&SocketTable) -> bool,
    ) -> Step<()> {
        let mut last = SocketTable::default();
        let awaited = self.poll(wanted, || {
            last = self.table()?;
            Ok(done(&last))
        });
        awaited.map_err(|stop| match stop {
            Stop::Fail(reason) => Stop::Fail(format!("{reason}: {last}")),
            stop => stop,
        })
    }

    /// Polls counters of this namespace until their sum is `value`.
    pub(super) fn await_counters(&self, names: &[&str], value: usize) -> Step<()> {
        self.poll(&format!("{} to be {value}", names.join(" + ")), || {
            Ok(sum(&counters::read_current()?, names) == value as u64)
        })
    }

    /// Segments that TCP has received in this namespace.
    pub(super) fn received(&self) -> Step<u64> {
        snmp("InSegs")
    }

    /// Waits until TCP has received `count` segments more than `before`.
    pub(super) fn await_received(&self, before: u64, count: usize) -> Step<()> {
        let all = before + count as u64;
        self.poll(&format!("{count} segments to arrive"), || {
            Ok(self.received()? >= all)
        })
    }

    /// Waits until no full socket is left but the listener.
    pub(super) fn settle(&self) -> Step<()> {
        self.await_table("all full sockets to close", SocketTable::is_settled)
    }
}

fn address_of(listener: &TcpListener) -> Step<SocketAddr> {
    listener
        .local_addr()
        .attempt("ask for a listener's address")
}

/// Enters new namespaces until one has an inode number that none had before.
fn enter_unclaimed(pass: &Pass<'_>) -> Step<u32> {
    let mut claimed = Vec::new();
    loop {
        let netns = netns::enter_new()?;
        if pass.claim(netns) {
            return Ok(netns);
        }
        // As long as this one is open, the kernel cannot reuse its number.
        claimed.push(Netns::current()?);
    }
}

/// Polls at growing intervals, for [`PATIENCE`] at most.
struct Poll {
    start: Instant,
}

impl Poll {
    fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    fn again(&self) -> bool {
        let elapsed = self.start.elapsed();
        let pause = (elapsed / 20).clamp(Duration::from_millis(1), Duration::from_millis(100));
        thread::sleep(pause);
        elapsed < PATIENCE
    }
}

/// Retries while the local address is still taken.
fn retry<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let poll = Poll::start();
    loop {
        match attempt() {
            Err(error) if taken(&error) && poll.again() => {}
            result => return result,
        }
    }
}

fn taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
    )
}

fn unsupported(error: &io::Error) -> bool {
    let missing = [
        libc::EAFNOSUPPORT,
        libc::EADDRNOTAVAIL,
        libc::EPROTONOSUPPORT,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| missing.contains(&code))
}

fn sysctl_path(name: &str) -> PathBuf {
    Path::new("/proc/sys/net/ipv4").join(name)
}

/// A TCP counter of the calling thread's namespace.
fn snmp(name: &str) -> Step<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/snmp").attempt("read /proc/net/snmp")?;
    find_tcp(&text, name).ok_or_else(|| Stop::Fail(format!("/proc/net/snmp has no Tcp {name}")))
}

/// `/proc/net/snmp` is pairs of lines: `Tcp: name name …`, `Tcp: value value …`.
fn find_tcp(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let index = lines.next()?.split(' ').position(|found| found == name)?;
    lines.next()?.split(' ').nth(index)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_snmp_are_found_by_name() {
        let text = "Ip: A\nIp: 1\nTcp: RtoMin InSegs\nTcp: 200 17\n";
        assert_eq!(find_tcp(text, "InSegs"), Some(17));
        assert_eq!(find_tcp(text, "RetransSegs"), None);
    }
}
