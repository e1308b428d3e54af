//! Two CPUs process segments for the same mini-socket: one segment is a RST that kills it, the
//! other kills nothing. The end must be attributed to the RST.
//!
//! The other segment has to arrive between the RST and the kill, a window of a hundred
//! instructions. Stack traces that the kernel takes there make it wider.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use etherparse::{Ipv4HeaderSlice, TcpHeaderSlice};
use socket2::{Domain, Protocol, Socket, Type};

use crate::checks::Checks;
use crate::namespace::{Namespace, mini_sockets, sysctl};
use crate::processor;
use crate::raw::{Sender, deaf, ipv4, old_syn, segment};
use crate::say;
use crate::tracer::{Tracer, Written};

const TARGETS: u16 = 101;
/// All clients use this port, each with its own address.
const CLIENTS: u16 = 20_000;
/// Segments sent between two checks of the current target.
const BATCH: usize = 8;
/// Stack traces per kill: together they take longer than processing a segment.
const NOTES: u8 = 8;
/// Name of the group of kprobe events that take them.
const GROUP: &str = "twtrace_vm";
const PATIENCE: Duration = Duration::from_secs(10);

type Noise = fn(&Target) -> &[Vec<u8>];

/// Segments that race with the RST: ACKs, which `trace` inspects because they restart the timer,
/// and SYNs, which every command inspects.
const ROUNDS: [(&str, Noise); 2] = [
    ("trace", |target| &target.acks),
    ("hist", |target| &target.syns),
];

pub(crate) fn run(attach: &str) -> Result<String> {
    let stdout = Path::new("/tmp/contest.json");
    let mut checks = Checks::default();
    for (command, noise) in ROUNDS {
        let namespace = Namespace::make("contest")?;
        let targets = namespace.run(targets)?;
        // Stands in for the peers, so that the kernel does not answer the replies with a RST.
        let peers = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENTS);
        let peers = namespace.run(|| deaf(peers))?;
        let tracer = Tracer::start(&[command, "-o", "json", "--attach", attach], stdout)?;
        let before = namespace.run(mini_sockets)?;
        let slow = Slow::down()?;
        contest(&targets, &namespace.run(Sender::open)?, noise)?;
        drop(slow);
        let after = namespace.run(mini_sockets)?;
        checks.equal("exit code", tracer.stop()?, 0);
        drop(peers);
        namespace.end()?;
        let written = Written::read(stdout)?;
        checks.equal("mini-sockets before", before, u64::from(TARGETS));
        checks.equal("mini-sockets after", after, 0);
        for (reason, count) in written.totals()? {
            let expected = match &*reason {
                "reset" => u64::from(TARGETS),
                // Namespaces of earlier tests may be cleaned up now.
                "netns-exit" => count,
                _ => 0,
            };
            checks.equal(&format!("{command}: ends by {reason}"), count, expected);
        }
    }
    checks.end(format!("{TARGETS} ended by a RST, twice"))
}

/// A mini-socket in TIME_WAIT, and forged segments from its peer.
#[derive(Debug)]
struct Target {
    rst: Vec<Vec<u8>>,
    acks: Vec<Vec<u8>>,
    syns: Vec<Vec<u8>>,
}

fn targets() -> Result<Vec<Target>> {
    // Without a random offset in the timestamps, a TSval from the first ms is old on every
    // connection.
    sysctl("tcp_timestamps", "2")?;
    sysctl("tcp_max_tw_buckets", "262144")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 7))?;
    let ear = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP))?;
    ear.set_read_timeout(Some(PATIENCE))?;
    let target = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let host = Ipv4Addr::new(127, 2, high, low);
        target(&listener, &ear, SocketAddrV4::new(host, CLIENTS))
    };
    (1..=TARGETS).map(target).collect()
}

fn target(listener: &TcpListener, ear: &Socket, client: SocketAddrV4) -> Result<Target> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&client.into())?;
    socket.connect(&listener.local_addr()?.into())?;
    let mut client = TcpStream::from(socket);
    drop(listener.accept()?);
    ensure!(client.read(&mut [0])? == 0, "data came where none was sent");
    let ends = [ipv4(client.local_addr()?)?, ipv4(client.peer_addr()?)?];
    drop(client);
    let [sequence, acknowledgement] = last_fin(ear, ends)?;
    Ok(Target {
        rst: vec![segment(ends, sequence, |made| Ok(made.rst()))?],
        acks: vec![segment(ends, sequence, |made| {
            Ok(made.ack(acknowledgement))
        })?],
        syns: vec![old_syn(ends)?],
    })
}

/// The sequence number that TIME_WAIT expects next, and the last acknowledgement number of its
/// peer.
fn last_fin(mut ear: &Socket, [from, to]: [SocketAddrV4; 2]) -> Result<[u32; 2]> {
    let mut buffer = [0; 256];
    loop {
        let length = ear
            .read(&mut buffer)
            .context("the client's FIN was not heard")?;
        let packet = &buffer[..length];
        let header = Ipv4HeaderSlice::from_slice(packet)?.slice().len();
        let tcp = TcpHeaderSlice::from_slice(&packet[header..])?;
        if tcp.fin() && (tcp.source_port(), tcp.destination_port()) == (from.port(), to.port()) {
            let next = tcp.sequence_number().wrapping_add(1);
            return Ok([next, tcp.acknowledgment_number()]);
        }
    }
}

/// Makes the kernel take stack traces before each kill by a RST, to slow it down.
#[derive(Debug)]
struct Slow;

impl Slow {
    fn down() -> Result<Self> {
        let slow = Self;
        tracing("options/stacktrace", "1")?;
        for note in 0..NOTES {
            let event = format!("p:{GROUP}/note{note} inet_twsk_deschedule_put");
            tracing("kprobe_events", &event)?;
        }
        tracing(&format!("events/{GROUP}/enable"), "1")?;
        Ok(slow)
    }

    fn end() -> Result<()> {
        tracing(&format!("events/{GROUP}/enable"), "0")?;
        tracing("options/stacktrace", "0")?;
        for note in 0..NOTES {
            tracing("kprobe_events", &format!("-:{GROUP}/note{note}"))?;
        }
        Ok(())
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        if let Err(error) = Self::end() {
            say(&format!("the kernel may still be slow: {error:#}"));
        }
    }
}

/// Appends to a tracefs file: truncating `kprobe_events` would remove the events of others.
fn tracing(file: &str, text: &str) -> Result<()> {
    let path = Path::new("/sys/kernel/tracing").join(file);
    let write = || {
        OpenOptions::new()
            .append(true)
            .open(&path)?
            .write_all(text.as_bytes())
    };
    write().with_context(|| format!("cannot write {text} to {}", path.display()))
}

/// Sends a RST to each target from CPU 0, while all other CPUs send other segments to the same
/// target.
fn contest(targets: &[Target], sender: &Sender, noise: Noise) -> Result<()> {
    let cpus = thread::available_parallelism()?.get();
    ensure!(cpus > 1, "there is only one CPU");
    let turn = AtomicUsize::new(0);
    let reached: Vec<_> = (1..cpus).map(|_| AtomicUsize::new(0)).collect();
    thread::scope(|scope| {
        let mut rivals = Vec::new();
        for (cpu, reached) in (1..).zip(&reached) {
            let turn = &turn;
            rivals.push(scope.spawn(move || {
                let done = rival(cpu, targets, sender, noise, [turn, reached]);
                reached.store(OVER, Ordering::Release);
                done
            }));
        }
        let killed = processor::on(0, || kill_each(targets, sender, &turn, &reached));
        turn.store(OVER, Ordering::Release);
        for rival in rivals {
            rival.join().map_err(|_| anyhow!("a rival panicked"))??;
        }
        killed
    })
}

/// Stands for the end of the contest, in place of a target's index.
const OVER: usize = usize::MAX;

/// Keeps sending to the current target, and publishes which one it has reached: 1 is the first.
fn rival(
    cpu: usize,
    targets: &[Target],
    sender: &Sender,
    noise: Noise,
    [turn, reached]: [&AtomicUsize; 2],
) -> Result<()> {
    processor::stay_on(cpu)?;
    loop {
        let index = turn.load(Ordering::Acquire);
        let Some(target) = targets.get(index) else {
            return Ok(());
        };
        sender.send(noise(target), BATCH)?;
        reached.store(index + 1, Ordering::Release);
    }
}

fn kill_each(
    targets: &[Target],
    sender: &Sender,
    turn: &AtomicUsize,
    reached: &[AtomicUsize],
) -> Result<()> {
    for (index, target) in targets.iter().enumerate() {
        turn.store(index, Ordering::Release);
        while reached
            .iter()
            .any(|one| one.load(Ordering::Acquire) <= index)
        {
            thread::yield_now();
        }
        sender.send(&target.rst, 1)?;
    }
    Ok(())
}
