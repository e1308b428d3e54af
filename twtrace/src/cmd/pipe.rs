//! Writing to what may have no room: pipes and terminals.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// PIPE_BUF: a pipe takes so many at once, or none of them.
pub(super) const PIECE: usize = 4_096;

/// What a pipe takes at once, piece by piece: whole lines where they are not too long.
pub(super) fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let most = &rest[..rest.len().min(PIECE)];
        let end = most.iter().rposition(|&byte| byte == b'\n');
        let (piece, after) = rest.split_at(end.map_or(most.len(), |end| end + 1));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Waits until a write can be tried, for so long or for ever; `false` if it would block still.
pub(super) fn wait_for_room(file: &impl AsFd, patience: Option<Duration>) -> bool {
    let patience = patience.map_or(PollTimeout::NONE, |patience| {
        PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX)
    });
    let mut files = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
    loop {
        match poll(&mut files, patience) {
            Ok(ready) => return ready > 0,
            Err(Errno::EINTR) => {}
            // The write itself tells what is wrong.
            Err(_) => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_lines_where_these_are_short() {
        let text = [
            vec![b'a'; 3_000],
            vec![b'\n'],
            vec![b'b'; 9_000],
            vec![b'\n', b'c'],
        ]
        .concat();
        let lengths: Vec<_> = pieces(&text).map(<[u8]>::len).collect();
        assert_eq!(lengths, [3_001, 4_096, 4_096, 809, 1]);
        assert_eq!(pieces(&text).collect::<Vec<_>>().concat(), text);
        assert_eq!(pieces(b"").count(), 0);
    }
}
