use super::*;

/// A machine without BTF cannot run these; CI's and every developer's has it.
fn vmlinux(wanted: &[(&'static str, Kind)]) -> Btf {
    Btf::read(Path::new(VMLINUX), wanted).unwrap()
}

#[test]
fn finds_functions_members_and_anonymous_members_of_the_running_kernel() {
    let btf = vmlinux(&[
        ("tcp_twsk_unique", Kind::Function),
        ("sock_common", Kind::Struct),
        ("no_such_struct", Kind::Struct),
    ]);
    assert_eq!(
        btf.parameters("tcp_twsk_unique").unwrap(),
        ["sk", "sktw", "twp"]
    );
    // In a union in an anonymous struct in a union; never moved since 3.x.
    assert_eq!(btf.member("sock_common", "skc_dport").unwrap().offset, 12);
    assert_eq!(btf.member("sock_common", "skc_net.net").unwrap().offset, 48);
    assert!(btf.member("sock_common", "skc_net").unwrap().aggregate);
    assert_eq!(btf.member("sock_common", "skc_nothing"), None);
    assert_eq!(btf.number("no_such_struct", Kind::Struct), None);
}

#[test]
fn finds_enumerators_of_the_running_kernel() {
    let wanted = [
        ("TCP_TIME_WAIT", Kind::Enumerator),
        ("LINUX_MIB_NUM", Kind::Enumerator),
        ("LINUX_MIB_SYNCOOKIESSENT", Kind::Enumerator),
        ("TCP_TIME", Kind::Enumerator),
        ("tcp_abort", Kind::Function),
    ];
    let btf = vmlinux(&wanted);
    assert_eq!(btf.enumerator("TCP_TIME_WAIT"), Some(6));
    assert_eq!(btf.enumerator("LINUX_MIB_NUM"), Some(0));
    assert_eq!(btf.enumerator("LINUX_MIB_SYNCOOKIESSENT"), Some(1));
    assert_eq!(btf.enumerator("TCP_TIME"), None);
    assert_eq!(btf.enumerator("tcp_abort"), None);
}

#[test]
fn finds_parameters_of_tracepoints_of_the_running_kernel() {
    let btf = vmlinux(&[
        ("btf_trace_tcp_destroy_sock", Kind::Typedef),
        ("btf_trace_kfree_skb", Kind::Typedef),
    ]);
    let parameters = |name| btf.tracepoint_parameters(name);
    assert_eq!(parameters("tcp_destroy_sock").unwrap(), ["sock"]);
    // The packet, a `void *`, and what newer kernels added.
    assert_eq!(parameters("kfree_skb").unwrap()[..2], ["sk_buff", ""]);
    assert_eq!(parameters("no_such_tracepoint"), None);
}

#[test]
fn both_widths_of_enumerators_are_read() {
    let mut data: Vec<u8> = Vec::new();
    let strings = b"\0NARROW\0WIDE\0";
    let types: [u32; 11] = [
        // An anonymous enum of 4 bytes with one enumerator, one of 8 bytes with another.
        0,
        ENUM << 24 | 1,
        4,
        1,
        7, //
        0,
        ENUM64 << 24 | 1,
        8,
        8,
        5,
        3,
    ];
    data.extend(MAGIC.to_ne_bytes());
    data.extend([1, 0]);
    for word in [24, 0, 44, 44, strings.len() as u32].iter().chain(&types) {
        data.extend(word.to_ne_bytes());
    }
    data.extend(strings);
    let wanted = [("NARROW", Kind::Enumerator), ("WIDE", Kind::Enumerator)];
    let btf = Btf::parse(data.into(), &wanted).unwrap();
    assert_eq!(btf.enumerator("NARROW"), Some(7));
    assert_eq!(btf.enumerator("WIDE"), Some(3 << 32 | 5));
}

#[test]
fn the_stand_in_keeps_numbers() {
    let wanted = [
        ("tcp_twsk_unique", Kind::Function),
        ("no_such_function", Kind::Function),
        ("tcp_abort", Kind::Function),
    ];
    let btf = vmlinux(&wanted);
    let small = stand_in(&btf);
    for (name, kind) in wanted {
        let found = small.id_by_type_name_kind(name, aya_obj::btf::BtfKind::Func);
        assert_eq!(found.ok(), btf.number(name, kind), "{name}");
    }
}

#[test]
fn a_cut_anywhere_is_an_error_and_not_a_panic() {
    let whole = std::fs::read(VMLINUX).unwrap();
    let wanted = [("tcp_abort", Kind::Function), ("sock", Kind::Struct)];
    for length in (0..whole.len()).step_by(whole.len() / 40).chain(0..64) {
        assert!(Btf::parse(whole[..length].to_vec().into(), &wanted).is_err());
    }
}

/// Names of what is made up, by their offset.
const STRINGS: &[u8] = b"\0loop\0x\0btf_trace_loop\0function\0";
const LOOP: u32 = 1;
const X: u32 = 6;
const TRACE: u32 = 8;
const FUNCTION: u32 = 23;

/// Types of an own making, from number 1 on: name, kind and count, size or type, what is behind.
fn made_up(types: &[u32]) -> Vec<u8> {
    let length = 4 * types.len() as u32;
    let mut data: Vec<u8> = MAGIC.to_ne_bytes().to_vec();
    data.extend([1, 0]);
    for word in [24, 0, length, length, STRINGS.len() as u32]
        .iter()
        .chain(types)
    {
        data.extend(word.to_ne_bytes());
    }
    data.extend(STRINGS);
    data
}

fn parsed(types: &[u32]) -> std::result::Result<Btf, String> {
    let wanted = [
        ("loop", Kind::Struct),
        ("btf_trace_loop", Kind::Typedef),
        ("function", Kind::Function),
    ];
    Btf::parse(made_up(types).into(), &wanted)
}

/// A struct `loop` with one member without a name, of type 2.
const OUTER: [u32; 6] = [LOOP, STRUCT << 24 | 1, 8, 0, 2, 0];

#[test]
fn types_that_lead_to_themselves_are_no_way() {
    for kind in [TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG] {
        let itself = [OUTER.as_slice(), &[0, kind << 24, 2]].concat();
        assert_eq!(parsed(&itself).unwrap().member("loop", "x"), None);
        let each_other = [OUTER.as_slice(), &[0, kind << 24, 3, 0, CONST << 24, 2]].concat();
        assert_eq!(parsed(&each_other).unwrap().member("loop", "x"), None);
    }
    let pointer = [0, POINTER << 24, 1];
    let prototype = [0, PROTOTYPE << 24 | 2, 0, 0, 0, 0, 1];
    let typedef = [TRACE, TYPEDEF << 24, 4, 0, POINTER << 24, 2];
    let types = [&pointer[..], &prototype, &typedef].concat();
    assert_eq!(parsed(&types).unwrap().tracepoint_parameters("loop"), None);
}

#[test]
fn a_struct_that_holds_itself_is_searched_once() {
    let itself = [LOOP, STRUCT << 24 | 1, 8, 0, 1, 0];
    let btf = parsed(&itself).unwrap();
    assert_eq!(btf.member("loop", "x"), None);
    assert!(!btf.has_member("loop", "x"));
}

#[test]
fn however_deep_or_wide_structs_are_nested_the_search_ends() {
    let nested = |levels: u32, members: u32| {
        let level = |number: u32| {
            let member = [0, number + 1, 0].repeat(members as usize);
            [&[LOOP, STRUCT << 24 | members, 8][..], &member].concat()
        };
        let mut types: Vec<u32> = (1..levels).flat_map(level).collect();
        types.extend([0, STRUCT << 24 | 1, 8, X, 0, 8]);
        parsed(&types).unwrap()
    };
    assert_eq!(nested(3, 2).member("loop", "x").unwrap().offset, 1);
    assert_eq!(nested(20_000, 1).member("loop", "x"), None);
    assert_eq!(nested(30, 60).member("loop", "nothing"), None);
}

#[test]
fn offsets_that_do_not_fit_are_no_offsets() {
    let inner = [0, STRUCT << 24 | 1, 8, X, 0, u32::MAX];
    let mut outer = OUTER;
    outer[5] = u32::MAX;
    let btf = parsed(&[outer, inner].concat()).unwrap();
    assert_eq!(btf.member("loop", "x"), None);
}

#[test]
fn only_prototypes_have_parameters() {
    let function = |of: u32| [FUNCTION, FUNC << 24, of];
    let prototype = [0, PROTOTYPE << 24 | 1, 0, X, 1];
    let right = [&function(2)[..], &prototype].concat();
    assert_eq!(
        parsed(&right).unwrap().parameters("function").unwrap(),
        ["x"]
    );
    for of in [0, 1, 3, u32::MAX] {
        let wrong = [&function(of)[..], &prototype].concat();
        assert_eq!(parsed(&wrong).unwrap().parameters("function"), None);
    }
}

#[test]
fn what_does_not_fit_its_section_is_said_to_be_cut_short() {
    for short in [
        &[0, STRUCT << 24 | 0xffff, 8][..],
        &[0, ENUM << 24 | 1, 4],
        &[0, CONST << 24],
    ] {
        let error = parsed(short).unwrap_err();
        assert_eq!(error, "the type at byte 24 is cut short");
    }
    assert_eq!(
        parsed(&[0, 31 << 24, 0]).unwrap_err(),
        "it has a type of unknown kind 31 at byte 24"
    );
    for word in 1..6 {
        let mut far = made_up(&OUTER);
        far[4 * word..4 * word + 4].fill(0xff);
        assert!(Btf::parse(far.into(), &[]).is_err(), "word {word}");
    }
}
