//! One of everything: connections that end in each way a demonstration can show in a minute, each
//! kind in a network namespace of its own, with prime counts.

use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use socket2::{Domain, Socket, Type};

use crate::load::{self, Churn};
use crate::{rst, say};

const SERVER: u16 = 80;
const CLIENT: u16 = 41_000;

/// What it does, as told to the person, and the work.
type Part = (&'static str, fn() -> Result<()>);

const PARTS: &[Part] = &[
    (
        "13 connections closed and left alone: they expire after 60 s",
        expiring,
    ),
    (
        "17 SYNs from ports whose TIME_WAIT is still there",
        reopened,
    ),
    (
        "3 connect() over the only ephemeral port, tcp_tw_reuse=1",
        connect_reused,
    ),
    ("5 connect() from one bound port", bound_reused),
    ("3 RSTs into a TIME_WAIT", reset),
    ("12 closes with tcp_max_tw_buckets=5", overflowing),
    ("5 peers that never close, tcp_fin_timeout=3", fin_wait_2),
    ("11 in a namespace that goes away", going_away),
];

/// What it says when all parts have come to their end.
pub(crate) const DONE: &str = "done";

/// Runs all parts side by side; their namespaces live until stdin ends.
pub(crate) fn run() -> Result<()> {
    let (send, results) = mpsc::channel();
    let nobody_looks = Barrier::new(PARTS.len() + 1);
    thread::scope(|scope| {
        for (name, part) in PARTS {
            let send = send.clone();
            let nobody_looks = &nobody_looks;
            scope.spawn(move || {
                // The receiver waits for all.
                let _ = send.send(in_namespace(*part).context(*name));
                nobody_looks.wait();
            });
        }
        let results: Result<Vec<()>> = results.iter().take(PARTS.len()).collect();
        if results.is_ok() {
            say(DONE);
            std::io::stdin().read_to_end(&mut Vec::new())?;
        }
        nobody_looks.wait();
        results.map(drop)
    })
}

/// Says what `run` does.
pub(crate) fn describe() {
    for (name, _) in PARTS {
        say(&format!("  {name}"));
    }
}

fn in_namespace(part: fn() -> Result<()>) -> Result<()> {
    load::own_namespace()?;
    part()?;
    let started = Instant::now();
    while mini_sockets()? > 0 {
        ensure!(
            started.elapsed() < Duration::from_secs(90),
            "mini-sockets are left"
        );
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Mini-sockets in the namespace of this thread.
fn mini_sockets() -> Result<usize> {
    let table = fs::read_to_string("/proc/thread-self/net/tcp")?;
    let states = table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3));
    Ok(states.filter(|state| ["05", "06"].contains(state)).count())
}

fn sysctl(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/ipv4/{name}");
    fs::write(&path, value).with_context(|| format!("cannot write {value} to {path}"))
}

fn listener() -> Result<TcpListener> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, SERVER))?)
}

/// A connection, from a port of choice or whichever the kernel takes: client and server.
fn connection(listener: &TcpListener, port: Option<u16>) -> Result<(Socket, TcpStream)> {
    let client = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if let Some(port) = port {
        client.set_reuse_address(true)?;
        client.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    }
    client.connect(&listener.local_addr()?.into())?;
    let (server, _) = listener.accept()?;
    Ok((client, server))
}

/// Closes `first` and, once the other side has seen it, `second`: the first keeps the TIME_WAIT.
fn close(first: impl Into<Socket>, second: impl Into<Socket>) -> Result<()> {
    drop(first.into());
    let second: Socket = second.into();
    ensure!((&second).read(&mut [0])? == 0, "data where none was sent");
    Ok(())
}

fn expiring() -> Result<()> {
    let listener = listener()?;
    for _ in 0..13 {
        let (client, server) = connection(&listener, None)?;
        close(server, client)?;
    }
    Ok(())
}

fn reopened() -> Result<()> {
    let ports = 7;
    let mut churn = Churn::new(load::Args { ports, hosts: 1 })?;
    churn.run(u32::from(ports))?;
    for _ in 0..17 {
        thread::sleep(Duration::from_millis(200));
        churn.run(1)?;
    }
    Ok(())
}

fn connect_reused() -> Result<()> {
    sysctl("ip_local_port_range", "40000 40000")?;
    sysctl("tcp_tw_reuse", "1")?;
    let listener = listener()?;
    for _ in 0..=3 {
        let (client, server) = until_possible(|| connection(&listener, None))?;
        close(client, server)?;
    }
    Ok(())
}

/// A TIME_WAIT must be up to a second old before an ephemeral port is taken over.
fn until_possible<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    loop {
        match attempt() {
            Err(_) if started.elapsed() < Duration::from_secs(5) => {
                thread::sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}

fn bound_reused() -> Result<()> {
    let listener = listener()?;
    for _ in 0..=5 {
        let (client, server) = connection(&listener, Some(CLIENT))?;
        close(client, server)?;
        thread::sleep(Duration::from_millis(300));
    }
    Ok(())
}

fn reset() -> Result<()> {
    let listener = listener()?;
    for port in CLIENT..CLIENT + 3 {
        let (client, server) = connection(&listener, Some(port))?;
        let from = client.local_addr()?.as_socket_ipv4().context("not IPv4")?;
        let fin = rst::next_sequence(&client)?;
        close(server, client)?;
        thread::sleep(Duration::from_millis(500));
        rst::send(from, SERVER, fin.wrapping_add(1))?;
    }
    Ok(())
}

fn overflowing() -> Result<()> {
    sysctl("tcp_max_tw_buckets", "5")?;
    let listener = listener()?;
    for _ in 0..12 {
        let (client, server) = connection(&listener, None)?;
        close(server, client)?;
    }
    Ok(())
}

fn fin_wait_2() -> Result<()> {
    sysctl("tcp_fin_timeout", "3")?;
    let listener = listener()?;
    let mut clients = Vec::new();
    for _ in 0..5 {
        let (client, server) = connection(&listener, None)?;
        drop(server);
        clients.push(client);
    }
    thread::sleep(Duration::from_secs(4));
    Ok(())
}

/// The namespace ends with the thread that made it.
fn going_away() -> Result<()> {
    let inner = thread::spawn(|| {
        load::own_namespace()?;
        let listener = listener()?;
        for _ in 0..11 {
            let (client, server) = connection(&listener, None)?;
            close(server, client)?;
        }
        thread::sleep(Duration::from_secs(5));
        Ok(())
    });
    inner
        .join()
        .map_err(|_| anyhow!("the namespace's thread panicked"))?
}
