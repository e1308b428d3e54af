//! The kernel modules a VM needs, with those they need, in the order to load them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSection as _};

/// What tests use: the socket tables, network devices, and NAT. Nobody in a VM would load a module
/// when the kernel asks for it, so all are loaded at once.
const WANTED: &[&str] = &[
    "inet_diag",
    "tcp_diag",
    "veth",
    "dummy",
    "nf_tables",
    "nft_chain_nat",
    "nft_nat",
    "nft_masq",
    "nf_conntrack_netlink",
];

/// A module, decompressed.
#[derive(Debug)]
pub(super) struct Module {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// The wanted modules after what they depend on. What is built in, or not there, is left out.
pub(super) fn wanted(dir: &Path) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    index(&dir.join("kernel"), &mut files)?;
    let mut order = Vec::new();
    for name in WANTED {
        add(name, &files, &mut order)?;
    }
    Ok(order)
}

/// Adds a module after those that its own `.modinfo` names: packages carry neither modules.dep nor
/// modules.softdep, those are made at installation.
fn add(name: &str, files: &BTreeMap<String, PathBuf>, order: &mut Vec<Module>) -> Result<()> {
    let known = order.iter().any(|module| module.name == name);
    let Some(path) = files.get(name).filter(|_| !known) else {
        return Ok(());
    };
    let bytes = read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let info = info(&bytes)?;
    for dependency in dependencies(&info) {
        add(&dependency, files, order)?;
    }
    for first in loaded_before(&info) {
        for name in of_algorithm(&first) {
            add(&name, files, order)?;
        }
    }
    order.push(Module {
        name: name.to_owned(),
        bytes,
    });
    Ok(())
}

/// Paths of all modules by name.
fn index(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            index(&path, files)?;
        } else if let Some(name) = module_name(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// `tcp_diag` of `…/tcp_diag.ko.xz`; a dash in a file name is an underscore in the kernel.
fn module_name(path: &Path) -> Option<String> {
    let (name, _) = path.file_name()?.to_str()?.split_once(".ko")?;
    Some(underscored(name))
}

fn underscored(name: &str) -> String {
    name.replace('-', "_")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let packed = fs::read(path)?;
    let mut bytes = Vec::new();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => lzma_rust2::XzReader::new(packed.as_slice(), true).read_to_end(&mut bytes)?,
        Some("zst") => {
            ruzstd::decoding::StreamingDecoder::new(packed.as_slice())?.read_to_end(&mut bytes)?
        }
        _ => return Ok(packed),
    };
    Ok(bytes)
}

/// `key=value` after `key=value`, with NULs between.
fn info(module: &[u8]) -> Result<String> {
    let file = object::File::parse(module).context("the module is no ELF file")?;
    let section = file
        .section_by_name(".modinfo")
        .context("the module has no .modinfo")?;
    Ok(String::from_utf8_lossy(section.data()?).into_owned())
}

fn values<'a>(info: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    let fields = info.split('\0').filter_map(|field| field.split_once('='));
    fields.filter_map(move |(name, value)| (name == key).then_some(value))
}

/// The names after `depends=`.
fn dependencies(info: &str) -> Vec<String> {
    let names = values(info, "depends").flat_map(|names| names.split(','));
    names
        .filter(|name| !name.is_empty())
        .map(underscored)
        .collect()
}

/// The names after `softdep=pre:`, of what the module asks for by name when it starts.
fn loaded_before(info: &str) -> Vec<String> {
    let names = values(info, "softdep")
        .filter_map(|names| names.split("post:").next()?.trim().strip_prefix("pre:"));
    names
        .flat_map(str::split_whitespace)
        .map(underscored)
        .collect()
}

/// A module may ask for an algorithm of the crypto API; its plain code is in a module of the same
/// name with an ending.
fn of_algorithm(name: &str) -> [String; 2] {
    let name = name.strip_prefix("crypto_").unwrap_or(name);
    [name.to_owned(), format!("{name}_generic")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_dashes_and_endings() {
        let name = |path: &str| module_name(Path::new(path));
        assert_eq!(name("net/nf-nat.ko.xz").as_deref(), Some("nf_nat"));
        assert_eq!(name("net/veth.ko").as_deref(), Some("veth"));
        assert_eq!(name("net/modules.order"), None);
    }

    #[test]
    fn what_is_loaded_before_is_told_in_two_ways() {
        let info =
            "depends=nf-nat,libcrc32c\0softdep=pre: crypto-crc32c post: late\0softdep=post: x";
        assert_eq!(dependencies(info), ["nf_nat", "libcrc32c"]);
        assert_eq!(loaded_before(info), ["crypto_crc32c"]);
        assert_eq!(of_algorithm("crypto_crc32c"), ["crc32c", "crc32c_generic"]);
        assert_eq!(dependencies("depends=\0name=a"), [""; 0]);
    }
}
