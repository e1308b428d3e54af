//! Attaching the programs of every lifecycle point, one way or the other.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc;
use std::thread;

use aya::programs::{FEntry, FExit, KProbe, Program, ProgramError, RawTracePoint};
use aya::{Btf as AyaBtf, Ebpf};

use super::btf::Btf;
use super::hooks::{Hook, HookKind, POINTS, Point, without_slots};
use super::load::{Kernel, chain, errno, refused};
use super::preemption;
use super::threads::thread_in;
use super::{Attach, Options};
use crate::error::{Error, Result};

/// The two families of programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Fentry,
    Kprobe,
}

/// The result for one point.
#[derive(Debug)]
pub struct Attached {
    pub point: &'static Point,
    /// The way that was taken and its programs; `None` if the point is not seen.
    pub way: Option<(Mode, Vec<Hook>)>,
    /// The ways that were refused, and why.
    pub refused: Vec<String>,
}

/// Attaches all points, in order where order matters. Fails if one fails without which
/// nothing works.
///
/// The verifier is at the next points while one is attached: either takes its time.
pub(super) fn attach_all(
    ebpf: &mut Ebpf,
    btf: &Btf,
    stand_in: &AyaBtf,
    options: &Options,
    kernel: Kernel,
) -> Result<Vec<Attached>> {
    let mut programs: HashMap<&str, &mut Program> = ebpf.programs_mut().collect();
    let wanted = POINTS.iter().filter(|point| point.is_wanted(btf, options));
    let points: Vec<_> = wanted
        .map(|point| Pending::new(point, &mut programs, btf, options, kernel))
        .collect();
    thread::scope(|scope| {
        let (in_order, ordered) = mpsc::channel();
        let (at_any_time, others) = mpsc::channel();
        // Waiting when the first is ready, so that it is attached before the next is: see `POINTS`.
        let beside = thread_in(scope, "beside", || {
            attach_each(others, btf, stand_in, options)
        })?;
        let load = move || {
            for mut point in points {
                let next = match point.outcome.point.any_time {
                    true => &at_any_time,
                    false => &in_order,
                };
                // If nobody waits for it any more, something has failed already.
                if next.send(point.load(stand_in).map(|()| point)).is_err() {
                    break;
                }
            }
        };
        let _verifier = thread_in(scope, "verifier", load)?;
        let ordered = attach_each(ordered, btf, stand_in, options)?;
        let mut attached = beside.join()??;
        attached.extend(ordered);
        Ok(attached)
    })
}

/// Attaches points as they are loaded.
fn attach_each(
    loaded: mpsc::Receiver<Result<Pending<'_>>>,
    btf: &Btf,
    stand_in: &AyaBtf,
    options: &Options,
) -> Result<Vec<Attached>> {
    loaded
        .into_iter()
        .map(|point| point?.attach(stand_in, btf, options.attach))
        .collect()
}

/// A hook and its program.
type Bound<'p> = (Hook, &'p mut Program);

/// A way to see a point.
struct Way<'p> {
    mode: Mode,
    hooks: Vec<Bound<'p>>,
}

/// A point before it is attached.
struct Pending<'p> {
    outcome: Attached,
    /// Ways still to be tried. [`Pending::load`] makes the first one whose programs are loaded.
    ways: VecDeque<Way<'p>>,
}

impl<'p> Pending<'p> {
    fn new(
        point: &'static Point,
        programs: &mut HashMap<&str, &'p mut Program>,
        btf: &Btf,
        options: &Options,
        kernel: Kernel,
    ) -> Self {
        let mut refused = Vec::new();
        let modes: &[Mode] = match options.attach {
            Attach::Auto if kernel.preempts => {
                refused.push(preemption::WHY_KPROBE.to_owned());
                &[Mode::Kprobe, Mode::Fentry]
            }
            Attach::Auto => &[Mode::Fentry, Mode::Kprobe],
            Attach::Fentry => &[Mode::Fentry],
            Attach::Kprobe => &[Mode::Kprobe],
        };
        let mut ways = VecDeque::new();
        for &mode in modes {
            let hooks = match mode {
                Mode::Fentry => point.fentry_hooks(btf, options),
                Mode::Kprobe => Ok(point.kprobe_hooks(btf, options)),
            };
            match hooks {
                // A program that both ways have is tried once.
                Ok(hooks) => ways.extend(Way::new(mode, &hooks, programs, kernel.slots)),
                Err(why) => refused.push(format!("fentry: {why}")),
            }
        }
        let outcome = Attached {
            point,
            way: None,
            refused,
        };
        Self { outcome, ways }
    }

    /// Loads the programs of the first way that the verifier lets pass.
    fn load(&mut self, stand_in: &AyaBtf) -> Result<()> {
        while let Some(way) = self.ways.front_mut() {
            match way.load(stand_in) {
                Ok(()) => break,
                Err(failed) => {
                    self.ways.pop_front();
                    self.refused(failed)?;
                }
            }
        }
        Ok(())
    }

    /// Attaches the way that is loaded, or the next.
    fn attach(mut self, stand_in: &AyaBtf, btf: &Btf, asked: Attach) -> Result<Attached> {
        while let Some(mut way) = self.ways.pop_front() {
            match way.attach() {
                Ok(()) => {
                    let hooks = way.hooks.iter().map(|bound| bound.0);
                    self.outcome.way = Some((way.mode, hooks.collect()));
                    return Ok(self.outcome);
                }
                Err(failed) => {
                    self.refused(failed)?;
                    self.load(stand_in)?;
                }
            }
        }
        match self.outcome.point.without {
            Some(_) => Ok(self.outcome),
            None => Err(needed(&self.outcome, btf, asked)),
        }
    }

    /// Remembers why a way is not taken. EPERM ends it all: it never means "this kernel cannot".
    fn refused(&mut self, (hook, error): (Hook, ProgramError)) -> Result<()> {
        let Hook {
            program, function, ..
        } = hook;
        if let Some(libc::EPERM) = errno(&error) {
            return Err(refused(
                &format!("load the eBPF program {program} for {function}"),
                &std::io::Error::from_raw_os_error(libc::EPERM),
            ));
        }
        let line = format!("{program} on {function}: {}", chain(&error));
        self.outcome.refused.push(line);
        Ok(())
    }
}

fn needed(outcome: &Attached, btf: &Btf, asked: Attach) -> Error {
    let hint = match asked {
        Attach::Auto => {
            "twtrace needs this function; docs/kernels.md lists the kernels it was tried on"
        }
        _ => "without --attach both ways are tried",
    };
    let function = outcome.point.function(btf);
    Error::new(format!(
        "cannot trace {function}: {}",
        outcome.refused.join("; ")
    ))
    .hint(hint)
}

impl<'p> Way<'p> {
    /// `None` if a program of it is taken.
    fn new(
        mode: Mode,
        hooks: &[Hook],
        programs: &mut HashMap<&str, &'p mut Program>,
        slots: bool,
    ) -> Option<Self> {
        let hooks = hooks.iter().map(|hook| adapt(*hook, slots));
        let hooks = hooks.map(|hook| Some((hook, programs.remove(hook.program)?)));
        Some(Self {
            mode,
            hooks: hooks.collect::<Option<_>>()?,
        })
    }

    /// Loads all its programs before the first is attached, so that a point is never half seen
    /// because the verifier objects.
    fn load(&mut self, stand_in: &AyaBtf) -> std::result::Result<(), (Hook, ProgramError)> {
        for (hook, program) in &mut self.hooks {
            load(program, stand_in, hook).map_err(|error| (*hook, error))?;
        }
        Ok(())
    }

    fn attach(&mut self) -> std::result::Result<(), (Hook, ProgramError)> {
        // A return probe first: an entry without its return would leave arguments behind.
        for index in (0..self.hooks.len()).rev() {
            let (hook, program) = &mut self.hooks[index];
            let hook = *hook;
            if let Err(error) = attach(program, &hook) {
                for (_, done) in &mut self.hooks[index..] {
                    unload(done);
                }
                return Err((hook, error));
            }
        }
        Ok(())
    }
}

/// The hook as it is where programs may compare and exchange, or may not.
pub(super) fn adapt(hook: Hook, slots: bool) -> Hook {
    match without_slots(hook.program) {
        Some(program) if !slots => Hook { program, ..hook },
        _ => hook,
    }
}

fn load(
    program: &mut Program,
    stand_in: &AyaBtf,
    hook: &Hook,
) -> std::result::Result<(), ProgramError> {
    match hook.kind {
        HookKind::Fentry => <&mut FEntry>::try_from(program)?.load(hook.function, stand_in),
        HookKind::Fexit => <&mut FExit>::try_from(program)?.load(hook.function, stand_in),
        HookKind::Kprobe | HookKind::Kretprobe => <&mut KProbe>::try_from(program)?.load(),
        HookKind::RawTracepoint => <&mut RawTracePoint>::try_from(program)?.load(),
    }
}

fn attach(program: &mut Program, hook: &Hook) -> std::result::Result<(), ProgramError> {
    match hook.kind {
        HookKind::Fentry => <&mut FEntry>::try_from(program)?.attach().map(drop),
        HookKind::Fexit => <&mut FExit>::try_from(program)?.attach().map(drop),
        HookKind::Kprobe | HookKind::Kretprobe => <&mut KProbe>::try_from(program)?
            .attach(hook.function, 0)
            .map(drop),
        HookKind::RawTracepoint => <&mut RawTracePoint>::try_from(program)?
            .attach(hook.function)
            .map(drop),
    }
}

/// Detaches as well. It may not be loaded or attached yet.
pub(super) fn unload(program: &mut Program) {
    let _ = match program {
        Program::FEntry(program) => program.unload(),
        Program::FExit(program) => program.unload(),
        Program::KProbe(program) => program.unload(),
        Program::RawTracePoint(program) => program.unload(),
        _ => Ok(()),
    };
}
