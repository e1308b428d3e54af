use super::*;

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn an_end() -> Vec<u8> {
    let mut bytes = vec![0; END];
    bytes[0] = KIND_END;
    bytes[offset_of!(record::Flow, reason)] = Reason::Expired as u8;
    bytes[offset_of!(record::Flow, family)] = AF_INET;
    bytes[offset_of!(record::Flow, flags)] = FLAG_BORN_FIN_WAIT_2 | FLAG_IN_TIME_WAIT | FLAG_OWNER;
    put(
        &mut bytes,
        offset_of!(record::Flow, lport),
        &443_u16.to_ne_bytes(),
    );
    put(
        &mut bytes,
        offset_of!(record::Flow, rport),
        &41_822_u16.to_ne_bytes(),
    );
    put(
        &mut bytes,
        offset_of!(record::Flow, netns),
        &4_026_531_840_u32.to_ne_bytes(),
    );
    put(
        &mut bytes,
        offset_of!(record::Flow, uid),
        &33_u32.to_ne_bytes(),
    );
    put(&mut bytes, offset_of!(record::Flow, laddr), &[10, 0, 0, 5]);
    put(&mut bytes, offset_of!(record::Flow, raddr), &[10, 0, 0, 9]);
    put(
        &mut bytes,
        offset_of!(record::Flow, cgroup),
        &77_u64.to_ne_bytes(),
    );
    put(
        &mut bytes,
        offset_of!(record::End, born_ns),
        &1_000_u64.to_ne_bytes(),
    );
    put(
        &mut bytes,
        offset_of!(record::End, time_wait_ns),
        &2_000_u64.to_ne_bytes(),
    );
    put(
        &mut bytes,
        offset_of!(record::End, ended_ns),
        &3_000_u64.to_ne_bytes(),
    );
    put(
        &mut bytes,
        offset_of!(record::End, rearms),
        &2_u32.to_ne_bytes(),
    );
    bytes
}

fn decoded_end(bytes: &[u8]) -> End {
    match decode(bytes).unwrap() {
        Event::End(end) => end,
        other => panic!("no end: {other:?}"),
    }
}

#[test]
fn an_end_decodes_field_by_field() {
    let expected = End {
        flow: Flow {
            family: Family::Ipv4,
            laddr: "10.0.0.5".parse().unwrap(),
            lport: 443,
            raddr: "10.0.0.9".parse().unwrap(),
            rport: 41_822,
            netns: 4_026_531_840,
            uid: Some(33),
            cgroup: Some(77),
        },
        reason: Reason::Expired,
        born_as: Some(BornAs::FinWait2),
        born_ns: Some(1_000),
        time_wait_ns: Some(2_000),
        ended_ns: 3_000,
        in_time_wait: true,
        rearms: 2,
        untracked: false,
        refused: 0,
        first_refused_ns: None,
        accepted: None,
    };
    assert_eq!(decoded_end(&an_end()), expected);
}

#[test]
fn an_overflow_decodes_too() {
    let mut bytes = an_end();
    bytes.truncate(OVERFLOW);
    bytes[0] = KIND_OVERFLOW;
    put(
        &mut bytes,
        offset_of!(record::Overflow, at_ns),
        &9_u64.to_ne_bytes(),
    );
    let Event::Overflow(overflow) = decode(&bytes).unwrap() else {
        panic!("not an overflow");
    };
    assert_eq!((overflow.at_ns, overflow.flow.lport), (9, 443));
    assert_eq!(overflow.room, None);
    bytes[offset_of!(record::Flow, flags)] |= FLAG_LIMIT;
    for (at, value) in [
        (offset_of!(record::Overflow, alive), 4_095_u32),
        (offset_of!(record::Overflow, limit), 4_096),
    ] {
        put(&mut bytes, at, &value.to_ne_bytes());
    }
    let Event::Overflow(overflow) = decode(&bytes).unwrap() else {
        panic!("not an overflow");
    };
    let (alive, limit) = (4_095, 4_096);
    assert_eq!(overflow.room, Some(Room { alive, limit }));
}

#[test]
fn an_owner_that_was_not_seen_is_unknown_not_root() {
    let mut bytes = an_end();
    bytes[offset_of!(record::Flow, flags)] = FLAG_UNTRACKED | FLAG_IN_TIME_WAIT;
    let end = decoded_end(&bytes);
    assert_eq!((end.flow.uid, end.flow.cgroup), (None, None));
    assert_eq!(end.born_as, None);
    assert!(end.untracked);
}

#[test]
fn a_time_of_zero_is_unknown() {
    let mut bytes = an_end();
    put(&mut bytes, offset_of!(record::End, born_ns), &[0; 8]);
    put(&mut bytes, offset_of!(record::End, time_wait_ns), &[0; 8]);
    let end = decoded_end(&bytes);
    assert_eq!((end.born_ns, end.time_wait_ns), (None, None));
}

#[test]
fn ipv4_in_an_ipv6_socket_is_shown_as_on_the_wire() {
    let mut bytes = an_end();
    bytes[offset_of!(record::Flow, family)] = AF_INET6;
    let local: Ipv6Addr = "::ffff:192.0.2.1".parse().unwrap();
    let remote: Ipv6Addr = "::ffff:192.0.2.2".parse().unwrap();
    put(&mut bytes, offset_of!(record::Flow, laddr), &local.octets());
    put(
        &mut bytes,
        offset_of!(record::Flow, raddr),
        &remote.octets(),
    );
    let flow = decoded_end(&bytes).flow;
    assert_eq!(flow.family, Family::Ipv4Mapped);
    assert_eq!(flow.laddr.to_string(), "192.0.2.1");
    assert_eq!(flow.raddr.to_string(), "192.0.2.2");
}

#[test]
fn ipv6_stays_ipv6() {
    let mut bytes = an_end();
    bytes[offset_of!(record::Flow, family)] = AF_INET6;
    let flow = decoded_end(&bytes).flow;
    assert_eq!(flow.family, Family::Ipv6);
    assert_eq!(flow.laddr.to_string(), "a00:5::");
}

#[test]
fn every_other_length_is_an_error() {
    let kinds = [
        (KIND_END, END),
        (KIND_OVERFLOW, OVERFLOW),
        (KIND_REFUSAL, REFUSAL),
        (KIND_BIRTH, BIRTH),
        (KIND_SEED, SEED),
        (KIND_PORT_FAILURE, PORT_FAILURE),
    ];
    for (kind, expected) in kinds {
        let mut bytes = an_end();
        bytes.resize(2 * END, 0);
        bytes[0] = kind;
        bytes[offset_of!(record::Flow, reason)] = 1;
        for got in 1..bytes.len() {
            let result = decode(&bytes[..got]);
            if got == expected {
                assert!(result.is_ok(), "{got} bytes");
            } else {
                let error = DecodeError::Length {
                    kind,
                    expected,
                    got,
                };
                assert_eq!(result, Err(error));
            }
        }
    }
    assert_eq!(decode(&[]), Err(DecodeError::Empty));
}

#[test]
fn every_other_first_byte_is_an_unknown_kind() {
    for kind in 0..=u8::MAX {
        let mut bytes = an_end();
        bytes[0] = kind;
        let length = match kind {
            KIND_END => END,
            KIND_OVERFLOW => OVERFLOW,
            KIND_REFUSAL => REFUSAL,
            KIND_BIRTH => BIRTH,
            KIND_SEED => SEED,
            KIND_PORT_FAILURE => PORT_FAILURE,
            _ => {
                assert_eq!(decode(&bytes), Err(DecodeError::Kind(kind)));
                continue;
            }
        };
        bytes.truncate(length);
        assert!(decode(&bytes).is_ok(), "kind {kind}");
    }
}

#[test]
fn every_reason_and_family_is_known_or_an_error() {
    for value in 0..=u8::MAX {
        let mut bytes = an_end();
        bytes[offset_of!(record::Flow, reason)] = value;
        match Reason::from_u8(value) {
            Some(reason) => assert_eq!(decoded_end(&bytes).reason, reason),
            None => assert_eq!(decode(&bytes), Err(DecodeError::Reason(value))),
        }
        let mut bytes = an_end();
        bytes[offset_of!(record::Flow, family)] = value;
        if value == AF_INET || value == AF_INET6 {
            assert!(decode(&bytes).is_ok());
        } else {
            assert_eq!(decode(&bytes), Err(DecodeError::Family(value)));
        }
    }
}

/// The head of [`an_end`] and what comes behind it in a record of another kind.
fn another(kind: u8, flags: u8, length: usize) -> Vec<u8> {
    let mut bytes = an_end();
    bytes.truncate(size_of::<record::Flow>());
    bytes.resize(length, 0);
    bytes[0] = kind;
    bytes[offset_of!(record::Flow, reason)] = 0;
    bytes[offset_of!(record::Flow, flags)] = flags;
    put(
        &mut bytes,
        size_of::<record::Flow>(),
        &5_000_u64.to_ne_bytes(),
    );
    bytes
}

#[test]
fn births_and_seeds_tell_their_substate() {
    for (flags, born_as) in [
        (FLAG_BORN_FIN_WAIT_2 | FLAG_OWNER, BornAs::FinWait2),
        (FLAG_IN_TIME_WAIT | FLAG_OWNER, BornAs::TimeWait),
    ] {
        let bytes = another(KIND_BIRTH, flags, BIRTH);
        let Event::Birth(birth) = decode(&bytes).unwrap() else {
            panic!("no birth");
        };
        assert_eq!((birth.born_as, birth.at_ns), (born_as, 5_000));
        assert_eq!(birth.flow.uid, Some(33));
        let mut bytes = another(KIND_SEED, flags & !FLAG_OWNER, SEED);
        let remaining = offset_of!(record::Seed, remaining_ms);
        put(&mut bytes, remaining, &59_000_u32.to_ne_bytes());
        let Event::Seed(seed) = decode(&bytes).unwrap() else {
            panic!("no seed");
        };
        assert_eq!((seed.substate, seed.remaining_ms), (born_as, 59_000));
        assert_eq!(seed.flow.uid, None);
    }
}

#[test]
fn a_port_failure_names_the_caller() {
    let mut bytes = another(
        KIND_PORT_FAILURE,
        FLAG_OWNER | FLAG_PORT_GIVEN,
        PORT_FAILURE,
    );
    bytes[offset_of!(record::Flow, reason)] = Call::Bind as u8;
    for (at, value) in [
        (offset_of!(record::PortFailure, pid), 8_123_u32),
        (offset_of!(record::PortFailure, errno), 98),
        (offset_of!(record::PortFailure, time_wait), 27_902),
    ] {
        put(&mut bytes, at, &value.to_ne_bytes());
    }
    put(
        &mut bytes,
        offset_of!(record::PortFailure, command),
        b"php-fpm",
    );
    let Event::PortFailure(failure) = decode(&bytes).unwrap() else {
        panic!("no port failure");
    };
    assert_eq!(
        (failure.call, failure.pid, failure.errno, failure.time_wait),
        (Call::Bind, 8_123, 98, 27_902)
    );
    assert_eq!(failure.command.text(), "php-fpm");
    assert!(failure.port_given);
    bytes[offset_of!(record::Flow, reason)] = 2;
    assert_eq!(decode(&bytes), Err(DecodeError::Call(2)));
}

/// A SYN that PAWS refused in TIME_WAIT.
fn a_refusal() -> Vec<u8> {
    let mut bytes = an_end();
    bytes.truncate(size_of::<record::Flow>());
    bytes.resize(REFUSAL, 0);
    bytes[0] = KIND_REFUSAL;
    bytes[offset_of!(record::Flow, reason)] = Stage::TimeWait as u8;
    bytes[offset_of!(record::Flow, flags)] = FLAG_TSVAL | FLAG_TS_RECENT | FLAG_REARMED;
    for (at, ns) in [
        (offset_of!(record::Refusal, at_ns), 5_000_u64),
        (offset_of!(record::Refusal, time_wait_ns), 4_000),
    ] {
        put(&mut bytes, at, &ns.to_ne_bytes());
    }
    for (at, value) in [
        (offset_of!(record::Refusal, tsval), 10_u32),
        (offset_of!(record::Refusal, ts_recent), 20),
        (offset_of!(record::Refusal, ts_recent_age_s), 3),
        (offset_of!(record::Refusal, seq), 40),
        (offset_of!(record::Refusal, rcv_nxt), 50),
        (offset_of!(record::Refusal, refused), 2),
    ] {
        put(&mut bytes, at, &value.to_ne_bytes());
    }
    let window = offset_of!(record::Refusal, window);
    put(&mut bytes, window, &64_240_u16.to_ne_bytes());
    bytes[offset_of!(record::Refusal, rule)] = Rule::Paws as u8;
    bytes[offset_of!(record::Refusal, reply)] = Reply::Ack as u8;
    bytes[offset_of!(record::Refusal, tcp_flags)] = 2;
    bytes[offset_of!(record::Refusal, ttl)] = 63;
    bytes[offset_of!(record::Refusal, owner_ttl)] = 57;
    bytes
}

fn decoded_refusal(bytes: &[u8]) -> Refusal {
    match decode(bytes).unwrap() {
        Event::Refusal(refusal) => refusal,
        other => panic!("no refusal: {other:?}"),
    }
}

#[test]
fn a_refusal_decodes_field_by_field() {
    let refusal = decoded_refusal(&a_refusal());
    let expected = Refusal {
        flow: Flow {
            uid: None,
            cgroup: None,
            ..decoded_end(&an_end()).flow
        },
        at_ns: 5_000,
        time_wait_ns: Some(4_000),
        stage: Stage::TimeWait,
        rule: Rule::Paws,
        reply: Some(Reply::Ack),
        rearmed: true,
        tcp_flags: 2,
        numbers: Numbers {
            tsval: Some(10),
            ts_recent: Some(20),
            seq: 40,
            rcv_nxt: 50,
        },
        ts_recent_age_s: Some(3),
        window: 64_240,
        ttl: Some(63),
        owner_ttl: Some(57),
        refused: 2,
    };
    assert_eq!(refusal, expected);
    assert!(refusal.is_syn());
}

#[test]
fn what_a_refusal_does_not_know_is_unknown_not_zero() {
    let mut bytes = a_refusal();
    bytes[offset_of!(record::Flow, flags)] = 0;
    bytes[offset_of!(record::Refusal, reply)] = REPLY_UNKNOWN;
    bytes[offset_of!(record::Refusal, ttl)] = 0;
    bytes[offset_of!(record::Refusal, owner_ttl)] = 0;
    put(
        &mut bytes,
        offset_of!(record::Refusal, time_wait_ns),
        &[0; 8],
    );
    let refusal = decoded_refusal(&bytes);
    assert_eq!(
        (refusal.numbers.tsval, refusal.numbers.ts_recent),
        (None, None)
    );
    assert_eq!(refusal.ts_recent_age_s, None);
    assert_eq!(
        (refusal.reply, refusal.ttl, refusal.owner_ttl),
        (None, None, None)
    );
    assert_eq!(refusal.time_wait_ns, None);
    assert!(!refusal.rearmed);
}

#[test]
fn a_syn_that_opens_a_connection_has_no_ack() {
    for (flags, opens) in [
        (2, true),
        (0x12, false),
        (6, false),
        (0x10, false),
        (0xc2, true),
    ] {
        let mut bytes = a_refusal();
        bytes[offset_of!(record::Refusal, tcp_flags)] = flags;
        assert_eq!(decoded_refusal(&bytes).is_syn(), opens, "{flags:#x}");
    }
}

#[test]
fn every_stage_rule_and_reply_is_known_or_an_error() {
    for value in 0..=u8::MAX {
        let with = |at: usize| {
            let mut bytes = a_refusal();
            bytes[at] = value;
            decode(&bytes)
        };
        let stage = with(offset_of!(record::Flow, reason));
        assert_eq!(stage.is_ok(), Stage::from_u8(value).is_some());
        let rule = with(offset_of!(record::Refusal, rule));
        assert_eq!(rule.is_ok(), Rule::from_u8(value).is_some());
        let reply = with(offset_of!(record::Refusal, reply));
        let known = value == REPLY_UNKNOWN || Reply::from_u8(value).is_some();
        assert_eq!(reply.is_ok(), known);
        for result in [stage, rule, reply] {
            assert!(matches!(result, Ok(_) | Err(DecodeError::Refusal { .. })));
        }
    }
}

#[test]
fn the_numbers_of_an_accepted_syn_are_there_only_if_they_were_taken() {
    let mut bytes = an_end();
    let flags = bytes[offset_of!(record::Flow, flags)];
    for (at, value) in [
        (offset_of!(record::End, refused), 3_u32),
        (offset_of!(record::End, tsval), 30),
        (offset_of!(record::End, ts_recent), 20),
        (offset_of!(record::End, seq), 60),
        (offset_of!(record::End, rcv_nxt), 50),
    ] {
        put(&mut bytes, at, &value.to_ne_bytes());
    }
    let first = offset_of!(record::End, first_refused_ns);
    put(&mut bytes, first, &2_500_u64.to_ne_bytes());
    bytes[offset_of!(record::Flow, reason)] = Reason::SynReopened as u8;
    assert_eq!(decoded_end(&bytes).accepted, None);
    bytes[offset_of!(record::Flow, flags)] = flags | FLAG_NUMBERS | FLAG_TSVAL;
    let end = decoded_end(&bytes);
    assert_eq!((end.refused, end.first_refused_ns), (3, Some(2_500)));
    let expected = Numbers {
        tsval: Some(30),
        ts_recent: None,
        seq: 60,
        rcv_nxt: 50,
    };
    assert_eq!(end.accepted, Some(expected));
    bytes[offset_of!(record::Flow, reason)] = Reason::Reset as u8;
    assert_eq!(decoded_end(&bytes).accepted, None);
}
