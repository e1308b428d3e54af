//! A workload with owners: three users in three cgroups and two network namespaces. Each makes a
//! prime number of connections, so that every sum shows whose they are.
//!
//! [`Tenants::settle`] makes namespaces and user names, before a tracer starts.
//! [`Tenants::connect`] makes the cgroups, and the connections in rounds. The first round leaves
//! one TIME_WAIT per connection; in each later round, a connect() from the same bound port takes it
//! over. When it returns, `rounds - 1` times the number of connections have ended by
//! `bound-reused`, and that number is alive. Dropping the tenants removes their namespaces and
//! cgroups.

use std::fs;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::unistd::{Uid, setresuid};
use socket2::{Domain, Socket, Type};

use crate::namespace::{Namespace, sysctl};

/// One user with its workload.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) user: &'static str,
    pub(crate) uid: u32,
    /// Path below the cgroup2 mount.
    pub(crate) cgroup: &'static str,
    /// Its name in twtrace's output: unit, container, or pod and container.
    pub(crate) cgroup_name: &'static str,
    pub(crate) netns: &'static str,
    /// A prime; no two sums of them are equal.
    pub(crate) connections: u16,
}

pub(crate) const TENANTS: [Tenant; 3] = [
    Tenant {
        user: "alice",
        uid: 2_003,
        cgroup: "system.slice/shop.service",
        cgroup_name: "shop",
        netns: "shop",
        connections: 211,
    },
    Tenant {
        user: "bob",
        uid: 2_011,
        cgroup: "system.slice/docker-3f8a1c9e5b7d2046a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718.scope",
        cgroup_name: "3f8a1c9e5b7d",
        netns: "shop",
        connections: 307,
    },
    Tenant {
        user: "carol",
        uid: 2_017,
        cgroup: "kubepods.slice/kubepods-pod7f9c0d1e_2b3a_4c5d_8e9f_a0b1c2d3e4f5.slice/cri-containerd-90ab1c9e5b7d2046a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718.scope",
        cgroup_name: "pod-7f9c0d1e/90ab1c9e5b7d",
        netns: "bank",
        connections: 401,
    },
];

const CGROUPS: &str = "/sys/fs/cgroup";
const PASSWD: &str = "/etc/passwd";
const FIRST_SERVER_PORT: u16 = 8_001;
const FIRST_CLIENT_PORT: u16 = 20_000;
/// States in /proc/net/tcp.
const TIME_WAIT: &str = "06";
const LISTEN: &str = "0A";
const PATIENCE: Duration = Duration::from_secs(10);
/// Distance between the tenants' client ports: more than any has connections.
const PORTS_EACH: u16 = 1_000;

impl Tenant {
    fn directory(&self) -> PathBuf {
        Path::new(CGROUPS).join(self.cgroup)
    }

    /// ID of its cgroup.
    pub(crate) fn cgroup_id(&self) -> Result<u64> {
        Ok(fs::metadata(self.directory())?.ino())
    }
}

/// Namespaces and cgroups that are removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Tenants {
    namespaces: Vec<Namespace>,
}

impl Tenants {
    pub(crate) fn settle() -> Result<Self> {
        let user = |tenant: &Tenant| format!("{0}:x:{1}:{1}::/:\n", tenant.user, tenant.uid);
        let passwd = TENANTS.iter().map(user).collect::<String>();
        fs::write(PASSWD, format!("root:x:0:0::/:\n{passwd}"))?;
        let mut names: Vec<_> = TENANTS.iter().map(|tenant| tenant.netns).collect();
        names.dedup();
        let mut tenants = Self {
            namespaces: Vec::new(),
        };
        for name in names {
            let namespace = Namespace::make(name)?;
            // The default limit follows the VM's memory.
            namespace.run(|| sysctl("tcp_max_tw_buckets", "262144"))?;
            // If the VM stalls, the server's FIN is retransmitted and acknowledged twice. The
            // second ACK finds no socket, and the RST that answers it would end the TIME_WAIT.
            namespace.run(|| sysctl("tcp_rfc1337", "1"))?;
            tenants.namespaces.push(namespace);
        }
        Ok(tenants)
    }

    /// Runs all tenants one after another, each in its own process. A cgroup is made just before
    /// its tenant starts, so a tracer that already knows the earlier ones has to look it up.
    pub(crate) fn connect(&self, rounds: u16) -> Result<()> {
        for (index, tenant) in TENANTS.iter().enumerate() {
            let directory = tenant.directory();
            fs::create_dir_all(&directory)
                .with_context(|| format!("cannot make {}", directory.display()))?;
            let status = Command::new("/proc/self/exe")
                .args(["tenant", &index.to_string(), &rounds.to_string()])
                .status()
                .context("cannot start a tenant")?;
            ensure!(status.success(), "{} ended with {status}", tenant.user);
        }
        Ok(())
    }
}

impl Drop for Tenants {
    fn drop(&mut self) {
        for namespace in self.namespaces.drain(..) {
            // The VM ends soon, and a later test would notice.
            let _ = namespace.end();
        }
        for tenant in &TENANTS {
            let mut directory = tenant.directory();
            // Remove the parents, too, as long as they are empty.
            while directory != Path::new(CGROUPS) && fs::remove_dir(&directory).is_ok() {
                directory.pop();
            }
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    index: u16,
    rounds: u16,
}

/// Moves this process to the tenant's cgroup and namespace, becomes that user, and makes its
/// connections.
pub(crate) fn run(args: &Args) -> Result<()> {
    let tenant = TENANTS.get(usize::from(args.index));
    let tenant = tenant.context("there is no such tenant")?;
    fs::write(tenant.directory().join("cgroup.procs"), "0").context("cannot enter the cgroup")?;
    Namespace::of_name(tenant.netns).run(|| {
        let uid = Uid::from_raw(tenant.uid);
        // Change only the effective uid: leaving the namespace takes root again.
        setresuid(Uid::from_raw(u32::MAX), uid, Uid::from_raw(u32::MAX))?;
        let made = connections(tenant, args);
        setresuid(
            Uid::from_raw(u32::MAX),
            Uid::from_raw(0),
            Uid::from_raw(u32::MAX),
        )?;
        made
    })
}

fn connections(tenant: &Tenant, args: &Args) -> Result<()> {
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST_SERVER_PORT + args.index));
    let listener = TcpListener::bind(server)?;
    let first = FIRST_CLIENT_PORT + args.index * PORTS_EACH;
    for _ in 0..args.rounds {
        for port in first..first + tenant.connections {
            one(&listener, server, port)
                .with_context(|| format!("{} from port {port}", tenant.user))?;
        }
        settle()?;
    }
    Ok(())
}

/// Waits until only TIME_WAIT is left: a connect() from a bound port takes over FIN_WAIT2, too.
fn settle() -> Result<()> {
    let started = Instant::now();
    loop {
        let states = states()?;
        let under_way = |state: &&String| ![LISTEN, TIME_WAIT].contains(&state.as_str());
        let under_way: Vec<_> = states.iter().filter(under_way).collect();
        if under_way.is_empty() {
            return Ok(());
        }
        ensure!(
            started.elapsed() < PATIENCE,
            "sockets stay in states {under_way:?} of /proc/net/tcp"
        );
        thread::sleep(Duration::from_millis(1));
    }
}

/// The states of all IPv4 sockets, as /proc/net/tcp shows them.
fn states() -> Result<Vec<String>> {
    let table = fs::read_to_string("/proc/thread-self/net/tcp")?;
    let of_line = |line: &str| Some(line.split_whitespace().nth(3)?.to_owned());
    Ok(table.lines().skip(1).filter_map(of_line).collect())
}

/// The client closes first, and the server after it.
fn one(listener: &TcpListener, server: SocketAddr, port: u16) -> io::Result<()> {
    let client = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    client.set_reuse_address(true)?;
    client.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    client.connect(&server.into())?;
    let (mut accepted, _): (TcpStream, _) = listener.accept()?;
    drop(client);
    match accepted.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
