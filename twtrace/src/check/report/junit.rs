//! JUnit XML: a test suite for each group, a test case for each scenario and address family.

use std::io::{self, Write};

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{Comparison, Kind, details, evidence, headline};
use crate::check::outcome::{Outcome, Run, Verdict, family_name};

/// All verdicts, and one more test suite for the comparison.
pub(super) fn report(
    run: Option<&Run<'_>>,
    comparison: Option<&Comparison>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut report = Report::new("twtrace check");
    if let Some(run) = run {
        report.set_time(run.took);
        add_groups(run, &mut report);
    }
    if let Some(comparison) = comparison {
        report.add_test_suite(compared(comparison));
    }
    report.serialize(out).map_err(io::Error::other)
}

fn add_groups(run: &Run<'_>, report: &mut Report) {
    for (group, scenarios) in run.groups() {
        let mut suite = TestSuite::new(group.name());
        suite.add_property(("kernel", run.meta.kernel.as_str()));
        suite.add_property(("attach", run.meta.attach.as_str()));
        suite.add_property(("twtrace", env!("CARGO_PKG_VERSION")));
        for outcome in scenarios.into_iter().flatten() {
            suite.add_test_case(case(run, outcome));
        }
        report.add_test_suite(suite);
    }
}

/// A difference for the worse fails, another does not.
fn compared(comparison: &Comparison) -> TestSuite {
    let mut suite = TestSuite::new("baseline");
    suite.add_property(("kernel", comparison.is.as_str()));
    suite.add_property(("baseline", comparison.was.as_str()));
    for one in &comparison.differences {
        let told = details(comparison, one).join("\n");
        let mut status = TestCaseStatus::success();
        if one.kind == Kind::Regression {
            status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_type(one.kind.name());
            status.set_message(headline(one));
            status.set_description(told.as_str());
        }
        let mut case = TestCase::new(headline(one), status);
        case.set_classname(format!("twtrace.baseline.{}", one.kind.name()));
        case.set_system_out(told);
        suite.add_test_case(case);
    }
    suite
}

fn case(run: &Run<'_>, outcome: &Outcome) -> TestCase {
    let status = match &outcome.verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Skip(reason) => {
            let mut skipped = TestCaseStatus::skipped();
            skipped.set_message(reason.as_str());
            skipped
        }
        Verdict::Fail(failures) => {
            let mut failed = TestCaseStatus::non_success(NonSuccessKind::Failure);
            failed.set_type(outcome.case.group.name());
            failed.set_message(failures.first().map_or("", String::as_str));
            failed.set_description(evidence::explain(run, outcome).join("\n"));
            failed
        }
    };
    let name = outcome.case.name;
    let mut case = TestCase::new(family_name(outcome.case.family), status);
    case.set_classname(format!("twtrace.{}.{name}", outcome.case.group.name()));
    case.set_time(outcome.took);
    case
}
