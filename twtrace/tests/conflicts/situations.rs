//! What people have met, told from the first line to the advice.

use std::mem::offset_of;

use twtrace::decode::decode;
use twtrace::event::Meta;
use twtrace::event::found::LiveConnection;
use twtrace::host::Names;
use twtrace::model::tally::Detail;
use twtrace::model::{Refused, Report, Tally};
use twtrace::view::{Of, Output, Renderer, WhatIf};
use twtrace_common::Reason;
use twtrace_common::record::{self, FLAG_IN_TIME_WAIT};
use twtrace_common::refusal::{REPLY_UNKNOWN, Reply, Rule, Stage};
use twtrace_common::tcp::RST;

use crate::shown::Shown;
use crate::story::{self, DUPLICATE, Made, PAWS, Refusal, Whose, end, refusal};
use crate::support::{MS, S, expect, golden, options, put};

/// The lines of `twtrace conflicts` and its summary.
fn conflicts(meta: &Meta, records: &[Made]) -> String {
    between(meta, records, [&[], &[]])
}

/// The same, with the kernel's counters before and after it.
fn between(meta: &Meta, records: &[Made], kernel: [&[(&str, u64)]; 2]) -> String {
    let mut shown = Shown::new(meta, Output::Text);
    let mut tally = Tally::new(meta, Detail::Records);
    let totals = kernel.map(|names| story::snapshot(0, Vec::new(), story::kernel(names)));
    let [before, after] = totals;
    tally.snapshot(before);
    for (_, record) in records {
        if let Some(report) = tally.event(decode(record).unwrap()) {
            shown.event(&report);
        }
    }
    tally.snapshot(after);
    shown.end(&tally, WhatIf::default());
    String::from_utf8(shown.out).unwrap()
}

fn meta() -> Meta {
    Meta {
        drops: true,
        ..story::meta()
    }
}

/// The end of one that never came to TIME_WAIT.
fn in_fin_wait_2((at, mut bytes): Made) -> Made {
    bytes[offset_of!(record::Flow, flags)] &= !FLAG_IN_TIME_WAIT;
    put(&mut bytes, offset_of!(record::End, time_wait_ns), &[0; 8]);
    (at, bytes)
}

/// Of two hosts behind one address, the first has left its connections in CLOSE_WAIT and the NAT
/// has forgotten them; the second comes on the same ports.
#[test]
fn several_hosts_behind_one_address_meet_fin_wait_2() {
    let waits = Refusal {
        stage: Stage::FinWait2,
        gap: Some(-4_000_000),
        ttl: [63, 0],
        rearmed: false,
        ..PAWS
    };
    let beyond = Refusal {
        rule: Rule::OutOfWindow,
        seq_gap: 900_000_000,
        gap: Some(4_000_000),
        ..waits
    };
    let turned_away = Refusal {
        rule: Rule::Unexpected,
        seq_gap: 20_000,
        reply: Reply::Rst as u8,
        ..beyond
    };
    let mut records = Vec::new();
    for (n, one) in [waits, beyond, beyond, waits, beyond, turned_away]
        .into_iter()
        .enumerate()
    {
        let at = (20 + n as u64) * S;
        let whose = Whose {
            raddr: "203.0.113.7",
            rport: 20_000 + n as u16,
            time_wait: at - 9 * S,
        };
        records.push(refusal(whose, at, one));
        let ended = end(whose, at + 3 * MS, Reason::FinWait2Reset, (1, at), None);
        records.push(in_fin_wait_2(ended));
    }
    let text = conflicts(&meta(), &records);
    let shown = text.matches("REFUSED SYN").count();
    assert!(text.contains(&format!("\n{shown} SYNs refused")), "{text}");
    let summary = text.lines().filter(|line| !line.contains("accepted over"));
    assert!(summary.clone().all(|line| !line.contains("TIME_WAIT")));
    expect(&golden("conflicts-fin-wait-2.txt"), text.as_bytes());
}

/// A device without timestamps restarts, and begins from its fixed port and ISN again; tcp_rfc1337
/// ignores its RSTs.
#[test]
fn a_device_that_has_restarted_is_locked_out() {
    let whose = Whose {
        raddr: "192.0.2.40",
        rport: 4_000,
        time_wait: 19 * S,
    };
    let mut records = Vec::new();
    for (nth, second) in [(1, 20), (2, 21), (3, 23)] {
        let syn = Refusal {
            rule: Rule::OldSequence,
            seq_gap: -12_345,
            rearmed: false,
            nth,
            ..PAWS
        };
        records.push(refusal(whose, second * S, syn));
        let rst = Refusal {
            rule: Rule::Rfc1337,
            reply: Reply::None as u8,
            flags: RST,
            seq_gap: 0,
            ..syn
        };
        records.push(refusal(whose, second * S + MS, rst));
    }
    let text = conflicts(&meta(), &records);
    for wrong in ["PAWS", "TSval", "try      nothing"] {
        assert!(!text.contains(wrong), "{wrong} in {text}");
    }
    expect(&golden("conflicts-restarted.txt"), text.as_bytes());
}

/// Duplicates come alone, so a client that is stuck is not told to do nothing.
#[test]
fn nobody_who_is_stuck_is_advised_to_do_nothing() {
    let mut records = Vec::new();
    for n in 0..4_u16 {
        let at = (20 + u64::from(n)) * S;
        let whose = Whose {
            raddr: "192.0.2.40",
            rport: 4_000 + n,
            time_wait: at - S,
        };
        records.push(refusal(whose, at, DUPLICATE));
        // Of the last, no record tells that it was sent again.
        let syns = if n == 3 { 4 } else { 1 };
        let ended = end(whose, at + 9 * S, Reason::Expired, (syns, at), None);
        records.push(ended);
    }
    let whose = Whose {
        raddr: "192.0.2.40",
        rport: 4_009,
        time_wait: 30 * S,
    };
    records.push(end(whose, 95 * S, Reason::Expired, (4, 31 * S), None));
    let text = conflicts(&meta(), &records);
    assert!(text.contains("likely   old duplicates"), "{text}");
    assert!(!text.contains("try      nothing"), "{text}");
}

/// On 5.10 no hook sees a SYN that a live connection answers with a challenge ACK.
#[test]
fn what_cannot_be_seen_is_not_called_clean() {
    let blind = Meta {
        drops: false,
        ..story::meta()
    };
    let told = |meta: &Meta, before, after| {
        between(
            meta,
            &[],
            [
                &[("TCPSYNChallenge", before)],
                &[("TCPSYNChallenge", after)],
            ],
        )
    };
    let clean = "no old connection kept a new one out";
    let moved = told(&blind, 3, 7);
    assert!(!moved.contains(clean), "{moved}");
    assert!(moved.contains("TCPSYNChallenge grew by 4"), "{moved}");
    let unread = between(&blind, &[], [&[], &[]]);
    assert!(!unread.contains(clean), "{unread}");
    let still = told(&blind, 3, 3);
    assert!(still.contains(clean), "{still}");
    let seen = told(&meta(), 3, 7);
    assert!(seen.contains(clean), "{seen}");
    let all = [moved, unread, still, seen].concat();
    expect(&golden("conflicts-unseen.txt"), all.as_bytes());
}

#[test]
fn the_live_connection_that_refuses_a_syn_is_named() {
    let whose = Whose {
        raddr: "10.0.0.9",
        rport: 41_822,
        time_wait: 0,
    };
    let challenged = Refusal {
        stage: Stage::Established,
        rule: Rule::Challenge,
        reply: REPLY_UNKNOWN,
        rearmed: false,
        nth: 0,
        ..PAWS
    };
    let (_, record) = refusal(whose, 20 * S, challenged);
    let note = |live: Option<LiveConnection>| {
        let report = Tally::new(&meta(), Detail::Records).event(decode(&record).unwrap());
        let Some(Report::Refusal(refused)) = report else {
            panic!("{report:?}");
        };
        let report = Report::Refusal(Refused { live, ..refused });
        let options = options(Output::Text, Of::CONFLICTS);
        let mut out = Vec::new();
        let mut renderer = Renderer::new(&options, &meta(), Names::none()).unwrap();
        renderer.event(&report, &mut out);
        String::from_utf8(out).unwrap()
    };
    let held = |uid| LiveConnection {
        state: "CLOSE_WAIT",
        uid,
    };
    assert!(note(None).contains("on a live connection: a SYN"));
    let owned = note(Some(held(Some(33))));
    assert!(
        owned.contains("on a live connection (CLOSE_WAIT, uid 33): a SYN"),
        "{owned}"
    );
    let orphan = note(Some(held(None)));
    assert!(
        orphan.contains("(CLOSE_WAIT, held by no process)"),
        "{orphan}"
    );
}
