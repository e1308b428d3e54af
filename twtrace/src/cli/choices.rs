//! What an option may be set to.

use std::ffi::OsString;

use anstream::ColorChoice;
use clap::ValueEnum;

use crate::kernel::Attach;
use crate::model::groups::By;
use crate::view::Output;

/// `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorArg {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    Always,
    Never,
}

impl ColorArg {
    /// What the words of a command line say before they are understood.
    pub(super) fn among(words: &[OsString]) -> Self {
        let mut words = words.iter().filter_map(|word| word.to_str());
        let named = words.find_map(|word| match word.strip_prefix("--color")? {
            "" => Some(None),
            value => value.strip_prefix('=').map(Some),
        });
        let value = named.and_then(|value| value.or_else(|| words.next()));
        value
            .and_then(|value| Self::from_str(value, false).ok())
            .unwrap_or_default()
    }
}

impl From<ColorArg> for clap::ColorChoice {
    fn from(arg: ColorArg) -> Self {
        match arg {
            ColorArg::Auto => Self::Auto,
            ColorArg::Always => Self::Always,
            ColorArg::Never => Self::Never,
        }
    }
}

impl From<ColorArg> for ColorChoice {
    fn from(arg: ColorArg) -> Self {
        match arg {
            ColorArg::Auto => Self::Auto,
            ColorArg::Always => Self::Always,
            ColorArg::Never => Self::Never,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WhatIfArg {
    Recycle,
}

/// What `conflicts` can find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ConflictFound {
    /// A SYN was refused because of an old connection
    Refused,
    /// A client sent three SYNs within 3 s or more, and all were refused
    Stuck,
}

/// What `ports` can find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PortFound {
    /// A connect() or bind() got no port
    Failure,
    /// 90 % of a destination's ports were in use, or would be soon
    Pressure,
}

/// What the views of `report` can find: those of `conflicts` and those of `ports`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Found {
    /// With --conflicts: a SYN was refused because of an old connection
    Refused,
    /// With --conflicts: a client sent three SYNs within 3 s or more, and all were refused
    Stuck,
    /// With --ports: a connect() or bind() got no port
    Failure,
    /// With --ports: 90 % of a destination's ports were in use, or would be soon
    Pressure,
}

impl Found {
    /// The same for `conflicts`, if that can find it.
    #[must_use]
    pub fn by_conflicts(self) -> Option<ConflictFound> {
        match self {
            Self::Refused => Some(ConflictFound::Refused),
            Self::Stuck => Some(ConflictFound::Stuck),
            Self::Failure | Self::Pressure => None,
        }
    }

    /// The same for `ports`, if that can find it.
    #[must_use]
    pub fn by_ports(self) -> Option<PortFound> {
        match self {
            Self::Failure => Some(PortFound::Failure),
            Self::Pressure => Some(PortFound::Pressure),
            Self::Refused | Self::Stuck => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ByArg {
    Peer,
    Service,
    Lport,
    Uid,
    Cgroup,
    Netns,
}

impl From<ByArg> for By {
    fn from(arg: ByArg) -> Self {
        match arg {
            ByArg::Peer => Self::Peer,
            ByArg::Service => Self::Service,
            ByArg::Lport => Self::Lport,
            ByArg::Uid => Self::Uid,
            ByArg::Cgroup => Self::Cgroup,
            ByArg::Netns => Self::Netns,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AttachArg {
    #[default]
    Auto,
    Fentry,
    Kprobe,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputArg {
    #[default]
    Text,
    Csv,
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PlainOutput {
    #[default]
    Text,
    Json,
}

impl From<AttachArg> for Attach {
    fn from(arg: AttachArg) -> Self {
        match arg {
            AttachArg::Auto => Self::Auto,
            AttachArg::Fentry => Self::Fentry,
            AttachArg::Kprobe => Self::Kprobe,
        }
    }
}

impl From<OutputArg> for Output {
    fn from(arg: OutputArg) -> Self {
        match arg {
            OutputArg::Text => Self::Text,
            OutputArg::Csv => Self::Csv,
            OutputArg::Json => Self::Json,
        }
    }
}
