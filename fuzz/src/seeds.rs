//! Where the fuzzers begin: what the golden tests have, cut to handy pieces.

use std::fs;
use std::path::Path;

const RECORDINGS: [&str; 5] = ["names", "v1", "v2", "v3", "v4"];
const FACTS: [&str; 4] = ["5.10", "6.1", "6.18", "7.2"];
const RECORDS: u8 = 2;

/// Of one target; `golden` is twtrace/tests/golden. What is not there is left out.
pub fn of(target: &str, golden: &Path) -> Vec<Vec<u8>> {
    let recordings = || {
        RECORDINGS
            .iter()
            .filter_map(|name| fs::read(golden.join(format!("{name}.twtrace"))).ok())
    };
    match target {
        "decode" => recordings().flat_map(|file| records(&file)).collect(),
        "recording" => recordings()
            .flat_map(|file| [as_blocks(&file), file])
            .collect(),
        "btf" => types(),
        "text" => texts(),
        "facts" => FACTS
            .iter()
            .filter_map(|kernel| fs::read(golden.join(format!("doctor/{kernel}.facts.json"))).ok())
            .collect(),
        _ => Vec::new(),
    }
}

/// The blocks of a recording, unpacked.
fn blocks(file: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut blocks = Vec::new();
    let mut rest = file.get(16..).unwrap_or_default();
    while let Some((head, behind)) = rest.split_first_chunk::<16>() {
        let [a, b, c, d, kind, ..] = *head;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let Some((packed, behind)) = behind.split_at_checked(length) else {
            break;
        };
        if let Ok(payload) = lz4_flex::block::decompress_size_prepended(packed) {
            blocks.push((kind, payload));
        }
        rest = behind;
    }
    blocks
}

/// As the target `recording` takes them; what is too long for that is left out.
fn as_blocks(file: &[u8]) -> Vec<u8> {
    let mut seed = vec![0];
    for (kind, payload) in blocks(file) {
        if let Ok(length) = u16::try_from(payload.len()) {
            seed.push(kind);
            seed.extend(length.to_le_bytes());
            seed.extend(payload);
        }
    }
    seed
}

fn records(file: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for (_, payload) in blocks(file).iter().filter(|block| block.0 == RECORDS) {
        let mut rest = &payload[..];
        while let Some((length, behind)) = rest.split_first_chunk() {
            let length = usize::from(u16::from_le_bytes(*length));
            let Some((record, behind)) = behind.split_at_checked(length) else {
                break;
            };
            records.push(record.to_vec());
            rest = behind;
        }
    }
    records
}

fn texts() -> Vec<Vec<u8>> {
    [
        r"/system.slice/var-lib-my\x2dapp.service",
        "/kubepods.slice/kubepods-pod7f9c0d1e_2b3a_4c5d_8e9f_a0b1c2d3e4f5.slice/cri-containerd-3f8a1c9e5b7d2046a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718.scope",
        "/machine.slice/machine-deb\\x2d12.scope",
        "/lxc.payload.web-7/system.slice/nginx.service",
        "\x1b[2J\u{202e}\u{9b}\u{2028}",
        "漢字 🦀",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect()
}

/// A small kernel's: a struct in a struct, a function and a tracepoint with what belongs to them.
fn types() -> Vec<Vec<u8>> {
    let strings = b"\0loop\0x\0btf_trace_loop\0function\0sock_common\0skc_dport\0TCP_TIME_WAIT\0";
    let kind = |kind: u32, count: u32| kind << 24 | count;
    let types: [&[u32]; 11] = [
        // 1: loop { anonymous 2; }, 2: { 3 x; }, 3: const 4, 4: sock_common { skc_dport }
        &[1, kind(4, 1), 8, 0, 2, 0],
        &[0, kind(4, 1), 8, 6, 3, 32],
        &[0, kind(10, 0), 4],
        &[32, kind(4, 1), 8, 44, 5, 96],
        // 5: int, 6: pointer to 4, 7: prototype (loop *), 8: function, 9: pointer to 7
        &[6, kind(1, 0), 4, 32],
        &[0, kind(2, 0), 4],
        &[0, kind(13, 2), 0, 0, 6, 6, 6],
        &[23, kind(12, 0), 7],
        &[0, kind(2, 0), 7],
        // 10: typedef btf_trace_loop, 11: enum
        &[8, kind(8, 0), 9],
        &[0, kind(6, 1), 4, 54, 6],
    ];
    let types: Vec<u32> = types.concat();
    let length = 4 * types.len() as u32;
    let mut data = 0xeb9f_u16.to_ne_bytes().to_vec();
    data.extend([1, 0]);
    for word in [24, 0, length, length, strings.len() as u32]
        .iter()
        .chain(&types)
    {
        data.extend(word.to_ne_bytes());
    }
    data.extend(strings);
    vec![data]
}
