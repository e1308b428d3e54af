//! The kernel's own counters, read in a thread of its own: to find namespaces takes as long as there
//! are tasks, and the ring is to be emptied meanwhile.

use std::sync::mpsc as orders;
use std::thread;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use twtrace_common::settings::{FILTER_NETNS, Filter};

use super::counters::Namespaces;
use super::session::{Around, Look, Looked, Session};
use crate::error::{Error, Result};
use crate::event::KernelCounters;

/// What can be ordered.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// Search for namespaces, before anything is compared.
    Find,
    Read,
}

/// What was done.
#[derive(Debug)]
pub enum Answer {
    Found,
    Read(Vec<KernelCounters>),
}

/// The other end of the thread, which ends when this is dropped.
#[derive(Debug)]
pub struct Witness {
    orders: orders::Sender<Order>,
    answers: mpsc::Receiver<Answer>,
    /// A look was ordered and is not over.
    busy: bool,
    /// Our side of it, once namespaces were found.
    look: Option<Look>,
}

impl Witness {
    /// Starts the thread, which waits for orders.
    pub fn start(filter: &Filter) -> Result<Self> {
        let only = (filter.flags & FILTER_NETNS != 0).then_some(filter.netns);
        let (orders, ordered) = orders::channel();
        let (answer, answers) = mpsc::channel(1);
        thread::Builder::new()
            .name("witness".into())
            .spawn(move || work(only, &ordered, &answer))
            .map_err(|error| Error::new(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            orders,
            answers,
            busy: false,
            look: None,
        })
    }

    /// Orders a look at the kernel's counters, if none is under way.
    pub fn order(&mut self) {
        if !self.busy {
            self.busy = true;
            self.send(Order::Find);
        }
    }

    /// The next answer; `None` if there will be none. Nothing is lost if nobody waits to the end.
    pub async fn next(&mut self) -> Option<Answer> {
        self.answers.recv().await
    }

    /// The next answer if it is there, without waiting; an error if there will be none.
    pub fn try_next(&mut self) -> Result<Option<Answer>> {
        match self.answers.try_recv() {
            Ok(answer) => Ok(Some(answer)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Error::new(
                "cannot read the kernel's counters: their thread is gone",
            )),
        }
    }

    /// Takes an answer and goes on; returns both sides once they are known.
    pub fn take(&mut self, answer: Answer, session: &mut Session) -> Result<Option<Around>> {
        let looked = match (answer, self.look.take()) {
            (Answer::Read(kernel), Some(look)) => session.looked(look, kernel)?,
            (Answer::Found | Answer::Read(_), _) => Looked::Again(session.look()?),
        };
        match looked {
            Looked::Done(around) => {
                self.busy = false;
                Ok(Some(around))
            }
            Looked::Again(look) => {
                self.look = Some(look);
                self.send(Order::Read);
                Ok(None)
            }
        }
    }

    fn send(&self, order: Order) {
        // Without the thread there is no answer, which `next` says.
        let _ = self.orders.send(order);
    }
}

fn work(only: Option<u32>, ordered: &orders::Receiver<Order>, out: &mpsc::Sender<Answer>) {
    let mut namespaces = Namespaces::none(only);
    for order in ordered {
        let answer = match order {
            Order::Find => {
                namespaces.refresh();
                Answer::Found
            }
            Order::Read => Answer::Read(namespaces.read()),
        };
        if out.blocking_send(answer).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netns::Netns;

    #[test]
    fn who_orders_goes_on_and_is_answered_later() {
        let mut witness = Witness::start(&Filter::ZERO).unwrap();
        witness.order();
        witness.order();
        assert!(matches!(
            witness.answers.blocking_recv(),
            Some(Answer::Found)
        ));
        witness.send(Order::Read);
        let Some(Answer::Read(read)) = witness.answers.blocking_recv() else {
            panic!("the second order was obeyed while the first was under way");
        };
        let own = Netns::current().unwrap().inode;
        assert!(read.iter().any(|one| one.netns == own));
    }
}
