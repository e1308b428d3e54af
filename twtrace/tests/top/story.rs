//! An incident: what happened, what the kernel side counted of it, and what asking found.

use std::collections::BTreeMap;
use std::net::IpAddr;

use twtrace::event::found::{Found, Listed, Lister, PortRules, Survey, Users};
use twtrace::event::{
    Birth, BornAs, Call, CommandName, End, Event, Family, Flow, Meta, Named, Numbers, Overflow,
    PortFailure, Reason, Refusal, Reply, Room, Rule, Seed, Snapshot, Stage,
};
use twtrace::model::Dashboard;
use twtrace_common::counters::Counters;
use twtrace_common::histogram::{BUCKETS, CLOCKS, Clock, TOTAL_BUCKETS, bucket};
use twtrace_common::refusal::Class;
use twtrace_common::tcp::SYN;

use super::support::{HOST, MS, S, STARTED};

pub(crate) const WEB: u32 = 4_026_532_281;
const NGINX: (u32, u64) = (33, 5_021);
const PHP: (u32, u64) = (1_000, 5_022);
const POD: (u32, u64) = (0, 5_023);
/// How long it lasts, in seconds.
pub(crate) const LENGTH: u64 = 100;

pub(crate) fn meta() -> Meta {
    Meta {
        hooks: 15,
        refusals: true,
        births: true,
        ports: true,
        ..super::support::meta()
    }
}

pub(crate) fn named() -> Named {
    let pod = "/kubepods.slice/kubepods-pod7f9c0d1e_2b3a_4c5d_8e9f_a0b1c2d3e4f5.slice";
    Named {
        users: [(33, "www-data".into()), (1_000, "ada".into())].into(),
        netns: [(HOST, "host".into()), (WEB, "web-7".into())].into(),
        cgroups: [
            (NGINX.1, "/system.slice/nginx.service".into()),
            (PHP.1, "/system.slice/php8.4-fpm.service".into()),
            (POD.1, pod.into()),
        ]
        .into(),
    }
}

/// The incident up to some second, as `top` sees it.
pub(crate) fn dashboard(seconds: u64) -> Dashboard {
    let mut story = Story::new();
    for second in 0..=seconds {
        story.second(second);
        story.totals(STARTED + second * S);
    }
    story.dashboard
}

struct Story {
    dashboard: Dashboard,
    counters: BTreeMap<u32, Counters>,
    histograms: Vec<u64>,
}

/// The connections of one second: each of these so often.
struct Stream {
    netns: u32,
    owner: (u32, u64),
    local: (&'static str, u16),
    remote: (&'static str, u16),
    /// The local port is the ephemeral one.
    client: bool,
    rate: u16,
    reason: Reason,
    /// In ms.
    fin_wait_2: u64,
    time_wait: u64,
}

const STREAMS: [Stream; 4] = [
    Stream {
        netns: HOST,
        owner: NGINX,
        local: ("10.0.0.5", 443),
        remote: ("203.0.113.7", 30_000),
        client: false,
        rate: 23,
        reason: Reason::Expired,
        fin_wait_2: 3,
        time_wait: 60_970,
    },
    Stream {
        netns: HOST,
        owner: NGINX,
        local: ("10.0.0.5", 443),
        remote: ("198.51.100.20", 20_000),
        client: false,
        rate: 5,
        reason: Reason::SynReopened,
        fin_wait_2: 0,
        time_wait: 1_200,
    },
    Stream {
        netns: HOST,
        owner: PHP,
        local: ("10.0.0.5", 40_000),
        remote: ("10.0.0.30", 5_432),
        client: true,
        rate: 41,
        reason: Reason::Expired,
        fin_wait_2: 0,
        time_wait: 61_040,
    },
    Stream {
        netns: WEB,
        owner: POD,
        local: ("2001:db8::7", 50_000),
        remote: ("2001:db8::53", 8_080),
        client: true,
        rate: 3,
        reason: Reason::ConnectReused,
        fin_wait_2: 200,
        time_wait: 1_020,
    },
];

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl Stream {
    /// The connection with this number.
    fn flow(&self, number: u64) -> Flow {
        let turn = (number % 2_579) as u16;
        let (lport, rport) = if self.client {
            (self.local.1 + turn, self.remote.1)
        } else {
            (self.local.1, self.remote.1 + turn)
        };
        let laddr = address(self.local.0);
        Flow {
            family: match laddr {
                IpAddr::V4(_) => Family::Ipv4,
                IpAddr::V6(_) => Family::Ipv6,
            },
            laddr,
            lport,
            raddr: address(self.remote.0),
            rport,
            netns: self.netns,
            uid: Some(self.owner.0),
            cgroup: Some(self.owner.1),
        }
    }
}

impl Story {
    fn new() -> Self {
        let mut story = Self {
            dashboard: Dashboard::new(&meta()),
            counters: BTreeMap::new(),
            histograms: vec![0; TOTAL_BUCKETS],
        };
        story.asked();
        story
    }

    /// What was there before, and what the namespaces allow.
    fn asked(&mut self) {
        self.found(Found::Listing { at_ns: STARTED });
        for number in 2_560..2_577 {
            let flow = Flow {
                uid: None,
                cgroup: None,
                ..STREAMS[0].flow(number)
            };
            self.dashboard.event(Event::Seed(Seed {
                flow,
                substate: BornAs::TimeWait,
                at_ns: STARTED,
                remaining_ms: 600_000,
            }));
        }
        for (netns, limit) in [(HOST, 262_144), (WEB, 16)] {
            self.found(Found::Listed(Listed {
                netns,
                time_wait: if netns == HOST { 17 } else { 0 },
                fin_wait_2: 0,
                by: Lister::SockDiag,
                interrupted: false,
            }));
            let users = Users {
                laddr: address("10.0.0.5"),
                raddr: address("10.0.0.30"),
                rport: 5_432,
                ports: 31,
            };
            self.found(Found::Survey(Survey {
                held_fin_wait_2: None,
                netns,
                at_ns: STARTED,
                rules: PortRules {
                    low: 40_000,
                    high: if netns == HOST { 42_599 } else { 60_999 },
                    tcp_tw_reuse: 0,
                    tcp_max_tw_buckets: limit,
                    ..PortRules::default()
                },
                taken: Vec::new(),
                users: if netns == HOST {
                    vec![users]
                } else {
                    Vec::new()
                },
            }));
        }
        self.found(Found::ListingOver { at_ns: STARTED + 1 });
    }

    fn found(&mut self, found: Found) {
        self.dashboard.found(&found);
    }

    fn of(&mut self, netns: u32) -> &mut Counters {
        self.counters.entry(netns).or_insert(Counters {
            netns,
            ..Counters::ZERO
        })
    }

    fn second(&mut self, second: u64) {
        for stream in &STREAMS {
            for number in 0..u64::from(stream.rate) {
                let at = second * 1_000 + number * 1_000 / u64::from(stream.rate);
                self.birth(stream, second * u64::from(stream.rate) + number, at);
                self.ended(stream, at);
            }
        }
        if second >= 20 && second % 7 == 6 {
            self.refused(second);
        }
        if second == 70 {
            self.no_time_wait(second);
        }
        if second >= 90 {
            self.no_port(second);
        }
    }

    fn birth(&mut self, stream: &Stream, number: u64, at_ms: u64) {
        let born_as = match stream.fin_wait_2 {
            0 => BornAs::TimeWait,
            _ => BornAs::FinWait2,
        };
        let counters = self.of(stream.netns);
        match born_as {
            BornAs::TimeWait => counters.born_time_wait += 1,
            BornAs::FinWait2 => {
                counters.born_fin_wait_2 += 1;
                // Nearly at once; of those of the last moment too.
                counters.promoted += u64::from(stream.fin_wait_2 < 100 || !at_ms.is_multiple_of(3));
            }
        }
        self.dashboard.event(Event::Birth(Birth {
            flow: stream.flow(number),
            born_as,
            at_ns: STARTED + at_ms * MS,
        }));
    }

    /// The connection whose time is over at this moment, if there was one.
    fn ended(&mut self, stream: &Stream, at_ms: u64) {
        let Some(born_ms) = at_ms.checked_sub(stream.fin_wait_2 + stream.time_wait) else {
            return;
        };
        let number = born_ms * u64::from(stream.rate) / 1_000;
        let born_ns = STARTED + born_ms * MS;
        let (counters, reason) = (self.of(stream.netns), stream.reason as usize);
        counters.ended[reason] += 1;
        for (clock, ms) in [
            (Clock::FinWait2, stream.fin_wait_2),
            (Clock::TimeWait, stream.time_wait + number % 11),
        ] {
            let place = (reason * CLOCKS + clock as usize) * BUCKETS;
            self.histograms[place + bucket(ms * MS)] += u64::from(ms > 0);
        }
        self.dashboard.event(Event::End(End {
            flow: stream.flow(number),
            reason: stream.reason,
            born_as: Some(match stream.fin_wait_2 {
                0 => BornAs::TimeWait,
                _ => BornAs::FinWait2,
            }),
            born_ns: Some(born_ns),
            time_wait_ns: Some(born_ns + stream.fin_wait_2 * MS),
            ended_ns: STARTED + at_ms * MS,
            in_time_wait: true,
            rearms: 0,
            untracked: false,
            refused: 0,
            first_refused_ns: None,
            accepted: None,
        }));
    }

    /// Three SYNs of one client over 3 s.
    fn refused(&mut self, second: u64) {
        for (after, refused) in [(0, 1), (1, 2), (3, 3)] {
            let counters = self.of(HOST);
            counters.refused_syns += 1;
            counters.refused[Class::TimeWaitPaws as usize] += 1;
            self.dashboard.event(Event::Refusal(Refusal {
                flow: STREAMS[0].flow(second * 7),
                at_ns: STARTED + (second + after) * S,
                time_wait_ns: Some(STARTED + (second - 5) * S),
                stage: Stage::TimeWait,
                rule: Rule::Paws,
                reply: Some(Reply::Ack),
                rearmed: false,
                tcp_flags: SYN,
                numbers: Numbers {
                    tsval: Some(552_395_288),
                    ts_recent: Some(3_552_395_288),
                    seq: 5_000,
                    rcv_nxt: 1_000,
                },
                ts_recent_age_s: Some(5),
                window: 64_240,
                ttl: Some(63),
                owner_ttl: Some(63),
                refused,
            }));
        }
    }

    fn no_time_wait(&mut self, second: u64) {
        self.of(WEB).overflowed += 1;
        self.dashboard.event(Event::Overflow(Overflow {
            flow: STREAMS[3].flow(second),
            at_ns: STARTED + second * S,
            room: Some(Room {
                alive: 16,
                limit: 16,
            }),
        }));
    }

    fn no_port(&mut self, second: u64) {
        self.of(HOST).port_failures[Call::Connect as usize] += 1;
        self.dashboard.event(Event::PortFailure(PortFailure {
            flow: Flow {
                lport: 0,
                ..STREAMS[2].flow(0)
            },
            at_ns: STARTED + second * S,
            call: Call::Connect,
            pid: 8_123,
            command: CommandName::new(*b"php-fpm8.4\0\0\0\0\0\0"),
            errno: 99,
            port_given: false,
            time_wait: 2_501,
        }));
    }

    fn totals(&mut self, at_ns: u64) {
        self.dashboard.totals(Snapshot {
            at_ns,
            counters: self.counters.values().copied().collect(),
            histograms: self.histograms.clone(),
            missed: Some(0),
            kernel: Vec::new(),
            slack: 0,
        });
    }
}
