//! Asking the kernel beside the trace, in a thread of its own: which mini-sockets are there, and
//! who else uses ports.

use std::collections::VecDeque;
use std::sync::mpsc as orders;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use twtrace_common::record::Seed;
use twtrace_common::settings::{FILTER_CGROUP, FILTER_NETNS, FILTER_UID, Filter};

use super::output::{say, talk};
use crate::error::{Error, Result};
use crate::event::found::{Found, Listed, PortLook};
use crate::kernel::listing::{self, Item};
use crate::kernel::{monotonic_ns, port_look, survey, thread_cpu_ns};
use crate::view;

/// Seeds that are handed over together, and batches that may wait: what a listing holds at once.
const BATCH: usize = 512;
const WAITING: usize = 4;
/// How often others are looked for where no interval says.
const EVERY: Duration = Duration::from_secs(5);
/// After a survey comes a pause of so many times its CPU time: it takes 1 % of a CPU at most.
const PAUSE: u32 = 99;

/// What was found.
#[derive(Debug)]
pub(super) enum Message {
    Seeds(Seeds),
    Found(Found),
    Port(PortLook),
}

impl Message {
    /// All namespaces were listed.
    pub(super) fn ends_listing(&self) -> bool {
        matches!(self, Self::Found(Found::ListingOver { .. }))
    }
}

/// What can be ordered.
#[derive(Clone, Copy, Debug)]
enum Order {
    List,
    /// Survey this namespace.
    Survey(u32),
    /// Look at a port of this namespace.
    Port(u32, u16),
}

/// Records, one after the other.
#[derive(Debug, Default)]
pub(super) struct Seeds(Vec<u8>);

impl Seeds {
    /// The records.
    pub(super) fn each(&self) -> impl Iterator<Item = &[u8]> {
        self.0.chunks_exact(size_of::<Seed>())
    }
}

/// The other end of the thread. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Lookout {
    messages: mpsc::Receiver<Message>,
    orders: orders::Sender<Order>,
}

impl Lookout {
    /// Lists what is there. Where ports are of interest, it surveys their use before, and then
    /// again and again.
    pub(super) fn start(filter: Filter, every: Option<Duration>, ports: bool) -> Result<Self> {
        let (sender, messages) = mpsc::channel(WAITING);
        let (orders, wishes) = orders::channel();
        let every = every.unwrap_or(EVERY);
        thread::Builder::new()
            .name("lookout".into())
            // It ends when nobody listens any more.
            .spawn(move || match ports {
                true => drop(look(&filter, every, &sender, &wishes)),
                false => drop(list(&filter, &sender)),
            })
            .map_err(|error| Error::new(format!("cannot start a thread: {error}")))?;
        Ok(Self { messages, orders })
    }

    /// Orders another listing.
    pub(super) fn list_again(&self) {
        // Without the thread there is none.
        let _ = self.orders.send(Order::List);
    }

    /// Orders a look at one namespace, before its turn.
    pub(super) fn survey(&self, netns: u32) {
        let _ = self.orders.send(Order::Survey(netns));
    }

    /// Orders a look at who has a port.
    pub(super) fn look_at(&self, (netns, port): (u32, u16)) {
        let _ = self.orders.send(Order::Port(netns, port));
    }
}

/// The next message; never without a lookout.
pub(super) async fn next(lookout: &mut Option<Lookout>) -> Message {
    if let Some(lookout) = lookout
        && let Some(message) = lookout.messages.recv().await
    {
        return message;
    }
    std::future::pending().await
}

/// Counts what is there and says so, some time soon: nothing waits for it.
pub(super) fn say_what_is_there(filter: Filter) {
    if filter.flags & (FILTER_UID | FILTER_CGROUP) != 0 {
        // Mini-sockets have no owner.
        return;
    }
    let count = move || {
        let mut listed: Vec<Listed> = Vec::new();
        let counted = listing::list(&filter, &mut |item| {
            if let Item::Namespace(one) = item {
                listed.push(one);
            }
        });
        match counted {
            Ok(()) => say(&view::already_there(&listed)),
            Err(error) => talk(&format!("warning: what is there is not known: {error}")),
        }
    };
    // Without a thread it is not said.
    let _ = thread::Builder::new().name("lookout".into()).spawn(count);
}

/// Nobody listens any more.
struct Deaf;

fn look(
    filter: &Filter,
    every: Duration,
    out: &mpsc::Sender<Message>,
    wishes: &orders::Receiver<Order>,
) -> std::result::Result<(), Deaf> {
    let pause = |took: Duration| Instant::now() + every.max(took * PAUSE);
    let mut next = pause(look_around(filter, out)?);
    list(filter, out)?;
    loop {
        match wishes.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(Order::List) => list(filter, out)?,
            // Each namespace is ordered once; one that cannot be found stays unknown.
            Ok(Order::Survey(netns)) => drop(survey(&only(filter, netns), out)?),
            Ok(Order::Port(netns, port)) => {
                send(out, Message::Port(port_look::look(netns, port)))?;
            }
            Err(RecvTimeoutError::Timeout) => next = pause(look_around(filter, out)?),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// What the filter leaves of one namespace.
fn only(filter: &Filter, netns: u32) -> Filter {
    Filter {
        flags: filter.flags | FILTER_NETNS,
        netns,
        ..*filter
    }
}

/// Surveys all namespaces and says how much CPU time it took.
fn look_around(
    filter: &Filter,
    out: &mpsc::Sender<Message>,
) -> std::result::Result<Duration, Deaf> {
    let before = thread_cpu_ns();
    if let Err(error) = survey(filter, out)? {
        talk(&format!("warning: the use of ports is not known: {error}"));
    }
    Ok(Duration::from_nanos(thread_cpu_ns() - before))
}

fn survey(filter: &Filter, out: &mpsc::Sender<Message>) -> std::result::Result<Result<()>, Deaf> {
    let mut heard = Ok(());
    let looked = survey::survey(filter, &mut |survey| {
        if heard.is_ok() {
            heard = send(out, Message::Found(Found::Survey(survey)));
        }
    });
    heard.map(|()| looked)
}

fn list(filter: &Filter, out: &mpsc::Sender<Message>) -> std::result::Result<(), Deaf> {
    let mut batches = Batches::new(out);
    let mut heard = Ok(());
    let listed = listing::list(filter, &mut |item| match item {
        _ if heard.is_err() => {}
        Item::Seed(seed) => batches.add(seed),
        Item::Namespace(listed) => {
            heard = batches
                .send_all()
                .and_then(|()| send(out, Message::Found(Found::Listed(listed))));
        }
    });
    heard?;
    if let Err(error) = listed {
        talk(&format!("warning: what is there is not known: {error}"));
    }
    let at_ns = monotonic_ns();
    send(out, Message::Found(Found::ListingOver { at_ns }))
}

fn send(out: &mpsc::Sender<Message>, message: Message) -> std::result::Result<(), Deaf> {
    out.blocking_send(message).map_err(|_| Deaf)
}

/// Seeds on their way out.
struct Batches<'a> {
    out: &'a mpsc::Sender<Message>,
    open: Seeds,
    /// Those for which there was no room.
    full: VecDeque<Seeds>,
}

impl<'a> Batches<'a> {
    fn new(out: &'a mpsc::Sender<Message>) -> Self {
        Self {
            out,
            open: Seeds::default(),
            full: VecDeque::new(),
        }
    }

    /// Waits for nobody: who adds is in the namespace, which cannot go away meanwhile.
    fn add(&mut self, seed: &[u8]) {
        self.open.0.extend_from_slice(seed);
        if self.open.0.len() < BATCH * size_of::<Seed>() {
            return;
        }
        self.full.push_back(std::mem::take(&mut self.open));
        while let Ok(room) = self.out.try_reserve()
            && let Some(batch) = self.full.pop_front()
        {
            room.send(Message::Seeds(batch));
        }
    }

    /// Waits until all are on their way.
    fn send_all(&mut self) -> std::result::Result<(), Deaf> {
        let last = std::mem::take(&mut self.open);
        let mut batches = self.full.drain(..).chain([last]);
        batches.try_for_each(|batch| send(self.out, Message::Seeds(batch)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One seed after the other, told apart by their first byte.
    fn seed(number: usize) -> [u8; size_of::<Seed>()] {
        let mut seed = [0; size_of::<Seed>()];
        seed[0] = number as u8;
        seed
    }

    #[test]
    fn who_lists_waits_for_nobody_and_loses_nothing() {
        const SEEDS: usize = BATCH * (WAITING + 3) + 7;
        let (sender, mut messages) = mpsc::channel(WAITING);
        let mut batches = Batches::new(&sender);
        // Nobody listens yet, and there is not room for all.
        (0..SEEDS).for_each(|number| batches.add(&seed(number)));
        assert_eq!(messages.len(), WAITING);
        let listen = thread::spawn(move || {
            let mut got = Vec::new();
            while let Some(Message::Seeds(seeds)) = messages.blocking_recv() {
                got.extend(seeds.each().map(|seed| seed[0]));
            }
            got
        });
        assert!(batches.send_all().is_ok());
        drop(sender);
        let expected: Vec<_> = (0..SEEDS).map(|number| seed(number)[0]).collect();
        assert_eq!(listen.join().unwrap(), expected);
    }

    #[test]
    fn when_nobody_listens_any_more_it_is_noticed() {
        let (sender, messages) = mpsc::channel(WAITING);
        drop(messages);
        let mut batches = Batches::new(&sender);
        (0..3 * BATCH).for_each(|number| batches.add(&seed(number)));
        assert!(batches.send_all().is_err());
    }
}
