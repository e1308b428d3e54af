//! twtrace's maps, looked at from outside.

use std::fs;
use std::mem::offset_of;
use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, Map, MapData, MapInfo};
use twtrace_common::names;
use twtrace_common::slot::Slot;

use crate::loaded;

const WORD: usize = size_of::<u64>();

/// A slot, word by word.
type Words = [u64; size_of::<Slot>() / WORD];

/// How many mini-sockets it keeps something of.
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

/// What the kernel charges for all of its maps, and for that of the counters, in KiB.
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

/// The maps of the one twtrace that runs.
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
    line.context("the kernel does not tell how large a map is")?
        .trim()
        .parse()
        .context("the size of a map is no number")
}
