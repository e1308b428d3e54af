use twtrace_common::counters::Counters;

use super::*;
use crate::event::{Birth, End, Flow, Seed};

const HERE: u32 = 7;

fn flow(lport: u16) -> Flow {
    Flow {
        lport,
        netns: HERE,
        ..Flow::sample()
    }
}

fn seed(lport: u16, substate: BornAs) -> Event {
    Event::Seed(Seed {
        flow: flow(lport),
        substate,
        at_ns: 50,
        remaining_ms: 1_000,
    })
}

fn birth(lport: u16, at_ns: u64) -> Event {
    Event::Birth(Birth::sample(flow(lport), at_ns))
}

/// The end of one whose birth was seen at this time, or was not.
fn end(lport: u16, born_ns: Option<u64>, ended_ns: u64, reason: Reason) -> Event {
    Event::End(End {
        reason,
        born_ns,
        time_wait_ns: born_ns,
        ended_ns,
        untracked: born_ns.is_none(),
        ..End::sample(flow(lport))
    })
}

/// Totals of so many births in TIME_WAIT and ends.
fn totals(at_ns: u64, born: u64, expired: u64, change: impl Fn(&mut Counters)) -> Snapshot {
    Snapshot::sample(HERE, at_ns, |counters| {
        counters.born_time_wait = born;
        counters.ended[Reason::Expired as usize] = expired;
        change(counters);
    })
}

fn over(population: &mut Population, at_ns: u64) {
    population.found(&Found::Listed(Listed {
        netns: HERE,
        time_wait: 0,
        fin_wait_2: 0,
        by: Lister::SockDiag,
        interrupted: false,
    }));
    population.found(&Found::ListingOver { at_ns });
}

fn alive(population: &Population) -> u64 {
    population.of(HERE).unwrap().alive.all()
}

/// Seeds and events of the listing in every order in which they can arrive.
fn in_any_order(seeds: &[Event], events: &[Event], snapshot: &Snapshot) -> Vec<u64> {
    let positions = 0..=events.len();
    positions
        .map(|position| {
            let mut population = Population::new(false);
            population.found(&Found::Listing { at_ns: 10 });
            let (before, after) = events.split_at(position);
            for event in before.iter().chain(seeds).chain(after) {
                population.event(event);
            }
            over(&mut population, 90);
            population.snapshot(snapshot);
            assert!(population.is_listed());
            alive(&population)
        })
        .collect()
}

#[test]
fn old_ones_are_alive_until_they_end() {
    let mut population = Population::new(false);
    population.found(&Found::Listing { at_ns: 10 });
    for lport in 1..=17 {
        population.event(&seed(lport, BornAs::TimeWait));
    }
    population.event(&seed(18, BornAs::FinWait2));
    over(&mut population, 90);
    population.snapshot(&totals(100, 0, 0, |_| ()));
    let row = population.of(HERE).unwrap();
    assert_eq!((row.alive.time_wait, row.alive.fin_wait_2), (17, 1));
    assert!(!row.partial && row.uncertain == 0);
    population.event(&end(3, None, 200, Reason::Expired));
    population.snapshot(&totals(300, 5, 1, |_| ()));
    assert_eq!(alive(&population), 18 + 5 - 1);
}

#[test]
fn one_that_is_listed_and_born_while_tracing_counts_once() {
    let counts = in_any_order(
        &[seed(1, BornAs::TimeWait)],
        &[birth(1, 40)],
        &totals(100, 1, 0, |_| ()),
    );
    assert_eq!(counts, [1, 1]);
}

#[test]
fn one_that_ended_meanwhile_does_not_count() {
    let counts = in_any_order(
        &[seed(1, BornAs::TimeWait)],
        &[end(1, None, 40, Reason::Reset)],
        &totals(100, 0, 1, |_| ()),
    );
    assert_eq!(counts, [0, 0]);
}

#[test]
fn one_that_ended_unlisted_does_not_count() {
    let counts = in_any_order(
        &[],
        &[end(1, None, 40, Reason::Reset)],
        &totals(100, 0, 1, |_| ()),
    );
    assert_eq!(counts, [0, 0]);
}

#[test]
fn an_old_one_and_its_successor_on_the_same_tuple_are_two() {
    // Whether the old or the new one was listed: the new one alone is alive.
    let events = [end(1, None, 40, Reason::SynReopened), birth(1, 45)];
    let counts = in_any_order(
        &[seed(1, BornAs::TimeWait)],
        &events,
        &totals(100, 1, 1, |_| ()),
    );
    assert_eq!(counts, [1, 1, 1]);
}

#[test]
fn one_that_was_born_and_ended_meanwhile_leaves_nothing() {
    let events = [birth(1, 40), end(1, Some(40), 45, Reason::Reset)];
    let counts = in_any_order(
        &[seed(1, BornAs::TimeWait)],
        &events,
        &totals(100, 1, 1, |_| ()),
    );
    assert_eq!(counts, [0, 0, 0]);
}

#[test]
fn what_the_ring_loses_makes_the_count_uncertain_only_while_they_are_listed() {
    let mut population = Population::new(false);
    population.event(&seed(1, BornAs::TimeWait));
    over(&mut population, 90);
    population.snapshot(&totals(100, 9, 2, |one| one.end_ring_full = 2));
    assert_eq!(population.of(HERE).unwrap().uncertain, 2);
    population.snapshot(&totals(200, 9, 8, |one| one.end_ring_full = 8));
    let row = population.of(HERE).unwrap();
    assert_eq!((row.uncertain, row.alive.all()), (2, 2));
}

#[test]
fn another_listing_makes_it_certain_again() {
    let mut population = Population::new(false);
    population.found(&Found::Listing { at_ns: 10 });
    over(&mut population, 90);
    population.snapshot(&totals(100, 9, 2, |one| one.birth_ring_full = 3));
    assert_eq!(alive(&population), 7);
    population.found(&Found::Listing { at_ns: 100 });
    // Alive are 6, one of them new.
    population.event(&birth(60, 110));
    for lport in 1..=5 {
        population.event(&seed(lport, BornAs::TimeWait));
    }
    population.event(&seed(60, BornAs::TimeWait));
    population.event(&seed(61, BornAs::TimeWait));
    population.event(&end(61, Some(50), 120, Reason::Reset));
    over(&mut population, 190);
    population.snapshot(&totals(200, 10, 3, |one| one.birth_ring_full = 3));
    let row = population.of(HERE).unwrap();
    assert_eq!((row.alive.all(), row.uncertain), (6, 0));
}

#[test]
fn substates_follow_promotions_and_ends() {
    let mut population = Population::new(false);
    for lport in 1..=5 {
        population.event(&seed(lport, BornAs::FinWait2));
    }
    over(&mut population, 90);
    population.snapshot(&totals(100, 0, 0, |_| ()));
    let Event::End(mut destroyed) = end(5, None, 150, Reason::Destroyed) else {
        return;
    };
    destroyed.in_time_wait = false;
    population.event(&Event::End(destroyed));
    population.snapshot(&totals(200, 0, 0, |one| {
        one.promoted = 2;
        one.ended[Reason::FinWait2Timeout as usize] = 1;
        one.ended[Reason::Destroyed as usize] = 1;
    }));
    let row = population.of(HERE).unwrap();
    assert_eq!((row.alive.fin_wait_2, row.alive.time_wait), (1, 2));
}

#[test]
fn a_namespace_that_was_not_listed_says_so() {
    let mut population = Population::new(false);
    population.event(&birth(1, 40));
    population.found(&Found::ListingOver { at_ns: 90 });
    population.snapshot(&totals(100, 1, 0, |_| ()));
    assert!(population.of(HERE).unwrap().partial);
}
