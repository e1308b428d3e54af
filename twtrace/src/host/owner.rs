//! What the path of a cgroup tells: systemd unit, container, Kubernetes pod.

use crate::text::Text;

/// A container's id is shown as short as `docker ps` shows it.
const SHORT_ID: usize = 12;
const ID: usize = 64;
/// As much of a pod's uid as tells pods apart in a column.
const SHORT_UID: usize = 8;

/// Who is behind a cgroup; `None` for what its path does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The innermost systemd unit: a service, scope or slice, unescaped.
    pub unit: Option<Text>,
    /// The innermost container: the first 12 digits of its id, or its name.
    pub container: Option<Text>,
    /// uid of the Kubernetes pod.
    pub pod: Option<Text>,
}

impl Owner {
    /// Reads a path below the mount of cgroup2, e.g. `/system.slice/nginx.service`. Any text is
    /// taken; what is not recognized tells nothing. What systemd had escaped is cleaned again.
    #[must_use]
    pub fn of_path(path: &str) -> Self {
        let names: Vec<_> = path.split('/').map(unescape).collect();
        let innermost = |find: fn(&[String]) -> Option<Text>| {
            (1..=names.len()).rev().find_map(|end| find(&names[..end]))
        };
        Self {
            unit: innermost(unit),
            container: innermost(container),
            pod: innermost(pod),
        }
    }

    /// The most telling of them for a narrow column: pod, container, service or scope. `None`
    /// where only a slice or a login session is known: there the user tells more.
    #[must_use]
    pub fn short(&self) -> Option<Text> {
        let pod = self.pod.as_ref().map(|uid| short_pod(uid));
        let unit = || self.unit.as_deref().and_then(telling_unit);
        pod.or_else(|| self.container.clone()).or_else(unit)
    }

    /// The same where there is room: a pod with its container.
    #[must_use]
    pub fn long(&self) -> Option<Text> {
        match (&self.pod, &self.container) {
            (Some(uid), Some(container)) => Some(format!("{}/{container}", short_pod(uid)).into()),
            _ => self.short(),
        }
    }
}

fn short_pod(uid: &str) -> Text {
    format!("pod-{}", uid.get(..SHORT_UID).unwrap_or(uid)).into()
}

fn telling_unit(unit: &str) -> Option<Text> {
    let (name, kind) = unit.rsplit_once('.')?;
    let of_a_login = name.starts_with("session-") || name.starts_with("user@");
    (kind != "slice" && !of_a_login).then(|| name.into())
}

// Each of these looks at the last name of a path, and at those before it where that matters.

fn unit(path: &[String]) -> Option<Text> {
    let (name, kind) = path.last()?.rsplit_once('.')?;
    (!name.is_empty() && ["service", "scope", "slice"].contains(&kind))
        .then(|| format!("{name}.{kind}").into())
}

fn container(path: &[String]) -> Option<Text> {
    let (last, before) = path.split_last()?;
    let parent = before.last().map_or("", String::as_str);
    let machine = || {
        let stem = last.strip_prefix("machine-")?.strip_suffix(".scope");
        stem.filter(|_| parent == "machine.slice")
    };
    let nspawn = || {
        last.strip_prefix("systemd-nspawn@")?
            .strip_suffix(".service")
    };
    let lxc = || {
        last.strip_prefix("lxc.payload.")
            .or((parent == "lxc" || parent == "lxc.payload").then_some(last.as_str()))
    };
    let id = container_id(last).map(|id| &id[..SHORT_ID]);
    id.or_else(lxc)
        .or_else(machine)
        .or_else(nspawn)
        .filter(|name| !name.is_empty())
        .map(Text::new)
}

/// The 64 hexadecimal digits that Docker, containerd, CRI-O and Podman name containers by: alone
/// (cgroupfs driver), or behind what runs it: `docker-….scope`, `kubepods.slice:cri-containerd:…`.
fn container_id(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(".scope").unwrap_or(name);
    let (before, id) = stem.split_at_checked(stem.len().checked_sub(ID)?)?;
    let apart = before.is_empty() || before.ends_with(['-', ':']);
    (apart && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// `kubepods-burstable-pod1234_….slice` of the systemd driver, `/kubepods/burstable/pod1234-…` of
/// the cgroupfs driver. A static pod has a hash of 32 digits for its uid.
fn pod(path: &[String]) -> Option<Text> {
    let (last, before) = path.split_last()?;
    let uid = match last.split_once("-pod") {
        Some((slice, rest)) if slice.contains("kubepods") => rest.split_once(".slice")?.0,
        _ if before.iter().any(|name| name.contains("kubepods")) => last.strip_prefix("pod")?,
        _ => return None,
    };
    let uid = uid.replace('_', "-");
    let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes = uid.bytes().filter(|&byte| byte == b'-').count();
    (digits == 32 && digits + dashes == uid.len()).then(|| uid.into())
}

/// systemd writes what is special in a name as `\x2d`; bytes that are not UTF-8 stay as they are.
fn unescape(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = tail
            .strip_prefix(b"x")
            .filter(|_| byte == b'\\')
            .and_then(|digits| Some((hex(digits.get(..2)?)?, &digits[2..])));
        let (byte, tail) = escaped.unwrap_or((byte, tail));
        bytes.push(byte);
        rest = tail;
    }
    String::from_utf8(bytes).unwrap_or_else(|_| name.to_owned())
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digits = str::from_utf8(digits).ok()?;
    u8::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "3f8a1c9e5b7d2046a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718";
    const UID: &str = "7f9c0d1e-2b3a-4c5d-8e9f-a0b1c2d3e4f5";

    /// Unit, container and pod of a path; `-` is none. HEX, UID and its form with underscores
    /// stand for themselves.
    fn told(path: &str) -> [String; 3] {
        let path = path
            .replace("HEX", HEX)
            .replace("U_I_D", &UID.replace('-', "_"))
            .replace("UID", UID);
        let Owner {
            unit,
            container,
            pod,
        } = Owner::of_path(&path);
        [unit, container, pod]
            .map(|one| one.map_or_else(|| "-".into(), |one| one.to_string()))
            .map(|one| {
                one.replace(HEX, "HEX")
                    .replace(&UID.replace('-', "_"), "U_I_D")
            })
    }

    #[test]
    fn units_are_the_innermost_of_systemd() {
        for (path, unit) in [
            ("/system.slice/nginx.service", "nginx.service"),
            ("/init.scope", "init.scope"),
            ("/system.slice", "system.slice"),
            (
                "/system.slice/system-getty.slice/getty@tty1.service",
                "getty@tty1.service",
            ),
            (
                "/system.slice/system-postgresql.slice/postgresql@16-main.service",
                "postgresql@16-main.service",
            ),
            (
                r"/system.slice/system-systemd\x2dfsck.slice/systemd-fsck@dev-sda1.service",
                "systemd-fsck@dev-sda1.service",
            ),
            (
                r"/system.slice/var-lib-my\x2dapp.service",
                "var-lib-my-app.service",
            ),
            (
                "/user.slice/user-1000.slice/session-3.scope",
                "session-3.scope",
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox-71.scope",
                "app-firefox-71.scope",
            ),
            ("/system.slice/foo.service/a/b", "foo.service"),
        ] {
            assert_eq!(told(path), [unit, "-", "-"], "{path}");
        }
    }

    #[test]
    fn containers_of_docker_and_podman_are_known_by_their_id() {
        for (path, unit) in [
            ("/docker/HEX", "-"),
            ("/system.slice/docker-HEX.scope", "docker-HEX.scope"),
            (
                "/system.slice/docker-HEX.scope/system.slice/nginx.service",
                "nginx.service",
            ),
            (
                "/machine.slice/libpod-HEX.scope/container",
                "libpod-HEX.scope",
            ),
            ("/libpod_parent/libpod-HEX", "-"),
            ("/ecs/0a1b2c3d/HEX", "-"),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-HEX.scope/container",
                "libpod-HEX.scope",
            ),
        ] {
            assert_eq!(told(path), [unit, &HEX[..12], "-"], "{path}");
        }
    }

    #[test]
    fn pods_of_kubernetes_are_known_by_their_uid() {
        for (path, unit, container) in [
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_I_D.slice/cri-containerd-HEX.scope",
                "cri-containerd-HEX.scope",
                &HEX[..12],
            ),
            (
                "/kubepods.slice/kubepods-podU_I_D.slice/crio-HEX.scope/container",
                "crio-HEX.scope",
                &HEX[..12],
            ),
            ("/kubepods/besteffort/podUID/HEX", "-", &HEX[..12]),
            ("/kubepods/podUID", "-", "-"),
            (
                "/system.slice/kubepods-besteffort-podU_I_D.slice:cri-containerd:HEX",
                "system.slice",
                &HEX[..12],
            ),
            (
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podU_I_D.slice/cri-containerd-HEX.scope",
                "cri-containerd-HEX.scope",
                &HEX[..12],
            ),
        ] {
            assert_eq!(told(path), [unit, container, UID], "{path}");
        }
        let hash = "0123456789abcdef0123456789abcdef";
        let static_pod = format!("/kubepods/burstable/pod{hash}/{HEX}");
        assert_eq!(told(&static_pod)[2], hash);
    }

    #[test]
    fn containers_of_lxc_and_nspawn_have_names() {
        for (path, unit, container) in [
            (
                "/lxc.payload.web-7/system.slice/nginx.service",
                "nginx.service",
                "web-7",
            ),
            ("/lxc/101/ns", "-", "101"),
            (
                "/machine.slice/machine-deb\\x2d12.scope",
                "machine-deb-12.scope",
                "deb-12",
            ),
            (
                "/machine.slice/systemd-nspawn@build.service/payload",
                "systemd-nspawn@build.service",
                "build",
            ),
        ] {
            assert_eq!(told(path), [unit, container, "-"], "{path}");
        }
    }

    #[test]
    fn nonsense_tells_nothing() {
        let short = format!("/docker/{}", &HEX[1..]);
        let glued = format!("/docker/x{HEX}");
        let no_hex = format!("/docker/{}", HEX.replace('f', "g"));
        for path in [
            "",
            "/",
            "//",
            "/a/b/c",
            "/.service",
            "/nginxservice",
            "/pod1234",
            "/kubepods/podNOT-A-UID",
            "/kubepods-pod.slice:x",
            "/lxc.payload.",
            "/lxc/",
            r"/\x",
            r"/\xff\xfe",
            "/ü/漢字",
            &short,
            &glued,
            &no_hex,
        ] {
            assert_eq!(told(path), ["-", "-", "-"], "{path}");
        }
    }

    #[test]
    fn the_most_telling_is_shown() {
        for (path, short, long) in [
            (
                "/kubepods/podUID/HEX",
                Some("pod-7f9c0d1e"),
                Some("pod-7f9c0d1e/3f8a1c9e5b7d"),
            ),
            ("/docker/HEX", Some("3f8a1c9e5b7d"), Some("3f8a1c9e5b7d")),
            ("/system.slice/nginx.service", Some("nginx"), Some("nginx")),
            ("/user.slice/user-1000.slice/session-3.scope", None, None),
            ("/user.slice/user-1000.slice/user@1000.service", None, None),
            ("/system.slice", None, None),
            ("/tenants/a", None, None),
        ] {
            let owner = Owner::of_path(&path.replace("UID", UID).replace("HEX", HEX));
            assert_eq!(owner.short().as_deref(), short, "{path}");
            assert_eq!(owner.long().as_deref(), long, "{path}");
        }
    }
}
