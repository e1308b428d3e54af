//! Writes the seeds: `seeds GOLDEN CORPUS` makes a folder for each target.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use twtrace_fuzz::{seeds, targets::TARGETS};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(golden), Some(corpus)) = (arguments.next(), arguments.next()) else {
        return Err("usage: seeds GOLDEN CORPUS".into());
    };
    for (target, _) in TARGETS {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        for (number, seed) in seeds::of(target, &golden).iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
