//! Whether KVM can be trusted with a kernel: tried once, remembered.

use std::fs::{self, OpenOptions};
use std::time::Duration;

use super::image::Programs;
use super::package::Kernel;
use super::qemu::{self, Accel, Setup};
use crate::paths;
use crate::run::say;

const PATIENCE: Duration = Duration::from_secs(20);

/// True if this kernel boots and ends under KVM here.
pub(super) fn works(kernel: &Kernel, programs: &Programs) -> bool {
    let device = OpenOptions::new().read(true).write(true).open("/dev/kvm");
    if device.is_err() {
        return false;
    }
    let memory = paths::cache().join(format!("kvm-{}", kernel.release));
    if let Ok(known) = fs::read_to_string(&memory) {
        return known == "works";
    }
    let works = try_it(kernel, programs);
    let word = if works { "works" } else { "does not work" };
    say(&format!("{}: KVM {word} with it", kernel.release));
    // Not remembered is tried again.
    let _ = fs::write(memory, word);
    works
}

fn try_it(kernel: &Kernel, programs: &Programs) -> bool {
    let setup = Setup {
        memory_mb: 512,
        cpus: 1,
        more_cpus: 0,
        accel: Accel::Kvm,
        timeout: PATIENCE,
        command: vec!["twtrace-vm".to_owned(), "true".to_owned()],
        extra: Vec::new(),
    };
    qemu::boot(kernel, programs, &setup, &mut |_| {}).is_ok_and(|end| end.verdict.code == 0)
}
