//! What to do about a cause. Nothing here can make it worse, and nothing contradicts an outcome that
//! is shown beside it.

use std::net::IpAddr;

use crate::model::conflicts::causes::{Argument, Cause, Hypothesis};

const NOT: &str = "not tcp_tw_recycle, not a shorter tcp_fin_timeout";
/// There, a shorter tcp_fin_timeout does end it sooner.
const NOT_IN_FIN_WAIT_2: &str =
    "not tcp_tw_recycle; a shorter tcp_fin_timeout also cuts off clients that are slow to close";

/// Where the old connections are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Old {
    TimeWait,
    FinWait2,
    Live,
}

/// What to do, and what people try but should not. `stuck`: clients of this address are; `None` if
/// there is nothing to say that their own line does not.
pub(super) fn advice(case: &Hypothesis, address: IpAddr, stuck: bool) -> Option<String> {
    let old = old(case);
    let remedy = match case.cause {
        Cause::SeveralHosts => several_hosts(old).to_owned(),
        Cause::PortRewritingNat => port_rewriting_nat(case).to_owned(),
        Cause::ClockReset if stuck => format!(
            "{}, or let the client rest for a minute: each of its SYNs restarts the 60 s",
            kill("time-wait", address)
        ),
        Cause::ClockReset => {
            "nothing: it ends when the earlier connections are gone, after about a minute".to_owned()
        }
        Cause::NonMonotonicStack => {
            "make timestamps grow from one connection to the next on that stack, or turn them off there".to_owned()
        }
        Cause::RestartedDevice => restarted_device(old, address),
        Cause::OldDuplicate if stuck => return None,
        Cause::OldDuplicate => "nothing: it is right to refuse them".to_owned(),
    };
    let not = match old {
        Old::FinWait2 => NOT_IN_FIN_WAIT_2,
        Old::TimeWait | Old::Live => NOT,
    };
    Some(format!("{remedy}; {not}"))
}

fn old(case: &Hypothesis) -> Old {
    let open = case.pro.iter().find_map(|argument| match *argument {
        Argument::NeverClosed { live, .. } => Some(live),
        _ => None,
    });
    match open {
        None => Old::TimeWait,
        Some(0) => Old::FinWait2,
        Some(_) => Old::Live,
    }
}

fn several_hosts(old: Old) -> &'static str {
    match old {
        Old::TimeWait => {
            "give the NAT more addresses, or make it leave a port unused for a minute after each connection; keep connections open"
        }
        Old::FinWait2 => {
            "make the clients close what this side has closed (`ss -tan state close-wait` there), and let the NAT keep idle connections for as long as the clients do"
        }
        Old::Live => {
            "let the NAT keep idle connections for as long as the clients do; TCP keepalives on this side end those whose client is gone"
        }
    }
}

fn port_rewriting_nat(case: &Hypothesis) -> &'static str {
    let no_timestamps = |argument: &Argument| matches!(argument, Argument::NoTimestamps { .. });
    if case.pro.iter().any(no_timestamps) {
        "MASQUERADE without --random-fully, or timestamps on both sides, with tcp_timestamps=2 on the client's"
    } else {
        "tcp_timestamps=2 on the client's side, or MASQUERADE without --random-fully"
    }
}

fn restarted_device(old: Old, address: IpAddr) -> String {
    let there = "let the device take another port after a restart, or random ISNs, or timestamps";
    match old {
        Old::TimeWait => format!("{there}; {}", kill("time-wait", address)),
        Old::FinWait2 => format!("{there}; {}", kill("fin-wait-2", address)),
        Old::Live => {
            format!("{there}; TCP keepalives on this side end connections whose client is gone")
        }
    }
}

fn kill(state: &str, address: IpAddr) -> String {
    let address = match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    format!("`ss -K state {state} dst {address}` lets it in now (Linux 6.1 and later)")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn said(cause: Cause, pro: &[Argument], stuck: bool) -> Option<String> {
        let case = Hypothesis {
            cause,
            points: 3,
            pro: pro.to_vec(),
            con: Vec::new(),
        };
        advice(&case, Ipv6Addr::LOCALHOST.into(), stuck)
    }

    #[test]
    fn nobody_who_is_stuck_is_told_to_do_nothing() {
        for cause in Cause::ALL {
            let said = said(cause, &[], true).unwrap_or_default();
            assert!(!said.contains("nothing"), "{said}");
        }
        assert!(said(Cause::OldDuplicate, &[], false).is_some());
    }

    #[test]
    fn one_clock_for_all_ports_does_not_help_who_has_no_timestamps() {
        let cause = Cause::PortRewritingNat;
        let with = said(cause, &[], false).unwrap();
        assert!(with.starts_with("tcp_timestamps=2"), "{with}");
        let without = said(cause, &[Argument::NoTimestamps { n: 3 }], false).unwrap();
        assert!(without.contains("timestamps on both sides"), "{without}");
    }

    #[test]
    fn in_fin_wait_2_nothing_is_called_time_wait() {
        let open = Argument::NeverClosed {
            n: 3,
            of: 3,
            live: 0,
        };
        for cause in [Cause::SeveralHosts, Cause::RestartedDevice] {
            let said = said(cause, &[open], true).unwrap();
            assert!(!said.to_lowercase().contains("time-wait"), "{said}");
            assert!(!said.contains("not a shorter tcp_fin_timeout"), "{said}");
        }
        let restarted = said(Cause::RestartedDevice, &[], true).unwrap();
        assert!(
            restarted.contains("`ss -K state time-wait dst [::1]`"),
            "{restarted}"
        );
    }
}
