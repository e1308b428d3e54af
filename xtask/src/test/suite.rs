//! The assertions of tests/vm: all on kernels of the table, some with more CPUs, and `twtrace check`
//! on the kernel built with PREEMPT_RT.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::parsers::{self, Kunit};
use super::progress::Progress;
use super::results::{Results, Verdict};
use crate::run::{say, show};
use crate::vm::image::Profile;
use crate::vm::kernels::{KERNELS, MANY_CPUS, REALTIME};
use crate::vm::package::Kernel;
use crate::vm::qemu::{Accel, Outcome, Setup};
use crate::vm::verdict::stood_still;
use crate::vm::{self, Host};

/// What all VMs are called before it is known which there are.
pub(super) const VMS: &str = "VMs";
/// With fewer kernels than this, a run of the whole table proves too little.
const FEWEST: usize = 4;
const TIME_LIMIT: Duration = Duration::from_secs(1800);

/// Which kernels to test on.
#[derive(Debug)]
pub(super) struct Choice {
    /// All kernels, and all that can be asserted of each.
    pub(super) everything: bool,
    pub(super) named: Vec<String>,
}

impl Choice {
    /// Names of the table, or paths.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let table = KERNELS.iter().map(|series| series.name);
        let table = table.filter(|_| self.everything);
        let short = ["oldest", "newest"];
        let short = short.into_iter();
        let short = short.filter(|_| !self.everything && self.named.is_empty());
        table
            .chain(self.named.iter().map(String::as_str))
            .chain(short)
    }
}

/// One VM.
struct Job<'a> {
    kernel: &'a Kernel,
    /// What it is called where there are several of one kernel.
    remark: &'static str,
    setup: Setup,
    /// Whether it runs `twtrace check` both ways, so that the two can be compared.
    whole: bool,
}

impl Job<'_> {
    fn name(&self) -> String {
        format!("Linux {}{}", self.kernel.release, self.remark)
    }
}

pub(super) fn run(choice: &Choice, jobs: usize, progress: &Progress, results: &mut Results) {
    let kernels = kernels(choice, results);
    if kernels.is_empty() {
        return;
    }
    let everything = choice.everything;
    let realtime = everything.then(|| realtime(results)).flatten();
    let profile = match everything {
        true => Profile::Measured,
        false => Profile::Quick,
    };
    let host = match Host::get(profile) {
        Ok(host) => host,
        Err(error) => return results.add("VM", Err(error)),
    };
    let mut queue = whole(&kernels, everything || !choice.named.is_empty());
    if everything {
        queue.extend(many_cpus(&kernels));
    }
    let alone = queue.len();
    queue.extend(realtime.as_ref().map(on_realtime));
    progress.split(VMS, queue.iter().map(Job::name));
    let work = |job: &Job<'_>| {
        let started = Instant::now();
        let (end, again) = boot(&host, job);
        let passed = end.as_ref().is_ok_and(|end| end.verdict.code == 0);
        let verdict = if passed { Verdict::Pass } else { Verdict::Fail };
        progress.ended(&job.name(), verdict.word(), started.elapsed());
        (end, again)
    };
    let mut ends = vm::side_by_side(&queue[..alone], jobs, work);
    // The threads of PREEMPT_RT that are ahead of all others starve those beside another VM.
    ends.extend(vm::side_by_side(&queue[alone..], 1, work));
    let kunit = parsers::Kunit::get();
    if let Err(why) = &kunit {
        results.put("KTAP of the VMs", Verdict::Skip, &format!("{why:#}"));
    }
    for (job, (end, again)) in queue.iter().zip(ends) {
        if let Some(again) = again {
            results.put(&job.name(), Verdict::Again, &again);
        }
        if let Ok(end) = &end
            && job.whole
        {
            others(&job.name(), end, kunit.as_ref().ok(), results);
        }
        let read = end.and_then(|end| read(&job.name(), &end, results));
        if let Err(error) = read {
            say(&format!("{}: {error:#}", job.name()));
            results.add(&job.name(), Err(error));
        }
    }
}

/// Boots a VM; once more if it stood still, and then says so.
fn boot(host: &Host, job: &Job<'_>) -> (Result<Outcome>, Option<String>) {
    let name = format!("{}{}", job.kernel.name, job.remark);
    let boot = || {
        say(&format!("booting {}", job.name()));
        host.boot(job.kernel, &job.setup, &mut |line| {
            show(&format!("{name:6} {line}"));
        })
    };
    match boot() {
        Err(error) if stood_still(&error) => {
            let again = format!("booted again: {error:#}");
            say(&format!("{}: {again}", job.name()));
            (boot(), Some(again))
        }
        end => (end, None),
    }
}

fn setup(words: &[&str]) -> Setup {
    let command = ["twtrace-vm", "suite"].iter().chain(words);
    Setup {
        memory_mb: 1536,
        cpus: 2,
        more_cpus: 0,
        accel: Accel::Best,
        timeout: TIME_LIMIT,
        command: command.map(|&word| word.to_owned()).collect(),
        extra: Vec::new(),
    }
}

/// All assertions that say something of the kernel, and of the others a share on each; or of both
/// those that are quick.
fn whole(kernels: &[Kernel], long: bool) -> Vec<Job<'_>> {
    let job = |(nth, kernel)| {
        let share = format!("{nth}/{}", kernels.len());
        let mut words = vec!["--share", &share];
        if !long {
            words.extend(["--part", "quick"]);
        }
        Job {
            kernel,
            remark: "",
            setup: setup(&words),
            whole: long,
        }
    };
    kernels.iter().enumerate().map(job).collect()
}

/// What CPUs may do to each other.
fn many_cpus(kernels: &[Kernel]) -> impl Iterator<Item = Job<'_>> {
    let wanted = |kernel: &&Kernel| MANY_CPUS.contains(&&*kernel.name);
    kernels.iter().filter(wanted).map(|kernel| Job {
        kernel,
        remark: ", 4 CPUs",
        setup: Setup {
            cpus: 4,
            ..setup(&["--part", "cpus"])
        },
        whole: false,
    })
}

fn on_realtime(kernel: &Kernel) -> Job<'_> {
    Job {
        kernel,
        remark: "",
        setup: Setup {
            // Where all share one, each is preempted by the others.
            cpus: 1,
            ..setup(&["--part", "realtime"])
        },
        whole: false,
    }
}

/// The kernel built with PREEMPT_RT, where one can be had.
fn realtime(results: &mut Results) -> Option<Kernel> {
    match vm::kernel(REALTIME.name) {
        Ok(kernel) => Some(kernel),
        Err(error) => {
            let detail = format!("not run: {error:#}");
            say(&format!("Linux with PREEMPT_RT: {detail}"));
            results.put("Linux with PREEMPT_RT", Verdict::Skip, &detail);
            None
        }
    }
}

/// Fetches the kernels; what cannot be had is a skip, but not too many of them.
fn kernels(choice: &Choice, results: &mut Results) -> Vec<Kernel> {
    let mut kernels: Vec<Kernel> = Vec::new();
    let mut oldest = false;
    for name in choice.names() {
        match vm::kernel(name) {
            Ok(kernel) => {
                oldest |= kernel.name == KERNELS[0].name;
                if kernels.iter().all(|known| known.release != kernel.release) {
                    kernels.push(kernel);
                }
            }
            Err(error) => {
                let detail = format!("not run: {error:#}");
                say(&format!("Linux {name}: {detail}"));
                results.put(&format!("Linux {name}"), Verdict::Skip, &detail);
            }
        }
    }
    results.add("kernels", enough(choice, kernels.len(), oldest));
    kernels
}

fn enough(choice: &Choice, found: usize, oldest: bool) -> Result<String> {
    ensure!(found > 0, "no kernel to test on");
    if choice.everything {
        ensure!(oldest, "the oldest kernel, {}, is missing", KERNELS[0].name);
        ensure!(found >= FEWEST, "only {found} kernels, {FEWEST} are needed");
    }
    Ok(format!("{found} found"))
}

/// What others make of the files that `twtrace check` left.
fn others(job: &str, end: &Outcome, kunit: Option<&Kunit>, results: &mut Results) {
    let name = |what: &str| format!("{job}: {what}");
    let folder = match end.files() {
        Ok(folder) => folder,
        Err(error) => return results.add(&name("files"), Err(error)),
    };
    for attach in ["fentry", "kprobe"] {
        let read = parsers::of_vm(kunit, &folder, attach);
        results.add(&name(&format!("parsers, {attach}")), read);
    }
    results.add(&name("two runs are the same"), parsers::same(&folder));
}

/// A row for each assertion that ran in the VM.
fn read(job: &str, end: &Outcome, results: &mut Results) -> Result<()> {
    let path = end.files()?.join("results");
    let text = fs::read_to_string(path).context("the VM reported no results")?;
    let mut failed = 0;
    for line in text.lines() {
        let mut columns = line.splitn(3, '\t');
        let mut column = || columns.next().context("the VM's report is cut");
        let (verdict, name, detail) = (column()?, column()?, column()?);
        let verdict = match verdict {
            "pass" => Verdict::Pass,
            "again" => Verdict::Again,
            _ => Verdict::Fail,
        };
        failed += usize::from(verdict == Verdict::Fail);
        results.put(&format!("{job}: {name}"), verdict, detail);
    }
    let code = end.verdict.code;
    ensure!(
        (code == 0) == (failed == 0),
        "exit code {code} with {failed} failed assertions"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_kernels_fail() {
        let all = Choice {
            everything: true,
            named: Vec::new(),
        };
        assert!(enough(&all, 4, true).is_ok());
        assert!(enough(&all, 3, true).is_err());
        assert!(enough(&all, 5, false).is_err(), "the oldest is missing");
        let some = Choice {
            everything: false,
            named: Vec::new(),
        };
        assert!(enough(&some, 1, false).is_ok());
        assert!(enough(&some, 0, false).is_err());
    }
}
