//! A thread that goes to other namespaces and comes back.

use std::marker::PhantomData;

use super::{Netns, Ways};
use crate::error::Result;
use crate::kernel::threads::beside;

/// A thread that may enter namespaces, one after the other; [`abroad`] starts it.
#[derive(Debug)]
pub struct Abroad {
    home: Netns,
    /// It belongs to one thread.
    thread: PhantomData<*const ()>,
}

/// Runs `work` in a thread of its own, so that the calling one stays where it is.
pub fn abroad<T: Send>(work: impl FnOnce(&Abroad) -> T + Send) -> Result<T> {
    let travel = || {
        let abroad = Abroad {
            home: Netns::current()?,
            thread: PhantomData,
        };
        Ok(work(&abroad))
    };
    beside("abroad", travel, || ())?.0
}

/// What is done in each of some namespaces.
pub trait Visitor {
    /// What it finds in one.
    type Found;
    /// Looks around in there. The namespace cannot go away meanwhile, so this waits for nobody.
    fn look(&mut self, netns: u32) -> Self::Found;
    /// Back at home, tells what it found; `None` if it could not enter.
    fn tell(&mut self, netns: u32, ways: &Ways, found: Option<Self::Found>);
}

impl Abroad {
    /// Does `work` in a namespace, comes back and closes it.
    pub fn visit<T>(&self, netns: Netns, work: impl FnOnce() -> T) -> Result<T> {
        if netns.inode == self.home.inode {
            // Needs no privilege.
            return Ok(work());
        }
        netns.enter()?;
        let done = work();
        self.home.enter()?;
        Ok(done)
    }
}
