//! The command of `-c`: as whom it runs, and how it ended.

use std::path::Path;
use std::process::ExitStatus;
use std::{env, fs, io};

use nix::unistd::{Gid, Uid, geteuid, setgid, setgroups, setuid};
use tokio::process::{Child, Command};

use super::output::talk;
use crate::cli::Tracing;
use crate::error::{Error, Result, why};
use crate::kernel::privileges;

const SHELL: &str = "/bin/sh";

/// Somebody else than twtrace runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    uid: u32,
    gid: u32,
    /// Further groups.
    groups: Vec<u32>,
    home: String,
    shell: String,
}

impl User {
    /// Whom `--user` names, else who called sudo. `None`: the command runs as twtrace does.
    pub(super) fn of(tracing: &Tracing) -> Result<Option<Self>> {
        if tracing.command.is_none() {
            return Ok(None);
        }
        let number = |name| env::var(name).ok()?.parse().ok();
        let sudo = number("SUDO_UID").zip(number("SUDO_GID"));
        let user = match (&tracing.user, sudo) {
            (Some(wanted), _) => Self::find(wanted, &Accounts::read())?,
            (None, Some(ids)) if geteuid().is_root() => {
                Self::of_sudo(ids, env::var("SUDO_USER").ok(), &Accounts::read())
            }
            (None, _) => return Ok(None),
        };
        if user.uid == geteuid().as_raw() {
            return Ok(None);
        }
        if !privileges::may_change_user() {
            let name = &user.name;
            return Err(Error::new(format!(
                "cannot run the command as {name}: that needs root (CAP_SETUID and CAP_SETGID)"
            ))
            .hint("without --user it runs as you"));
        }
        Ok(Some(user))
    }

    /// By name or number. A number needs no account.
    fn find(wanted: &str, accounts: &Accounts) -> Result<Self> {
        let number = wanted.parse().ok();
        accounts
            .find(|account| account.name == wanted)
            .or_else(|| number.and_then(|uid| accounts.find(|account| account.uid == uid)))
            .or_else(|| number.map(|uid| Self::without_account(uid, uid, wanted)))
            .ok_or_else(|| {
                Error::new(format!("there is no user {wanted} in /etc/passwd"))
                    .hint("a number works for users from elsewhere (id -u NAME)")
            })
    }

    fn of_sudo((uid, gid): (u32, u32), name: Option<String>, accounts: &Accounts) -> Self {
        let found = accounts.find(|account| account.uid == uid);
        let user = found.unwrap_or_else(|| {
            let name = name.unwrap_or_else(|| uid.to_string());
            Self::without_account(uid, gid, &name)
        });
        Self { gid, ..user }
    }

    fn without_account(uid: u32, gid: u32, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            uid,
            gid,
            groups: Vec::new(),
            home: "/".into(),
            shell: SHELL.into(),
        }
    }

    /// Has the command run as this user, in an environment like that of a login.
    fn run(&self, command: &mut Command) {
        for (name, value) in [
            ("HOME", &self.home),
            ("USER", &self.name),
            ("LOGNAME", &self.name),
            ("SHELL", &self.shell),
        ] {
            command.env(name, value);
        }
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        // As initgroups(3): the first group is among them.
        let groups = [self.gid].into_iter().chain(self.groups.iter().copied());
        let groups: Vec<_> = groups.map(Gid::from_raw).collect();
        let change = move || -> io::Result<()> {
            setgroups(&groups)?;
            setgid(gid)?;
            Ok(setuid(uid)?)
        };
        // SAFETY: three system calls between fork and exec, which neither allocate nor lock.
        unsafe { command.pre_exec(change) };
    }
}

/// `/etc/passwd` and `/etc/group`: a static binary can ask nobody else.
struct Accounts {
    passwd: String,
    group: String,
}

impl Accounts {
    fn read() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            passwd: read("/etc/passwd"),
            group: read("/etc/group"),
        }
    }

    /// The first that is wanted, with its groups.
    fn find(&self, wanted: impl Fn(&User) -> bool) -> Option<User> {
        let mut user = self.passwd.lines().filter_map(account).find(wanted)?;
        let groups = self
            .group
            .lines()
            .filter_map(|line| member(line, &user.name));
        user.groups = groups.collect();
        Some(user)
    }
}

/// `alice:x:1000:1000:Alice:/srv/alice:/bin/bash`
fn account(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
    let mut rest = fields.skip(1).map(str::to_owned);
    let or = |text: Option<String>, default: &str| {
        text.filter(|text| !text.is_empty())
            .unwrap_or_else(|| default.into())
    };
    let home = or(rest.next(), "/");
    Some(User {
        name,
        uid,
        gid,
        groups: Vec::new(),
        home,
        shell: or(rest.next(), SHELL),
    })
}

/// The number of a group if this user is in it: `wheel:x:10:alice,bob`.
fn member(line: &str, user: &str) -> Option<u32> {
    let mut fields = line.split(':').skip(2);
    let gid = fields.next()?.parse().ok()?;
    fields
        .next()?
        .split(',')
        .any(|name| name == user)
        .then_some(gid)
}

/// Where the command prints to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stdout {
    /// Where twtrace does.
    Shared,
    /// To stderr: stdout is for twtrace alone.
    Kept,
}

/// Starts the command.
pub(super) fn spawn(text: &str, user: Option<&User>, to: Stdout) -> Result<Child> {
    let mut command = command(text, user)?;
    if to == Stdout::Kept {
        command.stdout(io::stderr());
    }
    command
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Error::new(format!("cannot run {text}: {}", why(&error))))
}

fn command(text: &str, user: Option<&User>) -> Result<Command> {
    let mut command = if Path::new(SHELL).exists() {
        let mut command = Command::new(SHELL);
        command.args(["-c", text]);
        command
    } else {
        let mut words = shlex::split(text)
            .filter(|words| !words.is_empty())
            .ok_or_else(|| {
                Error::new(format!("cannot understand the command: {text}"))
                    .hint("there is no /bin/sh, so it must be plain words")
            })?
            .into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command
    };
    if let Some(user) = user {
        user.run(&mut command);
    }
    Ok(command)
}

/// Says so if it did not end well.
pub(super) fn report(status: io::Result<ExitStatus>) {
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => talk(&format!("warning: the command ended with {status}")),
        Err(error) => talk(&format!("warning: lost track of the command: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::live::runtime;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nbroken\n\
                          alice:x:1000:1000:Alice,,,:/srv/alice:/bin/zsh\n\
                          daemon:x:1:1::/:\nalice:x:7:7::/other:/bin/sh\n";
    const GROUP: &str =
        "root:x:0:\nwheel:x:10:bob,alice\nalice:x:1000:\nx:x:11:malice\ny:x:12:alice\n";

    fn accounts() -> Accounts {
        Accounts {
            passwd: PASSWD.into(),
            group: GROUP.into(),
        }
    }

    #[test]
    fn users_are_found_by_name_and_number_with_all_their_groups() {
        let alice = User {
            name: "alice".into(),
            uid: 1000,
            gid: 1000,
            groups: vec![10, 12],
            home: "/srv/alice".into(),
            shell: "/bin/zsh".into(),
        };
        assert_eq!(User::find("alice", &accounts()).unwrap(), alice);
        assert_eq!(User::find("1000", &accounts()).unwrap(), alice);
        let of_sudo = User::of_sudo((1000, 50), Some("alice".into()), &accounts());
        assert_eq!(of_sudo, User { gid: 50, ..alice });
        let daemon = User::find("daemon", &accounts()).unwrap();
        assert_eq!((daemon.home.as_str(), daemon.shell.as_str()), ("/", SHELL));
    }

    #[test]
    fn who_has_no_account_here_needs_a_number() {
        let error = User::find("bob", &accounts()).unwrap_err().to_string();
        assert!(
            error.contains("no user bob") && error.contains("hint: "),
            "{error}"
        );
        let seven = User::find("10007", &accounts()).unwrap();
        assert_eq!(
            (seven.uid, seven.gid, seven.groups),
            (10_007, 10_007, vec![])
        );
        let elsewhere = User::of_sudo((5_000, 5_001), Some("eve".into()), &accounts());
        assert_eq!((elsewhere.name.as_str(), elsewhere.gid), ("eve", 5_001));
    }

    /// What a command prints that runs as this user.
    fn prints(text: &str, user: &User) -> io::Result<String> {
        runtime().unwrap().block_on(async {
            let output = command(text, Some(user)).unwrap().output().await?;
            assert!(output.status.success());
            Ok(String::from_utf8(output.stdout).unwrap())
        })
    }

    #[test]
    fn the_command_runs_as_the_user_and_with_nothing_of_roots() {
        let user = User {
            groups: vec![10_011, 10_013],
            ..User::without_account(10_007, 10_009, "seven")
        };
        let text = "id -u; id -g; id -G; echo $HOME $USER $LOGNAME $SHELL; \
                    grep -E '^(CapEff|CapPrm|CapAmb|NoNewPrivs)' /proc/self/status";
        let printed = prints(text, &user);
        if !privileges::may_change_user() {
            assert_eq!(printed.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            return;
        }
        let none = "0000000000000000";
        let expected = format!(
            "10007\n10009\n10009 10011 10013\n/ seven seven /bin/sh\n\
             CapPrm:\t{none}\nCapEff:\t{none}\nCapAmb:\t{none}\nNoNewPrivs:\t0\n"
        );
        assert_eq!(printed.unwrap(), expected);
    }

    /// Beside a recording on stdout, the command must not print there.
    #[test]
    fn where_stdout_is_kept_the_command_has_stderr_for_it() {
        let same = "[ $(stat -Lc %d:%i /proc/$$/fd/1) = $(stat -Lc %d:%i /proc/$$/fd/2) ]";
        runtime().unwrap().block_on(async {
            let mut child = spawn(same, None, Stdout::Kept).unwrap();
            assert!(child.wait().await.unwrap().success());
        });
    }

    #[test]
    fn without_a_command_nobody_is_looked_for() {
        let tracing = Tracing {
            user: Some("no-such-user".into()),
            ..Tracing::default()
        };
        assert_eq!(User::of(&tracing).unwrap(), None);
        let command = Some("true".to_owned());
        assert!(User::of(&Tracing { command, ..tracing }).is_err());
    }
}
