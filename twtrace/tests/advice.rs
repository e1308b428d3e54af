//! What `doctor` says in situations in which its summary or its advice once was wrong.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy.toml's exception does not reach"
)]

#[expect(dead_code, reason = "the golden tests use the rest")]
mod support;

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use twtrace::event::facts::Facts;
use twtrace::host::Names;
use twtrace::model::doctor::diagnose;
use twtrace::view::doctor;
use twtrace::view::paint::Paint;

use support::golden;

/// A host right after its boot, as `--facts` wrote it.
struct Host(Value);

impl Host {
    fn new(kernel: &str) -> Self {
        let file = golden("doctor").join(format!("{kernel}.facts.json"));
        Self(serde_json::from_slice(&fs::read(file).unwrap()).unwrap())
    }

    fn own(&mut self) -> &mut Value {
        &mut self.0["namespaces"][0]
    }

    fn set(&mut self, sysctl: &str, value: &Value) {
        self.own()["sysctls"][sysctl]["value"] = value.clone();
    }

    /// Local ports of a small range, taken towards one destination.
    fn ports(&mut self, raddr: &str, ports: u32, time_wait: u32) {
        self.set("ip_local_port_range", &json!([[40_000, 40_149]]));
        let to = json!({"laddr": raddr, "raddr": raddr, "rport": 80, "ports": ports, "time_wait": time_wait});
        let top = &mut self.own()["destinations"]["top"];
        top.as_array_mut().unwrap().push(to);
    }

    /// The kernel's counters as they were when doctor looked a second time.
    fn later(&mut self, counters: &[(&str, u64)]) {
        self.own()["read_at_ns"] = json!(5_000_000_000_u64);
        let mut later = self.own()["counters"].clone();
        for (name, value) in counters {
            later[name] = json!(value);
        }
        self.own()["later"] = json!({"at_ns": 6_200_000_000_u64, "counters": later});
    }

    fn facts(&self) -> Facts {
        serde_json::from_value(self.0.clone()).unwrap()
    }

    /// What a person reads, the breaks of lines left out.
    fn text(&self) -> String {
        let facts = self.facts();
        let said = doctor::text(&facts, &diagnose(&facts), Paint::NONE, &mut Names::none());
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// What a program reads.
    fn json(&self) -> Value {
        let facts = self.facts();
        serde_json::from_str(&doctor::json(&facts, &diagnose(&facts))).unwrap()
    }

    fn has(&self, words: &str) {
        let text = self.text();
        assert!(text.contains(words), "no \"{words}\" in: {text}");
    }

    fn has_not(&self, words: &str) {
        let text = self.text();
        assert!(!text.contains(words), "\"{words}\" is in: {text}");
    }
}

#[test]
fn where_every_port_is_taken_none_is_left() {
    let mut host = Host::new("6.18");
    host.ports("127.0.0.1", 150, 150);
    host.has_not("few local ports left");
    host.has("WARNING no free local port from 127.0.0.1 to 127.0.0.1:80");
    host.has("150 of 150 local ports in use, 150 by TIME_WAIT; connect() can take over those");
    let mut host = Host::new("6.18");
    host.ports("10.0.0.30", 150, 150);
    host.has("DANGER no local port left from 10.0.0.30");
}

#[test]
fn a_sysctl_is_set_by_one_command() {
    let mut host = Host::new("6.18");
    // Two destinations, a small range, both limits of TIME_WAIT, timestamps off where reuse is on.
    host.ports("10.0.0.30", 150, 150);
    host.ports("10.0.0.31", 140, 140);
    host.ports("10.0.0.32", 120, 0);
    host.ports("10.0.0.33", 110, 0);
    host.set("tcp_timestamps", &json!(0));
    host.set("tcp_tw_reuse", &json!(1));
    host.set("tcp_max_tw_buckets", &json!(5));
    host.own()["population"] = json!(5);
    let said = host.json();
    let mut set = BTreeSet::new();
    for finding in said["findings"].as_array().unwrap() {
        let command = finding["command"].as_str().unwrap_or_default();
        for word in command.split(' ').filter(|word| word.contains("net.ipv4.")) {
            let sysctl = word.split('=').next().unwrap().to_owned();
            assert!(set.insert(sysctl), "twice: {command} in {said}");
        }
    }
    let expected = [
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_max_tw_buckets",
        "net.ipv4.tcp_timestamps",
        "net.ipv4.tcp_tw_reuse",
    ];
    assert!(set.iter().eq(expected), "{set:?}");
    // The limit to set is not below what the kernel chose.
    host.has("tcp_max_tw_buckets=4096");
}

#[test]
fn only_what_restarts_the_60_s_is_said_to() {
    let mut host = Host::new("6.18");
    host.set("tcp_rfc1337", &json!(1));
    host.has_not("each attempt restarts the 60 s");
    host.has("each SYN refused by timestamp restarts its 60 s");
    host.has("one refused by sequence number alone does not");
}

#[test]
fn a_client_that_is_refused_at_this_moment_is_found() {
    for (counter, kernel) in [
        ("PAWSTimewait", "6.18"),
        ("PAWSEstab", "5.10"),
        ("TCPACKSkippedTimeWait", "6.1"),
        ("TCPACKSkippedFinWait2", "7.2"),
        ("TCPSYNChallenge", "5.10"),
    ] {
        let mut host = Host::new(kernel);
        host.later(&[(counter, 2)]);
        host.has_not("nothing wrong found");
        host.has("WARNING segments are refused now");
        host.has(&format!("{counter} +2"));
        host.has("within 1.2 s");
        host.has("twtrace conflicts");
    }
}

#[test]
fn what_old_connections_refused_is_told_whatever_counts_it() {
    for counter in [
        "TCPSYNChallenge",
        "TCPACKSkippedFinWait2",
        "TCPACKSkippedTimeWait",
    ] {
        let mut host = Host::new("6.18");
        host.own()["counters"][counter] = json!(4);
        host.later(&[]);
        host.has("note refused by old connections");
        host.has(&format!("{counter} 4"));
    }
}

#[test]
fn nothing_wrong_is_said_of_the_moment_that_was_looked_at() {
    let mut host = Host::new("6.18");
    host.later(&[]);
    host.has("nothing wrong found at this moment");
    host.has("not seen who is refused: no counter of refusals moved within 1.2 s, but some refusals move none");
    host.has("twtrace conflicts");
    // Facts of an older version.
    let host = Host::new("6.18");
    host.has("not seen who is refused: the kernel's counters were read once");
}

/// 150 full sockets, most of them of a program that never closes.
fn held(named: u64) -> Host {
    let mut host = Host::new("6.18");
    host.set("tcp_fin_timeout", &json!(15));
    let holders = [
        json!({"pid": 812, "command": "python3", "sockets": 140}),
        json!({"pid": 9, "command": "sh\u{1b}", "sockets": 3}),
    ];
    host.own()["fin_wait_2"] =
        json!({"held": 150, "orphans": 2, "named": named, "holders": holders});
    host
}

#[test]
fn fin_wait_2_that_a_process_holds_is_told_with_its_holder() {
    let host = held(143);
    host.has_not("nothing wrong found");
    host.has("WARNING sockets in FIN_WAIT2 that are not closed");
    host.has("150 sockets: their programs called shutdown() and not close()");
    host.has("Held by python3 (pid 812): 140, sh\\x1b (pid 9): 3");
    host.has("7 by processes that cannot be looked at from here");
    host.has("tcp_fin_timeout counts from close() on");
    held(150).has_not("cannot be looked at from here");
}

#[test]
fn a_few_held_sockets_are_no_warning_and_none_are_nothing() {
    let mut host = Host::new("6.18");
    host.own()["fin_wait_2"] = json!({"held": 1, "orphans": 0, "named": 0, "holders": []});
    host.has("nothing wrong found");
    host.has("note sockets in FIN_WAIT2 that are not closed 1 socket: its program");
    host.own()["fin_wait_2"]["held"] = json!(0);
    host.has_not("that are not closed");
}

#[test]
fn tcp_fin_timeout_is_never_said_to_limit_every_fin_wait_2() {
    for host in [held(150), Host::new("5.10")] {
        host.has_not("limits how long this side waits for the peer to close too (FIN_WAIT2)");
        host.has_not("it limits FIN_WAIT2, the wait for the peer's close");
        host.has_not("how long FIN_WAIT2 waits for the peer's close");
    }
}
