//! `cargo xtask`: everything around twtrace that is not twtrace. One file or folder per command.

mod apt;
mod bench;
mod demo;
mod dist;
mod ebpf;
mod fuzz;
mod matrix;
mod package;
mod paths;
mod run;
mod test;
mod tidy;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build, VM, test and bench tasks of twtrace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Show twtrace at work: a stock kernel in a VM, real connections, live lines, the summary.
    Demo(demo::Args),
    /// Measure what twtrace costs, next to other tools.
    Bench(bench::Args),
    /// Write man pages and completions, as packages have them.
    Dist(dist::Args),
    /// Build the eBPF object reproducibly into twtrace/bpf/, or check the committed one.
    Ebpf(ebpf::Args),
    /// Feed arbitrary bytes to the code that reads recordings, records, BTF, names and facts.
    Fuzz(fuzz::Args),
    /// Run `twtrace check` on every kernel that can be had and write the table of docs/kernels.md.
    Matrix(matrix::Args),
    /// Compare the library's surface with docs/api.txt, and publish both crates, but for the upload.
    Package(package::Args),
    /// Run all tests: formatting, lints, unit, golden, the eBPF object, and VMs.
    Test(test::Args),
    /// Check the walls between rooms, file sizes, stray words and links.
    Tidy(tidy::Args),
    /// Boot stock kernels in QEMU and run a command in each (default: `twtrace check`).
    Vm(vm::Args),
}

fn main() -> ExitCode {
    let done = if ebpf::wrapper::is_wanted() {
        ebpf::wrapper::become_rustc()
    } else if package::rustdoc::is_wanted() {
        package::rustdoc::become_rustdoc()
    } else {
        work(&Cli::parse())
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn work(cli: &Cli) -> anyhow::Result<()> {
    match &cli.task {
        Task::Demo(args) => demo::run(args),
        Task::Bench(args) => bench::run(args),
        Task::Dist(args) => dist::run(args),
        Task::Ebpf(args) => ebpf::run(args),
        Task::Fuzz(args) => fuzz::run(args),
        Task::Matrix(args) => matrix::run(args),
        Task::Package(args) => package::run(args),
        Task::Test(args) => test::run(args),
        Task::Tidy(args) => tidy::run(args),
        Task::Vm(args) => vm::run(args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
