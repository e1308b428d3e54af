//! twtrace's maps, read from outside.

use std::fs;
use std::mem::offset_of;
use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, Map, MapData, MapInfo};
use twtrace_common::names;
use twtrace_common::slot::Slot;

use crate::loaded;

const WORD: usize = size_of::<u64>();

/// A slot as words.
type Words = [u64; size_of::<Slot>() / WORD];

/// Number of mini-sockets that twtrace keeps state for.
pub(crate) fn occupied() -> Result<u64> {
    let slots: Array<MapData, Words> = Map::Array(of_name(names::SLOTS)?).try_into()?;
    let spill: HashMap<MapData, u64, Words> = Map::HashMap(of_name(names::SPILL)?).try_into()?;
    let mut count = 0;
    for slot in slots.iter() {
        count += u64::from(slot?[offset_of!(Slot, key) / WORD] != 0);
    }
    for key in spill.keys() {
        key?;
        count += 1;
    }
    Ok(count)
}

/// KiB that the kernel charges for all maps, and for the counters map.
pub(crate) fn charged_kib() -> Result<[u64; 2]> {
    let [mut all, mut counters] = [0; 2];
    for info in twtraces()? {
        let kib = memlock(&info)? / 1024;
        all += kib;
        if info.name_as_str() == Some(names::COUNTERS) {
            counters += kib;
        }
    }
    Ok([all, counters])
}

/// All maps that are loaded: only one twtrace runs in the VM.
fn twtraces() -> Result<Vec<MapInfo>> {
    loaded::maps()
}

fn of_name(name: &str) -> Result<MapData> {
    let maps = twtraces()?;
    let found = maps.iter().find(|map| map.name_as_str() == Some(name));
    let found = found.with_context(|| format!("twtrace has no map {name}"))?;
    Ok(MapData::from_id(found.id())?)
}

fn memlock(map: &MapInfo) -> Result<u64> {
    let map = map.fd()?;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_fd().as_raw_fd()))?;
    let line = info.lines().find_map(|line| line.strip_prefix("memlock:"));
    line.context("the kernel does not report the size of a map")?
        .trim()
        .parse()
        .context("the size of a map is not a number")
}
