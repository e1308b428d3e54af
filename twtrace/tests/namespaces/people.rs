//! Threads that stay in a network namespace of their own, or that move about.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Pid, gettid};
use twtrace::kernel::netns::{Netns, bring_up_loopback};

/// A namespace, kept by a thread that stays in it.
pub(crate) struct Resident {
    pub(crate) inode: u32,
    thread_id: Pid,
    leave: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Resident {
    /// Makes one and does `work` in it.
    pub(crate) fn new(work: impl FnOnce() + Send + 'static) -> Self {
        let (leave, left) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            work();
            let inode = Netns::current().unwrap().inode;
            tell.send((inode, gettid())).unwrap();
            // Until the other end is dropped.
            let _ = left.recv();
        });
        let (inode, thread_id) = told.recv().unwrap();
        Self {
            inode,
            thread_id,
            leave: Some(leave),
            thread: Some(thread),
        }
    }

    /// Takes the thread away and returns which namespace it was.
    pub(crate) fn leave(self) -> u32 {
        self.inode
    }

    fn place(&self) -> String {
        format!("/proc/self/task/{}/ns/net", self.thread_id)
    }

    /// Binds the namespace to a new file.
    pub(crate) fn mount_at(&self, file: &Path) {
        File::create(file).unwrap();
        let place = self.place();
        let bind = MsFlags::MS_BIND;
        mount(Some(place.as_str()), file, None::<&str>, bind, None::<&str>).unwrap();
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        drop(self.leave.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// A thread that goes from one namespace to another and back every few milliseconds.
pub(crate) struct Wanderer {
    over: Arc<AtomicBool>,
    goes: Sender<[File; 2]>,
    thread: Option<JoinHandle<()>>,
}

impl Wanderer {
    /// It waits to be told where to. Made before those who stay, it comes before them in /proc.
    pub(crate) fn new() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let (goes, gone) = mpsc::channel::<[File; 2]>();
        let thread = thread::spawn(move || {
            let Ok(doors) = gone.recv() else { return };
            while !is_over.load(Ordering::Relaxed) {
                for door in &doors {
                    setns(door, CloneFlags::CLONE_NEWNET).unwrap();
                    thread::sleep(Duration::from_millis(2));
                }
            }
        });
        Self {
            over,
            goes,
            thread: Some(thread),
        }
    }

    pub(crate) fn go_between(&self, one: &Resident, other: &Resident) {
        let doors = [one, other].map(|one| File::open(one.place()).unwrap());
        self.goes.send(doors).unwrap();
    }
}

impl Drop for Wanderer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Gives the calling thread's namespace this limit and as many TIME_WAITs.
pub(crate) fn furnish(limit: u32, time_waits: usize) {
    bring_up_loopback().unwrap();
    let file = "/proc/sys/net/ipv4/tcp_max_tw_buckets";
    fs::write(file, limit.to_string()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for _ in 0..time_waits {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        drop(client);
        // The FIN comes first, or it is a tie.
        thread::sleep(Duration::from_millis(2));
        drop(server);
    }
}
