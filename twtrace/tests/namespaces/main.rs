//! Network namespaces of others, found and read: always the one that was meant.

#![expect(clippy::unwrap_used, reason = "tests panic when something is wrong")]

mod people;
mod sandbox;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use people::{Resident, Wanderer, furnish};
use twtrace::kernel::counters::{self, Namespaces};
use twtrace::kernel::listing::{self, Item};
use twtrace::kernel::{netns, survey};
use twtrace_common::settings::{FILTER_NETNS, Filter};

fn only(netns: u32) -> Filter {
    Filter {
        flags: FILTER_NETNS,
        netns,
        ..Filter::ZERO
    }
}

/// The limits that surveys of one namespace tell.
fn limits(netns: u32) -> Vec<u32> {
    let mut limits = Vec::new();
    survey::survey(&only(netns), &mut |survey| {
        assert_eq!(survey.netns, netns);
        limits.push(survey.rules.tcp_max_tw_buckets);
    })
    .unwrap();
    limits
}

/// How many TIME_WAITs a listing of one namespace tells.
fn time_waits(netns: u32) -> Vec<u64> {
    let mut counts = Vec::new();
    listing::list(&only(netns), &mut |item| {
        if let Item::Namespace(listed) = item {
            counts.push(listed.time_wait);
        }
    })
    .unwrap();
    counts
}

/// The kernel's counter of them.
fn counted(netns: u32) -> Vec<u64> {
    let read = counters::read_all(Some(netns)).unwrap();
    assert!(read.iter().all(|one| one.netns == netns));
    read.iter().map(|one| one.tcp_ext["TW"]).collect()
}

/// A hundred times each, beside a thread that goes from one to the other.
fn are_told_apart(one: u32, other: u32) {
    for round in 0..100 {
        for (inode, limit, alive) in [(one, 1_111, 7), (other, 2_222, 3)] {
            assert_eq!(limits(inode), [limit], "round {round}");
            assert_eq!(time_waits(inode), [alive], "round {round}");
            assert_eq!(counted(inode), [alive], "round {round}");
        }
    }
}

#[test]
fn a_thread_that_moves_about_leads_nobody_astray() {
    sandbox::run("a_thread_that_moves_about_leads_nobody_astray", || {
        let wanderer = Wanderer::new();
        let one = Resident::new(|| furnish(1_111, 7));
        let other = Resident::new(|| furnish(2_222, 3));
        wanderer.go_between(&one, &other);
        are_told_apart(one.inode, other.inode);
    });
}

/// An empty directory that nobody else sees.
fn empty(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    let nothing = MsFlags::empty();
    mount(
        Some("tmpfs"),
        directory,
        Some("tmpfs"),
        nothing,
        None::<&str>,
    )
    .unwrap();
}

#[test]
fn a_mount_is_a_better_way_than_a_thread_that_moves_about() {
    sandbox::run(
        "a_mount_is_a_better_way_than_a_thread_that_moves_about",
        || {
            let directory = Path::new("/mnt");
            empty(directory);
            let wanderer = Wanderer::new();
            let one = Resident::new(|| furnish(1_111, 7));
            let other = Resident::new(|| furnish(2_222, 3));
            wanderer.go_between(&one, &other);
            one.mount_at(&directory.join("one"));
            other.mount_at(&directory.join("other"));
            let (one, other) = (one.leave(), other.leave());
            are_told_apart(one, other);
        },
    );
}

#[test]
fn who_may_not_enter_reads_no_other_counters_either() {
    sandbox::run("who_may_not_enter_reads_no_other_counters_either", || {
        let wanderer = Wanderer::new();
        let one = Resident::new(|| furnish(1_111, 7));
        let other = Resident::new(|| furnish(2_222, 3));
        wanderer.go_between(&one, &other);
        let mut read = 0;
        while read < 1_000 {
            let all = netns::find_all();
            for (inode, alive) in [(one.inode, 7), (other.inode, 3)] {
                let text = all[&inode].read_proc_net("netstat").unwrap();
                let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
                let [names, values] = [0, 1].map(|_| lines.next().unwrap().split(' '));
                let tw = names.zip(values).find(|(name, _)| *name == "TW").unwrap();
                assert_eq!(tw.1, alive.to_string());
                read += 1;
            }
        }
    });
}

#[test]
fn a_namespace_can_go_away_while_we_tell_of_it() {
    sandbox::run("a_namespace_can_go_away_while_we_tell_of_it", || {
        let is_gone = |inode| !netns::find_all().contains_key(&inode);
        let mut listed = Some(Resident::new(|| furnish(1_111, 7)));
        let inode = listed.as_ref().unwrap().inode;
        listing::list(&only(inode), &mut |item| {
            if matches!(item, Item::Namespace(_)) {
                drop(listed.take());
                assert!(is_gone(inode), "who lists it is still in it");
            }
        })
        .unwrap();
        let mut surveyed = Some(Resident::new(|| furnish(1_111, 7)));
        let inode = surveyed.as_ref().unwrap().inode;
        survey::survey(&only(inode), &mut |_| {
            drop(surveyed.take());
            assert!(is_gone(inode), "who surveys it is still in it");
        })
        .unwrap();
        assert!(listed.is_none() && surveyed.is_none());
    });
}

#[test]
fn files_among_the_named_namespaces_are_none() {
    sandbox::run("files_among_the_named_namespaces_are_none", || {
        empty(Path::new("/run"));
        fs::create_dir("/run/netns").unwrap();
        fs::write("/run/netns/plain", "").unwrap();
        mkfifo("/run/netns/fifo", Mode::S_IRWXU).unwrap();
        let files = ["plain", "fifo"].map(|name| {
            let file = fs::symlink_metadata(Path::new("/run/netns").join(name));
            file.unwrap().ino()
        });
        let one = Resident::new(|| ());
        one.mount_at(Path::new("/run/netns/one"));
        let inode = one.leave();
        // Others come and go meanwhile.
        let found = netns::find_all();
        assert!(found.contains_key(&inode));
        assert!(!found.keys().any(|&one| files.contains(&one.into())));
    });
}

#[test]
fn an_inode_number_that_is_given_again_is_another_namespace() {
    sandbox::run(
        "an_inode_number_that_is_given_again_is_another_namespace",
        || {
            let deadline = Instant::now() + Duration::from_secs(30);
            let mut seen = BTreeMap::new();
            // The kernel takes namespaces away in the background; then their numbers are free.
            loop {
                let one = Resident::new(|| ());
                let read = || counters::read_all(Some(one.inode)).unwrap().remove(0);
                assert_eq!(read(), read(), "it stays the same");
                assert_eq!(read().cookie.is_some(), netns::cookie().is_some());
                if let Some(before) = seen.insert(one.inode, read()) {
                    let tells = netns::cookie().is_some();
                    assert_eq!(before.cookie != read().cookie, tells);
                    break;
                }
                assert!(Instant::now() < deadline, "none is given again");
            }
        },
    );
}

#[test]
fn there_may_be_more_namespaces_than_open_files() {
    sandbox::run("there_may_be_more_namespaces_than_open_files", || {
        const MOUNTED: usize = 103;
        const LIVED_IN: usize = 1_103;
        let open_files = || fs::read_dir("/proc/self/fd").unwrap().count();
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 1_024.min(hard), hard).unwrap();
        let directory = Path::new("/mnt");
        empty(directory);
        let mount = |number: usize| {
            let one = Resident::new(|| ());
            one.mount_at(&directory.join(number.to_string()));
            one.leave()
        };
        let mut inodes: Vec<u32> = (0..MOUNTED).map(mount).collect();
        let residents: Vec<_> = (0..LIVED_IN).map(|_| Resident::new(|| ())).collect();
        inodes.extend(residents.iter().map(|one| one.inode));
        inodes.sort_unstable();

        let before = open_files();
        let started = Instant::now();
        let mut namespaces = Namespaces::find(None).unwrap();
        let found = started.elapsed();
        let started = Instant::now();
        let mut read = namespaces.read();
        println!(
            "{} namespaces: found in {found:?}, read in {:?}",
            read.len(),
            started.elapsed()
        );
        assert_eq!(open_files(), before);
        read.retain(|one| inodes.binary_search(&one.netns).is_ok());
        assert_eq!(read.len(), MOUNTED + LIVED_IN);
        if netns::cookie().is_some() {
            let mut cookies: Vec<_> = read.iter().filter_map(|one| one.cookie).collect();
            cookies.sort_unstable();
            cookies.dedup();
            assert_eq!(cookies.len(), MOUNTED + LIVED_IN);
        }
    });
}
