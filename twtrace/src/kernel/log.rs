//! Development only: what the eBPF side logs goes to stderr (`RUST_LOG=debug`).

use aya::Ebpf;
use aya_log::EbpfLogger;

use crate::error::{Error, Result};

pub(super) struct Log(EbpfLogger<&'static dyn log::Log>);

impl Log {
    pub(super) fn start(ebpf: &mut Ebpf) -> Result<Self> {
        let _ = env_logger::try_init();
        EbpfLogger::init(ebpf)
            .map(Self)
            .map_err(|error| Error::new(format!("cannot read the eBPF log: {error}")))
    }

    pub(super) fn flush(&mut self) {
        self.0.flush();
    }
}
