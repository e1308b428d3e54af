//! Memory over more distinct tuples than any table holds.

use std::env;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use twtrace::event::found::Found;
use twtrace::event::{Birth, BornAs, End, Event, Family, Flow, Reason, Snapshot};
use twtrace::model::Dashboard;
use twtrace_common::counters::Counters;
use twtrace_common::histogram::TOTAL_BUCKETS;

use super::story;
use super::support::{HOST, S, STARTED};

/// Set in the process that does nothing else.
const ALONE: &str = "TWTRACE_SOAK_ALONE";
/// Distinct tuples: another remote address, port, owner and cgroup for each.
const TUPLES: u32 = 1_000_000;
/// By then every table is full.
const FULL: u32 = 300_000;
/// An hour, scaled down to the tuples: so many live at a time.
const ALIVE: u32 = 20_000;
/// What the allocator may hold more.
const SLACK: u64 = 8 << 20;

fn flow(number: u32) -> Flow {
    Flow {
        family: Family::Ipv4,
        laddr: Ipv4Addr::new(10, 0, 0, 5).into(),
        lport: 32_768 + (number % 28_232) as u16,
        raddr: IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + number)),
        rport: 1_024 + (number % 60_000) as u16,
        netns: HOST + number % 101,
        uid: Some(number),
        cgroup: Some(u64::from(number)),
    }
}

fn birth(number: u32) -> Event {
    Event::Birth(Birth {
        flow: flow(number),
        born_as: BornAs::TimeWait,
        at_ns: at(number),
    })
}

fn end(number: u32, now: u32) -> Event {
    let reasons = [Reason::Expired, Reason::Reset, Reason::SynReopened];
    Event::End(End {
        flow: flow(number),
        reason: reasons[number as usize % reasons.len()],
        born_as: Some(BornAs::TimeWait),
        born_ns: Some(at(number)),
        time_wait_ns: Some(at(number)),
        ended_ns: at(now),
        in_time_wait: true,
        rearms: 0,
        untracked: false,
        refused: 1,
        first_refused_ns: Some(at(number) + 1),
        accepted: None,
    })
}

/// A million in an hour.
fn at(number: u32) -> u64 {
    STARTED + u64::from(number) * 3_600 * S / u64::from(TUPLES)
}

fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

#[test]
fn a_million_tuples_take_no_more_memory_than_the_first() {
    if env::var_os(ALONE).is_none() {
        // The tests beside this one would be measured with it.
        let mut alone = Command::new(env::current_exe().unwrap());
        let name = "soak::a_million_tuples_take_no_more_memory_than_the_first";
        let ended = alone.args(["--exact", name]).env(ALONE, "1").output();
        let ended = ended.unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success(), "{said}");
        assert!(said.contains("1 passed"), "{said}");
        return;
    }
    let mut dashboard = Dashboard::new(&story::meta());
    // Tuples are kept as long as what was there before is being listed.
    dashboard.found(&Found::Listing { at_ns: STARTED });
    dashboard.found(&Found::ListingOver { at_ns: STARTED });
    let mut full = 0;
    for number in 0..TUPLES {
        dashboard.event(birth(number));
        if number >= ALIVE {
            dashboard.event(end(number - ALIVE, number));
        }
        if number % 10_000 == 0 {
            dashboard.totals(Snapshot {
                at_ns: at(number),
                counters: vec![Counters {
                    netns: HOST,
                    born_time_wait: number.into(),
                    ..Counters::ZERO
                }],
                histograms: vec![0; TOTAL_BUCKETS],
                missed: Some(0),
                kernel: Vec::new(),
                slack: 0,
            });
            assert!(!dashboard.figures().owners.rows.is_empty() || number < ALIVE);
        }
        if number == FULL {
            full = resident();
        }
    }
    let after = resident();
    assert!(full > 0);
    assert!(
        after <= full + SLACK,
        "{} KiB after {FULL} tuples, {} KiB after {TUPLES}",
        full >> 10,
        after >> 10
    );
}
