//! What ran and how it went: a table, and one line that counts.

use anyhow::Result;

use crate::run::show;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    /// It failed, and passed when it ran again.
    Again,
    Fail,
    Skip,
}

impl Verdict {
    pub(super) fn of<T>(result: &Result<T>) -> Self {
        match result {
            Ok(_) => Self::Pass,
            Err(_) => Self::Fail,
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Again => "again",
            Self::Fail => "FAIL",
            Self::Skip => "skip",
        }
    }
}

#[derive(Debug)]
struct Row {
    name: String,
    verdict: Verdict,
    detail: String,
}

#[derive(Debug, Default)]
pub(super) struct Results {
    rows: Vec<Row>,
}

impl Results {
    /// A result whose success or error says more.
    pub(super) fn add(&mut self, name: &str, result: Result<String>) {
        match result {
            Ok(detail) => self.put(name, Verdict::Pass, &detail),
            Err(error) => self.put(name, Verdict::Fail, &format!("{error:#}")),
        }
    }

    pub(super) fn put(&mut self, name: &str, verdict: Verdict, detail: &str) {
        self.rows.push(Row {
            name: name.to_owned(),
            verdict,
            detail: detail.lines().next().unwrap_or_default().to_owned(),
        });
    }

    /// How the last one went.
    pub(super) fn last(&self) -> Verdict {
        self.rows.last().map_or(Verdict::Skip, |row| row.verdict)
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.rows
            .iter()
            .filter(|row| row.verdict == verdict)
            .count()
    }

    pub(super) fn failed(&self) -> usize {
        self.count(Verdict::Fail)
    }

    fn last_line(&self) -> String {
        let mut line = format!(
            "{} passed, {} failed",
            self.count(Verdict::Pass) + self.count(Verdict::Again),
            self.count(Verdict::Fail)
        );
        match self.count(Verdict::Again) {
            0 => {}
            again => line += &format!(", {again} only when run again"),
        }
        match self.count(Verdict::Skip) {
            0 => {}
            skipped => line += &format!(", {skipped} skipped"),
        }
        line
    }

    pub(super) fn show(&self) {
        show("");
        let width = self
            .rows
            .iter()
            .map(|row| row.name.len())
            .max()
            .unwrap_or(0);
        // What failed comes last, where it is seen.
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by_key(|row| match row.verdict {
            Verdict::Pass | Verdict::Skip => 0,
            Verdict::Again => 1,
            Verdict::Fail => 2,
        });
        for Row {
            name,
            verdict,
            detail,
        } in rows
        {
            show(&format!("{:5}  {name:width$}  {detail}", verdict.word()));
        }
        show("");
        show(&self.last_line());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts() {
        let mut results = Results::default();
        results.add("a", Ok(String::new()));
        results.add("b", Err(anyhow::anyhow!("broken")));
        assert_eq!(results.last_line(), "1 passed, 1 failed");
        results.put("c", Verdict::Skip, "not run");
        assert_eq!(results.last_line(), "1 passed, 1 failed, 1 skipped");
    }
}
