//! Attaching the programs of every lifecycle point, one way or the other.

use aya::programs::{FEntry, FExit, KProbe, Program, ProgramError, RawTracePoint};
use aya::{Btf as AyaBtf, Ebpf};

use super::btf::Btf;
use super::hooks::{Hook, HookKind, POINTS, Point, without_slots};
use super::load::{chain, errno, refused};
use super::{Attach, Options};
use crate::error::{Error, Result};

/// The two families of programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Fentry,
    Kprobe,
}

/// What became of one point.
#[derive(Debug)]
pub struct Attached {
    pub point: &'static Point,
    /// The way that was taken and its programs; `None` if the point is not seen.
    pub way: Option<(Mode, Vec<Hook>)>,
    /// The ways that were refused, and why.
    pub refused: Vec<String>,
}

/// Attaches all points in order. Fails if one fails without which nothing works.
pub(super) fn attach_all(
    ebpf: &mut Ebpf,
    btf: &Btf,
    stand_in: &AyaBtf,
    options: &Options,
    slots: bool,
) -> Result<Vec<Attached>> {
    let mut attached = Vec::with_capacity(POINTS.len());
    for point in POINTS.iter().filter(|point| point.is_wanted(btf, options)) {
        let outcome = attach_point(ebpf, btf, stand_in, options, slots, point)?;
        if outcome.way.is_none() && point.without.is_none() {
            return Err(Error::new(format!(
                "cannot trace {}: {}",
                point.function(btf),
                outcome.refused.join("; ")
            ))
            .hint(match options.attach {
                Attach::Auto => {
                    "twtrace needs this function; docs/kernels.md lists the kernels it was tried on"
                }
                _ => "without --attach both ways are tried",
            }));
        }
        attached.push(outcome);
    }
    Ok(attached)
}

fn attach_point(
    ebpf: &mut Ebpf,
    btf: &Btf,
    stand_in: &AyaBtf,
    options: &Options,
    slots: bool,
    point: &'static Point,
) -> Result<Attached> {
    let modes: &[Mode] = match options.attach {
        Attach::Auto => &[Mode::Fentry, Mode::Kprobe],
        Attach::Fentry => &[Mode::Fentry],
        Attach::Kprobe => &[Mode::Kprobe],
    };
    let mut outcome = Attached {
        point,
        way: None,
        refused: Vec::new(),
    };
    for &mode in modes {
        let hooks = match mode {
            Mode::Fentry => match point.fentry_hooks(btf) {
                Ok(hooks) => hooks,
                Err(why) => {
                    outcome.refused.push(format!("fentry: {why}"));
                    continue;
                }
            },
            Mode::Kprobe => point.kprobe_hooks(btf),
        };
        let hooks: Vec<Hook> = hooks.iter().map(|hook| adapt(*hook, slots)).collect();
        match attach_hooks(ebpf, stand_in, &hooks) {
            Ok(()) => {
                outcome.way = Some((mode, hooks));
                return Ok(outcome);
            }
            Err((hook, error)) => {
                if let Some(libc::EPERM) = errno(&error) {
                    return Err(refused(
                        &format!(
                            "load the eBPF program {} for {}",
                            hook.program, hook.function
                        ),
                        &std::io::Error::from_raw_os_error(libc::EPERM),
                    ));
                }
                outcome.refused.push(format!(
                    "{} on {}: {}",
                    hook.program,
                    hook.function,
                    chain(&error)
                ));
            }
        }
    }
    Ok(outcome)
}

/// The hook as it is where programs may compare and exchange, or may not.
pub(super) fn adapt(hook: Hook, slots: bool) -> Hook {
    match without_slots(hook.program) {
        Some(program) if !slots => Hook { program, ..hook },
        _ => hook,
    }
}

/// Loads all programs of a way before the first is attached, so that a point is never half seen
/// because the verifier objects.
fn attach_hooks(
    ebpf: &mut Ebpf,
    stand_in: &AyaBtf,
    hooks: &[Hook],
) -> std::result::Result<(), (Hook, ProgramError)> {
    for hook in hooks {
        load(ebpf, stand_in, hook).map_err(|error| (*hook, error))?;
    }
    // A return probe first: an entry without its return would leave arguments behind.
    for (index, hook) in hooks.iter().enumerate().rev() {
        if let Err(error) = attach(ebpf, hook) {
            for done in &hooks[index..] {
                unload(ebpf, done);
            }
            return Err((*hook, error));
        }
    }
    Ok(())
}

fn program<'a>(
    ebpf: &'a mut Ebpf,
    hook: &Hook,
) -> std::result::Result<&'a mut Program, ProgramError> {
    ebpf.program_mut(hook.program)
        .ok_or(ProgramError::UnexpectedProgramType)
}

fn load(ebpf: &mut Ebpf, stand_in: &AyaBtf, hook: &Hook) -> std::result::Result<(), ProgramError> {
    let program = program(ebpf, hook)?;
    match hook.kind {
        HookKind::Fentry => <&mut FEntry>::try_from(program)?.load(hook.function, stand_in),
        HookKind::Fexit => <&mut FExit>::try_from(program)?.load(hook.function, stand_in),
        HookKind::Kprobe | HookKind::Kretprobe => <&mut KProbe>::try_from(program)?.load(),
        HookKind::RawTracepoint => <&mut RawTracePoint>::try_from(program)?.load(),
    }
}

fn attach(ebpf: &mut Ebpf, hook: &Hook) -> std::result::Result<(), ProgramError> {
    let program = program(ebpf, hook)?;
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
pub(super) fn unload(ebpf: &mut Ebpf, hook: &Hook) {
    let _ = match program(ebpf, hook) {
        Ok(Program::FEntry(program)) => program.unload(),
        Ok(Program::FExit(program)) => program.unload(),
        Ok(Program::KProbe(program)) => program.unload(),
        Ok(Program::RawTracePoint(program)) => program.unload(),
        _ => Ok(()),
    };
}
