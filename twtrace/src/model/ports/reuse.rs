//! Whether `tcp_tw_reuse` can free ports.

use super::row::{Key, Reuse, Row, Why};
use crate::event::found::PortRules;

/// `fin_wait_2`: so many of the row's mini-sockets at least are in FIN_WAIT2.
pub(super) fn reuse(rules: Option<&PortRules>, row: &Row, fin_wait_2: u32) -> Reuse {
    if row.key.is_source() {
        return Reuse::No(Why::Bind);
    }
    let in_time_wait = row.time_wait.saturating_sub(fin_wait_2);
    if in_time_wait < fin_wait_2 + row.others {
        return Reuse::No(match row.others >= fin_wait_2 {
            true => Why::Live,
            false => Why::FinWait2,
        });
    }
    by_rules(rules, row.key)
}

/// `tcp_twsk_unique`, as far as sysctls and addresses decide.
pub(super) fn by_rules(rules: Option<&PortRules>, key: Key) -> Reuse {
    let Some(rules) = rules else {
        return Reuse::Unknown;
    };
    let delay_ms = rules.tcp_tw_reuse_delay_ms;
    match rules.tcp_tw_reuse {
        _ if rules.tcp_timestamps == 0 => Reuse::NoTimestamps,
        1 => Reuse::On { delay_ms },
        2 if key.is_loopback() => Reuse::On { delay_ms },
        now => Reuse::Would { now, delay_ms },
    }
}
