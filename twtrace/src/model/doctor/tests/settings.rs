//! What sysctls are set to, and what that does.

use super::*;

#[test]
fn reuse_without_timestamps_does_nothing() {
    let mut facts = healthy();
    facts.set(Sysctl::TcpTwReuse, 1);
    facts.set(Sysctl::TcpTimestamps, 0);
    assert_eq!(found(&facts), [(Warning, "reuse-without-timestamps")]);
    let effect = effect(&facts, Sysctl::TcpTwReuse).unwrap();
    assert_eq!(effect, Effect::ReuseNeedsTimestamps);
    assert!(!effect.takes_effect());
    let delay = crate::model::doctor::settings::rows(&facts)
        .into_iter()
        .find(|row| row.sysctl == Sysctl::TcpTwReuseDelay);
    assert_eq!(delay.unwrap().effect, Effect::ReuseDelayUnused);
}

#[test]
fn reuse_for_all_is_told_to_be_for_outgoing_connections() {
    let mut facts = healthy();
    facts.set(Sysctl::TcpTwReuse, 1);
    assert_eq!(found(&facts), [(Note, "reuse-only-outgoing")]);
    assert!(!diagnose(&facts).myths.contains(&Myth::Reuse));
}

#[test]
fn the_age_for_reuse_is_in_ms_where_the_kernel_has_a_delay() {
    let mut facts = healthy();
    facts.set(Sysctl::TcpTwReuseDelay, 200);
    assert_eq!(
        effect(&facts, Sysctl::TcpTwReuse),
        Some(Effect::ReuseLoopback(ReuseAge::Ms(200)))
    );
    facts.own().sysctls.remove(&Sysctl::TcpTwReuseDelay);
    assert_eq!(
        effect(&facts, Sysctl::TcpTwReuse),
        Some(Effect::ReuseLoopback(ReuseAge::NextSecond))
    );
    assert_eq!(
        effect(&facts, Sysctl::TcpTwReuseDelay),
        Some(Effect::ReuseDelayAbsent)
    );
    facts.set(Sysctl::TcpTwReuse, 0);
    assert_eq!(effect(&facts, Sysctl::TcpTwReuse), Some(Effect::ReuseOff));
}

#[test]
fn timestamps_off_are_noted() {
    let mut facts = healthy();
    facts.set(Sysctl::TcpTimestamps, 0);
    assert_eq!(found(&facts), [(Note, "timestamps-off")]);
}

#[test]
fn rfc1337_is_a_warning_where_segments_were_refused() {
    let mut facts = healthy();
    facts.set(Sysctl::TcpRfc1337, 1);
    assert_eq!(found(&facts), [(Note, "rfc1337")]);
    facts.counted("PAWSTimewait", 3);
    assert_eq!(
        found(&facts),
        [(Warning, "rfc1337"), (Note, "refused-by-timestamp")]
    );
    facts.set(Sysctl::TcpRfc1337, 0);
    assert_eq!(found(&facts), [(Note, "refused-by-timestamp")]);
}

#[test]
fn a_changed_fin_timeout_is_told_not_to_be_time_wait() {
    let mut facts = healthy();
    for (seconds, effect_is) in [(15, Effect::FinTimeout), (120, Effect::FinTimeoutLong)] {
        facts.set(Sysctl::TcpFinTimeout, seconds);
        assert_eq!(found(&facts), [(Note, "fin-timeout")]);
        assert_eq!(effect(&facts, Sysctl::TcpFinTimeout), Some(effect_is));
    }
    assert!(!diagnose(&facts).myths.contains(&Myth::FinTimeout));
}

#[test]
fn recycle_is_a_danger_where_it_is_on_and_gone_where_it_is_not_there() {
    let mut facts = healthy();
    assert_eq!(
        effect(&facts, Sysctl::TcpTwRecycle),
        Some(Effect::RecycleAbsent)
    );
    facts.recycle_files = vec!["/etc/sysctl.d/10-fast.conf".into()];
    assert_eq!(found(&facts), [(Note, "recycle-gone")]);
    assert!(!diagnose(&facts).myths.contains(&Myth::Recycle));
    facts.set(Sysctl::TcpTwRecycle, 0);
    assert_eq!(found(&facts), [(Note, "recycle-there")]);
    facts.set(Sysctl::TcpTwRecycle, 1);
    facts.counted("PAWSPassive", 41);
    assert_eq!(found(&facts), [(Danger, "recycle-on")]);
    assert_eq!(what(&facts, "recycle-on"), What::RecycleOn { dropped: 41 });
}

#[test]
fn autobind_reuse_is_noted() {
    let mut facts = healthy();
    facts.set(Sysctl::IpAutobindReuse, 1);
    assert_eq!(found(&facts), [(Note, "autobind-reuse")]);
}

#[test]
fn every_other_sysctl_says_what_its_value_does() {
    let mut facts = healthy();
    for (sysctl, value, expected) in [
        (Sysctl::TcpTimestamps, 2, Effect::TimestampsWithoutOffset),
        (
            Sysctl::TcpTimestamps,
            1,
            Effect::TimestampsOn(Some(TsOffset::Addresses)),
        ),
        (Sysctl::TcpInvalidRatelimit, 0, Effect::AnswerAll),
        (Sysctl::TcpInvalidRatelimit, 250, Effect::AnswerEvery(250)),
        (Sysctl::IpLocalPortStepWidth, 0, Effect::StepOff),
        (Sysctl::IpLocalPortStepWidth, 9, Effect::StepOn),
        (Sysctl::IpAutobindReuse, 0, Effect::AutobindOff),
        (Sysctl::TcpSyncookies, 0, Effect::CookiesOff),
        (Sysctl::TcpSyncookies, 1, Effect::CookiesWhenFull),
        (Sysctl::TcpSyncookies, 2, Effect::CookiesAlways),
        (Sysctl::TcpMaxTwBuckets, 9, Effect::Limit),
        (Sysctl::TcpRfc1337, 0, Effect::RstEndsTimeWait),
        (Sysctl::TcpRfc1337, 1, Effect::RstIgnored),
    ] {
        facts.set(sysctl, value);
        assert_eq!(effect(&facts, sysctl), Some(expected), "{sysctl:?}");
    }
    facts.own().sysctls.clear();
    // What this kernel does not have has no row, unless its absence says something.
    let rows: Vec<_> = crate::model::doctor::settings::rows(&facts)
        .iter()
        .map(|row| row.effect)
        .collect();
    assert_eq!(
        rows,
        [
            Effect::ReuseDelayAbsent,
            Effect::RecycleAbsent,
            Effect::StepAbsent
        ]
    );
}
