//! A file named by `--btf` is compared with what the kernel shows, whatever the command.

#[path = "support/program.rs"]
mod program;

use std::fs;

use program::twtrace;

const COMMANDS: &[&[&str]] = &[
    &["trace"],
    &["hist"],
    &["conflicts"],
    &["ports"],
    &["top", "--batch"],
    &["record", "/dev/null"],
    &["doctor"],
    &["check"],
    &["check", "--list"],
];

#[test]
fn the_type_information_of_another_kernel_is_refused_by_every_command() {
    let path = std::env::temp_dir().join(format!("twtrace-given-{}", std::process::id()));
    let mut btf = fs::read("/sys/kernel/btf/vmlinux").unwrap();
    // Sound BTF, but a name is spelt otherwise.
    let name = b"\0tcp_time_wait\0";
    let at = btf.windows(name.len()).position(|window| window == name);
    btf[at.unwrap() + 1] = b'X';
    fs::write(&path, btf).unwrap();
    for command in COMMANDS {
        let output = twtrace()
            .args(*command)
            .arg("--btf")
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
        assert!(output.stdout.is_empty(), "{command:?}");
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines.len(), 2, "{command:?}: {said}");
        assert!(lines[0].contains("it differs from /sys/kernel/btf/vmlinux"));
        assert!(lines[1].contains("hint: leave out --btf"), "{said}");
    }
    fs::remove_file(&path).unwrap();
}
